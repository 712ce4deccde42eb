"""The laws that geodesic BAOAB must obey.

Exact second moments of its own recursion, equipartition, free flight.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from builders import sampler_of
from sphere_ebm.geometry.sphere import exponential_map, project_tangent
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.schedules import Switch
from sphere_ebm.sampling.underdamped import Underdamped

POWER = [(1.0, True), (1.05, False), (0.95, False)]
IDEAL_RADIUS = 10.0
STIFFNESS = 1.0
STEP = 0.8
FRICTION = 0.7


def radius_covariance(
    steps: int, *, step_size: float = STEP, mobility: float = 1.0
) -> tuple[np.ndarray, float]:
    """Covariance of (r - r*, v) after `steps` steps from rest at T = 1, and the variance of v after
    a whole step.

    One call is the linear map A O A B (B), where v is taken before the closing half kick of its own
    step.
    """
    kick = np.asarray([[1, 0], [-step_size / 2 * mobility * STIFFNESS, 1]])
    drift = np.asarray([[1, step_size / 2], [0, 1]])
    keep = np.exp(-FRICTION * step_size)
    noise = np.diag([0, (1 - keep**2) * mobility])
    covariance = np.zeros((2, 2))
    whole = 0.0
    for step in range(steps):
        closing = kick if step else np.eye(2)
        covariance = closing @ covariance @ closing.T
        whole = covariance[1, 1]
        before = np.diag([1, keep]) @ drift @ kick
        covariance = drift @ (before @ covariance @ before.T + noise) @ drift.T
    return covariance, whole


def sampler(temperature: float, n_nodes: int, **options: float) -> Underdamped:
    return sampler_of(Underdamped, n_nodes, temperature, STEP, **{"friction": FRICTION, **options})


def mean_step_cosine(spread: float) -> float:
    """<cos> of one Gaussian tangent step of `spread` per component."""
    return float(1 - np.sqrt(2) * spread * special.dawsn(spread / np.sqrt(2)))


def test_baoab_samples_positions_of_a_harmonic_well_exactly_and_velocities_to_second_order():
    covariance, whole = radius_covariance(2000)
    assert covariance[0, 0] == pytest.approx(1 / STIFFNESS)
    assert whole == pytest.approx(1 - STEP**2 * STIFFNESS / 4)


@pytest.mark.parametrize("steps", [1, 3, 6, 40])
@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_the_radius_follows_the_recursion_of_the_scheme(
    wells, chi2_p_value, temperature, passes, steps
):
    carry = wells.simulate(sampler(temperature, wells.start.radius.size), steps)
    radius = np.asarray(carry.state.radius, np.float64)
    exact = radius_covariance(steps)[0][0, 0]
    assert (
        chi2_p_value(np.sum((radius - IDEAL_RADIUS) ** 2) / exact, radius.size) > 1e-3
    ) == passes


def test_the_radius_is_gaussian_with_the_variance_of_the_gibbs_law(wells):
    carry = wells.simulate(sampler(1.0, wells.start.radius.size), 40, seed=1)
    law = stats.norm(IDEAL_RADIUS, 1 / np.sqrt(STIFFNESS))
    assert stats.kstest(np.asarray(carry.state.radius, np.float64), law.cdf).pvalue > 1e-3


def test_mobility_is_an_inverse_mass_and_leaves_the_gibbs_law(wells, chi2_p_value):
    heavy = sampler(1.0, wells.start.radius.size, radius_mobility=0.3)
    for steps in (3, 60):
        radius = np.asarray(wells.simulate(heavy, steps, seed=2).state.radius, np.float64)
        exact = radius_covariance(steps, mobility=0.3)[0][0, 0]
        assert chi2_p_value(np.sum((radius - IDEAL_RADIUS) ** 2) / exact, radius.size) > 1e-3
    assert exact == pytest.approx(1 / STIFFNESS, rel=1e-3)


def test_the_first_step_opens_with_one_half_kick_and_later_ones_close_the_step_before(wells):
    start = SphereState(wells.start.direction, wells.start.radius + 1)
    still = sampler(0.0, wells.start.radius.size)
    keep = np.exp(-FRICTION * STEP)
    stretch = 1.0
    velocity = 0.0
    for step in (1, 2, 3):
        velocity -= (1 if step == 1 else 2) * STEP / 2 * STIFFNESS * stretch
        stretch += STEP / 2 * (1 + keep) * velocity
        velocity *= keep
        carry = wells.simulate(still, step, start=start)
        np.testing.assert_allclose(carry.state.radius - IDEAL_RADIUS, stretch, atol=5e-6)
        np.testing.assert_allclose(carry.sampler_states[0].velocity.radius, velocity, atol=5e-6)
        np.testing.assert_array_equal(carry.state.direction, start.direction)


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_kinetic_energy_is_equipartitioned(wells, normal_p_value, temperature, passes):
    n = wells.start.radius.size
    mobile = sampler(temperature, n, direction_mobility=2.0)
    kinetic = float(wells.simulate(mobile, 40, seed=3).sampler_states[0].kinetic_energy)
    # two free components of variance T each, and the radial one with the variance of the discrete
    # scheme
    components = np.asarray([1.0, 1.0, radius_covariance(40)[1]])
    deviation = np.sqrt(np.sum(components**2) / 2 / n)
    assert (normal_p_value((kinetic - components.sum() / 2) / deviation) > 1e-3) == passes


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_velocities_of_free_directions_are_gaussian_and_tangent(
    wells, chi2_p_value, temperature, passes
):
    n = wells.start.radius.size
    carry = wells.simulate(sampler(temperature, n, direction_mobility=2.0), 40, seed=4)
    velocity = carry.sampler_states[0].velocity.direction
    np.testing.assert_allclose(jnp.sum(velocity * carry.state.direction, axis=1), 0, atol=3e-6)
    square = float(np.sum(np.asarray(velocity, np.float64) ** 2)) / 2.0
    assert (chi2_p_value(square, 2 * n) > 1e-3) == passes


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_a_free_direction_diffuses_by_half_and_whole_steps_under_strong_friction(
    wells, normal_p_value, temperature, passes
):
    # e^{-γh} = 0: every step draws a fresh velocity between two half drifts, so from rest the way
    # is n - 1 whole Gaussian steps of spread h sqrt(T) and one half step
    steps = 4
    step_size = 0.5
    strong = Underdamped(
        Coefficients(temperature, step_size), wells.start.radius.size, friction=60.0
    )
    cosine = np.asarray(wells.simulate(strong, steps, seed=5).state.direction[:, 2], np.float64)
    exact = mean_step_cosine(step_size) ** (steps - 1) * mean_step_cosine(step_size / 2)
    z = (cosine.mean() - exact) / (cosine.std() / np.sqrt(cosine.size))
    assert (normal_p_value(z) > 1e-3) == passes


def test_free_directions_become_uniform(wells):
    direction = wells.simulate(sampler(1.0, wells.start.radius.size), 40, seed=6).state.direction
    n = direction.shape[0]
    rayleigh = 3 * n * np.sum(np.asarray(direction, np.float64).mean(axis=0) ** 2)
    assert stats.chi2.sf(rayleigh, 3) > 1e-3
    second = (
        np.asarray(direction, np.float64).T @ np.asarray(direction, np.float64) / n - np.eye(3) / 3
    )
    assert stats.chi2.sf(7.5 * n * np.sum(second**2), 5) > 1e-3


def test_without_friction_a_free_point_follows_its_great_circle(wells):
    n = wells.start.radius.size
    flight = Underdamped(Coefficients(0.0, 0.1), n, friction=0.0)
    velocity = project_tangent(wells.start.direction, jax.random.normal(jax.random.key(0), (n, 3)))
    thrown = flight.init()._replace(velocity=SphereState(velocity, jnp.zeros(n)))
    end = wells.simulate(flight, 10, sampler_state=thrown).state.direction
    np.testing.assert_allclose(end, exponential_map(wells.start.direction, velocity), atol=5e-6)


@pytest.mark.parametrize(("temperature", "passes"), POWER)
def test_a_harmonic_pair_follows_its_truncated_exponential(
    pairs, normal_p_value, temperature, passes
):
    carry = pairs.simulate(
        Underdamped(Coefficients(temperature, 0.15), pairs.start.radius.size, friction=1.0), 100
    )
    direction = np.asarray(carry.state.direction, np.float64)
    cosine = np.sum(direction[::2] * direction[1::2], axis=1)
    mean = 1 / np.tanh(2) - 1 / 2
    variance = 1 / 4 - 1 / np.sinh(2) ** 2
    p = normal_p_value((cosine.mean() - mean) / np.sqrt(variance / cosine.size))
    assert (p > 1e-3) == passes


def test_the_cosine_of_a_pair_has_the_shape_of_its_law(pairs):
    carry = pairs.simulate(
        Underdamped(Coefficients(1.0, 0.15), pairs.start.radius.size, friction=1.0), 100, seed=1
    )
    direction = np.asarray(carry.state.direction, np.float64)
    cosine = np.sum(direction[::2] * direction[1::2], axis=1)
    law = stats.truncexpon(b=4.0, scale=0.5)
    assert stats.kstest(1 - cosine, law.cdf).pvalue > 1e-3


def test_a_wall_folds_the_law_where_it_is_symmetric_and_truncates_it_elsewhere(wells, chi2_p_value):
    n = wells.start.radius.size
    folded = wells.simulate(sampler(1.0, n, minimum_radius=IDEAL_RADIUS), 40, seed=7).state.radius
    assert float(folded.min()) >= IDEAL_RADIUS
    # the scheme is odd in (r - r*, v), so reflection at r* keeps its second moments exactly
    square = np.sum((np.asarray(folded, np.float64) - IDEAL_RADIUS) ** 2)
    assert chi2_p_value(square / radius_covariance(40)[0][0, 0], n) > 1e-3
    wall = IDEAL_RADIUS - 0.5
    small = Underdamped(Coefficients(1.0, 0.1, minimum_radius=wall), n, friction=1.0)
    truncated = np.asarray(wells.simulate(small, 150, seed=8).state.radius, np.float64)
    assert truncated.min() >= wall
    law = stats.truncnorm(-0.5 * np.sqrt(STIFFNESS), np.inf, IDEAL_RADIUS, 1 / np.sqrt(STIFFNESS))
    assert stats.kstest(truncated, law.cdf).pvalue > 1e-3
    assert stats.kstest(truncated, stats.norm(IDEAL_RADIUS, 1.0).cdf).pvalue < 1e-9


def test_a_step_is_closed_with_its_own_step_size(wells):
    """Velocity Verlet of a harmonic well whose step size changes under way, without noise or
    friction.
    """
    n = wells.start.radius.size
    start = SphereState(wells.start.direction, jnp.full(n, IDEAL_RADIUS + 1.0))
    cold = Underdamped(Coefficients(0.0, Switch(0.1, 0.8, 3)), n, friction=0.0)
    found = wells.simulate(cold, 6, start=start).state.radius
    stretch = 1.0
    velocity = 0.0
    for h in (0.1, 0.1, 0.1, 0.8, 0.8, 0.8):
        velocity -= h / 2 * STIFFNESS * stretch
        stretch += h * velocity
        velocity -= h / 2 * STIFFNESS * stretch
    np.testing.assert_allclose(found, IDEAL_RADIUS + stretch, rtol=1e-5)
