"""Rows that point the same way, told by their bytes."""

import numpy as np

from builders import mixed
from sphere_ebm.graph.directions import DistinctDirections


def test_groups_of_equal_rows_are_numbered_by_their_first_member():
    rows = np.array([[1, 0], [0, 1], [1, 0], [-1, 0], [0, 1]], np.float32)
    groups = DistinctDirections(rows)
    np.testing.assert_array_equal(groups.first, [0, 1, 3])
    np.testing.assert_array_equal(groups.group, [0, 1, 0, 2, 1])


def test_rows_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(
        "sphere_ebm.graph.directions.hashes", lambda unit: np.zeros(len(unit), np.uint64)
    )
    assert len(DistinctDirections(mixed(50))) == 50
