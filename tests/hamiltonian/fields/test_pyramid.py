"""What the pyramid promises.

The fields of the direct sum at any sharpness, wherever the points are.

Measured errors of the force (rms of the difference over rms of the exact tangential force) at s =
0.15 sqrt(N):

| N    | uniform points | clustered points |
| ---- | -------------- | ---------------- |
| 10⁴  | 2.8 %          | 0.8 %            |
| 10⁵  | 3.6 %          | 1.2 %            |
| 10⁶  | 3.6 %          | 2.1 %            |
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.fields.evaluators import DirectField, grid_rows
from sphere_ebm.hamiltonian.fields.pyramid import LowOrders, Octave, PyramidField

N_POINTS = 2000
# as sharp as for a million points by default
SHARPEST = 150.0


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def pyramid(sharpness: float) -> PyramidField:
    return PyramidField.tabulate(sharpness, grid_rows(sharpness), jnp.result_type(float))


@eqx.filter_jit
def evaluate(field: DirectField | PyramidField, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Potential and tangential gradient."""
    potential, gradient = field(points)
    return potential, project_tangent(points, gradient)


def relative(seen: jax.Array, exact: jax.Array) -> float:
    return float(
        np.linalg.norm(np.asarray(seen) - np.asarray(exact)) / np.linalg.norm(np.asarray(exact))
    )


def spread_points(sharpness: float) -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((N_POINTS, 3)))


def clustered_points(sharpness: float) -> np.ndarray:
    """Clusters as wide as the kernel, one of them on a pole, one on the seam phi = pi, one around
    phi = 0.
    """
    rng = np.random.default_rng(1)
    centre = unit(rng.standard_normal((20, 3)))
    centre[:3] = [[0, 0, 1], [-1, 0, 0], [1, 0, 0]]
    return unit(
        centre[rng.integers(len(centre), size=N_POINTS)]
        + rng.standard_normal((N_POINTS, 3)) / sharpness
    )


def special_points(sharpness: float) -> np.ndarray:
    """Points on both poles and close to them, on the seam and on either side of it, each several
    times.
    """
    theta = np.asarray([0, np.pi, 1.0, 1.0, 1.0, 2.0, 2.0, 1e-4, np.pi - 1e-4, np.pi / 2, 1e-8])
    phi = np.asarray([0, 0, 0, 1e-7, -1e-7, np.pi, -np.pi, 3.0, 1.0, 2 * np.pi, -3.0])
    centre = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1
    )
    near = centre + 0.7 / sharpness * np.random.default_rng(2).standard_normal((40, *centre.shape))
    return unit(np.concatenate([centre[None], near]).reshape(-1, 3))


@pytest.mark.parametrize(
    ("place", "sharpness", "force_error", "potential_error"),
    [
        # at the greatest sharpness, so few points all over the sphere would hardly feel each other
        *((spread_points, sharpness, 0.05, 0.003) for sharpness in (0.3, 12.0)),
        *((clustered_points, sharpness, 0.02, 0.002) for sharpness in (3.0, 20.0, SHARPEST)),
        *((special_points, sharpness, 0.03, 0.002) for sharpness in (3.0, SHARPEST)),
    ],
)
def test_the_field_is_that_of_the_direct_sum(place, sharpness, force_error, potential_error):
    points = jnp.asarray(place(sharpness))
    potential, force = evaluate(pyramid(sharpness), points)
    exact_potential, exact_force = evaluate(DirectField(sharpness), points)
    assert relative(force, exact_force) < force_error
    assert relative(potential, exact_potential) < potential_error
    np.testing.assert_allclose(
        np.log(jnp.mean(potential) / jnp.mean(exact_potential)), 0, atol=0.002
    )


@pytest.mark.parametrize("place", [spread_points, special_points])
def test_the_sum_over_the_grid_is_that_over_the_points(place):
    points = jnp.asarray(place(12.0))
    grid, total = eqx.filter_jit(PyramidField.grid_and_sum)(pyramid(12.0), points)
    potential, _ = evaluate(pyramid(12.0), points)
    of_points = np.asarray(potential).sum(dtype=np.float64)
    np.testing.assert_allclose(total, of_points, rtol=1e-5)
    np.testing.assert_array_equal(grid, eqx.filter_jit(PyramidField.grid_of)(pyramid(12.0), points))


