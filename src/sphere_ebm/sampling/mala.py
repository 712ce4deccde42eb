"""The Metropolis-adjusted Langevin algorithm on the product of S² and the radii, all points at once."""

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.adaptation import DualAveraging
from sphere_ebm.sampling.langevin import AbstractLangevin, as_schedule, check_warm
from sphere_ebm.sampling.metropolis import choose, log_way_back, propose
from sphere_ebm.sampling.nodes import total_energy_and_force
from sphere_ebm.sampling.schedules import AbstractSchedule, Number, as_scalar


class MetropolisState(NamedTuple):
    """`acceptance` and `step_size` are those of the last step: a probability, and the h that it was made with."""

    step: Int[Array, ""]
    adaptation: DualAveraging
    acceptance: Float[Array, ""]
    step_size: Float[Array, ""]

    @classmethod
    def start(cls) -> "MetropolisState":
        zero = jnp.zeros((), jnp.result_type(float))
        return cls(jnp.zeros((), jnp.int32), DualAveraging.start(zero.dtype), zero, zero)


@final
class MALA(AbstractLangevin):
    """An Euler-Maruyama step, accepted or rejected as a whole: exact p ∝ exp(-H / T) at any step size.

    Accepted with probability min(1, π(y) q(x | y) / π(x) q(y | x)); see `sphere_ebm.sampling.metropolis`. Costs two
    evaluations of energy and force a step, one at either end. The acceptance falls with the number of points: keep it
    by h ∝ N^(-1/3) (Roberts & Rosenthal 1998), or take `MetropolisWithinGibbs` for the two-term Hamiltonian.

    During the first `adapt_steps` steps h is `step_size` times a factor that dual averaging drives to
    `target_acceptance`; from then on the factor stays. What is drawn before does not follow the law. .574 is the
    optimum for many points (Roberts & Rosenthal 1998).

    The block must hold all nodes of every factor. The law is that of the evaluated energies: with the `harmonic`
    osmotic field, that of the grid. T must be positive: at T = 0 nothing but a descent would be accepted, and no step
    proposed has noise.
    """

    temperature: AbstractSchedule
    step_size: AbstractSchedule
    coupling: AbstractSchedule
    direction_mobility: Float[Array, ""]
    radius_mobility: Float[Array, ""]
    minimum_radius: Float[Array, ""]
    adapt_steps: Int[Array, ""]
    target_acceptance: Float[Array, ""]

    def __init__(
        self,
        temperature: AbstractSchedule | Number,
        step_size: AbstractSchedule | Number,
        coupling: AbstractSchedule | Number = 1.0,
        *,
        adapt_steps: int = 0,
        target_acceptance: Number = 0.574,
        direction_mobility: Number = 1.0,
        radius_mobility: Number = 1.0,
        minimum_radius: Number = 0.0,
    ):
        self.temperature, self.step_size = as_schedule(temperature), as_schedule(step_size)
        self.coupling = as_schedule(coupling)
        check_warm(self.temperature)
        self.direction_mobility, self.radius_mobility = as_scalar(direction_mobility), as_scalar(radius_mobility)
        self.minimum_radius = as_scalar(minimum_radius)
        self.adapt_steps = jnp.asarray(adapt_steps, jnp.int32)
        self.target_acceptance = as_scalar(target_acceptance)

    def init(self) -> MetropolisState:  # type: ignore[override]
        return MetropolisState.start()

    def statistics(self, state: MetropolisState) -> dict[str, Float[Array, ""]]:
        return {"acceptance": state.acceptance, "step_size": state.step_size}

    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        # of a proposal at the scheduled step size
        return jnp.sqrt(4 * self.step_size(step) * self.direction_mobility * self.temperature(step))

    def sample(  # type: ignore[override]
        self,
        key: Key[Array, ""],
        interactions: list[Any],
        active_flags: list[Array],
        states: list[list[SphereState]],
        sampler_state: MetropolisState,
        output_sd: SphereState,
    ) -> tuple[SphereState, MetropolisState]:
        step = sampler_state.step
        key_move, key_accept = jax.random.split(key)
        stage = self.begin(step, interactions, active_flags, states)
        dtype = stage.here.radius.dtype
        h = stage.step_size * sampler_state.adaptation.factor(step, self.adapt_steps).astype(dtype)
        energy, force = total_energy_and_force(stage.here, stage.terms, stage.coupling)
        proposal = propose(key_move, stage, force, h)
        moved = [(term, term.gather(proposal.there), active) for term, _, active in stage.terms]
        energy_there, force_there = total_energy_and_force(proposal.there, moved, stage.coupling)
        ways = jnp.sum(log_way_back(stage, proposal, force_there, h) - proposal.log_forward)
        log_ratio = (energy - energy_there) / stage.temperature + ways
        # an energy that is not a number rejects
        accepted = jnp.log(jax.random.uniform(key_accept, (), dtype)) < log_ratio
        acceptance = jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
        acceptance = acceptance.astype(sampler_state.acceptance.dtype)
        adaptation = sampler_state.adaptation.after(acceptance, self.target_acceptance, step, self.adapt_steps)
        carried = MetropolisState(step + 1, adaptation, acceptance, h.astype(acceptance.dtype))
        return choose(accepted, proposal.there, stage.here), carried
