"""What the Metropolis-adjusted schemes share: a Langevin proposal with its way back, and the log of their ratio.

A move is a tangent vector d and the flow along it for unit time; the way back is the transported -d. Flowing and
turning round is an involution of (point, tangent vector) that keeps volume, so the acceptance ratio contains the
Gaussian densities of d and of the way back and no Jacobian, whatever the length of d, also beyond half a turn and
with reflections at the minimum radius. References: Roberts & Tweedie 1996 (MALA); Green 1995 (involutions).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import Stage, flow, tangent_noise


class Proposal(NamedTuple):
    """Where to go, the tangent vector that leads back from there, and log q(d) of the way there for each node."""

    there: SphereState
    back: SphereState
    log_forward: Float[Array, " nodes"]


def propose(key: Key[Array, ""], stage: Stage, force: SphereState, step_size: Float[Array, ""]) -> Proposal:
    """One Euler-Maruyama step of `step_size` under `force`, from the configuration of `stage`."""
    spread = jax.tree.map(lambda mu: jnp.sqrt(2 * step_size * mu * stage.temperature), stage.mobility)
    noise = tangent_noise(key, stage.here, spread, stage.temperature)
    move = jax.tree.map(lambda mu, f, xi: step_size * mu * f + xi, stage.mobility, force, noise)
    one = SphereState(jnp.ones_like(step_size), jnp.ones_like(step_size))
    there, ahead = flow(stage.here, move, one, stage.minimum_radius)
    return Proposal(there, jax.tree.map(jnp.negative, ahead), _log_gaussian(noise, spread))


def log_way_back(
    stage: Stage, proposal: Proposal, force: SphereState, step_size: Float[Array, ""]
) -> Float[Array, " nodes"]:
    """log q of the way back for each node, `force` being the one at the proposal; same constant as `log_forward`."""
    spread = jax.tree.map(lambda mu: jnp.sqrt(2 * step_size * mu * stage.temperature), stage.mobility)
    noise = jax.tree.map(lambda mu, f, d: d - step_size * mu * f, stage.mobility, force, proposal.back)
    return _log_gaussian(noise, spread)


def _log_gaussian(noise: SphereState, spread: SphereState) -> Float[Array, " nodes"]:
    x, y, z = (noise.direction[:, k] for k in range(3))
    return -((x**2 + y**2 + z**2) / spread.direction**2 + (noise.radius / spread.radius) ** 2) / 2


def choose(accepted: Array, there: SphereState, here: SphereState) -> SphereState:
    """`there` where `accepted` (of shape () or (nodes,)), `here` elsewhere."""
    return SphereState(
        jnp.where(accepted[..., None], there.direction, here.direction), jnp.where(accepted, there.radius, here.radius)
    )
