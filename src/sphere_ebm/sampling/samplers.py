"""From the name of a scheme to its sampler."""

import jax.numpy as jnp

from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.schedules import Number
from sphere_ebm.sampling.schemes import EXACT_SCHEMES, LANGEVIN_SCHEMES
from sphere_ebm.sampling.underdamped import Underdamped


def build_sampler(
    scheme: str,
    n_nodes: int,
    coefficients: Coefficients,
    *,
    friction: Number = 1.0,
    adapt_steps: int = 0,
    target_acceptance: Number = 0.574,
) -> AbstractLangevin:
    """The sampler called `scheme` for blocks of `n_nodes`, in the default precision.

    `friction` is used by `"underdamped"`, `adapt_steps` and `target_acceptance` by the exact ones.
    Raises ValueError for an unknown name.
    """
    dtype = jnp.result_type(float)
    match scheme:
        case "underdamped":
            return Underdamped(coefficients, n_nodes, friction=friction, dtype=dtype)
        case "leimkuhler-matthews":
            return LeimkuhlerMatthews(coefficients, n_nodes, dtype=dtype)
        case "euler-maruyama":
            return EulerMaruyama(coefficients)
        case "mala":
            return MALA(coefficients, adapt_steps=adapt_steps, target_acceptance=target_acceptance)
        case "metropolis-within-gibbs":
            return MetropolisWithinGibbs(
                coefficients, adapt_steps=adapt_steps, target_acceptance=target_acceptance
            )
    raise ValueError(
        f"`scheme` must be one of {', '.join(LANGEVIN_SCHEMES + EXACT_SCHEMES)}; got {scheme!r}."
    )
