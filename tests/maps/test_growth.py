"""Maps that grow in Python: who is held, how strongly, and that old points stay."""

import numpy as np
import pytest

from builders import cloud
from sphere_ebm import PlacementConfig, SphereMap, place
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.maps.growth import (
    COUPLING,
    YIELDING,
    Drift,
    anchor_strengths,
    degrees_moved,
    grow,
    growing,
)

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=1)
OLD = cloud(37)
NEW = cloud(9)


@pytest.fixture(scope="module")
def old():
    return place(OLD, config=CONFIG)


def test_anchors_yield_where_neighbours_are_free():
    index = np.asarray([[1, 2], [0, 3], [1, 3], [0, 1]])
    found = Neighbours(index.astype(np.int32), np.zeros((4, 2), np.float32))
    held = np.asarray([True, True, True, False])
    expected = 0.5 * np.exp(-np.asarray([0, 0.5, 0.5]) / YIELDING)
    np.testing.assert_allclose(anchor_strengths(found, held, 0.5), expected, rtol=1e-6)
    each = anchor_strengths(found, held, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(each, 2 * expected * [1, 2, 3], rtol=1e-6)


def test_points_without_neighbours_are_held_as_strongly_as_can_be():
    found = Neighbours(np.full((2, 2), -1, np.int32), np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(anchor_strengths(found, np.ones(2, bool), 0.5), [0.5, 0.5])


def test_old_points_come_first_and_stay_the_more_the_stronger_they_are_held(old):
    before = old.direction.copy()
    moved = {}
    for strength in (0.0, 3.0):
        grown = grow(old, NEW, strength=strength)
        assert len(grown) == 46
        np.testing.assert_array_equal(grown.embeddings, np.concatenate([OLD, NEW]))
        moved[strength] = Drift.of(degrees_moved(old.direction, grown.direction[:37])).median
    assert moved[3.0] < 0.5 * moved[0.0]
    assert grown.config == growing(CONFIG)
    assert grown.config.coupling_start == COUPLING
    np.testing.assert_array_equal(old.direction, before)


def test_a_sphere_map_updates_itself(old):
    sphere = SphereMap(**vars(CONFIG)).fit(OLD)
    frozen = sphere.frozen_
    assert sphere.update(NEW, strength=3.0) is sphere
    np.testing.assert_array_equal(
        sphere.placement_.direction, grow(old, NEW, strength=3.0).direction
    )
    assert sphere.frozen_ is not frozen
    assert len(sphere.frozen_.placement) == 46
    with pytest.raises(ValueError, match="no map yet"):
        SphereMap().update(NEW)


def test_no_drift_is_told_of_no_points():
    drift = Drift.of(np.zeros(0))
    assert np.isnan(drift).all()
