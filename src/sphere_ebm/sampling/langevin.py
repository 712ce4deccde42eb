"""What all Langevin schemes share: schedules, mobilities, free motion, tangent noise."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from thrml import AbstractConditionalSampler
from typing_extensions import override

from sphere_ebm.geometry.sphere import geodesic_flow, project_tangent, reflect_radius
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.schedules import AbstractSchedule, Constant
from sphere_ebm.sampling.terms import Terms, split_own_state, total_force


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

    A scheme says with `move` how. Its law and its pace are in its `coefficients`, whose schedules
    are read at the step counter in the sampler state.
    """

    coefficients: eqx.AbstractVar[Coefficients]

    @abc.abstractmethod
    def init(self) -> Any:
        """The sampler state before the first step; it has a field `step`."""

    @abc.abstractmethod
    def move(self, key: Key[Array, ""], stage: "Stage", carried: Any) -> tuple[SphereState, Any]:
        """The configuration after one step from `stage`, and the sampler state after `carried`."""

    @abc.abstractmethod
    def statistics(self, state: Any) -> dict[str, Float[Array, ""]]:
        """What the sampler itself measured in its last step, by name.

        Examples are a kinetic energy and an acceptance.
        """

    @abc.abstractmethod
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Root mean square angle by which a free direction moves in one step, in radians.

        The temperature is the scheduled one.
        """

    @override
    def sample(
        self,
        key: Key[Array, ""],
        interactions: list[Any],
        active_flags: list[Array],
        states: list[list[SphereState]],
        sampler_state: Any,
        output_sd: SphereState,
    ) -> tuple[SphereState, Any]:
        here, terms = split_own_state(interactions, active_flags, states)
        stage = self._stage(sampler_state.step, here, terms)
        return self.move(key, stage, sampler_state)

    def _stage(self, step: Int[Array, ""], here: SphereState, terms: Terms) -> "Stage":
        """What every scheme needs first, in the precision of the state."""
        own = self.coefficients
        dtype = here.radius.dtype
        mobility = SphereState(
            own.direction_mobility.astype(dtype), own.radius_mobility.astype(dtype)
        )
        return Stage(
            here,
            terms,
            own.temperature(step).astype(dtype),
            own.step_size(step).astype(dtype),
            own.coupling(step).astype(dtype),
            mobility,
            own.minimum_radius.astype(dtype),
        )


class AbstractOverdamped(AbstractLangevin):
    """A scheme without velocities: it measures nothing, and its noise alone moves a free point.

    `variance` is that of the noise of a step in both degrees of freedom of a direction, over h μ T.
    """

    variance: eqx.AbstractClassVar[int]

    @override
    def statistics(self, state: Any) -> dict[str, Float[Array, ""]]:
        return {}

    @override
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        own = self.coefficients
        return jnp.sqrt(
            self.variance * own.step_size(step) * own.direction_mobility * own.temperature(step)
        )


class AbstractInertial(AbstractLangevin):
    """A scheme that keeps vectors of every node from step to step: velocities, or noise.

    THRML asks for the initial sampler state without telling the block, so the scheme holds the
    number of its nodes, `n_nodes`, and the precision of its state, `dtype`. Such vectors are
    tangent to one configuration of one block: it can neither be exchanged nor be coloured.
    """

    n_nodes: eqx.AbstractVar[int]
    dtype: eqx.AbstractVar[Any]

    def at_rest(self) -> SphereState:
        """A vector of zeros for every node."""
        return SphereState(
            jnp.asarray(np.zeros((self.n_nodes, 3), self.dtype)),
            jnp.asarray(np.zeros(self.n_nodes, self.dtype)),
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

    def force(self) -> SphereState:
        """The tangent force of all terms."""
        return total_force(self.here, self.terms, self.coupling)

    def spread(self, step_size: Float[Array, ""]) -> SphereState:
        """sqrt(2 h μ T), the standard deviation of a whole step's noise: shapes () and ()."""
        return jax.tree.map(
            lambda mu: jnp.sqrt(2 * step_size * mu * self.temperature), self.mobility
        )


def flow(
    here: SphereState, velocity: SphereState, time: SphereState, minimum_radius: Float[Array, ""]
) -> tuple[SphereState, SphereState]:
    """Free motion: directions along geodesics, radii plainly, reflected at the minimum.

    It is reversible and keeps volume.

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
