"""Trainings that are killed at random moments and resumed, beside one that was left alone."""


def kill_at_random(count: int, seed: int) -> dict:
    raise NotImplementedError
