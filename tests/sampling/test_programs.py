"""What the program promises.

It is an ordinary THRML program, with one documented extra interaction group.
"""

from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import Block, BlockGibbsSpec, FactorSamplingProgram, SamplingSchedule, sample_states

from sphere_ebm.hamiltonian.base import Shared, SphereState
from sphere_ebm.hamiltonian.lateral import WHOLE_FROM, LateralFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.programs import (
    SphereNode,
    advance,
    build_coloured_program,
    build_program,
    energies,
    initial_sampler_states,
    join_blocks,
    node_template,
    sphere_block,
    split_blocks,
)
from sphere_ebm.sampling.terms import OwnState, own_state_group
from sphere_ebm.sampling.underdamped import Underdamped


def plain_program(block, factors, sampler, groups) -> FactorSamplingProgram:
    return FactorSamplingProgram(
        BlockGibbsSpec([block], [], node_template()), [sampler], factors, groups
    )


@eqx.filter_jit
def sample_five(key, program, block, start) -> SphereState:
    return sample_states(key, program, SamplingSchedule(2, 5, 3), [start], [], [block])[0]


def test_a_block_holds_as_many_distinct_nodes_as_asked_for():
    block = sphere_block(7)
    assert len(block) == len(set(block)) == 7
    assert block.node_type is SphereNode


def test_a_program_without_the_own_state_group_says_what_is_missing(
    small_block, small_factors, small_start
):
    program = plain_program(small_block, small_factors, EulerMaruyama(Coefficients(1.0, 0.01)), [])
    with pytest.raises(ValueError, match=r"own_state_group\(block\).*other_interaction_groups"):
        advance(jax.random.key(0), program, small_start, [program.samplers[0].init()])


@pytest.mark.parametrize("scheme", ["euler-maruyama", "underdamped"])
def test_the_samplers_run_in_plain_thrml_with_the_same_result(
    small_block, small_factors, small_start, scheme
):
    n = len(small_block)
    sampler = (
        EulerMaruyama(Coefficients(1.0, 0.01))
        if scheme == "euler-maruyama"
        else Underdamped(Coefficients(1.0, 0.01), n)
    )
    by_hand = plain_program(small_block, small_factors, sampler, [own_state_group(small_block)])
    assert any(isinstance(leaf, Shared) for leaf in jax.tree.leaves(by_hand))
    ours = build_program(small_block, small_factors, sampler)
    assert not any(isinstance(leaf, Shared) for leaf in jax.tree.leaves(ours))
    key = jax.random.key(3)
    plain, built = (
        sample_five(key, program, small_block, small_start) for program in (by_hand, ours)
    )
    assert plain.direction.shape == (5, n, 3)
    np.testing.assert_allclose(jnp.linalg.norm(plain.direction, axis=-1), 1, rtol=3e-7)
    np.testing.assert_allclose(plain.direction, built.direction, atol=1e-4)
    np.testing.assert_allclose(plain.radius, built.radius, rtol=1e-4)
    assert float(jnp.max(jnp.abs(plain.direction[4] - plain.direction[0]))) > 0.01


def test_energies_do_not_need_the_shared_values_opened(small_block, small_factors, small_start):
    sampler = EulerMaruyama(Coefficients(1.0, 0.01))
    by_hand = plain_program(small_block, small_factors, sampler, [own_state_group(small_block)])
    plain = energies(by_hand, small_start)
    built = energies(build_program(small_block, small_factors, sampler), small_start)
    assert list(plain) == list(built) == ["gravity", "lateral", "osmotic"]
    np.testing.assert_allclose(list(plain.values()), list(built.values()), rtol=1e-6)


def test_a_program_without_factors_has_no_energy_and_still_moves(small_block, small_start):
    sampler = EulerMaruyama(Coefficients(1.0, 0.01))
    program = build_program(small_block, [], sampler)
    assert energies(program, small_start) == {}
    moved, state = advance(jax.random.key(0), program, small_start, [sampler.init()])
    assert not bool(jnp.any(moved.radius == small_start.radius))
    assert int(state[0].step) == 1


def test_a_sampler_of_another_precision_is_refused(small_block, small_factors):
    sampler = Underdamped(Coefficients(1.0, 0.01), len(small_block), dtype=jnp.float64)
    with pytest.raises(ValueError, match="`dtype` of the program and of its sampler must agree"):
        build_program(small_block, small_factors, sampler)


