"""Directions that all but coincide are compared by what is left without the common one."""

import numpy as np
import pytest

from builders import cloud
from sphere_ebm.geometry.concentration import centred, common_direction
from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours
from sphere_ebm.quality.neighbours import distance_spearman, neighbourhood

OFFSETS = [0.0, 1e2, 1e3, 3e3, 1e4]


def true_neighbours(rows: np.ndarray, k: int) -> np.ndarray:
    """By cosine distances in float64 that are differences of unit vectors, and so exact."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    square = np.square(unit[:, None] - unit[None]).sum(axis=2)
    np.fill_diagonal(square, np.inf)
    return np.argsort(square, axis=1)[:, :k]


def shared(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one, other, strict=True)]))


@pytest.mark.parametrize("offset", OFFSETS)
def test_neighbours_at_a_common_offset_are_the_true_ones(offset):
    rows = cloud(300, 8).astype(np.float64) + offset
    true = true_neighbours(rows.astype(np.float32).astype(np.float64), 15)
    found = nearest_neighbours(rows.astype(np.float32), 15)
    assert shared(true, found.index) > 0.98
    told = found.note is not None and "cannot be told apart" in found.note
    assert told == (offset >= 1e3)
    assert ((found.similarity > -1) & (found.similarity <= 1)).all()
    asked = NeighbourIndex.build(rows.astype(np.float32)).query(rows[:9], 1)
    np.testing.assert_array_equal(asked.index[:, 0], np.arange(9))


@pytest.mark.parametrize("offset", OFFSETS)
def test_recall_at_a_common_offset_is_what_float64_says(offset):
    rows = cloud(300, 8).astype(np.float64) + offset
    left = (rows - rows.mean(axis=0))[:, :3]
    direction = left / np.linalg.norm(left, axis=1, keepdims=True)
    near = np.argsort(-(direction @ direction.T), axis=1)[:, 1:16]
    measured = neighbourhood(rows, direction, (15,)).recall[15]
    assert measured == pytest.approx(shared(true_neighbours(rows, 15), near), abs=0.02)
    if offset:
        assert distance_spearman(rows, direction) == pytest.approx(
            distance_spearman(rows - offset + 1e2, direction), abs=0.05
        )


def test_ordinary_embeddings_share_nothing_and_equal_ones_are_equal():
    assert common_direction(cloud(300, 8)) is None
    assert common_direction(np.zeros((5, 3), np.float32)) is None
    assert common_direction(np.zeros((0, 3), np.float32)) is None
    scaled = np.outer(np.arange(1, 9), [1.0, 2.0, 3.0]).astype(np.float32)
    assert common_direction(scaled) is None


def test_what_is_left_is_what_is_taken_from_float64():
    rows = cloud(50, 8) + np.float32(1e4)
    common = common_direction(rows)
    assert common is not None
    assert common.indistinct
    wide = rows.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    np.testing.assert_allclose(
        centred(rows, common), unit - unit.mean(axis=0), rtol=1e-4, atol=1e-9
    )
