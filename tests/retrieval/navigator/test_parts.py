"""What the navigator is made of.

Landmarks, their deposits and signatures, probes, and the union of cones.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.harmonics import evaluate
from sphere_ebm.retrieval.navigator.aiming import View, nearest, ratios, stages, within
from sphere_ebm.retrieval.navigator.landmarks import CHOICES, deposits, signatures
from sphere_ebm.retrieval.navigator.probing import Probes, ProbeTables, fine_grid, probe

BAND_LIMIT = 24
SMOOTHING = 0.12


def on_sphere(points: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((points, 3))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def unit_rows(points: int, width: int = 9, seed: int = 1) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((points, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("count", [1, 7, 64, 300])
def test_landmarks_are_as_many_distinct_points_as_asked_for(choice, count):
    found = CHOICES[choice](on_sphere(300), unit_rows(300), count, 0)
    assert len(set(found.tolist())) == count
    assert found.tolist() == sorted(found.tolist())
    assert (found >= 0).all()
    assert (found < 300).all()


@pytest.mark.parametrize("choice", CHOICES)
def test_landmarks_do_not_depend_on_how_the_map_is_turned(choice):
    turn = Rotation.from_rotvec([1.0, -0.2, 0.4]).as_matrix()
    points = on_sphere(500).astype(np.float64)
    unit = unit_rows(500)
    still, turned = (CHOICES[choice](p, unit, 40, 3) for p in (points, points @ turn.T))
    assert (still == turned).all()


def test_landmarks_that_cover_the_map_leave_smaller_holes_than_random_ones():
    points = on_sphere(2000)
    unit = unit_rows(2000)
    hole = {
        name: (points @ points[take(points, unit, 100, 0)].T).max(axis=1).min()
        for name, take in CHOICES.items()
    }
    assert hole["farthest"] > hole["random"]
    assert hole["medoids"] > hole["random"]


def test_a_deposit_is_a_third_on_the_landmark_and_the_rest_on_its_nearest_points():
    unit = unit_rows(200)
    landmarks = np.array([5, 90, 150])
    hidden = np.array([0, 17, 60])
    table = deposits(unit, landmarks, hidden, 6).toarray()
    np.testing.assert_allclose(table.sum(axis=1), 1)
    cosine = unit[landmarks] @ unit.T
    for row, landmark in enumerate(landmarks):
        order = [
            point for point in np.argsort(-cosine[row]) if point != landmark and point not in hidden
        ]
        assert set(np.flatnonzero(table[row])) == {landmark, *order[:6]}
        assert table[row, landmark] == pytest.approx(1 / 3)
    assert (deposits(unit, landmarks, hidden, 0).toarray() == np.eye(200)[landmarks]).all()


def test_a_signature_is_the_smoothed_sum_of_its_deposits():
    points = on_sphere(100)
    landmarks = np.array([3, 40])
    deposit = deposits(unit_rows(100), landmarks, np.zeros(0, np.int64), 4)
    found = signatures(deposit, points, BAND_LIMIT, SMOOTHING)
    where = on_sphere(30, 8)
    seen = evaluate(jnp.asarray(found), jnp.asarray(np.stack([where, where])))
    degree = np.arange(BAND_LIMIT)
    zonal = (2 * degree + 1) / (4 * math.pi) * np.exp(-degree * (degree + 1) * SMOOTHING**2 / 2)
    kernel = np.polynomial.legendre.legval(
        where.astype(np.float64) @ points.T.astype(np.float64), zonal
    )
    np.testing.assert_allclose(seen, (kernel @ deposit.toarray().T).T, atol=1e-4)


def tables(direction: np.ndarray, probes: int = 4) -> ProbeTables:
    """A landmark for each direction, with embeddings along the axes and a deposit where it lies."""
    count = len(direction)
    lone = deposits(np.eye(count, dtype=np.float32), np.arange(count), np.zeros(0, np.int64), 0)
    return ProbeTables(
        landmark=jnp.eye(count),
        signature=jnp.asarray(signatures(lone, direction, BAND_LIMIT, SMOOTHING)),
        direction=jnp.asarray(direction),
        radius=jnp.arange(16.0, 16 + count),
        temperature=jnp.asarray(0.5),
        smoothing=jnp.asarray(SMOOTHING),
        grid=fine_grid(BAND_LIMIT),
        probes=probes,
    )


FAR = np.array([[0.6, 0.0, 0.8], [-0.6, 0.64, 0.48], [0.0, -1.0, 0.0], [0, 0, -1]], np.float32)
compiled = eqx.filter_jit(probe)


def look(embedding: list[float]) -> Probes:
    query = np.asarray([embedding], np.float32)
    return compiled(tables(FAR), jnp.asarray(query / np.linalg.norm(query)))


def test_the_first_probe_stands_on_the_landmark_that_the_query_resembles():
    for row in range(4):
        found = look([float(row == other) for other in range(4)])
        # the other landmarks keep exp(-4.6) of the weight, and rings that add up to much less
        angle = 2 * math.asin(float(np.linalg.norm(found.direction[0, 0] - FAR[row])) / 2)
        assert angle < 0.005
        assert float(found.radius[0, 0]) == pytest.approx(16 + row, abs=1e-3)
        assert float(found.weight[0, row]) == 1


def test_probes_come_in_order_of_density_and_at_maxima_of_it():
    found = look([1.0, 0.9, 0.7, 0.0])
    density = np.asarray(found.density[0])
    assert (np.diff(density) <= 0).all()
    assert np.asarray(found.found[0])[:2].all()
    first = np.asarray(found.direction[0, :2])
    np.testing.assert_allclose(first, FAR[:2], atol=0.02)
    # a deposit is a Gaussian of width σ: at 1.25 σ it has fallen to exp(-1.25²/2) = 0.46
    assert float(found.openness[0, 0]) == pytest.approx(0.46, abs=0.02)


def test_maxima_that_climb_to_the_same_place_count_once():
    found = look([1.0, 0.0, 0.0, 0.0])
    kept = np.asarray(found.direction[0])[np.asarray(found.found[0])]
    apart = np.linalg.norm(kept[:, None] - kept[None], axis=-1)[np.triu_indices(len(kept), 1)]
    assert (apart >= SMOOTHING).all()
    assert (np.asarray(found.density[0])[~np.asarray(found.found[0])] == 0).all()


def test_the_density_of_the_probes_does_not_depend_on_the_scale_of_signatures():
    made = tables(FAR)
    louder = eqx.tree_at(lambda t: t.signature, made, 7 * made.signature)
    query = jnp.asarray([[0.8, 0.6, 0.0, 0.0]])
    np.testing.assert_allclose(
        compiled(louder, query).density, compiled(made, query).density, rtol=1e-4
    )


def view(**changes: np.ndarray) -> View:
    parts = {
        "axis": on_sphere(3, 4).astype(np.float64),
        "relative": np.array([1.0, 0.5, 0.25]),
        "inner": np.zeros(3),
        "outer": np.full(3, np.inf),
        "found": np.ones(3, bool),
    }
    return View(**(parts | changes))


def test_ratios_are_the_smallest_angle_over_aperture_and_can_be_taken_in_parts():
    points = on_sphere(200).astype(np.float64)
    radius = np.random.default_rng(2).uniform(16, 48, 200)
    one = view(inner=np.array([0.0, 20.0, 30.0]), outer=np.array([40.0, 48.0, 48.0]))
    angle = np.arccos(np.clip(points @ one.axis.T, -1, 1)) / one.relative
    held = (radius[:, None] >= one.inner) & (radius[:, None] <= one.outer)
    best, anywhere = ratios(points, radius, one, slice(0, None))
    np.testing.assert_allclose(anywhere, angle.min(axis=1), rtol=1e-4)
    np.testing.assert_allclose(best, np.where(held, angle, np.inf).min(axis=1), rtol=1e-4)
    parts = [ratios(points, radius, one, part)[0] for part in (slice(0, 1), slice(1, 3))]
    assert (np.minimum(*parts) == best).all()
    assert np.isinf(ratios(points, radius, view(found=np.zeros(3, bool)), slice(0, None))[0]).all()


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_the_scale_lies_between_the_last_point_taken_and_the_next(count):
    ratio = np.array([0.4, 0.1, 0.3, 0.2, 0.5])
    sight = nearest(ratio, ratio, count)
    assert sight.points.tolist() == [1, 3, 2, 0, 4][:count]
    assert ((ratio <= sight.scale) == np.isin(np.arange(5), sight.points)).all()
    assert within(ratio, 0.3).points.tolist() == [1, 3, 2]


def test_equal_ratios_go_to_the_lower_index_and_missing_ones_open_the_bands():
    tied = np.array([0.2, 0.1, 0.2, 0.2])
    assert nearest(tied, tied, 2).points.tolist() == [1, 0]
    banded = np.array([np.inf, 0.1, np.inf, np.inf])
    assert not nearest(banded, tied, 1).opened
    assert nearest(banded, tied, 3).opened
    assert nearest(banded, tied, 3).points.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("probes", "expected"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_stages_double_up_to_all_probes(probes, expected):
    assert stages(probes) == expected
