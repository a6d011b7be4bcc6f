"""The comparison of two sides."""

import pytest

from fer_model.studies import bench


def test_a_ratio_is_how_many_times_as_long_the_first_side_takes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    turns = []

    def side(name: str, seconds: float):
        def take() -> None:
            turns.append(name)
            clock[0] += seconds

        return take

    found = bench.ratio(side("before", 0.03), side("now", 0.01), rounds=4)
    assert found["median"] == found["low"] == found["high"] == pytest.approx(3)
    assert found["before_ms"] == pytest.approx(30)
    assert turns[0::2] != ["before"] * 5, "each side is the first now and then"
    assert sorted(turns) == ["before"] * 5 + ["now"] * 5
