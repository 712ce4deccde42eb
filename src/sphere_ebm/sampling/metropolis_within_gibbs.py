"""Metropolis-within-Gibbs on a coloured graph: every point is accepted or rejected on its own."""

from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float
from typing_extensions import override

from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    AbstractPairInteraction,
    AbstractSphereInteraction,
    LocalTerms,
    Slots,
    SphereState,
    Tails,
)
from sphere_ebm.sampling.langevin import Stage
from sphere_ebm.sampling.metropolis import AbstractMetropolis, Evaluate
from sphere_ebm.sampling.terms import Terms, sum_of_terms


@final
class MetropolisWithinGibbs(AbstractMetropolis):
    """A Langevin step for each node of a block, accepted on its own.

    It is exact whatever the number of points.

    Nodes of a block must not interact with each other: sample the colours of a proper colouring in
    turn (`build_coloured_program` checks it; a program built by hand is checked only against one
    block for all). Then each node's acceptance depends on its own slots alone, the nodes of a block
    are independent given the others, and every sweep leaves p ∝ exp(-H / T) unchanged. Only sums
    over nodes and pairs can be sampled so: gravity and lateral attraction, not the osmotic
    pressure, which couples all.

    Step sizes adapt per block, to the mean acceptance of its nodes. References: Geman & Geman 1984
    (Gibbs sampling); Roberts & Tweedie 1996 (the proposal).
    """

    @override
    def ends(self, stage: Stage) -> tuple[Evaluate, Evaluate]:
        def own(at: SphereState) -> tuple[Float[Array, " nodes"], SphereState]:
            return _local_energy_and_force(at, stage.terms, stage.coupling)

        # the tails belong to other colours: they are the same at either end
        return own, own


def _local_energy_and_force(
    here: SphereState, terms: Terms, coupling: Float[Array, ""]
) -> tuple[Float[Array, " nodes"], SphereState]:
    """What each node's own energy is, given the tails, and its tangent force."""

    def of_term(term: AbstractSphereInteraction, there: Tails, active: Slots) -> LocalTerms:
        if not isinstance(term, AbstractLocalInteraction):
            raise ValueError(
                f"the {term.name} term couples all nodes at once, so they cannot be accepted"
                " one by one: leave it out (strength 0), or sample with MALA."
            )
        held = here.radius.shape[0]
        if isinstance(term, AbstractPairInteraction) and term.n_nodes == held:
            raise ValueError(
                f"the block holds all {held} nodes of the {term.name} term,"
                " so neighbours would move together: build the program with"
                " build_coloured_program."
            )
        return term.local_energy_and_force(here, there, active)

    return sum_of_terms(here, terms, coupling, jnp.zeros_like(here.radius), of_term)
