"""`SphereNode` and the THRML program that moves its nodes.

This file, `assembly.py`, `clamped.py` and `devices.py` know the internals of THRML; nothing else
does.

A Langevin step moves all points at once, so they live in one free block; a coloured program has one
block per colour of the neighbour graph, sampled in turn. A THRML sampler is handed interactions and
tails but not its block's own state, so a program starts with one extra interaction group,
`OwnState`, whose tail is the node itself.

Outside this file a configuration is always one `SphereState` of all points in the order they were
given; blocks are cut out of it and put back here.
"""

import functools
from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from thrml import (
    AbstractConditionalSampler,
    AbstractNode,
    Block,
    BlockGibbsSpec,
    BlockSamplingProgram,
    FactorSamplingProgram,
    InteractionGroup,
    sample_blocks,
)
from thrml.block_management import block_state_to_global

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.base import (
    AbstractSphereFactor,
    AbstractSphereInteraction,
    SphereState,
    unwrap_shared,
)
from sphere_ebm.hamiltonian.blocks import LazyNodes
from sphere_ebm.sampling.assembly import one_block_spec, program_of_groups

Terms = list[tuple[AbstractSphereInteraction, list[SphereState], Bool[Array, "nodes _"]]]
"""Energy terms as a sampler sees them: interaction, tails of each head node, which slots are real.
"""


class SphereNode(AbstractNode):
    """One point: a direction on S² and a radius."""


def node_template(dtype: Any = jnp.float32) -> dict[type[AbstractNode], SphereState]:
    """THRML's description of a `SphereNode`'s state."""
    direction: Any = jax.ShapeDtypeStruct((3,), dtype)
    radius: Any = jax.ShapeDtypeStruct((), dtype)
    return {SphereNode: SphereState(direction, radius)}


@final
class SphereBlock(Block):
    """A block of `n_points` nodes, which are made when one of them is asked for.

    A run needs only their number.
    """

    def __init__(self, n_points: int):
        nodes: Any = LazyNodes(n_points, functools.partial(_new_nodes, n_points))
        self.nodes = nodes

    @property
    def node_type(self) -> type[AbstractNode]:
        return SphereNode


def _new_nodes(n_points: int) -> tuple[AbstractNode, ...]:
    return tuple(SphereNode() for _ in range(n_points))


@functools.lru_cache(maxsize=2)
def sphere_block(n_points: int) -> Block:
    """A block of `n_points` nodes.

    The same block for the same number, so that programs of one shape compile once.
    """
    return SphereBlock(n_points)


@final
class OwnState(eqx.Module):
    """Marks the interaction whose single tail is the head node itself.

    `position` is the node's place among all points.
    """

    position: Int[Array, "nodes *k"]


def own_state_group(block: Block) -> InteractionGroup:
    """The interaction group that hands samplers the state of their own block.

    It must come first in a program.

    `block` holds all points, whatever blocks they are sampled in.
    """
    return InteractionGroup(OwnState(jnp.arange(len(block), dtype=jnp.int32)), block, [block])


@functools.lru_cache(maxsize=2)
def _block_spec(block: Block, dtype: Any) -> BlockGibbsSpec:
    """THRML compares specifications by identity, and jit compiles again for a new one."""
    return one_block_spec(block, node_template(dtype), distinct=isinstance(block, SphereBlock))


def build_program(
    block: Block,
    factors: Sequence[AbstractSphereFactor],
    sampler: AbstractConditionalSampler,
    dtype: Any = jnp.float32,
) -> FactorSamplingProgram:
    """A THRML program that moves all nodes of `block` at once under the sum of `factors`.

    Cost: array operations, O(edges + nodes · largest degree), when the factors list their nodes as
    the block itself or as a `SelectedBlock` of it; otherwise THRML's loops in Python, linear in
    nodes and edges. Raises ValueError when the sampler keeps a state of another precision than
    `dtype`, or a factor knows the nodes in another order.
    """
    for factor in factors:
        given = getattr(factor, "block", block)
        if given is not block and list(map(id, given)) != list(map(id, block)):
            raise ValueError(
                f"{type(factor).__name__} must be built on the nodes of `block` in their order:"
                " proposals are looked up by position."
            )
    if (kept := getattr(sampler, "dtype", dtype)) != dtype:
        raise ValueError(
            f"`dtype` of the program and of its sampler must agree; got {dtype} and {kept}."
        )
    groups = [own_state_group(block)]
    for factor in factors:
        # a sampler of the only block sees the whole configuration, which some terms make use of
        groups.extend(getattr(factor, "to_whole_groups", factor.to_interaction_groups)())
    return unwrap_shared(program_of_groups(_block_spec(block, dtype), sampler, groups))


def build_coloured_program(
    block: Block,
    factors: Sequence[AbstractSphereFactor],
    sampler: AbstractConditionalSampler,
    colour: Int[np.ndarray, " nodes"],
    dtype: Any = jnp.float32,
) -> FactorSamplingProgram:
    """A THRML program that moves the nodes of one colour after those of the other.

    Each class is moved by `sampler`.

    `colour` numbers the class of every node of `block` from 0 (see
    `sphere_ebm.graph.graph.proper_colouring`). Raises ValueError when nodes lack a colour or a
    colour lacks nodes, and when a factor couples two nodes of one colour: moving them together
    would not leave its law unchanged.
    """
    if colour.shape != (len(block),) or not np.array_equal(
        np.unique(colour), np.arange(colour.max() + 1)
    ):
        raise ValueError(
            f"`colour` must number the class of each of {len(block)} nodes, from 0 and without"
            f" gaps; got shape {colour.shape} with the values {np.unique(colour).tolist()}."
        )
    groups = [group for factor in factors for group in factor.to_interaction_groups()]
    place = {node: i for i, node in enumerate(block)}
    for group in groups:
        heads = np.asarray([place[node] for node in group.head_nodes])
        for tail in group.tail_nodes:
            tails = np.asarray([place[node] for node in tail])
            if (clash := np.flatnonzero(colour[heads] == colour[tails])).size:
                i = heads[clash[0]]
                j = tails[clash[0]]
                raise ValueError(
                    f"`colour` must differ at both ends of every edge; nodes {i} and {j} have"
                    f" {colour[i]}."
                )
    if (nodes := getattr(sampler, "n_nodes", None)) is not None:
        raise ValueError(
            f"{type(sampler).__name__} keeps velocities or noise for one block of {nodes} nodes:"
            " use build_program."
        )
    spec = _coloured_spec(block, tuple(colour.tolist()), dtype)
    samplers = [sampler] * len(spec.free_blocks)
    return unwrap_shared(
        FactorSamplingProgram(spec, samplers, list(factors), [own_state_group(block)])
    )


