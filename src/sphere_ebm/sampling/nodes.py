"""`SphereNode` and the THRML program: the one file that knows THRML's internals.

All points live in one free block and move together: a mean-field term needs the whole configuration, and that is what
a Langevin step is. A THRML sampler is handed interactions and tails but not the block's own state, so the program
starts with one extra interaction group, `OwnState`, whose tail is the node itself.
"""

import functools
from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key
from thrml import (
    AbstractConditionalSampler,
    AbstractNode,
    Block,
    BlockGibbsSpec,
    FactorSamplingProgram,
    InteractionGroup,
    sample_blocks,
)

from sphere_ebm.hamiltonian.base import AbstractSphereFactor, AbstractSphereInteraction, SphereState, unwrap_shared
from sphere_ebm.sphere import project_tangent


class SphereNode(AbstractNode):
    """One point: a direction on S² and a radius."""


def node_template(dtype: Any = jnp.float32) -> dict[type[AbstractNode], SphereState]:
    """THRML's description of a `SphereNode`'s state."""
    direction: Any = jax.ShapeDtypeStruct((3,), dtype)
    radius: Any = jax.ShapeDtypeStruct((), dtype)
    return {SphereNode: SphereState(direction, radius)}


@functools.lru_cache(maxsize=2)
def sphere_block(n_points: int) -> Block:
    """A block of `n_points` nodes; the same block for the same number, so that programs of one shape compile once."""
    return Block([SphereNode() for _ in range(n_points)])


@final
class OwnState(eqx.Module):
    """Marks the interaction whose single tail is the head node itself."""


def own_state_group(block: Block) -> InteractionGroup:
    """The interaction group that hands a sampler the state of its own block; it must come first in a program."""
    return InteractionGroup(OwnState(), block, [block])


@functools.lru_cache(maxsize=2)
def _block_spec(block: Block, dtype: Any) -> BlockGibbsSpec:
    """THRML compares specifications by identity, and jit compiles again for a new one."""
    return BlockGibbsSpec([block], [], node_template(dtype))


def build_program(
    block: Block,
    factors: Sequence[AbstractSphereFactor],
    sampler: AbstractConditionalSampler,
    dtype: Any = jnp.float32,
) -> FactorSamplingProgram:
    """A THRML program that moves all nodes of `block` at once under the sum of `factors`.

    Cost: THRML's loop in Python, linear in nodes and edges. Raises ValueError when the sampler keeps a state of another
    precision than `dtype`.
    """
    if (kept := getattr(sampler, "dtype", dtype)) != dtype:
        raise ValueError(f"`dtype` of the program and of its sampler must agree; got {dtype} and {kept}.")
    return unwrap_shared(
        FactorSamplingProgram(_block_spec(block, dtype), [sampler], list(factors), [own_state_group(block)])
    )


def advance(
    key: Key[Array, ""], program: FactorSamplingProgram, state: SphereState, sampler_state: Any
) -> tuple[SphereState, Any]:
    """One THRML iteration of a single-block program, the sampler's state carried along."""
    free, carried = sample_blocks(key, [state], [], program, [sampler_state])
    return free[0], carried[0]


def split_own_state(
    interactions: list[Any], active: list[Array], states: list[list[SphereState]]
) -> tuple[SphereState, list[tuple[AbstractSphereInteraction, list[SphereState], Bool[Array, "nodes _"]]]]:
    """Own configuration of the block and the energy terms, from what THRML hands to `sample`."""
    if not interactions or not isinstance(interactions[0], OwnState):
        raise ValueError(
            "the program's first interaction group must be own_state_group(block): pass it to FactorSamplingProgram "
            "as `other_interaction_groups`."
        )
    here = jax.tree.map(lambda x: x[:, 0], states[0][0])
    return here, list(zip(interactions[1:], states[1:], active[1:], strict=True))


def total_force(
    here: SphereState,
    terms: list[tuple[AbstractSphereInteraction, list[SphereState], Bool[Array, "nodes _"]]],
    coupling: Float[Array, ""],
) -> SphereState:
    """Sum of the forces of all terms, tangent to the sphere; annealed terms are multiplied by `coupling`."""
    direction, radius = jnp.zeros_like(here.direction), jnp.zeros_like(here.radius)
    for interaction, there, active in terms:
        force = interaction.force(here, there, active)
        scale = coupling if interaction.annealed else jnp.ones_like(coupling)
        direction, radius = direction + scale * force.direction, radius + scale * force.radius
    return SphereState(project_tangent(here.direction, direction), radius)


def energies(program: FactorSamplingProgram, state: SphereState) -> dict[str, Float[Array, ""]]:
    """Energy of each term, at coupling 1, with the arrays that the program holds.

    Raises ValueError for a program with more than one block: tails are looked up in `state` alone.
    """
    if len(program.gibbs_spec.blocks) != 1:
        raise ValueError(
            f"the program must have one free block and no clamped one; got {len(program.gibbs_spec.blocks)}."
        )
    total: dict[str, Array] = {}
    for interaction, slices, active in zip(
        program.per_block_interactions[0],
        program.per_block_interaction_global_slices[0],
        program.per_block_interaction_active[0],
        strict=True,
    ):
        if isinstance(interaction, OwnState):
            continue
        there = [jax.tree.map(lambda x, s=tail: x[s], state) for tail in slices]
        value = interaction.energy(state, there, active)
        total[interaction.name] = total[interaction.name] + value if interaction.name in total else value
    return total
