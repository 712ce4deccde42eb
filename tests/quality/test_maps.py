"""What a map shows by itself or beside another one: labels, evenness, agreement."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from sklearn.neighbors import KNeighborsClassifier

from builders import directions_at_random, noisy_map, unit
from sphere_ebm.quality import maps
from sphere_ebm.quality.maps import agreement, angular_evenness, label_accuracy


@pytest.mark.parametrize("reverse", [False, True])
def test_equal_angles_do_not_favour_labels_by_their_index(reverse):
    collapsed = np.tile(np.array([[0.0, 0.6, 0.8]]), (400, 1))
    labels = np.sort(np.arange(400) % 10 < 2)
    # Any fifteen at random have the frequent label in the majority, the first or the last fifteen
    # need not.
    assert label_accuracy(collapsed, labels[::-1].copy() if reverse else labels) == 0.8


def test_label_accuracy_is_that_of_a_leave_one_out_classifier():
    _, direction = noisy_map(150)
    labels = (direction[:, 0] > 0).astype(int) + 2 * (direction[:, 1] > 0.3)
    right = 0
    for point in range(150):
        others = np.arange(150) != point
        classifier = KNeighborsClassifier(1).fit(direction[others], labels[others])
        right += classifier.predict(direction[[point]])[0] == labels[point]
    assert 0.5 < right / 150 < 1
    assert label_accuracy(direction, labels, k=1) == pytest.approx(right / 150)


@pytest.mark.parametrize(
    "missing", [None, float("nan"), pd.NA, pd.NaT, np.ma.masked, np.nan], ids=lambda x: repr(x)
)
def test_points_without_a_label_neither_ask_nor_vote(missing):
    _, direction = noisy_map(150)
    labels = (direction[:, 0] > 0).astype(int)
    lost = np.arange(150) % 3 == 0
    if missing is np.ma.masked:
        held = np.ma.masked_array(labels, lost)
    else:
        held = np.where(lost, missing, labels.astype(object))
    expected = label_accuracy(direction[~lost], labels[~lost])
    assert label_accuracy(direction, held) == expected
    if missing is np.nan:
        assert label_accuracy(direction, np.where(lost, np.nan, labels)) == expected


def test_the_majority_wins_and_a_tie_goes_to_the_nearest_voter():
    angle = np.array([0.0, 0.1, 0.25, 0.45])
    direction = np.stack([np.cos(angle), np.sin(angle), np.zeros(4)], axis=1)
    # Nearest first, point 0 sees b a a, point 1 a a a, point 2 b a a, point 3 a b a.
    labels = np.array(["a", "b", "a", "a"])
    assert label_accuracy(direction, labels, k=3) == pytest.approx(3 / 4)
    # Ties of one vote each: b for 0, a for 1 and for 3; point 2 sees b before a.
    assert label_accuracy(direction, labels, k=2) == pytest.approx(1 / 4)


def test_uniform_random_directions_are_as_even_as_expected():
    evenness = [angular_evenness(directions_at_random(2000, seed)) for seed in range(30)]
    occupied, cap = (
        np.array([getattr(one, name) for one in evenness]) for name in ("occupied", "empty_cap")
    )
    assert occupied.mean() == pytest.approx(1.0, abs=0.003)
    assert abs(cap.mean() - 0.975) < 4 * cap.std() / math.sqrt(30)


@pytest.mark.parametrize(("points", "bias"), [(10, 0.93), (30, 1.0), (300, 1.025)])
def test_the_expected_empty_cap_is_that_of_simulations(points, bias):
    rng = np.random.default_rng(8)
    caps = [
        (1 + ConvexHull(unit(rng.standard_normal((points, 3)))).equations[:, 3].max()) / 2
        for _ in range(1500)
    ]
    assert maps._expected_empty_cap(points) / np.mean(caps) == pytest.approx(bias, abs=0.02)


def test_a_hole_of_known_size_is_found():
    direction = directions_at_random(20_000, 9)
    hole = direction[direction[:, 2] < math.cos(0.5)]
    area = angular_evenness(hole).empty_cap * maps._expected_empty_cap(len(hole))
    assert area == pytest.approx((1 - math.cos(0.5)) / 2, rel=0.02)
    # A hole of 6 % of the sphere leaves 6 % of the cells empty.
    assert angular_evenness(hole).occupied == pytest.approx(1 - area, abs=0.01)


def test_flat_maps_have_their_empty_cap_measured_too():
    azimuth = np.linspace(0, 2 * math.pi, 500, endpoint=False)
    circle = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(500)], axis=1)
    point = np.tile(circle[:1], (500, 1))
    expected = maps._expected_empty_cap(500)
    assert angular_evenness(circle).empty_cap * expected == pytest.approx(0.5)
    assert angular_evenness(point).empty_cap * expected == pytest.approx(1.0)


def test_agreement_recovers_a_rotation_and_tells_a_mirror_image():
    direction = directions_at_random(400, 10)
    turned = Rotation.from_rotvec([0.3, -1.2, 2.0]).apply(direction)
    same = agreement(direction, turned)
    assert same.mean_cosine == pytest.approx(1.0, abs=1e-6)
    assert same.median_degrees < 1e-3
    assert same.neighbour_overlap == pytest.approx(1.0, abs=1e-3)
    mirrored = turned * np.array([1.0, 1.0, -1.0])
    assert agreement(direction, mirrored).mean_cosine < 0.9
    assert agreement(direction, mirrored, reflect=True).median_degrees < 1e-3
    assert agreement(direction, mirrored).neighbour_overlap == pytest.approx(1.0, abs=1e-3)


def test_agreement_measures_the_size_of_a_disturbance():
    direction = directions_at_random(3000, 11).astype(np.float64)
    rng = np.random.default_rng(12)
    axis = unit(np.cross(direction, rng.standard_normal((3000, 3))))
    moved = Rotation.from_rotvec(math.radians(7) * axis).apply(direction)
    found = agreement(direction, Rotation.random(rng=rng).apply(moved))
    assert found.median_degrees == pytest.approx(7.0, abs=0.2)
    assert found.mean_cosine == pytest.approx(math.cos(math.radians(7)), abs=1e-3)
    assert 0 < found.neighbour_overlap < 0.5


def test_unrelated_maps_agree_by_chance_only():
    found = agreement(directions_at_random(1000, 13), directions_at_random(1000, 14))
    assert abs(found.mean_cosine) < 0.15
    assert found.neighbour_overlap == pytest.approx(15 / 999, abs=0.01)