def test_energies_of_a_program_with_a_clamped_block_are_refused(
    small_block, small_factors, small_start
):
    spec = BlockGibbsSpec([small_block], [Block([SphereNode()])], node_template())
    program = FactorSamplingProgram(
        spec,
        [EulerMaruyama(Coefficients(1.0, 0.01))],
        small_factors,
        [own_state_group(small_block)],
    )
    with pytest.raises(ValueError, match="no clamped blocks; got 1"):
        energies(program, small_start)


# unequal classes, neither of them in the order of the points
COLOUR = np.where(np.isin(np.arange(30), [4, 12]), 2, np.arange(30) % 2)


@pytest.fixture(scope="module")
def coloured(small_block, small_factors) -> FactorSamplingProgram:
    return build_coloured_program(
        small_block, small_factors[:2], MetropolisWithinGibbs(Coefficients(1.0, 0.01)), COLOUR
    )


def test_a_coloured_program_has_one_block_for_each_colour_sampled_in_turn(coloured, small_block):
    classes = coloured.gibbs_spec.free_blocks
    for colour, block in enumerate(classes):
        assert list(block) == [small_block[int(i)] for i in np.flatnonzero(colour == COLOUR)]
    assert coloured.gibbs_spec.sampling_order == [[0], [1], [2]]
    assert [int(state.step) for state in initial_sampler_states(coloured)] == [0, 0, 0]


def test_every_block_knows_the_places_of_its_nodes_among_all_points(coloured):
    for colour, interactions in enumerate(coloured.per_block_interactions):
        assert isinstance(interactions[0], OwnState)
        np.testing.assert_array_equal(
            interactions[0].position[:, 0], np.flatnonzero(colour == COLOUR)
        )


def test_cutting_a_configuration_into_blocks_and_joining_them_gives_it_back(coloured, small_start):
    blocks = split_blocks(coloured, small_start)
    assert [block.radius.size for block in blocks] == [13, 15, 2]
    for colour, block in enumerate(blocks):
        np.testing.assert_array_equal(block.direction, small_start.direction[colour == COLOUR])
        np.testing.assert_array_equal(block.radius, small_start.radius[colour == COLOUR])
    whole = join_blocks(coloured, blocks)
    np.testing.assert_array_equal(whole.direction, small_start.direction)
    np.testing.assert_array_equal(whole.radius, small_start.radius)


def test_one_block_is_the_configuration_itself(small_block, small_factors, small_start):
    program = build_program(small_block, small_factors, EulerMaruyama(Coefficients(1.0, 0.01)))
    (block,) = split_blocks(program, small_start)
    assert block is small_start
    assert join_blocks(program, [block]) is small_start


def test_energies_do_not_depend_on_the_blocks(coloured, small_block, small_factors, small_start):
    single = build_program(small_block, small_factors[:2], EulerMaruyama(Coefficients(1.0, 0.01)))
    one, many = (eqx.filter_jit(energies)(program, small_start) for program in (single, coloured))
    assert list(one) == list(many) == ["gravity", "lateral"]
    np.testing.assert_allclose(list(many.values()), list(one.values()), rtol=2e-6)
    exact = [factor.energy(small_start) for factor in small_factors[:2]]
    np.testing.assert_allclose(list(many.values()), exact, rtol=2e-6)


def test_one_step_of_a_coloured_program_moves_all_its_nodes_where_they_are(coloured, small_start):
    step = eqx.filter_jit(advance)
    moved, states = step(jax.random.key(0), coloured, small_start, initial_sampler_states(coloured))
    assert [int(state.step) for state in states] == [1, 1, 1]
    distance = jnp.linalg.norm(moved.direction - small_start.direction, axis=1)
    # an accepted move is small, and in the place of the same point
    assert float(jnp.mean((distance > 0).astype(jnp.float32))) > 0.8
    assert float(distance.max()) < 0.8
    again, _ = step(jax.random.key(1), coloured, moved, states)
    further = jnp.linalg.norm(again.direction - small_start.direction, axis=1)
    assert bool(jnp.all(further > 0))


@pytest.mark.parametrize(
    "colour", [np.arange(29) % 2, np.arange(30) % 2 - 1, 2 * (np.arange(30) % 2)]
)
def test_every_node_needs_a_colour_and_every_colour_a_node(small_block, small_factors, colour):
    with pytest.raises(
        ValueError, match=r"class of each of 30 nodes, from 0 and without gaps; got shape"
    ):
        build_coloured_program(
            small_block, small_factors[:2], MetropolisWithinGibbs(Coefficients(1.0, 0.01)), colour
        )


