"""Underdamped Langevin dynamics by geodesic BAOAB."""

from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from typing_extensions import override

from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractInertial, Stage, flow, tangent_noise
from sphere_ebm.sampling.schedules import Scalar, as_scalar


class UnderdampedState(NamedTuple):
    """`velocity` is taken before the half kick that closes a BAOAB step.

    That kick needs the force at the new configuration, which the next call computes anyway; so each
    call does the closing half kick of the step before, with that step's `step_size` (0 before the
    first), and the opening one of its own together. `kinetic_energy` (per point) is taken between
    the two, that is, at the end of a whole BAOAB step.
    """

    step: Int[Array, ""]
    step_size: Float[Array, ""]
    velocity: SphereState
    kinetic_energy: Float[Array, ""]


@final
class Underdamped(AbstractInertial):
    """Geodesic BAOAB for dx = v dt, dv = μ F dt - γ v dt + sqrt(2 γ μ T) dW.

    `friction` is γ, per time.

    B kicks with the force, A moves along geodesics, O is the exact Ornstein-Uhlenbeck step.
    Velocities have covariance μ T, so the mean kinetic energy Σ v² / (2 μ) is T / 2 per degree of
    freedom, 3 per point. Positions are accurate to O(h²), and exact for a harmonic well.
    References: Leimkuhler & Matthews 2013 (BAOAB) and 2016 (geodesic integrator).

    `n_nodes` is the size of the block.
    """

    coefficients: Coefficients
    n_nodes: int = eqx.field(static=True)
    friction: Scalar = eqx.field(converter=as_scalar, default=1.0, kw_only=True)
    dtype: Any = eqx.field(static=True, default=jnp.float32, kw_only=True)

    @override
    def init(self) -> UnderdampedState:  # type: ignore[override]
        zero = jnp.zeros((), self.dtype)
        return UnderdampedState(jnp.zeros((), jnp.int32), zero, self.at_rest(), zero)

    @override
    def statistics(self, state: UnderdampedState) -> dict[str, Float[Array, ""]]:
        return {"kinetic_energy": state.kinetic_energy}

    @override
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        own = self.coefficients
        # two degrees of freedom of velocity variance μ T each
        return own.step_size(step) * jnp.sqrt(2 * own.direction_mobility * own.temperature(step))

    @override
    def move(
        self, key: Key[Array, ""], stage: Stage, carried: UnderdampedState
    ) -> tuple[SphereState, UnderdampedState]:
        here, _, temperature, h, _, mobility, minimum = stage
        acceleration = jax.tree.map(jnp.multiply, mobility, stage.force())
        # B of the step before, then B of this one
        before = carried.step_size
        whole = jax.tree.map(lambda v, a: v + before / 2 * a, carried.velocity, acceleration)
        kinetic = sum(
            jnp.sum(v**2) / (2 * mu) for v, mu in zip(whole, mobility, strict=True)
        ) / jnp.asarray(self.n_nodes, h.dtype)
        velocity = jax.tree.map(lambda v, a: v + h / 2 * a, whole, acceleration)
        half = SphereState(h / 2, h / 2)
        here, velocity = flow(here, velocity, half, minimum)
        velocity = self._thermalise(key, here, velocity, temperature, h, mobility)
        here, velocity = flow(here, velocity, half, minimum)
        return here, UnderdampedState(carried.step + 1, h, velocity, kinetic)

    def _thermalise(
        self,
        key: Key[Array, ""],
        here: SphereState,
        velocity: SphereState,
        temperature: Float[Array, ""],
        h: Float[Array, ""],
        mobility: SphereState,
    ) -> SphereState:
        """O: v ← e^{-γh} v + sqrt((1 - e^{-2γh}) μ T) ξ, exact for any h."""
        keep = jnp.exp(-self.friction.astype(h.dtype) * h)
        spread = jax.tree.map(lambda mu: jnp.sqrt((1 - keep**2) * mu * temperature), mobility)
        noise = tangent_noise(key, here, spread, temperature)
        mixed = jax.tree.map(lambda v, xi: keep * v + xi, velocity, noise)
        return SphereState(project_tangent(here.direction, mixed.direction), mixed.radius)
