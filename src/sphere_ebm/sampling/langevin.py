"""What all Langevin schemes share: schedules, mobilities, tangent noise."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from thrml import AbstractConditionalSampler

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.schedules import AbstractSchedule, Constant, Number
from sphere_ebm.sphere import project_tangent


def as_schedule(value: AbstractSchedule | Number) -> AbstractSchedule:
    """A number becomes a constant schedule."""
    return value if isinstance(value, AbstractSchedule) else Constant(value)


class AbstractLangevin(AbstractConditionalSampler):
    """A THRML conditional sampler that moves a whole block of `SphereNode`s by one Langevin step.

    Schedules are read at the step counter in the sampler state. `temperature` T has units of energy per point;
    `coupling` multiplies the annealed terms (the lateral attraction); `step_size` h is a time. The mobilities μ turn
    forces into velocities, separately for directions and radii (for underdamped dynamics 1 / μ is the mass): they set
    how fast each part moves and leave the Gibbs law p ∝ exp(-H / T) unchanged. A free direction diffuses with D = μ T.
    Radii are reflected at `minimum_radius`.
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
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Root mean square angle by which a free direction moves in one step at the scheduled temperature, radians."""

    def scheduled(self, step: Int[Array, ""], dtype: Any) -> tuple[Array, Array, Array]:
        """Temperature, step size and coupling at `step`, in the precision of the state."""
        return (
            self.temperature(step).astype(dtype),
            self.step_size(step).astype(dtype),
            self.coupling(step).astype(dtype),
        )

    def mobility(self, dtype: Any) -> SphereState:
        """Mobilities as a field that scales forces: shapes () and ()."""
        return SphereState(self.direction_mobility.astype(dtype), self.radius_mobility.astype(dtype))


def tangent_noise(
    key: Key[Array, ""], here: SphereState, scale: SphereState, temperature: Float[Array, ""]
) -> SphereState:
    """Standard normal noise, tangent on directions, times `scale`; no numbers are drawn at temperature 0."""
    key_direction, key_radius = jax.random.split(key)

    def draw() -> SphereState:
        direction = jax.random.normal(key_direction, here.direction.shape, here.direction.dtype)
        radius = jax.random.normal(key_radius, here.radius.shape, here.radius.dtype)
        return SphereState(scale.direction * project_tangent(here.direction, direction), scale.radius * radius)

    def silence() -> SphereState:
        return SphereState(jnp.zeros_like(here.direction), jnp.zeros_like(here.radius))

    return jax.lax.cond(temperature > 0, draw, silence)
