"""Errors whose message is written for the person who runs a script.

The scripts print it without a traceback, and exit with 2.
"""


class FERError(Exception):
    """Something outside the code is wrong. The message says what, and what to do."""


class DataError(FERError):
    """A dataset cannot be used as it is."""


class ImageError(FERError):
    """An image or a video cannot be read, or is too large to be read safely."""


class ModelError(FERError):
    """Weights or a config cannot be loaded as they are."""


class TrainingError(FERError):
    """A training run cannot start or go on as asked."""
