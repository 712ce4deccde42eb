"""MALA against its definition, worked out once more in NumPy.

Who is accepted, and with what probability.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block

import exact_steps as exact
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import (
    advance,
    build_coloured_program,
    build_program,
    initial_sampler_states,
    sphere_block,
)
from sphere_ebm.studies.chains import sample_chains

PRESSURE = 0.7
one_step = eqx.filter_jit(advance)


def three_points() -> tuple[Block, list[Any]]:
    block, terms = exact.two_terms()
    osmotic = OsmoticFactor(block, sharpness=exact.SHARPNESS, strength=PRESSURE, evaluator="direct")
    return block, [*terms, osmotic]


def energy(u: np.ndarray, r: np.ndarray) -> float:
    """H at the coupling of the sampler, from the formulas of the energy terms."""
    pairs = [np.sum((u[i] - u[j]) ** 2) for i in range(3) for j in range(3) if i != j]
    repulsion = np.mean(1 / (1 + exact.SHARPNESS**2 * np.asarray(pairs)))
    return exact.two_term_energy(u, r) + float(PRESSURE * 3 * np.log(repulsion))


def force(u: np.ndarray, r: np.ndarray, eps: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """Minus the gradient by central differences, tangent on directions."""
    along = np.zeros((3, 3))
    for i in range(3):
        for k in range(3):
            shift = np.zeros((3, 3))
            shift[i, k] = eps
            along[i, k] = -(energy(u + shift, r) - energy(u - shift, r)) / (2 * eps)
    tangent = along - u * np.sum(u * along, axis=1, keepdims=True)
    return tangent, exact.pull(r, exact.IDEAL)


def expected(
    u: np.ndarray, r: np.ndarray, key: Any, h: float
) -> tuple[float, bool, np.ndarray, np.ndarray, bool]:
    """Log of the acceptance ratio, whether it is accepted, the proposal, and whether a radius was
    reflected.
    """
    key_move, key_accept = jax.random.split(key)
    key_direction, key_radius = jax.random.split(key_move)
    noise_u = np.asarray(jax.random.normal(key_direction, (3, 3)))
    noise_u = noise_u - u * np.sum(u * noise_u, axis=1, keepdims=True)
    noise = (noise_u, np.asarray(jax.random.normal(key_radius, (3,))))
    here = force(u, r)
    du, dr = exact.move(here, noise, h)
    length = np.linalg.norm(du, axis=1, keepdims=True)
    there = u * np.cos(length) + du / length * np.sin(length)
    back_u = u * length * np.sin(length) - du * np.cos(length)
    below = r + dr < exact.WALL
    radius = np.where(below, 2 * exact.WALL - r - dr, r + dr)
    back_r = np.where(below, dr, -dr)
    ways = exact.log_gaussian((back_u, back_r), force(there, radius), h)
    ways -= exact.log_gaussian((du, dr), here, h)
    ratio = (energy(u, r) - energy(there, radius)) / exact.TEMPERATURE + ways
    accepted = float(jnp.log(jax.random.uniform(key_accept, ()))) < ratio
    return ratio, accepted, there, radius, bool(below.any())


def test_acceptance_and_outcome_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    outcomes = set()
    with jax.enable_x64(True):
        block, terms = three_points()
        program = None
        for trial in range(24):
            h = (0.05, 0.2, 0.5)[trial % 3]
            key = jax.random.key(trial)
            sampler = exact.FixedKey(MALA(exact.law(h)), key)
            program = (
                build_program(block, terms, sampler, jnp.float64) if program is None else program
            )
            program = eqx.tree_at(lambda p: p.samplers, program, [sampler])
            u, r = exact.drawn(rng)
            start = SphereState(jnp.asarray(u), jnp.asarray(r))
            end, states = one_step(key, program, start, [sampler.init()])
            ratio, accepted, there, radius, reflected = expected(u, r, key, h)
            assert float(states[0].acceptance) == pytest.approx(np.exp(min(ratio, 0)), rel=1e-6)
            assert float(states[0].step_size) == pytest.approx(h)
            np.testing.assert_allclose(end.direction, there if accepted else u, atol=1e-8)
            np.testing.assert_allclose(end.radius, radius if accepted else r, atol=1e-8)
            outcomes.add((accepted, reflected, ratio < 0))
    # both decisions, with and without a reflection, also of what was not sure to be accepted
    assert {outcome[:2] for outcome in outcomes} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }
    assert {(True, True, True), (True, False, True)} & outcomes


@pytest.fixture(scope="module")
def program(small_block, small_factors) -> Any:
    return build_program(small_block, small_factors, MALA(Coefficients(1.0, 0.01)))


@pytest.fixture(scope="module")
def system(program, small_start) -> Any:

    def step(step_size: float, seed: int = 0, **options: Any) -> tuple[SphereState, Any]:
        sampler = MALA(Coefficients(1.0, step_size), **options)
        using = eqx.tree_at(lambda p: p.samplers, program, [sampler])
        end, states = one_step(jax.random.key(seed), using, small_start, [sampler.init()])
        return end, states[0]

    return step


def test_a_tiny_step_is_accepted(system, small_start):
    end, state = system(1e-7)
    assert float(state.acceptance) > 0.99
    assert bool(jnp.all(end.radius != small_start.radius))


# 1e38: the proposal is not finite, and neither is its energy
@pytest.mark.parametrize("step_size", [10.0, 1e4, 1e38])
def test_a_huge_step_is_rejected_and_changes_no_bit(system, small_start, step_size):
    for seed in range(5):
        end, state = system(step_size, seed)
        assert float(state.acceptance) == 0
        np.testing.assert_array_equal(end.direction, small_start.direction)
        np.testing.assert_array_equal(end.radius, small_start.radius)
        assert int(state.step) == 1


@pytest.mark.parametrize("step_size", [0.01, 1.0, 50.0])
def test_without_energy_every_proposal_is_accepted(small_start, step_size):
    with jax.enable_x64(True):
        block = sphere_block(30)
        sampler = MALA(Coefficients(0.7, step_size, minimum_radius=1.0))
        program = build_program(block, [], sampler, jnp.float64)
        state = SphereState(
            normalise(jnp.asarray(small_start.direction, float)),
            jnp.asarray(small_start.radius, float),
        )
        sampler_states = initial_sampler_states(program)
        for seed in range(5):
            before = state
            state, sampler_states = one_step(jax.random.key(seed), program, before, sampler_states)
            assert float(sampler_states[0].acceptance) == pytest.approx(1, abs=1e-9)
            assert bool(jnp.all(state.radius != before.radius))
        assert float(state.radius.min()) >= 1.0


@pytest.mark.parametrize("target", [0.574, 0.85])
def test_the_step_size_adapts_to_the_target_and_then_stays(program, small_start, target):
    sampler = MALA(Coefficients(0.5, 0.1), adapt_steps=1000, target_acceptance=target)
    adapting = eqx.tree_at(lambda p: p.samplers, program, [sampler])
    drawn = sample_chains(
        jax.random.key(1), adapting, small_start, chains=2, warmup=1100, draws=800
    )
    np.testing.assert_allclose(drawn.acceptance, target, atol=0.05)
    sizes = drawn.observables["step_size"]
    assert np.all(sizes == sizes[:, :1]), "frozen"
    assert len(np.unique(sizes)) == 2, "each chain its own"
    assert np.all(sizes < 0.1)


def test_points_whose_neighbours_are_in_another_block_are_refused(
    small_block, small_factors, small_start
):
    program = build_coloured_program(
        small_block, small_factors[:2], MALA(Coefficients(1.0, 0.01)), np.arange(30) % 2
    )
    with pytest.raises(
        ValueError, match=r"the block has 15 nodes and the lateral term 30.*Use build_program"
    ):
        one_step(jax.random.key(0), program, small_start, initial_sampler_states(program))


def test_what_has_no_mobility_stays_and_does_not_keep_the_rest_from_moving(program, small_start):
    turning = eqx.tree_at(
        lambda p: p.samplers, program, [MALA(Coefficients(0.5, 0.01, radius_mobility=0.0))]
    )
    drawn = sample_chains(jax.random.key(1), turning, small_start, chains=2, warmup=0, draws=20)
    np.testing.assert_array_equal(drawn.last.radius, np.stack([small_start.radius] * 2))
    assert np.all(drawn.acceptance > 0.1)
    assert np.all(
        np.abs(drawn.last.direction - np.asarray(small_start.direction)).max(axis=(1, 2)) > 0.01
    )


@pytest.mark.parametrize("target", [0.0, 1.0, 1.5, float("nan")])
def test_an_acceptance_that_no_step_has_is_refused(target):
    with pytest.raises(ValueError, match="`target_acceptance` must lie between 0 and 1"):
        MALA(Coefficients(1.0, 0.1), target_acceptance=target)
