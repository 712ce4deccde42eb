"""Newcomers beside fitted points: THRML programs with one free and one clamped block.

Their structure depends on numbers of nodes and slots alone. So a program is built once, by THRML,
with slots that name any fitted points; `bound` then puts the neighbours of a batch into it, as
arrays. For that it knows where THRML keeps interactions, slots and tails, as `programs.py`,
`assembly.py` and `devices.py` do.
"""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key
from thrml import (
    AbstractConditionalSampler,
    Block,
    BlockGibbsSpec,
    FactorSamplingProgram,
    InteractionGroup,
)
from thrml import sample_blocks as thrml_sample_blocks

from sphere_ebm.hamiltonian.base import Shared, SphereState, unwrap_shared
from sphere_ebm.hamiltonian.blocks import SelectedBlock
from sphere_ebm.hamiltonian.gravity import RadialGravity
from sphere_ebm.hamiltonian.lateral import Kernel, LateralAttraction
from sphere_ebm.sampling.assembly import clamped_spec, program_of_groups
from sphere_ebm.sampling.programs import KEPT, SphereBlock, node_template
from sphere_ebm.sampling.terms import Terms, own_state_group


def attraction_by_fitted(
    free: Block,
    clamped: Block,
    fitted: Int[np.ndarray, "nodes k"],
    weight: Float[np.ndarray, "nodes k"],
    *,
    sharpness: float,
    strength: float = 1.0,
    kernel: Kernel = "cauchy",
) -> InteractionGroup:
    """Attraction of every free node by `fitted`, with the weights w_ij.

    `fitted` are positions in the `clamped` block.

    A pair is listed under its free end alone: the other one does not move.
    """
    values = jnp.asarray(weight.ravel())
    heads = np.repeat(np.arange(len(free)), fitted.shape[1])
    alpha, s = (Shared(jnp.asarray(x, values.dtype)) for x in (strength, sharpness))
    tail = jnp.asarray(fitted.ravel(), jnp.int32)
    interaction = LateralAttraction(len(clamped), values, tail, alpha, s, kernel)
    return InteractionGroup(
        interaction, SelectedBlock(free, heads), [SelectedBlock(clamped, fitted.ravel())]
    )


def build_clamped_program(
    free: Block,
    clamped: Block,
    groups: Sequence[InteractionGroup],
    sampler: AbstractConditionalSampler,
    dtype: Any = jnp.float32,
) -> FactorSamplingProgram:
    """A THRML program that moves the nodes of `free` and holds those of `clamped`.

    Cost: array operations, O(slots), where the groups list their nodes as the blocks themselves or
    as a `SelectedBlock` of one; otherwise THRML's loops in Python, linear in the nodes of both.
    """
    spec = _clamped_spec(free, clamped, dtype)
    return unwrap_shared(program_of_groups(spec, sampler, [own_state_group(free), *groups]))


@functools.lru_cache(maxsize=KEPT)
def _clamped_spec(free: Block, clamped: Block, dtype: Any) -> BlockGibbsSpec:
    """THRML compares specifications by identity, and jit compiles again for a new one."""
    distinct = isinstance(free, SphereBlock) and isinstance(clamped, SphereBlock)
    return clamped_spec(free, clamped, node_template(dtype), distinct=distinct)


def bound(
    program: FactorSamplingProgram,
    ideal_radius: Float[Array, " nodes"],
    fitted: Int[Array, "nodes k"],
    weight: Float[Array, "nodes k"],
    active: Bool[Array, "nodes k"],
) -> FactorSamplingProgram:
    """`program` with other wells, other fitted neighbours and weights.

    Slots that are not `active` do nothing.
    """
    interactions = program.per_block_interactions[0]
    well = _only(interactions, RadialGravity)
    program = eqx.tree_at(
        lambda p: p.per_block_interactions[0][well].ideal_radius, program, ideal_radius[:, None]
    )
    if not any(isinstance(one, LateralAttraction) for one in interactions):
        return program
    pull = _only(interactions, LateralAttraction)
    first = len(program.gibbs_spec.free_blocks[0])
    return eqx.tree_at(
        lambda p: (
            p.per_block_interactions[0][pull].weight,
            p.per_block_interactions[0][pull].tail,
            p.per_block_interaction_active[0][pull],
            p.per_block_interaction_global_slices[0][pull][0],
        ),
        program,
        # THRML's global state holds the free block first
        (weight, fitted, active, fitted + first),
    )


def _only(interactions: Sequence[Any], kind: type) -> int:
    """Position of the one interaction of a kind."""
    (position,) = (i for i, one in enumerate(interactions) if isinstance(one, kind))
    return position


def advance_clamped(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    state: SphereState,
    clamped: SphereState,
    sampler_state: Any,
) -> tuple[SphereState, Any]:
    """One THRML iteration: the free block moves by its sampler, the clamped one stays."""
    free, carried = thrml_sample_blocks(key, [state], [clamped], program, [sampler_state])
    return free[0], carried[0]


def clamped_terms(program: FactorSamplingProgram, clamped: SphereState) -> Terms:
    """The energy terms of the free block with the tails that they have in every step."""
    terms: Terms = []
    first = len(program.gibbs_spec.free_blocks[0])
    parts = zip(
        program.per_block_interactions[0],
        program.per_block_interaction_global_slices[0],
        program.per_block_interaction_active[0],
        strict=True,
    )
    for interaction, slices, active in list(parts)[1:]:
        there = [
            SphereState(clamped.direction[tail - first], clamped.radius[tail - first])
            for tail in slices
        ]
        terms.append((interaction, there, active))
    return terms
