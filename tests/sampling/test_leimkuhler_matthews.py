"""What the two legs of a Leimkuhler-Matthews step are, exactly.

Its law is in the statistical tests.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.programs import advance, build_program, sphere_block
from sphere_ebm.sampling.schedules import Constant, Linear
from sphere_ebm.sampling.underdamped import Underdamped

N = 9
WALL = 1.6
STEPS = 8
TEMPERATURE = 0.8
STEP_SIZE = 0.03
one_step = eqx.filter_jit(advance)


def program_and_start(sampler: Any, turning: float = 1.0) -> tuple[Any, SphereState]:
    """All three terms and some radii close to the wall, in double precision.

    `turning` scales those of directions.
    """
    block = sphere_block(N)
    here = np.arange(N)
    terms = [
        GravityFactor(block, np.linspace(1.5, 3, N), 3.0),
        LateralFactor(block, here, (here + 1) % N, np.ones(N), sharpness=2.0, strength=turning),
        OsmoticFactor(block, sharpness=2.0, strength=2.0 * turning, evaluator="direct"),
    ]
    rng = np.random.default_rng(8)
    start = SphereState(
        normalise(jnp.asarray(rng.standard_normal((N, 3)))), jnp.asarray(rng.uniform(WALL, 2.5, N))
    )
    return build_program(block, terms, sampler, jnp.float64), start


def trajectory(
    sampler: Any, state: Any = None, wall: float = WALL, turning: float = 1.0
) -> list[tuple[SphereState, Any]]:
    """Configuration and sampler state before the first step and after each."""
    program, start = program_and_start(sampler, turning)
    program = eqx.tree_at(
        lambda p: p.samplers[0].coefficients.minimum_radius, program, jnp.asarray(wall)
    )
    steps = [(start, sampler.init() if state is None else state)]
    for step in range(STEPS):
        here, states = one_step(jax.random.key(step), program, steps[-1][0], [steps[-1][1]])
        steps.append((here, states[0]))
    return jax.tree.map(np.asarray, steps)


def coefficients(temperature: float, step_size: Any) -> Coefficients:
    return Coefficients(
        temperature,
        step_size,
        Linear(2.0, 1.0, 5),
        direction_mobility=0.7,
        radius_mobility=1.9,
    )


def leimkuhler_matthews(
    temperature: float = TEMPERATURE, step_size: Any = STEP_SIZE
) -> LeimkuhlerMatthews:
    return LeimkuhlerMatthews(coefficients(temperature, step_size), N, dtype=jnp.float64)


@pytest.fixture(scope="module")
def walk() -> list[tuple[SphereState, Any]]:
    with jax.enable_x64(True):
        return trajectory(leimkuhler_matthews())


def test_it_is_geodesic_baoab_at_infinite_friction_with_the_step_sqrt_2h(walk):
    with jax.enable_x64(True):
        inertial = Underdamped(
            Coefficients(
                TEMPERATURE,
                np.sqrt(2 * STEP_SIZE),
                Linear(2.0, 1.0, 5),
                direction_mobility=0.7,
                radius_mobility=1.9,
            ),
            N,
            friction=np.inf,
            dtype=jnp.float64,
        )
        # at rest, with the whole first kick
        at_rest = inertial.init()._replace(step_size=jnp.asarray(np.sqrt(2 * STEP_SIZE)))
        # and with the forces on directions that make up for the curvature
        baoab = trajectory(inertial, at_rest, turning=1 + STEP_SIZE * 0.7 * TEMPERATURE / 6)
    for (one, _), (other, _) in zip(walk, baoab, strict=True):
        np.testing.assert_allclose(one.direction, other.direction, atol=1e-12)
        np.testing.assert_allclose(one.radius, other.radius, atol=1e-12)


def test_the_wall_was_met_on_the_way(walk):
    with jax.enable_x64(True):
        without = trajectory(leimkuhler_matthews(), wall=-10.0)
    assert min(state.radius.min() for state, _ in without) < WALL
    assert min(state.radius.min() for state, _ in walk) >= WALL
    assert not np.array_equal(walk[-1][0].radius, without[-1][0].radius)


def test_radii_take_half_of_each_noise_in_either_of_two_steps():
    """r_{n+1} = r_n - h μ κ (r_n - r*) + sqrt(2 h μ T) (ξ_n + ξ_{n+1}) / 2, ξ_0 = 0."""
    with jax.enable_x64(True):
        free = trajectory(leimkuhler_matthews(), wall=-10.0)
    assert not np.any(free[0][1].noise.radius)
    for (before, old), (after, new) in itertools.pairwise(free):
        drift = -STEP_SIZE * 1.9 * 3.0 * (before.radius - np.linspace(1.5, 3, N))
        noise = (
            np.sqrt(2 * STEP_SIZE * 1.9 * TEMPERATURE) * (old.noise.radius + new.noise.radius) / 2
        )
        np.testing.assert_allclose(after.radius, before.radius + drift + noise, atol=1e-13)


def test_the_noise_carried_is_tangent_where_the_points_are(walk):
    for state, carried in walk[1:]:
        np.testing.assert_allclose(
            np.sum(state.direction * carried.noise.direction, axis=1), 0, atol=1e-13
        )


def test_the_noise_carried_is_the_one_drawn_and_flipped_at_the_wall(walk):
    flipped = 0
    for step, (_, carried) in enumerate(walk[1:]):
        with jax.enable_x64(True):
            # THRML splits the key of the step over blocks, `tangent_noise` over directions and
            # radii
            key = jax.random.split(jax.random.split(jax.random.key(step), 1)[0])[1]
            drawn = np.asarray(jax.random.normal(key, (N,)))
        np.testing.assert_array_equal(np.abs(carried.noise.radius), np.abs(drawn))
        flipped += np.sum(carried.noise.radius == -drawn)
    assert flipped > 0


def test_at_temperature_zero_it_is_gradient_descent():
    with jax.enable_x64(True):
        cold = trajectory(leimkuhler_matthews(0.0))
        descent = trajectory(EulerMaruyama(coefficients(0.0, STEP_SIZE)))
    for (one, carried), (other, _) in zip(cold, descent, strict=True):
        assert not any(np.any(leaf) for leaf in carried.noise)
        np.testing.assert_allclose(one.direction, other.direction, atol=1e-13)
        np.testing.assert_allclose(one.radius, other.radius, atol=1e-13)
    assert np.max(np.abs(cold[-1][0].direction - cold[0][0].direction)) > 0.1


def test_it_starts_without_a_noise_for_every_node_of_the_block():
    state = LeimkuhlerMatthews(Coefficients(Constant(1.0), 0.1), 5).init()
    assert int(state.step) == 0
    assert (state.noise.direction.shape, state.noise.radius.shape) == ((5, 3), (5,))
    assert not any(np.any(leaf) for leaf in state.noise)


@pytest.mark.parametrize(("scale", "passes"), [(1.0, True), (1.05, False), (0.95, False)])
def test_the_noise_carried_has_unit_variance_whatever_temperature_and_mobility(
    wells, chi2_p_value, scale, passes
):
    n = wells.start.radius.size
    mobile = LeimkuhlerMatthews(
        Coefficients(0.3, 0.2, direction_mobility=0.4, radius_mobility=2.0), n
    )
    noise = wells.simulate(mobile, 4, seed=1).sampler_states[0].noise
    for values, dof in ((noise.direction, 2 * n), (noise.radius, n)):
        square = scale * np.sum(np.asarray(values, np.float64) ** 2)
        assert (chi2_p_value(square, dof) > 1e-3) == passes


def test_each_noise_is_fresh(wells):
    n = wells.start.radius.size
    sampler = LeimkuhlerMatthews(Coefficients(0.3, 0.2), n)
    one, other = (
        wells.simulate(sampler, steps, seed=1).sampler_states[0].noise for steps in (3, 4)
    )
    correlation = np.corrcoef(
        np.asarray(one.radius, np.float64), np.asarray(other.radius, np.float64)
    )[0, 1]
    assert abs(correlation) * np.sqrt(n) < 4