def test_one_colour_is_the_program_of_one_block(small_block, small_factors, small_start):
    gravity = small_factors[:1]
    sampler = MetropolisWithinGibbs(Coefficients(1.0, 0.01))
    one = build_program(small_block, gravity, sampler)
    same = build_coloured_program(small_block, gravity, sampler, np.zeros(30, int))
    key = jax.random.key(0)
    step = eqx.filter_jit(advance)
    ends = [
        step(key, program, small_start, initial_sampler_states(program))[0]
        for program in (one, same)
    ]
    np.testing.assert_array_equal(ends[0].direction, ends[1].direction)
    np.testing.assert_array_equal(ends[0].radius, ends[1].radius)


def test_a_factor_that_knows_the_nodes_in_another_order_is_refused(small_block):
    backwards = Block(list(small_block)[::-1])
    lateral = LateralFactor(
        backwards, np.asarray([0]), np.asarray([1]), np.ones(1, np.float32), sharpness=1.0
    )
    with pytest.raises(
        ValueError, match="LateralFactor must be built on the nodes of `block` in their order"
    ):
        build_program(small_block, [lateral], EulerMaruyama(Coefficients(1.0, 0.01)))


def test_a_coloured_program_needs_schemes_and_terms_that_go_node_by_node(
    small_block, small_factors, small_start
):
    colour = np.arange(30) % 2
    with pytest.raises(ValueError, match="Underdamped keeps velocities or noise for one block"):
        build_coloured_program(
            small_block, small_factors[:2], Underdamped(Coefficients(1.0, 0.01), 30), colour
        )
    whole = build_coloured_program(
        small_block, small_factors, EulerMaruyama(Coefficients(1.0, 0.01)), colour
    )
    with pytest.raises(ValueError, match="the osmotic term couples 30 at once"):
        advance(jax.random.key(0), whole, small_start, initial_sampler_states(whole))


def test_neighbours_that_would_move_together_are_refused(small_block, small_factors, small_start):
    one_block = build_program(
        small_block, small_factors[:2], MetropolisWithinGibbs(Coefficients(1.0, 0.01))
    )
    with pytest.raises(
        ValueError, match="neighbours would move together: build the program with build_coloured"
    ):
        advance(jax.random.key(0), one_block, small_start, initial_sampler_states(one_block))


def test_neighbours_in_the_layout_of_a_whole_configuration_are_refused_too():
    n = WHOLE_FROM
    block = sphere_block(n)
    ends = np.arange(n)
    ring = LateralFactor(block, ends, (ends + 1) % n, np.ones(n, np.float32), sharpness=1.0)
    program = build_program(block, [ring], MetropolisWithinGibbs(Coefficients(1.0, 0.01)))
    start = SphereState(jnp.ones((n, 3)), jnp.ones(n))
    with pytest.raises(ValueError, match=f"the block holds all {n} nodes of the lateral term"):
        advance(jax.random.key(0), program, start, initial_sampler_states(program))


class Count(NamedTuple):
    step: jax.Array


@final
class Still(AbstractLangevin):
    """What a user would write for a scheme of their own: nothing but what the contract asks for."""

    coefficients: Coefficients

    def init(self):
        return Count(jnp.asarray(0, jnp.int32))

    def move(self, key, stage, carried):
        return stage.here, Count(carried.step + 1)

    def statistics(self, state):
        return {}

    def thermal_move(self, step):
        return jnp.zeros(())


def test_a_scheme_of_ones_own_needs_nothing_but_the_contract(
    small_block, small_factors, small_start
):
    sampler = Still(Coefficients(1.0, 0.1))
    two_terms = small_factors[:2]
    for program in (
        build_program(small_block, small_factors, sampler),
        build_coloured_program(small_block, two_terms, sampler, np.arange(30) % 2),
    ):
        states = initial_sampler_states(program)
        state, carried = advance(jax.random.key(0), program, small_start, states)
        np.testing.assert_array_equal(state.direction, small_start.direction)
        assert [int(each.step) for each in carried] == [1] * len(states)


def test_one_colouring_is_one_specification(small_block, small_factors):
    programs = [
        build_coloured_program(
            small_block,
            small_factors[:2],
            MetropolisWithinGibbs(Coefficients(1.0, 0.01)),
            np.arange(30) % 2,
        )
        for _ in range(2)
    ]
    assert programs[0].gibbs_spec is programs[1].gibbs_spec, "or everything would be compiled again"
