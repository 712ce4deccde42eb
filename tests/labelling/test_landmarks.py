"""Landmarks: how many fit, and that they cover every shard alike."""

import builtins
import io
import os
from typing import Any

import numpy as np
import pytest

from sphere_ebm.labelling import landmarks
from sphere_ebm.labelling.landmarks import choose_landmarks, most_fitted


def test_every_shard_gives_the_same_share_of_distinct_rows_in_order() -> None:
    counts = [1000, 10, 0, 1, 5000, 333]
    chosen = choose_landmarks(counts, 600, seed=3)
    assert [len(rows) for rows in chosen][2] == 0
    for count, rows in zip(counts, chosen, strict=True):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        assert not len(rows) or (rows[0] >= 0 and rows[-1] < count)
        if count:
            assert len(rows) == pytest.approx(600 * count / sum(counts), abs=len(counts))
    assert len(chosen[1]), "a small shard is not passed over"
    assert sum(map(len, chosen)) == 600


def test_rounding_does_not_add_up_over_many_shards() -> None:
    assert sum(map(len, choose_landmarks([7] * 1000, 2500, seed=0))) == 2500
    # more shards than landmarks: not every one has a say, and the bound holds
    few = [len(rows) for rows in choose_landmarks([7] * 1000 + [0] * 5, 10, seed=0)]
    assert (sum(few), max(few)) == (10, 1)


def test_rows_depend_on_the_seed_and_are_uniform() -> None:
    one, other = (choose_landmarks([4000, 4000], 4000, seed=s) for s in (0, 1))
    assert (one[0] != other[0]).any()
    assert (one[0] != one[1]).any()
    np.testing.assert_array_equal(one[1], choose_landmarks([4000, 4000], 4000, seed=0)[1])
    halves = [np.count_nonzero(rows < 2000) for rows in one]
    assert max(abs(half - 1000) for half in halves) < 5 * np.sqrt(500)


def test_no_landmarks_more_than_points() -> None:
    for rows, count in zip(choose_landmarks([3, 5], 100, seed=0), (3, 5), strict=True):
        np.testing.assert_array_equal(rows, np.arange(count))
    assert choose_landmarks([], 10, seed=0) == []


def test_the_limit_falls_with_the_width_and_follows_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(landmarks, "_memory", lambda: 24 * 2**30)
    narrow = most_fitted(64)
    wide = most_fitted(768)
    assert 500_000 < wide < narrow < 10_000_000
    monkeypatch.setattr(landmarks, "_memory", lambda: 12 * 2**30)
    assert 0.3 * narrow < most_fitted(64) < 0.7 * narrow
    assert str(narrow).strip("0") in "123456789"
    monkeypatch.setattr(landmarks, "_memory", lambda: 1)
    assert most_fitted(64) == 1


@pytest.mark.parametrize(("text", "limited"), [("max\n", False), ("1073741824\n", True)])
def test_the_memory_is_that_of_the_control_group_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, text: str, limited: bool
) -> None:
    real = builtins.open

    def opened(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).startswith("/sys/fs/cgroup"):
            return io.StringIO(text)
        return real(path, *args, **options)

    monkeypatch.setattr(builtins, "open", opened)
    assert (landmarks._memory() == 2**30) is limited
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    assert landmarks._memory() == (2**30 if limited else landmarks._UNKNOWN_MEMORY)
