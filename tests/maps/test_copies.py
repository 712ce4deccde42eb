"""Exact copies are one point of the map, and tear no hole."""

import dataclasses

import numpy as np
import pytest

from builders import cloud
from sphere_ebm import FrozenMap, Placement, PlacementConfig, place
from sphere_ebm.maps.copies import distinct, find_copies
from sphere_ebm.maps.growth import grow
from sphere_ebm.quality.maps import angular_evenness

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=1)
ALONE = cloud(37)
HEAP = np.concatenate([np.arange(37), np.full(12, 5), [30, 31]])
"""Rows of `ALONE`: the first 37 once, 5 thirteen times, 30 and 31 twice."""
SHUFFLED = np.random.default_rng(2).permutation(len(HEAP))


@pytest.fixture(scope="module")
def alone() -> Placement:
    return place(ALONE, config=CONFIG)


@pytest.fixture(scope="module")
def heaped() -> Placement:
    return place(ALONE[HEAP], config=CONFIG)


def test_copies_are_found_whatever_their_order() -> None:
    found = find_copies(ALONE[HEAP][SHUFFLED])
    assert found is not None
    np.testing.assert_array_equal(
        ALONE[HEAP][SHUFFLED][found.first][found.group], ALONE[HEAP][SHUFFLED]
    )
    assert (np.diff(found.first) > 0).all()
    assert sorted(found.size.tolist()) == [1] * 34 + [2] * 4 + [13] * 13
    assert find_copies(ALONE) is None


def test_signs_of_zero_do_not_matter_and_zero_vectors_are_no_copies() -> None:
    points = np.array([[1, 0], [1, -0.0], [0, 0], [0, 0]], np.float32)
    found = find_copies(points)
    assert found is not None
    assert found.first.tolist() == [0, 2, 3]


def test_points_of_other_prominence_are_no_copies() -> None:
    points = np.ones((4, 2), np.float32)
    found = find_copies(points, np.array([1.0, 2.0, 1.0, 3.0]))
    assert found is not None
    assert found.group.tolist() == [0, 1, 0, 2]


def test_a_map_with_copies_is_the_map_without_them(alone: Placement, heaped: Placement) -> None:
    for name, column in alone.columns().items():
        if name != "point_energy":
            np.testing.assert_array_equal(heaped.columns()[name], column[HEAP], name)
    assert alone.copies is None
    assert heaped.copies is not None
    assert (heaped.copies[5], heaped.copies[30], heaped.copies[0]) == (13, 2, 1)
    energy = np.bincount(HEAP, heaped.point_energy)
    np.testing.assert_allclose(energy, alone.point_energy, rtol=1e-5)
    assert heaped.notes == alone.notes


def test_a_third_of_copies_tears_no_hole(alone: Placement, heaped: Placement) -> None:
    """The bound is 1.5 times the largest empty cap of the map without them."""
    caps = [angular_evenness(np.unique(one.direction, axis=0)).empty_cap for one in (alone, heaped)]
    assert caps[0] == caps[1]
    evenness = heaped.quality().evenness
    assert evenness.empty_cap == pytest.approx(alone.quality().evenness.empty_cap, rel=1e-6)
    assert evenness.occupied == pytest.approx(alone.quality().evenness.occupied, rel=1e-6)


def test_edges_and_starts_follow_their_copies(alone: Placement) -> None:
    start = alone.direction
    ends = (np.array([0, 1]), np.array([2, 3]), np.array([1.0, 2.0]))
    last = len(HEAP) - 1  # a copy of 31
    more = (np.array([0, 1, 5, 31]), np.array([2, 3, 40, last]), np.array([1.0, 2.0, 9.0, 9.0]))
    one = place(ALONE, config=CONFIG, start=start, extra_edges=ends)
    other = place(ALONE[HEAP], config=CONFIG, start=start[HEAP], extra_edges=more)
    np.testing.assert_array_equal(other.direction, one.direction[HEAP])
    with pytest.raises(ValueError, match="extra_edges"):
        place(ALONE[HEAP], config=CONFIG, extra_edges=([0], [99], [1.0]))


def test_newcomers_see_each_heap_as_one_point(alone: Placement, heaped: Placement) -> None:
    back = distinct(heaped)
    np.testing.assert_array_equal(back.direction, alone.direction)
    np.testing.assert_allclose(back.point_energy, alone.point_energy, rtol=1e-5)
    new = cloud(9, seed=3)
    joined = FrozenMap(heaped).place(new)
    np.testing.assert_array_equal(joined.direction, FrozenMap(alone).place(new).direction)


def test_a_map_with_copies_grows_as_one_without(alone: Placement, heaped: Placement) -> None:
    new = cloud(9, seed=3)
    one = grow(alone, new)
    other = grow(heaped, np.concatenate([new, new[:2]]))
    rows = np.concatenate([HEAP, np.arange(37, 46), [37, 38]])
    np.testing.assert_array_equal(other.direction, one.direction[rows])


def test_a_placement_becomes_a_data_frame(heaped: Placement) -> None:
    frame = heaped.to_pandas()
    np.testing.assert_array_equal(frame[["x", "y", "z"]], heaped.direction)
    np.testing.assert_array_equal(frame["copies"], heaped.copies)
    np.testing.assert_array_equal(frame["theta"], heaped.theta)
    assert len(frame) == len(HEAP)


def test_a_placement_with_copies_comes_back_from_its_file(heaped: Placement, tmp_path) -> None:
    heaped.save(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(Placement.load(tmp_path / "p.safetensors").copies, heaped.copies)
    assert dataclasses.replace(heaped, copies=None).columns().keys() == (
        heaped.columns().keys() - {"copies"}
    )
