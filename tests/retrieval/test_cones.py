"""Cones hold exactly the points within their angle and band, also where angles are tiny or almost
π.
"""

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from builders import still_placement
from sphere_ebm.retrieval.cones import (
    CapDensity,
    Cones,
    cone_weights,
    local_density,
    members,
    top_k,
)


def on_sphere(points: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((points, 3))
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def exact_angles(axes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """By atan2 of the two chords, in float64."""
    a, b = (
        x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=-1, keepdims=True)
        for x in (axes, points)
    )
    difference = a[..., None, :] - b
    total = a[..., None, :] + b
    return 2 * np.arctan2(np.linalg.norm(difference, axis=-1), np.linalg.norm(total, axis=-1))


def test_members_are_the_points_within_the_angle_and_the_band():
    rng = np.random.default_rng(1)
    made = still_placement(on_sphere(400), rng.uniform(16, 40, 400))
    axes = on_sphere(15, 2).reshape(3, 5, 3)
    aperture = rng.uniform(0.05, 3.1, (3, 5))
    found = members(made, Cones.build(axes, aperture, 20.0, rng.uniform(20, 40, (3, 1))))
    outer = Cones.build(axes, aperture, 20.0, 30.0)
    angle = exact_angles(axes, made.direction)
    band = (made.radius >= 20) & (made.radius <= 30)
    assert found.shape == (3, 5, 400)
    assert (members(made, outer) == ((angle <= aperture[..., None]) & band)).all()
    assert members(made, outer).any(axis=-1).all()


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("axis", [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
def test_membership_is_exact_for_angles_that_an_arccos_cannot_tell_apart(gap, axis):
    # axis -z looks at the points from the other end: the angles are π - gap
    angle = gap * np.arange(1, 9)
    made = still_placement(np.stack([np.sin(angle), np.zeros(8), np.cos(angle)], axis=1))
    bound = 4.5 * gap if axis[2] > 0 else math.pi - 4.5 * gap
    found = members(made, Cones.build(axis, bound))
    assert found.tolist() == ([True] * 4 + [False] * 4 if axis[2] > 0 else [False] * 4 + [True] * 4)


def test_the_widest_cone_is_everything_and_the_narrowest_its_own_axis():
    points = on_sphere(300)
    points[:3] = [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
    made = still_placement(points)
    assert members(made, Cones.build(points, math.pi)).all()
    assert (members(made, Cones.build(points[:3], 0.0)) == np.eye(3, 300, dtype=bool)).all()


def test_both_ends_of_the_band_belong_to_it():
    made = still_placement(on_sphere(5), np.array([16.0, 17.0, 18.0, 19.0, 20.0]))
    assert members(made, Cones.build([0, 0, 1], math.pi, 17.0, 19.0)).tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_members_turn_with_the_map():
    turn = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()
    points = on_sphere(500).astype(np.float64)
    axes = on_sphere(20, 3).astype(np.float64)
    aperture = np.linspace(0.1, 3.0, 20)
    still = members(still_placement(points), Cones.build(axes, aperture))
    assert (
        members(still_placement(points @ turn.T), Cones.build(axes @ turn.T, aperture)) == still
    ).all()


def test_top_k_gives_the_best_of_each_cone_and_marks_what_is_missing():
    made = still_placement(on_sphere(200))
    score = np.random.default_rng(5).standard_normal(200)
    cones = Cones.build(on_sphere(6, 7), [0.0, 0.1, 0.3, 1.0, 2.0, math.pi])
    found = top_k(made, cones, 8, score=score)
    inside = members(made, cones)
    for row in range(6):
        wanted = sorted(np.flatnonzero(inside[row]), key=lambda point: -score[point])[:8]
        assert found.points[row].tolist() == [*wanted, *[-1] * (8 - len(wanted))]
        assert (found.score[row, : len(wanted)] == score[wanted]).all()
        assert np.isneginf(found.score[row, len(wanted) :]).all()
    assert (found.points[0] == -1).all()


def test_top_k_by_cosine_finds_the_nearest_embeddings_within_the_cone():
    rng = np.random.default_rng(2)
    embeddings = rng.standard_normal((150, 7))
    queries = rng.standard_normal((2, 2, 7))
    made = still_placement(on_sphere(150), embeddings=embeddings)
    cones = Cones.build(on_sphere(4, 3).reshape(2, 2, 3), 1.2)
    found = top_k(made, cones, 3, queries=queries)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = (queries / np.linalg.norm(queries, axis=-1, keepdims=True)) @ unit.T
    best = np.sort(np.where(members(made, cones), cosine, -np.inf), axis=-1)[..., :-4:-1]
    np.testing.assert_allclose(found.score, best, atol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(cosine, found.points, axis=-1), found.score, atol=1e-6
    )


def test_equal_scores_go_to_the_lower_index_and_a_zero_query_has_cosine_zero():
    made = still_placement(on_sphere(20), embeddings=np.ones((20, 2)))
    everything = Cones.build([0, 0, 1], math.pi)
    assert top_k(made, everything, 4, score=np.ones(20)).points.tolist() == [0, 1, 2, 3]
    assert top_k(made, everything, 2, queries=np.zeros(2)).score.tolist() == [0.0, 0.0]


def test_local_density_counts_points_per_steradian():
    made = still_placement(on_sphere(600))
    centre = on_sphere(40, 9)
    aperture = 0.4
    inside = members(made, Cones.build(centre, aperture)).sum(axis=1)
    area = 2 * math.pi * (1 - math.cos(aperture))
    np.testing.assert_allclose(
        local_density(made, aperture, centre), inside / area / (600 / (4 * math.pi)), rtol=1e-12
    )
    # a map of two halves, one three times as dense
    north = np.where(np.arange(600) % 4 < 3, 1, -1)
    halves = still_placement(
        np.stack([*made.direction.T[:2], north * np.abs(made.direction[:, 2])], axis=1)
    )
    assert (
        local_density(halves, 1.2, [[0, 0, 1.0]])[0]
        > 2 * local_density(halves, 1.2, [[0, 0, -1.0]])[0]
    )


def test_the_whole_sphere_has_density_one_and_a_kept_tree_says_the_same():
    made = still_placement(on_sphere(100))
    assert (local_density(made, math.pi) == 1).all()
    assert (CapDensity.build(made)(made.direction, 0.3) == local_density(made, 0.3)).all()


def test_cone_weights_have_mean_one_and_give_each_half_its_area():
    rng = np.random.default_rng(4)
    points = on_sphere(4000)
    kept = (points[:, 2] > 0) | (rng.random(4000) < 0.2)
    made = still_placement(points[kept])
    weight = cone_weights(made, 30.0)
    assert weight.mean() == pytest.approx(1)
    assert (weight > 0).all()
    south = weight[made.direction[:, 2] < -0.2].sum() / weight.sum()
    # the share of area below -0.2 is 0.4; without weights it would be 0.13
    assert south == pytest.approx(0.4, abs=0.03)
    assert cone_weights(still_placement(on_sphere(5)), 30.0).tolist() == [1.0] * 5


def test_a_map_without_points_has_empty_cones():
    made = still_placement(np.zeros((0, 3)), embeddings=np.zeros((0, 4)))
    cones = Cones.build([[0, 0, 1.0], [1.0, 0, 0]], 0.5)
    assert members(made, cones).shape == (2, 0)
    assert (top_k(made, cones, 3, queries=np.ones(4)).points == -1).all()
    assert local_density(made, 0.5, [[0, 0, 1.0]]).tolist() == [0.0]
    assert local_density(made, 0.5).shape == cone_weights(made).shape == (0,)
    assert len(Cones.build(np.zeros((0, 3)), 0.1)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0, 0, 1.0]], 3.2), r"`aperture` must lie in \[0, π\]; got 3.2 at index \(0\)"),
        (([[0, 0, 1.0]], -0.1), r"`aperture` must lie in"),
        (([[0, 0, 1.0]], math.nan), r"`aperture` must lie in"),
        (([[0, 0, 0.0]], 0.1), r"`direction` must be finite and not zero; got 0 at index \(0\)"),
        (([[0, 0, math.nan]], 0.1), r"`direction` must be finite"),
        (([0.0, 1.0], 0.1), r"`direction` must have shape \(\*b, 3\); got \(2,\)"),
        (([[0, 0, 1.0]], 0.1, -1.0), r"`inner_radius` must be at least 0; got -1"),
        (([[0, 0, 1.0]], 0.1, 5.0, 4.0), r"`outer_radius` must be at least `inner_radius`; got 4"),
        (([[0, 0, 1.0]] * 3, [0.1, 0.2]), r"must broadcast together"),
    ],
)
def test_bad_cones_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cones.build(*arguments)


