"""Density in the embedding as a prominence."""

import numpy as np
import pytest

from builders import cloud, sorted_cosines
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.maps import PlacementConfig, local_density
from sphere_ebm.maps.density import density_among

CONFIG = PlacementConfig(neighbours=5)


def mean_of_nearest(queries, points, *, itself):
    """The mean cosine with the five nearest, by sorting all."""
    index, cosines = sorted_cosines(queries, points, 5, itself=itself)
    return np.take_along_axis(cosines, index, axis=1).mean(axis=1)


def test_density_is_the_mean_cosine_with_the_nearest_others():
    points = cloud(60, 6)
    expected = mean_of_nearest(points, points, itself=False)
    np.testing.assert_allclose(local_density(points, CONFIG), expected, atol=1e-6)


def test_copies_count_once_and_have_one_density():
    points = cloud(60, 6)
    heap = np.concatenate([points, np.repeat(points[:3], 20, axis=0)])
    found = local_density(heap, CONFIG)
    np.testing.assert_array_equal(found[:60], local_density(points, CONFIG))
    np.testing.assert_array_equal(found[60:], np.repeat(found[:3], 20))


def test_a_newcomer_has_the_density_of_its_place_among_the_others():
    points = cloud(60, 6)
    new = cloud(7, 6)
    found = density_among(NeighbourIndex.build(points), new, 5)
    np.testing.assert_allclose(found, mean_of_nearest(new, points, itself=True), atol=1e-6)


def test_what_is_like_nothing_has_no_density():
    points = cloud(20, 6)
    points[3] = 0
    assert local_density(points, CONFIG)[3] == 0
    assert local_density(points[:1]).tolist() == [0]
    assert local_density(points[:0]).tolist() == []
    with pytest.raises(ValueError, match="`embeddings` must be finite"):
        local_density(np.full((2, 2), np.nan))
