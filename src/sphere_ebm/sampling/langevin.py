"""What all Langevin schemes share: schedules, mobilities, free motion, tangent noise."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from thrml import AbstractConditionalSampler

from sphere_ebm.geometry.sphere import geodesic_flow, project_tangent, reflect_radius
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.programs import Terms, split_own_state
from sphere_ebm.sampling.schedules import AbstractSchedule, Constant, Number


def as_schedule(value: AbstractSchedule | Number) -> AbstractSchedule:
    """A number becomes a constant schedule."""
    return value if isinstance(value, AbstractSchedule) else Constant(value)


def check_warm(temperature: AbstractSchedule) -> None:
    """Raises ValueError for a constant temperature that is known and not positive."""
    if not isinstance(temperature, Constant) or isinstance(temperature.value, jax.core.Tracer):
        return
    if not jnp.all(temperature.value > 0):
        raise ValueError(
            f"`temperature` must be positive to accept and reject by; got {temperature.value}."
        )


class AbstractLangevin(AbstractConditionalSampler):
    """A THRML conditional sampler that moves a whole block of `SphereNode`s by one Langevin step.

    Schedules are read at the step counter in the sampler state. `temperature` T has units of energy
    per point; `coupling` multiplies the annealed terms (the lateral attraction); `step_size` h is a
    time. The mobilities μ turn forces into velocities, separately for directions and radii (for
    underdamped dynamics 1 / μ is the mass): they set how fast each part moves and leave the Gibbs
    law p ∝ exp(-H / T) unchanged. A free direction diffuses with D = μ T. Radii are reflected at
    `minimum_radius`.
    """

    temperature: eqx.AbstractVar[AbstractSchedule]
    step_size: eqx.AbstractVar[AbstractSchedule]
    coupling: eqx.AbstractVar[AbstractSchedule]
    direction_mobility: eqx.AbstractVar[Float[Array, ""]]
    radius_mobility: eqx.AbstractVar[Float[Array, ""]]
    minimum_radius: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def init(self) -> Any:
        """The sampler state before the first step; it has a field `step`."""

    @abc.abstractmethod
    def statistics(self, state: Any) -> dict[str, Float[Array, ""]]:
        """What the sampler itself measured in its last step, by name.

        A kinetic energy, an acceptance.
        """

    @abc.abstractmethod
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Root mean square angle by which a free direction moves in one step, in radians.

        At the scheduled temperature.
        """

    def begin(
        self,
        step: Int[Array, ""],
        interactions: list[Any],
        active: list[Array],
        states: list[list[SphereState]],
    ) -> "Stage":
        """What every scheme needs first, from what THRML hands to `sample`."""
        here, terms = split_own_state(interactions, active, states)
        dtype = here.radius.dtype
        mobility = SphereState(
            self.direction_mobility.astype(dtype), self.radius_mobility.astype(dtype)
        )
        return Stage(
            here,
            terms,
            self.temperature(step).astype(dtype),
            self.step_size(step).astype(dtype),
            self.coupling(step).astype(dtype),
            mobility,
            self.minimum_radius.astype(dtype),
        )


class Stage(NamedTuple):
    """One step's configuration, energy terms, and numbers in the precision of the state.

    `mobility` scales forces: shapes () and ().
    """

    here: SphereState
    terms: Terms
    temperature: Float[Array, ""]
    step_size: Float[Array, ""]
    coupling: Float[Array, ""]
    mobility: SphereState
    minimum_radius: Float[Array, ""]


def flow(
    here: SphereState, velocity: SphereState, time: SphereState, minimum_radius: Float[Array, ""]
) -> tuple[SphereState, SphereState]:
    """Free motion: directions along geodesics, radii plainly, reflected at the minimum.

    Reversible; keeps volume.

    `time` has shapes () and (). Returns the configuration reached and the velocity, transported to
    it.
    """
    direction, turned = geodesic_flow(here.direction, velocity.direction, time.direction)
    radius, speed = reflect_radius(
        here.radius + time.radius * velocity.radius, velocity.radius, minimum_radius
    )
    return SphereState(direction, radius), SphereState(turned, speed)


def tangent_noise(
    key: Key[Array, ""], here: SphereState, scale: SphereState, temperature: Float[Array, ""]
) -> SphereState:
    """Standard normal noise, tangent on directions, times `scale`.

    No numbers are drawn at temperature 0.
    """
    key_direction, key_radius = jax.random.split(key)

    def draw() -> SphereState:
        direction = jax.random.normal(key_direction, here.direction.shape, here.direction.dtype)
        radius = jax.random.normal(key_radius, here.radius.shape, here.radius.dtype)
        return SphereState(
            scale.direction * project_tangent(here.direction, direction), scale.radius * radius
        )

    def silence() -> SphereState:
        return SphereState(jnp.zeros_like(here.direction), jnp.zeros_like(here.radius))

    return jax.lax.cond(temperature > 0, draw, silence)
