"""One block of a map moves while the rest of the map stays: a THRML program, block after block.

All blocks have one shape, so that one compiled program serves them; `bound_to` puts a block's
points, edges and surroundings into it, as arrays.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from thrml import FactorSamplingProgram

from sphere_ebm.hamiltonian.base import AbstractLocalInteraction, Shared, SphereState
from sphere_ebm.hamiltonian.beside import AttractionBeside, BesideFactor, OwnImage
from sphere_ebm.hamiltonian.frozen import FrozenPressure
from sphere_ebm.hamiltonian.lateral import DegreeClasses
from sphere_ebm.sampling.joining import energy_of, spread_of
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.programs import advance, build_program, sphere_block, terms_by_block


class Surroundings(NamedTuple):
    """What a block meets in a sweep."""

    classes: DegreeClasses
    """Its edges, see `AttractionBeside`."""
    places: Float[Array, "nodes 3"]
    """Its own points where the sweep has found them."""
    others: Float[Array, "points 3"]
    """All points of the map there."""
    grid: Float[Array, "cells 4"]
    """Their osmotic field, see `FrozenPressure`."""
    pressure: Float[Array, ""]
    """2 Π N / S; 0 for a map without osmotic pressure."""


class Strengths(NamedTuple):
    """The numbers of the Hamiltonian: α and its kernel, s, and the rows of the field's grid."""

    lateral: float
    kernel: str
    sharpness: float
    rows: int


class Measured(NamedTuple):
    """What is measured of a block."""

    energy: Float[Array, " nodes"]
    """H_i without gravity: all of each term that depends on the point."""
    spread: Float[Array, " nodes"]
    """Of its law given the rest, in radians."""


def block_program(
    first: Surroundings, strengths: Strengths, sampler: AbstractLangevin
) -> FactorSamplingProgram:
    """The program of a block, with the surroundings of some block to begin with.

    Radii feel nothing in it: given the rest their law is known.
    """
    block = sphere_block(len(first.places))
    factors = [BesideFactor(block, term) for term in _terms(first, strengths)]
    return build_program(block, factors, sampler, first.places.dtype)


def _terms(first: Surroundings, strengths: Strengths) -> Sequence[AbstractLocalInteraction]:
    dtype = first.places.dtype
    sharpness = Shared(jnp.asarray(strengths.sharpness, dtype))
    return [
        AttractionBeside(
            Shared(first.classes),
            Shared(first.others),
            Shared(jnp.asarray(strengths.lateral, dtype)),
            sharpness,
            strengths.kernel,
        ),
        FrozenPressure(
            Shared(first.pressure), Shared(first.places[0]), Shared(first.grid), strengths.rows
        ),
        OwnImage(Shared(first.places), Shared(first.pressure), sharpness),
    ]


def bound_to(program: FactorSamplingProgram, around: Surroundings) -> FactorSamplingProgram:
    """`program` of `block_program` for another block, or the same in another sweep."""
    kinds = {type(one): i for i, one in enumerate(program.per_block_interactions[0])}
    pull = kinds[AttractionBeside]
    push = kinds[FrozenPressure]
    image = kinds[OwnImage]

    def changed(p: FactorSamplingProgram) -> tuple[Any, ...]:
        terms: list[Any] = p.per_block_interactions[0]
        return (
            terms[pull].classes,
            terms[pull].others,
            terms[push].grid,
            terms[push].strength,
            terms[image].places,
            terms[image].strength,
        )

    replaced = (
        around.classes,
        around.others,
        around.grid,
        around.pressure,
        around.places,
        around.pressure,
    )
    return eqx.tree_at(changed, program, replaced)


@eqx.filter_jit
def sweep_block(
    key: Key[Array, ""], program: FactorSamplingProgram, around: Surroundings, carried: Any
) -> tuple[Float[Array, "nodes 3"], Any]:
    """One step of a block: where its points are then, and what its sampler carries."""
    program = bound_to(program, around)
    here = SphereState(around.places, jnp.ones_like(around.places[:, 0]))
    after, states = advance(key, program, here, [carried])
    # radii are no part of a sweep: a scheme that carries their velocities begins at rest
    return after.direction, jax.tree.map(_at_rest, states[0], is_leaf=_is_state)


def _is_state(part: Any) -> bool:
    return isinstance(part, SphereState)


def _at_rest(part: Any) -> Any:
    if not isinstance(part, SphereState):
        return part
    return part._replace(radius=jnp.zeros_like(part.radius))


@eqx.filter_jit
def measure_block(
    program: FactorSamplingProgram,
    around: Surroundings,
    temperature: Float[Array, ""],
    sharpness: Float[Array, ""],
) -> Measured:
    """Conditional energies of a block's points, and the spread of their laws at `temperature`."""
    program = bound_to(program, around)
    here = SphereState(around.places, jnp.ones_like(around.places[:, 0]))
    ((state, terms),) = terms_by_block(program, here)
    return Measured(energy_of(terms, state), spread_of(terms, state, temperature, sharpness))


def host(tree: Any) -> Any:
    """Arrays of a sampler state as NumPy's, so that blocks that wait take no device memory."""
    return jax.tree.map(np.asarray, tree)
