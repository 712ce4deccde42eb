"""What the Metropolis-adjusted schemes share.

A Langevin proposal with its way back, and the log of their ratio.

A move is a tangent vector d and the flow along it for unit time; the way back is the transported
-d. Flowing and turning round is an involution of (point, tangent vector) that keeps volume, so the
acceptance ratio contains the Gaussian densities of d and of the way back and no Jacobian, whatever
the length of d, also beyond half a turn and with reflections at the minimum radius. References:
Roberts & Tweedie 1996 (MALA); Green 1995 (involutions).
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
from typing_extensions import override

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.adaptation import DualAveraging
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import (
    AbstractLangevin,
    Stage,
    check_warm,
    flow,
    tangent_noise,
)
from sphere_ebm.sampling.schedules import Count, Number, Scalar, as_count, as_scalar

Evaluate = Callable[[SphereState], tuple[Float[Array, "*nodes"], SphereState]]
"""Energy and tangent force at a configuration: one energy for all nodes, shape (), or each node's,
shape (nodes,).
"""


class MetropolisState(NamedTuple):
    """The state of a scheme that rejects.

    `acceptance` is the probability of the last step, `step_size` the h that it was made with.
    """

    step: Int[Array, ""]
    adaptation: DualAveraging
    acceptance: Float[Array, ""]
    step_size: Float[Array, ""]


def check_target(acceptance: Number) -> None:
    """Raises ValueError for a wanted acceptance that no step size has."""
    if not isinstance(acceptance, jax.core.Tracer) and not 0 < float(acceptance) < 1:
        raise ValueError(
            f"`target_acceptance` must lie between 0 and 1; got {float(acceptance):g}."
        )


class AbstractMetropolis(AbstractLangevin):
    """A Langevin step that is accepted or rejected, with a step size that adapts during warm-up.

    During the first `adapt_steps` steps h is `step_size` times a factor that dual averaging drives
    to `target_acceptance`; from then on the factor stays. What is drawn before does not follow the
    law.
    """

    coefficients: Coefficients
    adapt_steps: Count = eqx.field(converter=as_count, default=0, kw_only=True)
    target_acceptance: Scalar = eqx.field(converter=as_scalar, default=0.574, kw_only=True)

    def __check_init__(self) -> None:
        check_warm(self.coefficients.temperature)
        check_target(self.target_acceptance)

    @override
    def init(self) -> MetropolisState:  # type: ignore[override]
        zero = jnp.zeros((), jnp.result_type(float))
        return MetropolisState(
            jnp.zeros((), jnp.int32), DualAveraging.start(zero.dtype), zero, zero
        )

    @override
    def statistics(self, state: MetropolisState) -> dict[str, Float[Array, ""]]:
        return {"acceptance": state.acceptance, "step_size": state.step_size}

    @override
    def thermal_move(self, step: Int[Array, ""]) -> Float[Array, ""]:
        # of a proposal at the scheduled step size
        own = self.coefficients
        return jnp.sqrt(4 * own.step_size(step) * own.direction_mobility * own.temperature(step))

    @abc.abstractmethod
    def ends(self, stage: Stage) -> tuple[Evaluate, Evaluate]:
        """How to evaluate the present configuration, and the proposed one."""

    @override
    def move(
        self, key: Key[Array, ""], stage: Stage, carried: MetropolisState
    ) -> tuple[SphereState, MetropolisState]:
        # all nodes are accepted together or each alone, as energies come
        here, there = self.ends(stage)
        key_move, key_accept = jax.random.split(key)
        dtype = stage.here.radius.dtype
        h = stage.step_size * carried.adaptation.factor(carried.step, self.adapt_steps).astype(
            dtype
        )
        energy, force = here(stage.here)
        proposal = propose(key_move, stage, force, h)
        energy_there, force_there = there(proposal.there)
        ways = log_way_back(stage, proposal, force_there, h) - proposal.log_forward
        log_ratio = (energy - energy_there) / stage.temperature + (
            jnp.sum(ways) if energy.ndim == 0 else ways
        )
        # an energy that is not a number rejects
        accepted = jnp.log(jax.random.uniform(key_accept, log_ratio.shape, dtype)) < log_ratio
        probability = jnp.mean(
            jnp.where(jnp.isnan(log_ratio), 0, jnp.exp(jnp.minimum(log_ratio, 0)))
        )
        probability = probability.astype(carried.acceptance.dtype)
        adaptation = carried.adaptation.after(
            probability, self.target_acceptance, carried.step, self.adapt_steps
        )
        after = MetropolisState(
            carried.step + 1, adaptation, probability, h.astype(probability.dtype)
        )
        return choose(accepted, proposal.there, stage.here), after


class Proposal(NamedTuple):
    """Where to go, the tangent vector that leads back, and log q(d) of the way there.

    The logarithm is each node's own.
    """

    there: SphereState
    back: SphereState
    log_forward: Float[Array, " nodes"]


def propose(
    key: Key[Array, ""], stage: Stage, force: SphereState, step_size: Float[Array, ""]
) -> Proposal:
    """One Euler-Maruyama step of `step_size` under `force`, from the configuration of `stage`."""
    spread = stage.spread(step_size)
    noise = tangent_noise(key, stage.here, spread, stage.temperature)
    move = jax.tree.map(lambda mu, f, xi: step_size * mu * f + xi, stage.mobility, force, noise)
    one = SphereState(jnp.ones_like(step_size), jnp.ones_like(step_size))
    there, ahead = flow(stage.here, move, one, stage.minimum_radius)
    return Proposal(there, jax.tree.map(jnp.negative, ahead), _log_gaussian(noise, spread))


def log_way_back(
    stage: Stage, proposal: Proposal, force: SphereState, step_size: Float[Array, ""]
) -> Float[Array, " nodes"]:
    """Log q of the way back for each node, `force` being the one at the proposal.

    It has the same constant as `log_forward`.
    """
    spread = stage.spread(step_size)
    noise = jax.tree.map(
        lambda mu, f, d: d - step_size * mu * f, stage.mobility, force, proposal.back
    )
    return _log_gaussian(noise, spread)


def _log_gaussian(noise: SphereState, spread: SphereState) -> Float[Array, " nodes"]:
    x, y, z = (noise.direction[:, k] for k in range(3))
    return (
        -(
            _ratio(x**2 + y**2 + z**2, spread.direction**2)
            + _ratio(noise.radius**2, spread.radius**2)
        )
        / 2
    )


def _ratio(square: Float[Array, " nodes"], variance: Float[Array, ""]) -> Float[Array, " nodes"]:
    """Zero where nothing moves.

    A part of mobility 0 stays where it is, which is no reason to reject.
    """
    return jnp.where(variance > 0, square / jnp.where(variance > 0, variance, 1), 0)


def choose(accepted: Array, there: SphereState, here: SphereState) -> SphereState:
    """`there` where `accepted` (of shape () or (nodes,)), `here` elsewhere."""
    return SphereState(
        jnp.where(accepted[..., None], there.direction, here.direction),
        jnp.where(accepted, there.radius, here.radius),
    )
