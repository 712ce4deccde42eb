"""The Metropolis-adjusted Langevin algorithm on S² and the radii, all points at once."""

from typing import final

from jaxtyping import Array, Float
from typing_extensions import override

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import Stage
from sphere_ebm.sampling.metropolis import AbstractMetropolis, Evaluate
from sphere_ebm.sampling.terms import total_energy_and_force


@final
class MALA(AbstractMetropolis):
    """An Euler-Maruyama step, accepted or rejected as a whole.

    It draws from p ∝ exp(-H / T) itself at any step size.

    It is accepted with probability min(1, π(y) q(x | y) / π(x) q(y | x)); see
    `sphere_ebm.sampling.metropolis`. Costs two evaluations of energy and force a step, one at
    either end. The acceptance falls with the number of points: keep it by h ∝ N^(-1/3) (Roberts &
    Rosenthal 1998), or take `MetropolisWithinGibbs` for the two-term Hamiltonian.

    The step size adapts during the first `adapt_steps` steps, see `AbstractMetropolis`; an
    acceptance of .574 is the optimum for many points (Roberts & Rosenthal 1998).

    The block must hold all nodes of every factor. The law is that of the evaluated energies: with
    the `harmonic` osmotic field, that of the grid. T must be positive: at T = 0 nothing but a
    descent would be accepted, and no step proposed has noise.
    """

    @override
    def ends(self, stage: Stage) -> tuple[Evaluate, Evaluate]:
        def at_proposal(there: SphereState) -> tuple[Float[Array, ""], SphereState]:
            terms = [(term, term.gather(there), active) for term, _, active in stage.terms]
            return total_energy_and_force(there, terms, stage.coupling)

        def at_present(here: SphereState) -> tuple[Float[Array, ""], SphereState]:
            return total_energy_and_force(here, stage.terms, stage.coupling)

        return at_present, at_proposal
