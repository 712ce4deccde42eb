import numpy as np
import pytest

from sphere_ebm.files.shards.pooling import check_pooling, pool

EMBEDDINGS = np.array([[1, 0], [3, 4], [5, 5], [0, 2], [0, 4]], np.float32)
PROMINENCE = np.array([1, 5, 7, 9, 9], np.float32)
ENTROPY = np.array([1, 3, 2, 6, 4], np.float32)
STARTS = np.array([0, 2, 3])


@pytest.mark.parametrize(
    ("pooling", "embeddings", "prominence", "entropy"),
    [
        ("mean", [[2, 2], [5, 5], [0, 3]], [5, 7, 9], [2, 2, 5]),
        ("first", [[1, 0], [5, 5], [0, 2]], [1, 7, 9], [1, 2, 6]),
        ("max", [[3, 4], [5, 5], [0, 2]], [5, 7, 9], [3, 2, 6]),
    ],
)
def test_patches_are_pooled_as_the_name_says(pooling, embeddings, prominence, entropy):
    got = pool(EMBEDDINGS, PROMINENCE, ENTROPY, STARTS, pooling)
    for array, expected in zip(got, (embeddings, prominence, entropy), strict=True):
        np.testing.assert_array_equal(array, np.array(expected, np.float32))
        assert array.dtype == np.float32


def test_the_mean_over_many_patches_is_that_of_each():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((9000, 2)).astype(np.float32)
    starts = np.flatnonzero(np.append(True, rng.random(8999) < 0.4))
    got, _, _ = pool(values, np.ones(9000, np.float32), None, starts, "mean")
    expected = [piece.astype(np.float64).mean(axis=0) for piece in np.split(values, starts[1:])]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_a_mean_of_huge_finite_values_is_finite():
    huge = np.full((3, 1), 3e38, np.float32)
    got, _, _ = pool(huge, np.ones(3, np.float32), None, np.array([0]), "mean")
    np.testing.assert_array_equal(got, huge[:1])


@pytest.mark.parametrize("pooling", ["mean", "first", "max"])
def test_nothing_pools_to_nothing(pooling):
    none = np.empty(0, np.float32)
    got = pool(np.empty((0, 4), np.float32), none, none, np.empty(0, np.int64), pooling)
    assert [array.shape for array in got] == [(0, 4), (0,), (0,)]


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="`pooling` must be one of mean, first, max; got 'sum'"):
        check_pooling("sum")
