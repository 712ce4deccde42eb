"""`SphereNode` and the THRML program of its blocks.

A Langevin step moves all points at once, so they live in one free block; a coloured program has one
block per colour of the neighbour graph, sampled in turn. Either starts with the interaction group
that hands samplers their block's own state, see `sphere_ebm.sampling.terms`.

What THRML keeps inside a program is known to this file, `assembly.py`, `clamped.py` and
`devices.py`, and to no other.

Outside this file a configuration is always one `SphereState` of all points in the order they were
given; blocks are cut out of it and put back here.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from thrml import (
    AbstractConditionalSampler,
    AbstractNode,
    Block,
    BlockGibbsSpec,
    BlockSamplingProgram,
    FactorSamplingProgram,
    sample_blocks,
)
from thrml.block_management import block_state_to_global
from typing_extensions import override

from sphere_ebm.hamiltonian.base import (
    AbstractPlacedFactor,
    AbstractSphereFactor,
    Slots,
    SphereState,
    unwrap_shared,
)
from sphere_ebm.hamiltonian.blocks import LazyNodes
from sphere_ebm.sampling.assembly import one_block_spec, program_of_groups
from sphere_ebm.sampling.langevin import AbstractInertial
from sphere_ebm.sampling.terms import (
    OwnState,
    Terms,
    own_state,
    own_state_group,
    total_force,
)

KEPT = 32
"""Blocks and specifications that are kept by their size.

A compiled program holds its own for good, so that to forget one spares nothing, and to make it
again compiles again.
"""


@final
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
    @override
    def node_type(self) -> type[AbstractNode]:
        return SphereNode


def _new_nodes(n_points: int) -> tuple[AbstractNode, ...]:
    return tuple(SphereNode() for _ in range(n_points))


@functools.lru_cache(maxsize=KEPT)
def sphere_block(n_points: int) -> Block:
    """A block of `n_points` nodes.

    It is the same block for the same number, so that programs of one shape compile once.
    """
    return SphereBlock(n_points)


@functools.lru_cache(maxsize=KEPT)
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
        given = factor.block if isinstance(factor, AbstractPlacedFactor) else block
        if given is not block and list(map(id, given)) != list(map(id, block)):
            raise ValueError(
                f"{type(factor).__name__} must be built on the nodes of `block` in their order:"
                " proposals are looked up by position."
            )
    if isinstance(sampler, AbstractInertial) and sampler.dtype != dtype:
        raise ValueError(
            f"`dtype` of the program and of its sampler must agree; got {dtype} and"
            f" {sampler.dtype}."
        )
    groups = [own_state_group(block)]
    for factor in factors:
        # a sampler of the only block sees the whole configuration, which some terms make use of
        groups.extend(
            factor.to_whole_groups()
            if isinstance(factor, AbstractPlacedFactor)
            else factor.to_interaction_groups()
        )
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
    if isinstance(sampler, AbstractInertial):
        raise ValueError(
            f"{type(sampler).__name__} keeps velocities or noise for one block of"
            f" {sampler.n_nodes} nodes: use build_program."
        )
    spec = _coloured_spec(block, tuple(colour.tolist()), dtype)
    samplers = [sampler] * len(spec.free_blocks)
    return unwrap_shared(
        FactorSamplingProgram(spec, samplers, list(factors), [own_state_group(block)])
    )


@functools.lru_cache(maxsize=KEPT)
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
        own_state(interactions).position[:, 0] for interactions in program.per_block_interactions
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


def energies(program: BlockSamplingProgram, state: SphereState) -> dict[str, Float[Array, ""]]:
    """Energy of each term, at coupling 1, with the arrays that the program holds.

    Raises ValueError for a program with a clamped block: the share of pairs across its border is
    not known here.
    """
    total: dict[str, Array] = {}
    for here, terms in terms_by_block(program, state):
        for interaction, there, active in terms:
            value = interaction.energy(here, there, active)
            total[interaction.name] = (
                total[interaction.name] + value if interaction.name in total else value
            )
    return total


def point_energies(program: BlockSamplingProgram, state: SphereState) -> Float[Array, " points"]:
    """Each point's share of all terms, at coupling 1; the sum over points is H but for rounding.

    Of a pair each end owns half, see `AbstractSphereInteraction.point_energy`. Raises ValueError
    for a program with a clamped block.
    """
    owned = []
    for here, terms in terms_by_block(program, state):
        total = jnp.zeros_like(here.radius)
        for interaction, there, active in terms:
            total = total + interaction.point_energy(here, there, active)
        owned.append(total)
    if len(owned) == 1:
        return owned[0]
    order = jnp.concatenate(_positions(program))
    return jnp.zeros(len(order), owned[0].dtype).at[order].set(jnp.concatenate(owned))


def forces(program: BlockSamplingProgram, state: SphereState) -> SphereState:
    """The sum of the forces of all terms on every point, at coupling 1, tangent to the sphere.

    Raises ValueError for a program with a clamped block, or of several blocks.
    """
    blocks = list(terms_by_block(program, state))
    if len(blocks) != 1:
        raise ValueError(f"the program must have one block; got {len(blocks)}.")
    here, terms = blocks[0]
    return total_force(here, terms, jnp.ones((), here.radius.dtype))


def tails_differ(program: BlockSamplingProgram, state: SphereState) -> str | None:
    """The name of a term whose `gather` gives other tails than THRML does; None where none does."""
    for _, terms in terms_by_block(program, state):
        for interaction, there, active in terms:
            own = interaction.gather(state)
            same = len(own) == len(there) and all(
                _same_where(active, one, other) for one, other in zip(own, there, strict=True)
            )
            if not same:
                return interaction.name
    return None


def _same_where(active: Slots, one: SphereState, other: SphereState) -> bool:
    """Whether two gathered configurations agree in the slots that are real."""
    return all(
        a.shape == b.shape and np.array_equal(np.asarray(a)[real], np.asarray(b)[real])
        for a, b in zip(one, other, strict=True)
        for real in (np.asarray(active),)
    )


def terms_by_block(
    program: BlockSamplingProgram, state: SphereState
) -> Iterator[tuple[SphereState, Terms]]:
    """The configuration of each free block, and the energy terms with their tails."""
    spec = program.gibbs_spec
    if spec.clamped_blocks:
        raise ValueError(
            f"the program must have no clamped blocks; got {len(spec.clamped_blocks)}."
        )
    blocks = split_blocks(program, state)
    everything = block_state_to_global(blocks, spec)[0]
    for block, here in enumerate(blocks):
        terms: Terms = []
        for interaction, slices, active in zip(
            program.per_block_interactions[block],
            program.per_block_interaction_global_slices[block],
            program.per_block_interaction_active[block],
            strict=True,
        ):
            if not isinstance(interaction, OwnState):
                there = [jax.tree.map(lambda x, s=tail: x[s], everything) for tail in slices]
                terms.append((interaction, there, active))
        yield here, terms
