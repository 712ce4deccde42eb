"""Spherical harmonics against SciPy, and what transforms, evaluation and gradients promise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from sphere_ebm.geometry.harmonics import (
    SphericalHarmonics,
    basis,
    degrees_and_orders,
    evaluate,
    evaluate_many,
    gradient_coefficients,
)
from sphere_ebm.geometry.sphere import project_tangent

POLES = np.asarray([[0, 0, 1], [0, 0, -1]], np.float32)


def scipy_harmonics(band_limit: int, direction: np.ndarray) -> np.ndarray:
    """(n, L²) by SciPy, in float64, at the directions as they are rounded."""
    x, y, z = direction.astype(np.float64).T
    theta = np.arctan2(np.hypot(x, y), z)[:, None]
    phi = np.arctan2(y, x)[:, None]
    degree, order = degrees_and_orders(band_limit)
    value = sph_harm_y(degree, np.abs(order), theta, phi)
    scaled = np.sqrt(2) * (-1.0) ** order * np.where(order > 0, value.real, value.imag)
    return np.where(order == 0, value.real, scaled)


def directions(count: int, seed: int = 0) -> np.ndarray:
    """Random directions in float32, the axes, and points very near poles, seam and equator."""
    vectors = np.random.default_rng(seed).standard_normal((count, 3))
    close = np.resize(vectors, (8, 3)) * np.repeat(
        [[1e-2, 1e-2, 1], [1e-5, 1e-5, 1], [1, 1e-7, 0.3], [1, 1, 1e-4]], 2, axis=0
    )
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    vectors = np.concatenate([axes, close, vectors])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_coefficients(band_limit: int, *batch: int, seed: int = 1) -> jax.Array:
    return jnp.asarray(
        np.random.default_rng(seed).standard_normal((*batch, band_limit**2)), jnp.float32
    )


def rotation(seed: int) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def test_every_harmonic_up_to_degree_100_agrees_with_scipy_on_the_grid():
    size = 101
    # all orders of a degree in one field: an FFT along the rows in float64 takes them apart again
    degree = degrees_and_orders(size)[0]
    units = jnp.asarray(degree[None] == np.arange(size)[:, None], jnp.float32)
    fields = np.asarray(SphericalHarmonics.build(size).inverse(units), np.float64)
    waves = np.fft.rfft(fields, axis=-1)[..., :size] / size
    theta = np.arccos(np.polynomial.legendre.leggauss(size)[0][::-1])
    profile = sph_harm_y(np.arange(size)[:, None, None], np.arange(size), theta[:, None], 0).real
    exact = np.sqrt(2) * (-1.0) ** np.arange(size) * profile
    assert np.max(np.abs(waves[..., 1:].real - exact[..., 1:])) < 3e-6
    assert np.max(np.abs(-waves[..., 1:].imag - exact[..., 1:])) < 3e-6
    assert np.max(np.abs(waves[..., 0] / 2 - profile[..., 0])) < 3e-6


@pytest.mark.parametrize(("band_limit", "bound"), [(8, 1e-6), (32, 4e-6), (64, 1e-5)])
def test_every_harmonic_agrees_with_scipy_at_any_direction_poles_included(band_limit, bound):
    points = directions(40)
    seen = np.asarray(basis(jnp.asarray(points), band_limit))
    assert np.max(np.abs(seen - scipy_harmonics(band_limit, points))) < bound


def test_evaluation_at_band_limit_256_stays_within_float32():
    size = 256
    points = directions(2)
    coefficients = random_coefficients(size)
    exact = scipy_harmonics(size, points) @ np.asarray(coefficients, np.float64)
    seen = evaluate(coefficients, jnp.asarray(points))
    assert np.max(np.abs(seen - exact)) < 1.5e-5 * np.max(np.abs(exact))


@pytest.mark.parametrize("band_limit", [1, 2, 16, 32, 64, 128, 256])
def test_analysis_undoes_synthesis(band_limit):
    harmonics = SphericalHarmonics.build(band_limit)
    coefficients = random_coefficients(band_limit)
    field = harmonics.inverse(coefficients)
    assert field.shape == (band_limit, 2 * band_limit)
    seen = harmonics.forward(field)
    assert float(jnp.max(jnp.abs(seen - coefficients)) / jnp.max(jnp.abs(coefficients))) < 2e-6
    assert float(jnp.max(jnp.abs(harmonics.inverse(seen) - field)) / jnp.max(jnp.abs(field))) < 2e-6


def test_the_harmonics_are_orthonormal_under_the_quadrature():
    harmonics = SphericalHarmonics.build(10)
    fields = harmonics.inverse(jnp.eye(100, dtype=jnp.float32)).reshape(100, -1)
    area = jnp.repeat(harmonics.weights * (np.pi / 10), 20)
    np.testing.assert_allclose((fields * area[None]) @ fields.T, np.eye(100), atol=3e-6)


def test_the_integral_of_the_square_is_the_sum_of_squared_coefficients():
    harmonics = SphericalHarmonics.build(24)
    coefficients = random_coefficients(24)
    squared = harmonics.inverse(coefficients) ** 2
    integral = jnp.sum(harmonics.weights * jnp.sum(squared, axis=1)) * (np.pi / 24)
    np.testing.assert_allclose(integral, jnp.sum(coefficients**2), rtol=1e-5)


def test_the_first_harmonics_are_the_coordinates():
    points = directions(20)
    expected = np.sqrt(3 / (4 * np.pi)) * points[:, [1, 2, 0]]
    np.testing.assert_allclose(basis(jnp.asarray(points), 2)[:, 1:], expected, atol=2e-7)


def test_turning_about_the_axis_turns_the_phase_of_each_order():
    harmonics = SphericalHarmonics.build(12)
    coefficients = random_coefficients(12)
    columns = 5
    degree, order = degrees_and_orders(12)
    phase = order * columns * np.pi / 12
    mirrored = np.asarray(coefficients)[degree**2 + degree - order]
    turned = np.cos(phase) * np.asarray(coefficients) - np.sin(phase) * mirrored
    expected = jnp.roll(harmonics.inverse(coefficients), columns, axis=1)
    np.testing.assert_allclose(
        harmonics.inverse(jnp.asarray(turned, jnp.float32)), expected, atol=2e-5
    )


def test_any_rotation_keeps_the_power_of_each_degree():
    harmonics = SphericalHarmonics.build(16)
    coefficients = random_coefficients(16)
    turned = harmonics.directions.reshape(-1, 3) @ jnp.asarray(rotation(3), jnp.float32)
    seen = harmonics.forward(evaluate(coefficients, turned).reshape(16, 32))
    edges = np.arange(16) ** 2
    np.testing.assert_allclose(
        np.add.reduceat(seen**2, edges), np.add.reduceat(coefficients**2, edges), rtol=2e-4
    )


def test_evaluation_at_the_nodes_is_the_synthesis():
    harmonics = SphericalHarmonics.build(20)
    coefficients = random_coefficients(20, 2, 3)
    nodes = jnp.broadcast_to(harmonics.directions.reshape(-1, 3), (2, 3, 800, 3))
    field = harmonics.inverse(coefficients).reshape(2, 3, 800)
    np.testing.assert_allclose(
        evaluate(coefficients, nodes), field, atol=3e-6 * float(jnp.max(jnp.abs(field)))
    )


def test_several_fields_at_once_are_the_fields_one_by_one():
    coefficients = random_coefficients(9, 2, 4)
    points = jnp.asarray(directions(10)).reshape(2, 12, 3)
    together = evaluate_many(coefficients, points)
    apart = jnp.stack([evaluate(coefficients[:, k], points) for k in range(4)], axis=-1)
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_the_sum_of_point_masses_has_the_basis_as_its_coefficients():
    harmonics = SphericalHarmonics.build(12)
    points = jnp.asarray(directions(5))
    coefficients = random_coefficients(12)
    masses = jnp.linspace(1.0, 2.0, points.shape[0], dtype=jnp.float32)
    deposit = masses @ basis(points, harmonics.band_limit)
    np.testing.assert_allclose(
        deposit @ coefficients, masses @ evaluate(coefficients, points), rtol=1e-4
    )


@pytest.mark.parametrize("band_limit", [3, 20])
def test_the_gradient_is_the_surface_gradient_poles_included(band_limit):
    with jax.enable_x64(True):
        points = np.concatenate([POLES, directions(20)]).astype(np.float64)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        coefficients = jnp.asarray(np.asarray(random_coefficients(band_limit)), jnp.float64)
        seen = jax.jit(jax.grad(lambda u: jnp.sum(evaluate(coefficients, u))))(jnp.asarray(points))
        step = 1e-5
        for axis in np.eye(3):
            tangent = np.asarray(
                project_tangent(jnp.asarray(points), jnp.broadcast_to(axis, points.shape))
            )
            ahead, behind = (
                evaluate(coefficients, jnp.asarray(points + sign * step * tangent))
                for sign in (1, -1)
            )
            slope = (ahead - behind) / (2 * step)
            scale = float(jnp.max(jnp.abs(seen)))
            np.testing.assert_allclose(jnp.sum(seen * tangent, axis=1), slope, atol=1e-6 * scale)
        np.testing.assert_allclose(jnp.sum(seen * points, axis=1), 0, atol=1e-12 * scale)


def test_the_gradient_in_float32_is_that_in_float64():
    points = directions(20)
    coefficients = random_coefficients(64)

    def gradient(real: type) -> np.ndarray:
        held = jnp.asarray(np.asarray(coefficients), real)
        return np.asarray(
            jax.jit(jax.grad(lambda u: jnp.sum(evaluate(held, u))))(jnp.asarray(points, real))
        )

    single = gradient(jnp.float32)
    with jax.enable_x64(True):
        double = gradient(jnp.float64)
    assert np.max(np.abs(single - double)) < 1e-5 * np.max(np.abs(double))


def test_the_laplacian_of_a_harmonic_is_its_eigenvalue():
    degree = degrees_and_orders(7)[0]
    point = jnp.asarray(directions(1)[-1], jnp.float32)

    def laplacian(coefficients: jax.Array) -> jax.Array:
        # of f(u/|u|), so that the radial part of the ambient Laplacian is zero
        return jnp.trace(jax.hessian(lambda u: evaluate(coefficients, u[None])[0])(point))

    seen = jax.jit(jax.vmap(laplacian))(jnp.eye(49, dtype=jnp.float32))
    expected = -degree * (degree + 1) * np.asarray(basis(point[None], 7))[0]
    np.testing.assert_allclose(seen, expected, atol=1e-4 * 42)


def test_the_gradient_with_respect_to_the_coefficients_is_the_basis():
    points = jnp.asarray(directions(4))
    seen = jax.jit(jax.grad(lambda a: jnp.sum(evaluate(a, points))))(random_coefficients(6))
    np.testing.assert_allclose(seen, jnp.sum(basis(points, 6), axis=0), atol=1e-5)


def test_the_solid_gradient_of_a_coordinate_is_a_constant():
    coefficients = jnp.zeros(9, jnp.float32).at[3].set(np.sqrt(4 * np.pi / 3))  # the field x
    np.testing.assert_allclose(
        gradient_coefficients(coefficients)[:, 0], [np.sqrt(4 * np.pi), 0, 0], atol=1e-6
    )


def test_the_length_of_a_direction_does_not_matter():
    points = jnp.asarray(directions(10))
    coefficients = random_coefficients(16)
    np.testing.assert_allclose(
        evaluate(coefficients, 7 * points), evaluate(coefficients, points), atol=2e-5
    )


@pytest.mark.parametrize("length", [1e-30, 1e-20, 1e19, 1e30])
def test_lengths_whose_squares_float32_cannot_hold_are_lengths(length):
    a = random_coefficients(4)
    u = directions(5)
    long = u * np.float32(length)
    np.testing.assert_allclose(evaluate(a, long), evaluate(a, u), atol=2e-5)
    slope = jax.grad(lambda v: evaluate(a, v).sum())(jnp.asarray(long))
    expected = jax.grad(lambda v: evaluate(a, v).sum())(jnp.asarray(u))
    np.testing.assert_allclose(slope * np.float32(length), expected, atol=2e-4)


def test_tables_of_single_precision_serve_fields_of_double_precision():
    harmonics = SphericalHarmonics.build(8)
    with jax.enable_x64(True):
        coefficients = jnp.asarray(np.random.default_rng(0).standard_normal(64), jnp.float64)
        seen = harmonics.forward(harmonics.inverse(coefficients))
        assert seen.dtype == jnp.float64
        np.testing.assert_allclose(seen, coefficients, atol=1e-6)


def test_double_precision_is_reached_when_asked_for():
    with jax.enable_x64(True):
        points = directions(20).astype(np.float64)
        coefficients = jnp.asarray(np.random.default_rng(0).standard_normal(64**2), jnp.float64)
        exact = scipy_harmonics(64, points) @ np.asarray(coefficients)
        np.testing.assert_allclose(evaluate(coefficients, jnp.asarray(points)), exact, atol=1e-11)
        harmonics = SphericalHarmonics.build(64, np.float64)
        np.testing.assert_allclose(
            harmonics.forward(harmonics.inverse(coefficients)), coefficients, atol=1e-11
        )


def test_transforms_compile_once_for_fields_of_one_shape():
    harmonics = SphericalHarmonics.build(8)
    run = eqx.filter_jit(
        eqx.debug.assert_max_traces(lambda h, a: h.forward(h.inverse(a)), max_traces=1)
    )
    for seed in range(3):
        run(harmonics, random_coefficients(8, 2, seed=seed))


def test_a_band_limit_out_of_range_is_refused():
    for band_limit in (0, 513):
        with pytest.raises(
            ValueError, match=f"`band_limit` must satisfy 1 <= band_limit <= 512; got {band_limit}"
        ):
            SphericalHarmonics.build(band_limit)
        with pytest.raises(ValueError, match="`band_limit`"):
            basis(jnp.asarray(POLES), band_limit)


def test_shapes_of_another_band_limit_are_refused():
    harmonics = SphericalHarmonics.build(4)
    with pytest.raises(
        ValueError, match=r"`coefficients` must have band_limit² = 16 entries.*got shape \(25,\)"
    ):
        harmonics.inverse(jnp.zeros(25, jnp.float32))
    with pytest.raises(
        ValueError, match=r"`field` must have shape \(\*batch, 4, 8\); got \(5, 10\)"
    ):
        harmonics.forward(jnp.zeros((5, 10), jnp.float32))
    with pytest.raises(ValueError, match=r"band_limit² entries along the last axis; got 24"):
        evaluate(jnp.zeros(24, jnp.float32), jnp.asarray(POLES))