@functools.lru_cache(maxsize=2)
def _coloured_spec(block: Block, colour: tuple[int, ...], dtype: Any) -> BlockGibbsSpec:
    """As `_block_spec`, with one block per colour."""
    classes = [
        Block([node for node, own in zip(block, colour, strict=True) if own == c])
        for c in sorted(set(colour))
    ]
    return BlockGibbsSpec(classes, [], node_template(dtype))


def initial_sampler_states(program: BlockSamplingProgram) -> list[Any]:
    """The state of each block's sampler before the first step."""
    samplers: list[Any] = program.samplers
    return [sampler.init() for sampler in samplers]


def split_blocks(program: BlockSamplingProgram, state: SphereState) -> list[SphereState]:
    """The configuration of each free block of `program`."""
    if len(program.gibbs_spec.free_blocks) == 1:
        return [state]
    return [jax.tree.map(lambda x, i=index: x[i], state) for index in _positions(program)]


def join_blocks(program: BlockSamplingProgram, blocks: list[SphereState]) -> SphereState:
    """The configuration of all points from those of the free blocks."""
    if len(blocks) == 1:
        return blocks[0]
    order = jnp.concatenate(_positions(program))
    return jax.tree.map(
        lambda *parts: jnp.zeros_like(jnp.concatenate(parts)).at[order].set(jnp.concatenate(parts)),
        *blocks,
    )


def _positions(program: BlockSamplingProgram) -> list[Int[Array, " nodes"]]:
    return [
        _own_state(interactions).position[:, 0] for interactions in program.per_block_interactions
    ]


def advance(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    state: SphereState,
    sampler_states: list[Any],
) -> tuple[SphereState, list[Any]]:
    """One THRML iteration (every block once) without clamped blocks.

    The samplers' states are carried along.
    """
    free, carried = sample_blocks(
        key, split_blocks(program, state), [], program, list(sampler_states)
    )
    return join_blocks(program, free), carried


def _own_state(interactions: list[Any]) -> OwnState:
    if not interactions or not isinstance(interactions[0], OwnState):
        raise ValueError(
            "the program's first interaction group must be own_state_group(block): pass it to"
            " FactorSamplingProgram as `other_interaction_groups`."
        )
    return interactions[0]


def split_own_state(
    interactions: list[Any], active: list[Array], states: list[list[SphereState]]
) -> tuple[SphereState, Terms]:
    """Own configuration of the block and the energy terms, from what THRML hands to `sample`."""
    _own_state(interactions)
    here = jax.tree.map(lambda x: x[:, 0], states[0][0])
    return here, list(zip(interactions[1:], states[1:], active[1:], strict=True))


def total_force(here: SphereState, terms: Terms, coupling: Float[Array, ""]) -> SphereState:
    """Sum of the forces of all terms, tangent to the sphere.

    Annealed terms are multiplied by `coupling`.
    """
    return total_energy_and_force(here, terms, coupling)[1]


def total_energy_and_force(
    here: SphereState, terms: Terms, coupling: Float[Array, ""]
) -> tuple[Float[Array, ""], SphereState]:
    """Energy and tangent force of all terms; annealed ones are multiplied by `coupling`."""
    energy = jnp.zeros((), here.radius.dtype)
    direction = jnp.zeros_like(here.direction)
    radius = jnp.zeros_like(here.radius)
    for interaction, there, active in terms:
        value, force = interaction.energy_and_force(here, there, active)
        scale = coupling if interaction.annealed else jnp.ones_like(coupling)
        energy = energy + scale * value
        direction = direction + scale * force.direction
        radius = radius + scale * force.radius
    return energy, SphereState(project_tangent(here.direction, direction), radius)


def energies(program: BlockSamplingProgram, state: SphereState) -> dict[str, Float[Array, ""]]:
    """Energy of each term, at coupling 1, with the arrays that the program holds.

    Raises ValueError for a program with a clamped block: the share of pairs across its border is
    not known here.
    """
    spec = program.gibbs_spec
    if spec.clamped_blocks:
        raise ValueError(
            f"the program must have no clamped blocks; got {len(spec.clamped_blocks)}."
        )
    blocks = split_blocks(program, state)
    everything = block_state_to_global(blocks, spec)[0]
    total: dict[str, Array] = {}
    for block, here in enumerate(blocks):
        for interaction, slices, active in zip(
            program.per_block_interactions[block],
            program.per_block_interaction_global_slices[block],
            program.per_block_interaction_active[block],
            strict=True,
        ):
            if isinstance(interaction, OwnState):
                continue
            there = [jax.tree.map(lambda x, s=tail: x[s], everything) for tail in slices]
            value = interaction.energy(here, there, active)
            total[interaction.name] = (
                total[interaction.name] + value if interaction.name in total else value
            )
    return total
