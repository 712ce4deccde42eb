"""Overdamped Langevin dynamics by the Euler-Maruyama scheme on S² x R."""

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from typing_extensions import override

from sphere_ebm.geometry.sphere import exponential_map, reflect_radius
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractLangevin, Stage, tangent_noise
from sphere_ebm.sampling.terms import total_force


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

    coefficients: Coefficients

    @override
    def init(self) -> EulerMaruyamaState:  # type: ignore[override]
        return EulerMaruyamaState(jnp.zeros((), jnp.int32))

    @override
    def statistics(self, state: EulerMaruyamaState) -> dict[str, Float[Array, ""]]:
        return {}

    @override
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        own = self.coefficients
        # two degrees of freedom of variance 2 h μ T each
        return jnp.sqrt(4 * own.step_size(step) * own.direction_mobility * own.temperature(step))

    @override
    def move(
        self, key: Key[Array, ""], stage: Stage, carried: EulerMaruyamaState
    ) -> tuple[SphereState, EulerMaruyamaState]:
        here, terms, temperature, h, coupling, mobility, minimum = stage
        force = total_force(here, terms, coupling)
        spread = jax.tree.map(lambda mu: jnp.sqrt(2 * h * mu * temperature), mobility)
        noise = tangent_noise(key, here, spread, temperature)
        move = jax.tree.map(lambda mu, f, xi: h * mu * f + xi, mobility, force, noise)
        radius, _ = reflect_radius(here.radius + move.radius, move.radius, minimum)
        moved = SphereState(exponential_map(here.direction, move.direction), radius)
        return moved, EulerMaruyamaState(carried.step + 1)