def test_a_coarser_grid_breaks_these_bounds():
    points = jnp.asarray(clustered_points(20.0))
    coarse = PyramidField.tabulate(20.0, grid_rows(20.0) // 2)
    assert relative(evaluate(coarse, points)[1], evaluate(DirectField(20.0), points)[1]) > 0.02


def test_no_orientation_is_special():
    points = spread_points(10.0)
    field = pyramid(10.0)
    exact = evaluate(DirectField(10.0), jnp.asarray(points))[1]
    for rotation in Rotation.random(4, rng=np.random.default_rng(3)):
        matrix = rotation.as_matrix().astype(np.float32)
        force = np.asarray(evaluate(field, jnp.asarray(points @ matrix))[1]) @ matrix.T
        assert 0.01 < relative(force, exact) < 0.05


@pytest.mark.parametrize("place", [[0.0, 0.0, 1.0], [0.6, 0.0, -0.8], [-1.0, 1e-8, 0.0]])
def test_points_in_one_spot_see_all_others_and_no_force_to_speak_of(place):
    n = 3000
    sharpness = 40.0
    spot = jnp.broadcast_to(jnp.asarray(unit(np.asarray(place))), (n, 3))
    potential, force = evaluate(pyramid(sharpness), spot)
    np.testing.assert_allclose(potential, n - 1, rtol=0.03)
    # the greatest slope of q is 0.65 s, so this is what a hundredth of the others would do
    assert float(jnp.max(jnp.linalg.norm(force, axis=1))) < 0.0065 * n * sharpness


@pytest.mark.parametrize("sharpness", [3.0, SHARPEST])
def test_a_lone_point_hardly_feels_itself(sharpness):
    field = pyramid(sharpness)
    for point in unit(np.random.default_rng(4).standard_normal((10, 1, 3))):
        potential, force = evaluate(field, jnp.asarray(point))
        assert -0.03 < float(potential[0]) < 0.001
        assert float(jnp.linalg.norm(force)) < 0.02 * sharpness


def test_the_coupling_of_two_rows_is_a_fourier_coefficient_of_the_kernel_and_its_slope():
    rows = 48
    sharpness = 5.0
    a = 11
    b = 17
    low = LowOrders.tabulate(sharpness, rows, 8, np.float32)
    phi = np.arange(512) * 2 * np.pi / 512
    step = 1e-5

    def coefficients(shift: float) -> np.ndarray:
        theta_a = (a + 0.5) * np.pi / rows + shift
        theta_b = (b + 0.5) * np.pi / rows
        cosine = np.cos(theta_a) * np.cos(theta_b) + np.sin(theta_a) * np.sin(theta_b) * np.cos(phi)
        return np.fft.rfft(1 / (1 + 2 * sharpness**2 * (1 - cosine))).real[:8] / len(phi)

    value, slope = low(jnp.zeros((2, 8, rows)).at[0, :, b].set(1.0))[:, 0, :, a]
    np.testing.assert_allclose(value, coefficients(0), rtol=1e-5)
    difference = (coefficients(step) - coefficients(-step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("first", [8, 32, 64])
def test_a_band_of_rows_gives_what_all_rows_give(first):
    rows = 120
    sharpness = 20.0
    last = min(2 * first, rows + 1)
    source = jnp.asarray(
        np.random.default_rng(5).standard_normal((2, last - first, rows)), jnp.float32
    )
    band = Octave.tabulate(sharpness, rows, first, last, np.float32)
    full = LowOrders(LowOrders.tabulate(sharpness, rows, last, np.float32).coupling, first, last)
    assert band.coupling.decay.shape[0] < rows
    for seen, exact in zip(band(source), full(source), strict=True):
        assert relative(seen, exact) < 0.01


def test_double_precision_stays_double():
    with jax.enable_x64(True):
        points = jnp.asarray(clustered_points(10.0), jnp.float64)
        potential, force = evaluate(pyramid(10.0), points)
        single = evaluate(pyramid(10.0), points.astype(jnp.float32))
    assert potential.dtype == force.dtype == jnp.float64
    assert single[0].dtype == single[1].dtype == jnp.float32
    np.testing.assert_allclose(single[0], potential, rtol=1e-4)


def test_one_bad_point_makes_the_field_bad_and_nothing_worse():
    points = jnp.asarray(spread_points(5.0)).at[3].set(jnp.nan)
    assert not np.isfinite(evaluate(pyramid(5.0), points)[0]).any()


@pytest.mark.parametrize(
    ("sharpness", "rows", "message"),
    [
        (0.0, 24, "`sharpness` must be positive; got 0.0"),
        (1.0, 7, "`rows` must be at least 8; got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name(sharpness, rows, message):
    with pytest.raises(ValueError, match=message):
        PyramidField.tabulate(sharpness, rows)
