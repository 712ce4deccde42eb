"""What the program promises: it is an ordinary THRML program, with one documented extra interaction group."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block, BlockGibbsSpec, FactorSamplingProgram, SamplingSchedule, sample_states

from sphere_ebm.hamiltonian import SphereState
from sphere_ebm.hamiltonian.base import Shared
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.nodes import (
    SphereNode,
    advance,
    build_program,
    energies,
    node_template,
    own_state_group,
    sphere_block,
)
from sphere_ebm.sampling.underdamped import Underdamped


def plain_program(block, factors, sampler, groups) -> FactorSamplingProgram:
    return FactorSamplingProgram(BlockGibbsSpec([block], [], node_template()), [sampler], factors, groups)


@eqx.filter_jit
def sample_five(key, program, block, start) -> SphereState:
    return sample_states(key, program, SamplingSchedule(2, 5, 3), [start], [], [block])[0]


def test_a_block_holds_as_many_distinct_nodes_as_asked_for():
    block = sphere_block(7)
    assert len(block) == len(set(block)) == 7
    assert block.node_type is SphereNode


def test_a_program_without_the_own_state_group_says_what_is_missing(small_block, small_factors, small_start):
    program = plain_program(small_block, small_factors, EulerMaruyama(1.0, 0.01), [])
    with pytest.raises(ValueError, match=r"own_state_group\(block\).*other_interaction_groups"):
        advance(jax.random.key(0), program, small_start, [program.samplers[0].init()])


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_the_samplers_run_in_plain_thrml_with_the_same_result(small_block, small_factors, small_start, scheme):
    n = len(small_block)
    sampler = EulerMaruyama(1.0, 0.01) if scheme == "euler-maruyama" else Underdamped(n, 1.0, 0.01)
    by_hand = plain_program(small_block, small_factors, sampler, [own_state_group(small_block)])
    assert any(isinstance(leaf, Shared) for leaf in jax.tree.leaves(by_hand))
    ours = build_program(small_block, small_factors, sampler)
    assert not any(isinstance(leaf, Shared) for leaf in jax.tree.leaves(ours))
    key = jax.random.key(3)
    plain, built = (sample_five(key, program, small_block, small_start) for program in (by_hand, ours))
    assert plain.direction.shape == (5, n, 3)
    np.testing.assert_allclose(jnp.linalg.norm(plain.direction, axis=-1), 1, rtol=3e-7)
    np.testing.assert_allclose(plain.direction, built.direction, atol=1e-4)
    np.testing.assert_allclose(plain.radius, built.radius, rtol=1e-4)
    assert float(jnp.max(jnp.abs(plain.direction[4] - plain.direction[0]))) > 0.01


def test_energies_do_not_need_the_shared_values_opened(small_block, small_factors, small_start):
    sampler = EulerMaruyama(1.0, 0.01)
    by_hand = plain_program(small_block, small_factors, sampler, [own_state_group(small_block)])
    plain, built = (
        energies(by_hand, small_start),
        energies(build_program(small_block, small_factors, sampler), small_start),
    )
    assert list(plain) == list(built) == ["gravity", "lateral", "osmotic"]
    np.testing.assert_allclose(list(plain.values()), list(built.values()), rtol=1e-6)


def test_a_program_without_factors_has_no_energy_and_still_moves(small_block, small_start):
    sampler = EulerMaruyama(1.0, 0.01)
    program = build_program(small_block, [], sampler)
    assert energies(program, small_start) == {}
    moved, state = advance(jax.random.key(0), program, small_start, [sampler.init()])
    assert not bool(jnp.any(moved.radius == small_start.radius))
    assert int(state[0].step) == 1


def test_a_sampler_of_another_precision_is_refused(small_block, small_factors):
    sampler = Underdamped(len(small_block), 1.0, 0.01, dtype=jnp.float64)
    with pytest.raises(ValueError, match="`dtype` of the program and of its sampler must agree"):
        build_program(small_block, small_factors, sampler)


def test_energies_of_a_program_with_a_clamped_block_are_refused(small_block, small_factors, small_start):
    spec = BlockGibbsSpec([small_block], [Block([SphereNode()])], node_template())
    program = FactorSamplingProgram(spec, [EulerMaruyama(1.0, 0.01)], small_factors, [own_state_group(small_block)])
    with pytest.raises(ValueError, match="no clamped blocks; got 1"):
        energies(program, small_start)
