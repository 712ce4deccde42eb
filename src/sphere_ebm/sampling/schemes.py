"""Schemes by name."""

import jax.numpy as jnp

from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.schedules import AbstractSchedule, Number
from sphere_ebm.sampling.underdamped import Underdamped

LANGEVIN_SCHEMES: tuple[str, ...] = ("underdamped", "leimkuhler-matthews", "euler-maruyama")
"""Without rejections: they can cool."""
EXACT_SCHEMES: tuple[str, ...] = ("mala", "metropolis-within-gibbs")
"""With rejections: they sample the law at any step size."""


def build_sampler(
    scheme: str,
    n_nodes: int,
    temperature: AbstractSchedule | Number,
    step_size: AbstractSchedule | Number,
    coupling: AbstractSchedule | Number = 1.0,
    *,
    friction: float = 1.0,
    adapt_steps: int = 0,
    target_acceptance: float = 0.574,
    direction_mobility: float = 1.0,
    radius_mobility: float = 1.0,
    minimum_radius: float = 0.0,
) -> AbstractLangevin:
    """The sampler called `scheme` for blocks of `n_nodes`, in the default precision.

    `friction` is used by `"underdamped"`, `adapt_steps` and `target_acceptance` by the exact ones.
    Raises ValueError for an unknown name.
    """
    common = {
        "direction_mobility": direction_mobility,
        "radius_mobility": radius_mobility,
        "minimum_radius": minimum_radius,
    }
    dtype = jnp.result_type(float)
    match scheme:
        case "underdamped":
            return Underdamped(
                n_nodes, temperature, step_size, friction, coupling, dtype=dtype, **common
            )
        case "leimkuhler-matthews":
            return LeimkuhlerMatthews(
                n_nodes, temperature, step_size, coupling, dtype=dtype, **common
            )
        case "euler-maruyama":
            return EulerMaruyama(temperature, step_size, coupling, **common)
        case "mala":
            adapted = {"adapt_steps": adapt_steps, "target_acceptance": target_acceptance}
            return MALA(temperature, step_size, coupling, **adapted, **common)  # type: ignore[arg-type]
        case "metropolis-within-gibbs":
            adapted = {"adapt_steps": adapt_steps, "target_acceptance": target_acceptance}
            return MetropolisWithinGibbs(temperature, step_size, coupling, **adapted, **common)  # type: ignore[arg-type]
    raise ValueError(
        f"`scheme` must be one of {', '.join(LANGEVIN_SCHEMES + EXACT_SCHEMES)}; got {scheme!r}."
    )
