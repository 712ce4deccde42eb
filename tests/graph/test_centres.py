"""Centres of lists: integers that float32 adds exactly, and a k-means that finds clusters."""

import numpy as np

from sphere_ebm.errors import require
from sphere_ebm.graph.centres import list_centres, rounded, sample_of


def clustered(points: int, centres: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    middle = rng.normal(size=(centres, width))
    rows = middle[np.arange(points) % centres] + 0.05 * rng.normal(size=(points, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_products_of_rounded_directions_are_exact_in_any_order():
    rows = rounded(clustered(400, 20, 64), 68)
    assert rows.shape == (400, 68)
    assert not rows[:, 64:].any()
    np.testing.assert_array_equal(rows, np.rint(rows))
    exact = rows.astype(np.int64) @ rows.astype(np.int64).T
    assert np.abs(exact).max() < 2**24
    np.testing.assert_array_equal(rows @ rows.T, exact)
    np.testing.assert_array_equal(rows[:, ::-1] @ rows[:, ::-1].T, exact)


def test_a_sample_is_rising_without_repeats_and_no_longer_than_what_there_is():
    few = sample_of(1000, 100, np.random.default_rng(0))
    assert len(few) == 100
    assert (np.diff(few) > 0).all()
    np.testing.assert_array_equal(sample_of(7, 100, np.random.default_rng(0)), np.arange(7))


def test_centres_lie_in_the_clusters_that_there_are_and_repeat_with_the_seed():
    faiss = require("faiss", "ann", "approximate neighbour search")
    rows = clustered(3000, 8, 32)
    centres = list_centres(faiss, rows, 40, np.random.default_rng(1))
    length = np.linalg.norm(centres, axis=1, keepdims=True)
    cosine = (centres / length) @ rows.T
    assert cosine.max(axis=1).min() > 0.95  # no centre lies apart from all points
    assert cosine.max(axis=0).min() > 0.95  # and no point from all centres
    again = list_centres(faiss, rows, 40, np.random.default_rng(1))
    np.testing.assert_array_equal(centres, again)
