"""The laws that overdamped Langevin dynamics must obey, each with its discretised form and a power
check.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.exact_laws import leg_cosines
from scipy import stats

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama

POWER = [(1.0, True), (1.05, False), (0.95, False)]
IDEAL_RADIUS = 10.0
STIFFNESS = 1.0


def radius_variance(step_size: float, steps: int, mobility: float = 1.0) -> float:
    """Var(r) after `steps` steps from r*, at T = 1.

    R - r* is an AR(1) process with factor 1 - h μ κ.
    """
    keep = 1 - step_size * mobility * STIFFNESS
    return 2 * step_size * mobility * (1 - keep ** (2 * steps)) / (1 - keep**2)


def diffusion_z(direction: np.ndarray, spread: float, steps: int) -> float:
    """Standardised mean cosine with the start after `steps` isotropic steps.

    Legendre moments multiply.
    """
    first, second = (each**steps for each in leg_cosines(spread))
    deviation = np.sqrt(((1 + 2 * second) / 3 - first**2) / len(direction))
    return float((direction[:, 2].astype(np.float64).mean() - first) / deviation)


def uniformity_p_values(direction: np.ndarray) -> tuple[float, float]:
    """Rayleigh's test of the mean direction and Bingham's of the second moments (Mardia & Jupp
    2000, ch. 10).
    """
    direction = direction.astype(np.float64)
    n = len(direction)
    rayleigh = 3 * n * np.sum(direction.mean(axis=0) ** 2)
    spread = direction.T @ direction / n - np.eye(3) / 3
    return float(stats.chi2.sf(rayleigh, 3)), float(stats.chi2.sf(7.5 * n * np.sum(spread**2), 5))


def test_the_stationary_variance_of_the_docstring_is_that_of_the_recursion():
    assert radius_variance(0.3, 1000) == pytest.approx(1 / (STIFFNESS * (1 - 0.3 * STIFFNESS / 2)))


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_the_radius_follows_the_law_of_the_scheme(wells, chi2_p_value, temperature, passes):
    radius = np.asarray(
        wells.simulate(EulerMaruyama(Coefficients(temperature, 0.3)), 40).state.radius, np.float64
    )
    p = chi2_p_value(np.sum((radius - IDEAL_RADIUS) ** 2) / radius_variance(0.3, 40), radius.size)
    assert (p > 1e-3) == passes


def test_the_radius_is_gaussian_around_its_ideal(wells):
    radius = np.asarray(
        wells.simulate(EulerMaruyama(Coefficients(1.0, 0.3)), 40, seed=1).state.radius, np.float64
    )
    law = stats.norm(IDEAL_RADIUS, np.sqrt(radius_variance(0.3, 40)))
    assert stats.kstest(radius, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_a_free_direction_diffuses_with_its_temperature(wells, normal_p_value, temperature, passes):
    direction = np.asarray(
        wells.simulate(EulerMaruyama(Coefficients(temperature, 0.1)), 5, seed=2).state.direction
    )
    assert (normal_p_value(diffusion_z(direction, np.sqrt(0.2), 5)) > 1e-3) == passes


def test_small_steps_diffuse_as_brownian_motion_does():
    steps = 1000
    assert leg_cosines(np.sqrt(2 / steps))[0] ** steps == pytest.approx(np.exp(-2), rel=1e-3)


def test_free_directions_become_uniform(wells):
    direction = np.asarray(
        wells.simulate(EulerMaruyama(Coefficients(1.0, 0.3)), 40, seed=3).state.direction
    )
    assert min(uniformity_p_values(direction)) > 1e-3


def test_the_uniformity_test_rejects_a_tilt_and_a_stretch_of_five_percent(wells):
    direction = np.asarray(
        wells.simulate(EulerMaruyama(Coefficients(1.0, 0.3)), 40, seed=3).state.direction
    )
    for position, matrix in enumerate((np.eye(3), np.diag([1.0, 1.0, 1.05]))):
        tilted = direction @ matrix + (0.05 * np.eye(3)[2] if position == 0 else 0)
        tilted /= np.linalg.norm(tilted, axis=1, keepdims=True)
        assert uniformity_p_values(tilted)[position] < 1e-3


def test_mobility_changes_the_speed_and_not_the_law(wells, chi2_p_value, normal_p_value):
    sampler = EulerMaruyama(Coefficients(1.0, 0.2, direction_mobility=0.25, radius_mobility=0.5))
    early = wells.simulate(sampler, 5, seed=4).state
    assert (
        normal_p_value(diffusion_z(np.asarray(early.direction), np.sqrt(2 * 0.2 * 0.25), 5)) > 1e-3
    )
    for steps in (5, 80):
        radius = np.asarray(wells.simulate(sampler, steps, seed=4).state.radius, np.float64)
        exact = radius_variance(0.2, steps, mobility=0.5)
        assert chi2_p_value(np.sum((radius - IDEAL_RADIUS) ** 2) / exact, radius.size) > 1e-3
    # half the mobility is half the step: the law of h = 0.1, whatever the name of the factor
    assert exact == pytest.approx(1 / (1 - 0.1 / 2), rel=1e-3)


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_a_wall_at_the_ideal_radius_folds_the_law(wells, chi2_p_value, temperature, passes):
    # the step is odd in r - r*, so the reflected chain is the absolute value of the free one: its
    # law is exact
    sampler = EulerMaruyama(Coefficients(temperature, 0.3, minimum_radius=IDEAL_RADIUS))
    radius = np.asarray(wells.simulate(sampler, 40, seed=5).state.radius, np.float64)
    assert radius.min() >= IDEAL_RADIUS
    assert radius.mean() > IDEAL_RADIUS + 0.5
    p = chi2_p_value(np.sum((radius - IDEAL_RADIUS) ** 2) / radius_variance(0.3, 40), radius.size)
    assert (p > 1e-3) == passes


def pair_law(coupling: float) -> tuple[float, float]:
    """Mean and variance of c = u_i·u_j under p(c) ∝ exp(coupling · c) on [-1, 1]."""
    mean = 1 / np.tanh(coupling) - 1 / coupling
    return mean, 1 / coupling**2 - 1 / np.sinh(coupling) ** 2


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_a_harmonic_pair_follows_its_truncated_exponential(
    pairs, normal_p_value, temperature, passes
):
    # at this step the scheme's own bias is about 0.8 standard errors (measured); 5 % in T are 6
    direction = np.asarray(
        pairs.simulate(EulerMaruyama(Coefficients(temperature, 0.0025)), 600).state.direction,
        np.float64,
    )
    cosine = np.sum(direction[::2] * direction[1::2], axis=1)
    mean, variance = pair_law(2.0)
    p = normal_p_value((cosine.mean() - mean) / np.sqrt(variance / cosine.size))
    assert (p > 1e-3) == passes


def test_at_temperature_zero_the_chain_is_gradient_descent(wells):
    start = SphereState(wells.start.direction, wells.start.radius + 1)
    end = wells.simulate(EulerMaruyama(Coefficients(0.0, 0.3)), 3, start=start).state
    np.testing.assert_array_equal(end.direction, start.direction)
    np.testing.assert_allclose(end.radius, IDEAL_RADIUS + 0.7**3, rtol=1e-6)


def test_the_sampler_counts_its_steps(wells):
    assert int(wells.simulate(EulerMaruyama(Coefficients(1.0, 0.3)), 7).step) == 7


def test_one_seed_gives_one_result_and_another_seed_another(wells):
    first, again, other = (
        wells.simulate(EulerMaruyama(Coefficients(1.0, 0.3)), 3, seed=seed).state.radius
        for seed in (1, 1, 2)
    )
    assert bool(jnp.all(first == again))
    assert float(jnp.mean(first == other)) < 0.01
