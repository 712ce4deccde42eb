"""Metropolis-within-Gibbs on a coloured graph: every point is accepted or rejected on its own."""

from typing import Any, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.base import AbstractLocalInteraction, SphereState
from sphere_ebm.sampling.metropolis import AbstractMetropolis, MetropolisState
from sphere_ebm.sampling.programs import Terms


@final
class MetropolisWithinGibbs(AbstractMetropolis):
    """A Langevin step for each node of a block, accepted on its own.

    Exact whatever the number of points.

    Nodes of a block must not interact with each other: sample the colours of a proper colouring in
    turn (`build_coloured_program` checks it; a program built by hand is checked only against one
    block for all). Then each node's acceptance depends on its own slots alone, the nodes of a block
    are independent given the others, and every sweep leaves p ∝ exp(-H / T) unchanged. Only sums
    over nodes and pairs can be sampled so: gravity and lateral attraction, not the osmotic
    pressure, which couples all.

    Step sizes adapt per block, to the mean acceptance of its nodes. References: Geman & Geman 1984
    (Gibbs sampling); Roberts & Tweedie 1996 (the proposal).
    """

    def sample(  # type: ignore[override]
        self,
        key: Key[Array, ""],
        interactions: list[Any],
        active_flags: list[Array],
        states: list[list[SphereState]],
        sampler_state: MetropolisState,
        output_sd: SphereState,
    ) -> tuple[SphereState, MetropolisState]:
        stage = self.begin(sampler_state.step, interactions, active_flags, states)

        def own(at: SphereState) -> tuple[Float[Array, " nodes"], SphereState]:
            return _local_energy_and_force(at, stage.terms, stage.coupling)

        # the tails belong to other colours: they are the same at either end
        return self.adjusted_step(key, stage, sampler_state, own, own)


def _local_energy_and_force(
    here: SphereState, terms: Terms, coupling: Float[Array, ""]
) -> tuple[Float[Array, " nodes"], SphereState]:
    """What each node's own energy is, given the tails, and its tangent force."""
    energy = jnp.zeros_like(here.radius)
    direction = jnp.zeros_like(here.direction)
    radius = jnp.zeros_like(here.radius)
    for interaction, there, active in terms:
        if not isinstance(interaction, AbstractLocalInteraction):
            raise ValueError(
                f"the {interaction.name} term couples all nodes at once, so they cannot be accepted"
                " one by one: leave it out (strength 0), or sample with MALA."
            )
        if there and getattr(interaction, "n_nodes", None) == here.radius.shape[0]:
            raise ValueError(
                f"the block holds all {here.radius.shape[0]} nodes of the {interaction.name} term,"
                " so neighbours would move together: build the program with"
                " build_coloured_program."
            )
        value, force = interaction.local_energy_and_force(here, there, active)
        scale = coupling if interaction.annealed else jnp.ones_like(coupling)
        energy = energy + scale * value
        direction = direction + scale * force.direction
        radius = radius + scale * force.radius
    return energy, SphereState(project_tangent(here.direction, direction), radius)
