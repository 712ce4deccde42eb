"""Overdamped Langevin dynamics by the Leimkuhler-Matthews scheme on S² x R."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import AbstractLangevin, as_schedule, flow, tangent_noise
from sphere_ebm.sampling.programs import total_force
from sphere_ebm.sampling.schedules import AbstractSchedule, Number, as_scalar


class LeimkuhlerMatthewsState(NamedTuple):
    """`noise` ξ_n was drawn in the step before and transported to the present tangent planes.

    0 before the first.
    """

    step: Int[Array, ""]
    noise: SphereState


@final
class LeimkuhlerMatthews(AbstractLangevin):
    """x ← x + h μ F(x) + sqrt(2 h μ T) (ξ_n + ξ_{n+1}) / 2.

    Every noise is used in two steps, half in each.

    On the sphere the step has two legs: a geodesic along h μ F + sqrt(2 h μ T) ξ_n / 2, then, from
    where that ends, one along the other half with a fresh tangent noise ξ_{n+1}, which is carried
    to its end. That is geodesic BAOAB at infinite friction with step sqrt(2 h), one force a step.
    References: Leimkuhler & Matthews 2013 (the scheme), 2016 (the geodesic integrator).

    In flat space its stationary law differs from the Gibbs law by O(h²), and not at all for a
    harmonic well. Curvature alone would spoil that: noise spreads and drift carries by factors 1 +
    O(h) of their own, as if T were T (1 + h μ T / 6). Because the curvature of S² is the same
    everywhere, one factor, 1 + h μ T / 6 on the drift of directions, restores second order (ours;
    the second notebook computes it without sampling, and `python -m benchmarks.laws` measures it).

    `n_nodes` is the size of the block: THRML asks for the initial sampler state without telling it.
    """

    n_nodes: int = eqx.field(static=True)
    temperature: AbstractSchedule
    step_size: AbstractSchedule
    coupling: AbstractSchedule
    direction_mobility: Float[Array, ""]
    radius_mobility: Float[Array, ""]
    minimum_radius: Float[Array, ""]
    dtype: Any = eqx.field(static=True)

    def __init__(
        self,
        n_nodes: int,
        temperature: AbstractSchedule | Number,
        step_size: AbstractSchedule | Number,
        coupling: AbstractSchedule | Number = 1.0,
        *,
        direction_mobility: Number = 1.0,
        radius_mobility: Number = 1.0,
        minimum_radius: Number = 0.0,
        dtype: Any = jnp.float32,
    ):
        self.n_nodes = n_nodes
        self.temperature = as_schedule(temperature)
        self.step_size = as_schedule(step_size)
        self.coupling = as_schedule(coupling)
        self.direction_mobility = as_scalar(direction_mobility)
        self.radius_mobility = as_scalar(radius_mobility)
        self.minimum_radius = as_scalar(minimum_radius)
        self.dtype = dtype

    def init(self) -> LeimkuhlerMatthewsState:  # type: ignore[override]
        silence = SphereState(
            jnp.zeros((self.n_nodes, 3), self.dtype), jnp.zeros(self.n_nodes, self.dtype)
        )
        return LeimkuhlerMatthewsState(jnp.zeros((), jnp.int32), silence)

    def statistics(self, state: LeimkuhlerMatthewsState) -> dict[str, Float[Array, ""]]:
        return {}

    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        # two degrees of freedom of variance h μ T each: two independent halves
        return jnp.sqrt(2 * self.step_size(step) * self.direction_mobility * self.temperature(step))

    def sample(  # type: ignore[override]
        self,
        key: Key[Array, ""],
        interactions: list[Any],
        active_flags: list[Array],
        states: list[list[SphereState]],
        sampler_state: LeimkuhlerMatthewsState,
        output_sd: SphereState,
    ) -> tuple[SphereState, LeimkuhlerMatthewsState]:
        here, terms, temperature, h, coupling, mobility, minimum = self.begin(
            sampler_state.step, interactions, active_flags, states
        )
        one = SphereState(jnp.ones_like(h), jnp.ones_like(h))
        force = total_force(here, terms, coupling)
        spread = jax.tree.map(lambda mu: jnp.sqrt(2 * h * mu * temperature) / 2, mobility)
        drift = SphereState(
            (1 + h * mobility.direction * temperature / 6) * force.direction, force.radius
        )
        move = jax.tree.map(
            lambda mu, f, s, xi: h * mu * f + s * xi, mobility, drift, spread, sampler_state.noise
        )
        here, _ = flow(here, move, one, minimum)
        here, noise = flow(here, tangent_noise(key, here, one, temperature), spread, minimum)
        return here, LeimkuhlerMatthewsState(sampler_state.step + 1, noise)