def test_parts_of_a_cone_must_fit_and_axes_be_unit(unchecked):
    good = Cones.build(on_sphere(3), 0.2)
    with pytest.raises(
        ValueError, match=r"`aperture` must have one entry per direction, shape \(3,\); got \(2,\)"
    ):
        dataclasses.replace(good, aperture=np.zeros(2))
    with pytest.raises(
        ValueError, match=r"`direction` must hold unit vectors; got 2 at index \(0\)"
    ):
        dataclasses.replace(good, direction=2 * good.direction)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0, "score": np.ones(9)}, "`k` must satisfy k >= 1; got 0"),
        ({"k": 1}, "exactly one of `score` and `queries` must be given; got neither"),
        ({"k": 1, "score": np.ones(9), "queries": np.ones(4)}, "got both"),
        ({"k": 1, "score": np.ones(8)}, r"`score` must have shape \(9,\) or \(2, 9\); got \(8,\)"),
        ({"k": 1, "score": np.full(9, np.nan)}, "`score` must not be NaN; got 9"),
        (
            {"k": 1, "queries": np.ones(5)},
            r"`queries` must have shape \(4,\) or \(2, 4\); got \(5,\)",
        ),
        ({"k": 1, "queries": np.full(4, np.inf)}, "`queries` must be finite"),
    ],
)
def test_bad_questions_are_refused_by_name(options, message):
    made = still_placement(on_sphere(9), embeddings=np.ones((9, 4)))
    with pytest.raises(ValueError, match=message):
        top_k(made, Cones.build(on_sphere(2), 0.4), **options)


def test_queries_need_the_embeddings_of_the_map():
    with pytest.raises(ValueError, match=r"`placement` must hold its embeddings .*with_embeddings"):
        top_k(still_placement(on_sphere(9)), Cones.build([0, 0, 1], 0.4), 2, queries=np.ones(4))


@pytest.mark.parametrize("aperture", [0.0, 3.2, math.nan])
def test_density_refuses_a_cap_without_area(aperture):
    with pytest.raises(ValueError, match=r"`aperture` must lie in \(0, π\]"):
        local_density(still_placement(on_sphere(4)), aperture)


def test_density_and_weights_refuse_bad_centres_and_counts():
    with pytest.raises(ValueError, match=r"`centre` must have shape \(M, 3\); got \(3,\)"):
        local_density(still_placement(on_sphere(4)), 0.3, [0, 0, 1.0])
    with pytest.raises(
        ValueError, match=r"`centre` must be finite and not zero; got 0 at index \(1\)"
    ):
        local_density(still_placement(on_sphere(4)), 0.3, [[0, 0, 1.0], [0, 0, 0]])
    with pytest.raises(ValueError, match="`neighbours` must be a positive number; got 0"):
        cone_weights(still_placement(on_sphere(4)), 0.0)
