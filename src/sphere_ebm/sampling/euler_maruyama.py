"""Overdamped Langevin dynamics by the Euler-Maruyama scheme on S² x R."""

from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key
from typing_extensions import override

from sphere_ebm.geometry.sphere import exponential_map, reflect_radius
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractOverdamped, Stage, tangent_noise


class EulerMaruyamaState(NamedTuple):
    """`step`: number of steps done."""

    step: Int[Array, ""]


@final
class EulerMaruyama(AbstractOverdamped):
    """x ← x + h μ F(x) + sqrt(2 h μ T) ξ, along the geodesic on S² and plainly on r.

    Its stationary law differs from the Gibbs law by O(h): for a harmonic radius of stiffness κ (and
    μ = 1), Var(r) = T / (κ (1 - h κ / 2)), stable for h κ < 2. Reference: Roberts & Tweedie 1996;
    the step on the manifold follows Girolami & Calderhead 2011.
    """

    coefficients: Coefficients
    # two degrees of freedom of 2 h μ T each
    variance: ClassVar[int] = 4

    @override
    def init(self) -> EulerMaruyamaState:  # type: ignore[override]
        return EulerMaruyamaState(jnp.zeros((), jnp.int32))

    @override
    def move(
        self, key: Key[Array, ""], stage: Stage, carried: EulerMaruyamaState
    ) -> tuple[SphereState, EulerMaruyamaState]:
        here = stage.here
        h = stage.step_size
        force = stage.force()
        noise = tangent_noise(key, here, stage.spread(h), stage.temperature)
        move = jax.tree.map(lambda mu, f, xi: h * mu * f + xi, stage.mobility, force, noise)
        radius, _ = reflect_radius(here.radius + move.radius, move.radius, stage.minimum_radius)
        moved = SphereState(exponential_map(here.direction, move.direction), radius)
        return moved, EulerMaruyamaState(carried.step + 1)
