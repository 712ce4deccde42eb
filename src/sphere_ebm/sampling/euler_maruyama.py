"""Overdamped Langevin dynamics by the Euler-Maruyama scheme on S² x R."""

from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sphere_ebm.geometry.sphere import exponential_map, reflect_radius
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import AbstractLangevin, as_schedule, tangent_noise
from sphere_ebm.sampling.programs import total_force
from sphere_ebm.sampling.schedules import AbstractSchedule, Number, as_scalar


class EulerMaruyamaState(NamedTuple):
    """`step`: number of steps done."""

    step: Int[Array, ""]


@final
class EulerMaruyama(AbstractLangevin):
    """x ← x + h μ F(x) + sqrt(2 h μ T) ξ, along the geodesic on S² and plainly on r.

    Its stationary law differs from the Gibbs law by O(h): for a harmonic radius of stiffness κ (and
    μ = 1), Var(r) = T / (κ (1 - h κ / 2)), stable for h κ < 2. Reference: Roberts & Tweedie 1996;
    the step on the manifold follows Girolami & Calderhead 2011.
    """

    temperature: AbstractSchedule
    step_size: AbstractSchedule
    coupling: AbstractSchedule
    direction_mobility: Float[Array, ""]
    radius_mobility: Float[Array, ""]
    minimum_radius: Float[Array, ""]

    def __init__(
        self,
        temperature: AbstractSchedule | Number,
        step_size: AbstractSchedule | Number,
        coupling: AbstractSchedule | Number = 1.0,
        *,
        direction_mobility: Number = 1.0,
        radius_mobility: Number = 1.0,
        minimum_radius: Number = 0.0,
    ):
        self.temperature = as_schedule(temperature)
        self.step_size = as_schedule(step_size)
        self.coupling = as_schedule(coupling)
        self.direction_mobility = as_scalar(direction_mobility)
        self.radius_mobility = as_scalar(radius_mobility)
        self.minimum_radius = as_scalar(minimum_radius)

    def init(self) -> EulerMaruyamaState:  # type: ignore[override]
        return EulerMaruyamaState(jnp.zeros((), jnp.int32))

    def statistics(self, state: EulerMaruyamaState) -> dict[str, Float[Array, ""]]:
        return {}

    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        # two degrees of freedom of variance 2 h μ T each
        return jnp.sqrt(4 * self.step_size(step) * self.direction_mobility * self.temperature(step))

    def sample(  # type: ignore[override]
        self,
        key: Key[Array, ""],
        interactions: list[Any],
        active_flags: list[Array],
        states: list[list[SphereState]],
        sampler_state: EulerMaruyamaState,
        output_sd: SphereState,
    ) -> tuple[SphereState, EulerMaruyamaState]:
        here, terms, temperature, h, coupling, mobility, minimum = self.begin(
            sampler_state.step, interactions, active_flags, states
        )
        force = total_force(here, terms, coupling)
        spread = jax.tree.map(lambda mu: jnp.sqrt(2 * h * mu * temperature), mobility)
        noise = tangent_noise(key, here, spread, temperature)
        move = jax.tree.map(lambda mu, f, xi: h * mu * f + xi, mobility, force, noise)
        radius, _ = reflect_radius(here.radius + move.radius, move.radius, minimum)
        moved = SphereState(exponential_map(here.direction, move.direction), radius)
        return moved, EulerMaruyamaState(sampler_state.step + 1)
