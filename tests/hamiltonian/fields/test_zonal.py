"""What the grid promises.

The fields of the direct sum, to a stated error, with no trouble at poles or seam.

Measured errors of the force (rms of the difference over rms of the exact tangential force) at the
grid that `grid_rows` chooses, for N from 500 to 10 000:

| s  | uniform points | clustered points |
| -- | -------------- | ---------------- |
| 3  | 2.6 to 3.6 %   | 1.0 to 1.5 %     |
| 7  | 4.3 to 4.9 %   | 1.6 to 2.1 %     |
| 15 | 5.6 to 5.8 %   | 2.7 to 3.0 %     |
| 30 | 6.4 to 6.7 %   | 2.7 to 3.5 %     |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.fields.evaluators import DirectField, GridField, grid_rows, make_field
from sphere_ebm.hamiltonian.fields.zonal import ZonalField

N_POINTS = 2000


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@eqx.filter_jit
def evaluate(
    field: DirectField | GridField | ZonalField, points: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Potential and tangential gradient."""
    potential, gradient = field(points)
    return potential, project_tangent(points, gradient)


def special_points() -> np.ndarray:
    """Both poles, the seam phi = 0 and either side of it, and near misses of the poles."""
    theta = np.asarray([0, np.pi, 1.0, 1.0, 1.0, 2.0, 2.0, 1e-4, np.pi - 1e-4, np.pi / 2])
    phi = np.asarray([0, 0, 0, 1e-7, -1e-7, np.pi, -np.pi, 3.0, 1.0, 2 * np.pi])
    points = unit(
        np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    )
    points[0] = [0, 0, 1]
    points[1] = [0, 0, -1]
    return points


def uniform_points(sharpness: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([special_points(), unit(rng.standard_normal((N_POINTS, 3)))])


def clustered_points(sharpness: float) -> np.ndarray:
    """Clusters narrower than the kernel, one of them on a pole."""
    rng = np.random.default_rng(1)
    centres = unit(rng.standard_normal((N_POINTS // 50, 3)))
    centres[0] = [0, 0, 1]
    spread = 0.5 / sharpness * rng.standard_normal((N_POINTS, 3))
    return np.concatenate(
        [special_points(), unit(centres[rng.integers(len(centres), size=N_POINTS)] + spread)]
    )


def linear_field(rows: int) -> ZonalField:
    """The kernel k(c) = c, whose field is u·Σ u_j with gradient Σ u_j."""
    return ZonalField.tabulate(rows, kernel=lambda c: c, derivative=np.ones_like)


def force_error(
    field: GridField | ZonalField, sharpness: float, points: jax.Array
) -> tuple[float, float]:
    """rms of the force error over rms of the force, and the largest relative error of the
    potential.
    """
    potential, exact = evaluate(DirectField(sharpness), points)
    seen_potential, seen = evaluate(field, points)
    error = jnp.linalg.norm(seen - exact) / jnp.linalg.norm(exact)
    return float(error), float(jnp.max(jnp.abs(seen_potential / potential - 1)))


@pytest.mark.parametrize(
    ("sharpness", "arrange", "force_bound", "potential_bound"),
    [
        (3.0, uniform_points, 0.045, 0.003),
        (3.0, clustered_points, 0.025, 0.006),
        (7.0, uniform_points, 0.06, 0.006),
        (15.0, uniform_points, 0.07, 0.025),
        (15.0, clustered_points, 0.04, 0.03),
    ],
)
def test_the_grid_agrees_with_the_direct_sum_to_the_stated_error(
    sharpness, arrange, force_bound, potential_bound
):
    field = make_field("harmonic", sharpness, 10**6)
    force, potential = force_error(field, sharpness, jnp.asarray(arrange(sharpness)))
    assert force < force_bound
    assert potential < potential_bound


def test_the_error_falls_with_the_fourth_power_of_the_grid():
    sharpness = 5.0
    points = jnp.asarray(clustered_points(5.0))
    stretch = 2 * sharpness**2
    coarse, fine = (
        force_error(
            ZonalField.tabulate(
                rows,
                lambda c: 1 / (1 + stretch * (1 - c)),
                lambda c: stretch / (1 + stretch * (1 - c)) ** 2,
            ),
            sharpness,
            points,
        )[0]
        for rows in (36, 72)
    )
    assert fine < coarse / 10


def test_a_point_on_a_pole_feels_the_same_force_as_in_the_direct_sum():
    points = jnp.asarray(uniform_points(7.0))
    exact = evaluate(DirectField(7.0), points)[1]
    seen = evaluate(make_field("harmonic", 7.0, 10**6), points)[1]
    scale = jnp.sqrt(jnp.mean(jnp.sum(exact**2, axis=1)))
    worst = jnp.max(jnp.linalg.norm(seen - exact, axis=1)[: len(special_points())])
    assert float(worst / scale) < 0.15


def test_a_constant_kernel_counts_the_points():
    points = jnp.asarray(clustered_points(7.0))
    field = ZonalField.tabulate(48, kernel=np.ones_like, derivative=np.zeros_like)
    potential, gradient = evaluate(field, points)
    np.testing.assert_allclose(potential, points.shape[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=0.02)


def test_a_linear_kernel_has_the_field_of_the_resultant():
    points = jnp.asarray(clustered_points(7.0))
    potential, gradient = evaluate(linear_field(48), points)
    resultant = jnp.sum(points, axis=0)
    scale = float(jnp.linalg.norm(resultant))
    np.testing.assert_allclose(potential, points @ resultant, atol=1e-4 * scale)
    expected = project_tangent(points, jnp.broadcast_to(resultant, points.shape))
    np.testing.assert_allclose(gradient, expected, atol=1e-3 * scale)


def test_turning_all_points_by_one_grid_column_changes_no_potential():
    rows = grid_rows(7.0)
    field = make_field("harmonic", 7.0, 10**6)
    turn = np.pi / rows
    rotation = np.asarray(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]], np.float32
    )
    points = uniform_points(7.0)
    points[:2] = points[2:4]  # points on the poles have no azimuth to turn
    here, gradient = evaluate(field, jnp.asarray(points))
    there, turned_gradient = evaluate(field, jnp.asarray(points @ rotation.T))
    np.testing.assert_allclose(there, here, rtol=5e-6)
    scale = float(jnp.max(jnp.abs(gradient)))
    np.testing.assert_allclose(turned_gradient, gradient @ rotation.T, atol=2e-5 * scale)


def test_potentials_at_each_other_are_equal():
    a = jnp.asarray(special_points()[2:3])
    b = jnp.asarray(unit(np.asarray([[0.2, -0.5, 0.1]])))
    field = make_field("harmonic", 3.0, 10**6)
    both = evaluate(field, jnp.concatenate([a, b]))[0]
    at_a = both[0] - evaluate(field, a)[0][0]
    at_b = both[1] - evaluate(field, b)[0][0]
    np.testing.assert_allclose(at_a, at_b, rtol=1e-5)


def test_tables_of_single_precision_serve_points_of_double_precision():
    with jax.enable_x64(True):
        points = jnp.asarray(uniform_points(3.0), jnp.float64)
        potential, gradient = evaluate(make_field("harmonic", 3.0, 10**6), points)
        assert potential.dtype == gradient.dtype == jnp.float64
        np.testing.assert_allclose(potential, evaluate(DirectField(3.0), points)[0], rtol=0.003)
