"""What a sampler sees of a program: its block's own state, and the energy terms that act on it.

A THRML sampler is handed interactions and tails but not its block's own state, so a program starts
with one extra interaction group, `OwnState`, whose tail is the node itself.
"""

from collections.abc import Callable
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from thrml import Block, InteractionGroup

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.base import AbstractSphereInteraction, Slots, SphereState, Tails

Terms = list[tuple[AbstractSphereInteraction, list[SphereState], Bool[Array, "nodes _"]]]
"""Energy terms as a sampler sees them: interaction, tails of each head node, which slots are real.
"""


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
    return InteractionGroup(
        OwnState(jnp.asarray(np.arange(len(block), dtype=np.int32))), block, [block]
    )


def own_state(interactions: list[Any]) -> OwnState:
    """The program's first interaction.

    Raises ValueError when it is not that of `own_state_group`.
    """
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
    own_state(interactions)
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

    def of_term(
        term: AbstractSphereInteraction, there: Tails, active: Slots
    ) -> tuple[Float[Array, ""], SphereState]:
        return term.energy_and_force(here, there, active)

    return sum_of_terms(here, terms, coupling, jnp.zeros((), here.radius.dtype), of_term)


def sum_of_terms(
    here: SphereState,
    terms: Terms,
    coupling: Float[Array, ""],
    energy: Float[Array, "*nodes"],
    of_term: Callable[..., tuple[Float[Array, "*nodes"], SphereState]],
) -> tuple[Float[Array, "*nodes"], SphereState]:
    """`energy`, which is zero, and no force, plus what `of_term` says of each term.

    Annealed terms are multiplied by `coupling`. The sum of the forces is tangent.
    """
    direction = jnp.zeros_like(here.direction)
    radius = jnp.zeros_like(here.radius)
    for interaction, there, active in terms:
        value, force = of_term(interaction, there, active)
        scale = coupling if interaction.annealed else jnp.ones_like(coupling)
        energy = energy + scale * value
        direction = direction + scale * force.direction
        radius = radius + scale * force.radius
    return energy, SphereState(project_tangent(here.direction, direction), radius)
