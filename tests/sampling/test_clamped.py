"""Programs with a clamped block.

THRML's own, bound to neighbours as arrays, and obeying the law of a newcomer.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from thrml import BlockGibbsSpec, FactorSamplingProgram

from sphere_ebm.hamiltonian.base import SphereState, unwrap_shared
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.sampling.assembly import ClampedSpec
from sphere_ebm.sampling.clamped import (
    advance_clamped,
    attraction_by_fitted,
    bound,
    build_clamped_program,
)
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.programs import SphereBlock, node_template
from sphere_ebm.sampling.terms import own_state_group
from sphere_ebm.sampling.underdamped import Underdamped

N_FREE = 6
N_FITTED = 9
SLOTS = 3
RNG = np.random.default_rng(0)
FITTED = np.stack([RNG.permutation(N_FITTED)[:SLOTS] for _ in range(N_FREE)])
WEIGHT = RNG.random((N_FREE, SLOTS)).astype(np.float32)
IDEAL = RNG.random(N_FREE).astype(np.float32) + 1


def program_of(
    fitted: np.ndarray, weight: np.ndarray, ideal: np.ndarray, kernel: Any = "cauchy"
) -> Any:
    free = SphereBlock(len(fitted))
    clamped = SphereBlock(N_FITTED)
    groups = GravityFactor(free, ideal).to_interaction_groups()
    groups.append(
        attraction_by_fitted(
            free, clamped, fitted, weight, sharpness=3.0, strength=0.7, kernel=kernel
        )
    )
    return build_clamped_program(
        free, clamped, groups, Underdamped(Coefficients(0.0, 0.1), len(fitted))
    )


def test_the_program_is_the_one_that_thrml_builds_and_nodes_are_not_looked_at() -> None:
    free = SphereBlock(N_FREE)
    clamped = SphereBlock(N_FITTED)
    groups = GravityFactor(free, IDEAL).to_interaction_groups()
    groups.append(attraction_by_fitted(free, clamped, FITTED, WEIGHT, sharpness=3.0))
    sampler = Underdamped(Coefficients(0.0, 0.1), N_FREE)
    ours = build_clamped_program(free, clamped, groups, sampler)
    assert isinstance(ours.gibbs_spec, ClampedSpec)
    assert "_made" not in vars(clamped.nodes), "a map of millions makes no nodes"
    spec = BlockGibbsSpec([free], [clamped], node_template())
    theirs = FactorSamplingProgram(spec, [sampler], [], [own_state_group(free), *groups])
    leaves = [jax.tree.leaves(unwrap_shared(program)) for program in (ours, theirs)]
    assert len(leaves[0]) == len(leaves[1])
    for own, other in zip(*leaves, strict=True):
        if isinstance(other, BlockGibbsSpec):
            for name, value in vars(other).items():
                assert getattr(own, name) == value, name
        elif eqx.is_array(other):
            np.testing.assert_array_equal(own, other)
            assert own.dtype == other.dtype


def test_a_bound_program_is_the_one_that_thrml_builds_with_these_neighbours() -> None:
    blank = program_of(np.zeros_like(FITTED), np.zeros_like(WEIGHT), np.ones_like(IDEAL))
    arrays = (
        jnp.asarray(IDEAL),
        jnp.asarray(FITTED, jnp.int32),
        jnp.asarray(WEIGHT),
        jnp.ones(WEIGHT.shape, bool),
    )
    ours = bound(blank, *arrays)
    theirs = program_of(FITTED, WEIGHT, IDEAL)
    # the specification names nodes, which no two programs share
    ours, theirs = (eqx.tree_at(lambda p: p.gibbs_spec, one, None) for one in (ours, theirs))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(blank, FactorSamplingProgram)


def test_an_inactive_slot_does_nothing() -> None:
    direction = jnp.asarray(np.linalg.qr(RNG.standard_normal((3, 3)))[0], jnp.float32)
    clamped = SphereState(jnp.tile(direction, (3, 1)), jnp.ones(N_FITTED))
    start = SphereState(jnp.tile(direction, (2, 1)), jnp.asarray(IDEAL))
    blank = program_of(FITTED, WEIGHT, IDEAL)

    def after(fitted: np.ndarray, active: np.ndarray) -> np.ndarray:
        program = bound(
            blank,
            jnp.asarray(IDEAL),
            jnp.asarray(fitted, jnp.int32),
            jnp.asarray(WEIGHT),
            jnp.asarray(active),
        )
        state = start
        own = program.samplers[0].init()
        for _ in range(3):
            state, own = advance_clamped(jax.random.key(0), program, state, clamped, own)
        return np.asarray(state.direction)

    active = np.ones(WEIGHT.shape, bool)
    active[:, 1] = False
    other = FITTED.copy()
    other[:, 1] = (other[:, 1] + 1) % N_FITTED
    np.testing.assert_array_equal(after(FITTED, active), after(other, active))
    assert (after(FITTED, active) != after(FITTED, np.ones_like(active))).any()


def cosines_of_newcomers(temperature: float, chains: int = 20_000) -> np.ndarray:
    """c = u · v for chains of newcomers that one fitted point pulls by the harmonic kernel, at
    equilibrium.
    """
    fitted = np.zeros((chains, 1), np.int64)
    free = SphereBlock(chains)
    clamped = SphereBlock(1)
    # α w s² = 2: p(c) ∝ exp(2 c / T) on [-1, 1]
    group = attraction_by_fitted(
        free,
        clamped,
        fitted,
        np.ones((chains, 1), np.float32),
        sharpness=1.0,
        strength=2.0,
        kernel="harmonic",
    )
    sampler = LeimkuhlerMatthews(Coefficients(temperature, 0.02), chains)
    program = build_clamped_program(free, clamped, [group], sampler)
    pole = jnp.asarray([0.0, 0.0, 1.0])
    here = SphereState(jnp.broadcast_to(pole, (chains, 3)), jnp.ones(chains))
    there = SphereState(pole[None], jnp.ones(1))

    @eqx.filter_jit
    def run(program: Any) -> SphereState:
        def step(i: jax.Array, carry: Any) -> Any:
            return advance_clamped(
                jax.random.fold_in(jax.random.key(3), i), program, carry[0], there, carry[1]
            )

        return jax.lax.fori_loop(0, 300, step, (here, sampler.init()))[0]

    return np.asarray(run(program).direction[:, 2])


def p_value(cosine: np.ndarray, temperature: float) -> float:
    rate = 2 / temperature
    return float(
        stats.kstest(cosine, lambda c: np.expm1(rate * (c + 1)) / np.expm1(2 * rate)).pvalue
    )


def test_a_newcomer_obeys_its_conditional_law_and_a_wrong_temperature_is_found_out() -> None:
    cosine = cosines_of_newcomers(0.5)
    assert p_value(cosine, 0.5) > 0.01
    assert p_value(cosine, 0.5 * 1.05) < 1e-3
    assert p_value(cosine, 0.5 * 0.95) < 1e-3


def test_fitted_points_are_a_clamped_block_of_that_size() -> None:
    program = program_of(FITTED, WEIGHT, IDEAL)
    (clamped,) = program.gibbs_spec.clamped_blocks
    assert len(clamped) == N_FITTED
    wrong = SphereState(jnp.ones((N_FITTED - 1, 3)), jnp.ones(N_FITTED - 1))
    state = SphereState(jnp.ones((N_FREE, 3)), jnp.ones(N_FREE))
    with pytest.raises(RuntimeError, match="State shape did not match"):
        advance_clamped(jax.random.key(0), program, state, wrong, program.samplers[0].init())
