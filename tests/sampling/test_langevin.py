"""What all schemes share.

Noise that is tangent and silent at temperature zero, annealed forces, no recompilation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import sampler_of
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import as_schedule
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin, tangent_noise
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program
from sphere_ebm.sampling.run import Carry, run_chunk
from sphere_ebm.sampling.schedules import AbstractSchedule, Constant, Linear, Switch
from sphere_ebm.sampling.underdamped import Underdamped

ONE = jnp.asarray(1.0)
# temperature, step size, coupling, steps
VALUES = [
    (1.0, 0.01, 1.0, 3),
    (0.5, 0.01, 1.0, 3),
    (0.5, 0.02, 1.0, 3),
    (0.5, 0.02, 4.0, 3),
    (0.5, 0.02, 4.0, 2),
]


def make_sampler(
    scheme: str,
    n: int,
    temperature: AbstractSchedule | float,
    step: AbstractSchedule | float,
    **options: object,
) -> AbstractLangevin:
    kind = Underdamped if scheme == "underdamped" else EulerMaruyama
    return sampler_of(kind, n, temperature, step, **options)


def advance_by(
    program, sampler: AbstractLangevin, start: SphereState, steps: int, runner=run_chunk
) -> Carry:
    program = eqx.tree_at(lambda p: p.samplers, program, [sampler])
    carry = Carry(start, [sampler.init()], empty_moments(start))
    return runner(
        jax.random.key(0), program, carry, jnp.asarray(steps, jnp.int32), jnp.asarray(0, jnp.int32)
    )[0]


def test_noise_is_tangent_and_scaled():
    here = SphereState(normalise(jax.random.normal(jax.random.key(0), (5000, 3))), jnp.ones(5000))
    noise = tangent_noise(jax.random.key(1), here, SphereState(2 * ONE, 3 * ONE), ONE)
    np.testing.assert_allclose(jnp.sum(noise.direction * here.direction, axis=1), 0, atol=2e-6)
    np.testing.assert_allclose(jnp.mean(jnp.sum(noise.direction**2, axis=1)), 2 * 2.0**2, rtol=0.05)
    np.testing.assert_allclose(jnp.mean(noise.radius**2), 3.0**2, rtol=0.06)


def test_there_is_no_noise_at_temperature_zero():
    here = SphereState(normalise(jax.random.normal(jax.random.key(0), (5, 3))), jnp.ones(5))
    noise = tangent_noise(jax.random.key(1), here, SphereState(ONE, ONE), 0 * ONE)
    assert not any(bool(jnp.any(leaf)) for leaf in noise)


def test_the_noises_of_direction_and_radius_are_independent():
    here = SphereState(
        jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), (20_000, 3)), jnp.ones(20_000)
    )
    noise = tangent_noise(jax.random.key(1), here, SphereState(ONE, ONE), ONE)
    components = np.stack([noise.direction[:, 0], noise.direction[:, 1], noise.radius])
    np.testing.assert_allclose(np.cov(components), np.eye(3), atol=0.05)
    # nor does any node's radius share its number with another node's direction
    few = SphereState(here.direction[:200], here.radius[:200])
    noise = tangent_noise(jax.random.key(2), few, SphereState(ONE, ONE), ONE)
    assert np.intersect1d(noise.radius, noise.direction[:, :2]).size == 0


def test_a_number_is_a_constant_schedule():
    schedule = Linear(1.0, 0.0, 10)
    assert as_schedule(schedule) is schedule
    assert isinstance(as_schedule(0.5), Constant)


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_changing_a_value_compiles_nothing(small_block, small_factors, small_start, scheme):
    n = len(small_block)
    program = build_program(small_block, small_factors, make_sampler(scheme, n, 1.0, 0.01))
    runner = eqx.filter_jit(eqx.debug.assert_max_traces(run_chunk.__wrapped__, max_traces=1))
    ends = [
        advance_by(
            program,
            make_sampler(scheme, n, temperature, step, coupling=coupling),
            small_start,
            steps,
            runner,
        )
        for temperature, step, coupling, steps in VALUES
    ]
    stronger = eqx.tree_at(
        lambda p: (
            p.per_block_interactions[0][2].strength,
            p.per_block_interactions[0][3].strength,
        ),
        program,
        (jnp.asarray(3.0, jnp.float32), jnp.asarray(5.0, jnp.float32)),
    )
    ends.append(
        advance_by(
            stronger, make_sampler(scheme, n, 0.5, 0.02, coupling=4.0), small_start, 2, runner
        )
    )
    first = [float(end.state.direction[0, 0]) for end in ends]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_schedules_are_read_at_the_step_counter(small_block, small_factors, small_start, scheme):
    n = len(small_block)
    program = build_program(small_block, small_factors, make_sampler(scheme, n, 0.0, 0.01))
    switched = make_sampler(scheme, n, 0.0, Switch(0.01, 0.0, 2))
    two, five = (advance_by(program, switched, small_start, steps).state for steps in (2, 5))
    constant = advance_by(program, make_sampler(scheme, n, 0.0, 0.01), small_start, 2).state
    np.testing.assert_allclose(two.direction, constant.direction, atol=1e-6)
    np.testing.assert_allclose(five.direction, two.direction, atol=1e-6)
    np.testing.assert_allclose(five.radius, two.radius, rtol=1e-6)


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_cooling_lowers_the_energy_of_the_whole_hamiltonian(
    small_block, small_factors, small_start, scheme
):
    program = build_program(
        small_block, small_factors, make_sampler(scheme, len(small_block), 0.0, 0.01)
    )
    cooled = make_sampler(scheme, len(small_block), 0.0, 0.02, direction_mobility=0.2)
    end = advance_by(program, cooled, small_start, 300).state
    before, after = (
        float(sum(f.energy(state) for f in small_factors)) for state in (small_start, end)
    )
    assert after < before - 1.0
    assert float(small_factors[0].energy(end)) < 1e-3 * float(small_factors[0].energy(small_start))


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_every_scheme_runs_in_double_precision(small_block, scheme):
    with jax.enable_x64(True):
        n = len(small_block)
        start = SphereState(
            normalise(jax.random.normal(jax.random.key(0), (n, 3), jnp.float64)), jnp.full(n, 2.0)
        )
        options = {"dtype": jnp.float64} if scheme == "underdamped" else {}
        sampler = make_sampler(scheme, n, 1.0, 0.01, **options)
        end = advance_by(
            build_program(small_block, [], sampler, jnp.float64), sampler, start, 5
        ).state
        assert end.direction.dtype == end.radius.dtype == jnp.float64
        np.testing.assert_allclose(jnp.linalg.norm(end.direction, axis=1), 1, rtol=1e-15)
