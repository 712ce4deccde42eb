"""What is refused before chains run, and while they do."""

import math
import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np

from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.sampling.metropolis import AbstractMetropolis
from sphere_ebm.sampling.run import check_finite


def check_counts(chains: int, warmup: int, draws: int, thin: int) -> None:
    """Raises ValueError for numbers that make no run."""
    for name, value, least in (
        ("chains", chains, 1),
        ("warmup", warmup, 0),
        ("draws", draws, 1),
        ("thin", thin, 1),
    ):
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(f"`{name}` must be at least {least}, an integer; got {value!r}.")


def check_settled(samplers: list[Any], warmup: int, total: int) -> None:
    """Refuse samplers that do not draw from one law from `warmup` to `total` steps.

    Raises ValueError.
    """
    first = jnp.asarray(warmup, jnp.int32)
    last = jnp.asarray(total, jnp.int32)
    for sampler in {id(each): each for each in samplers}.values():
        own = sampler.coefficients
        scheduled = {
            "temperature": own.temperature,
            "step_size": own.step_size,
            "coupling": own.coupling,
        }
        adapts = isinstance(sampler, AbstractMetropolis)
        for name, schedule in scheduled.items():
            before = float(schedule(first))
            after = float(schedule(last))
            if not 0 <= after < math.inf or (name == "temperature" and after == 0 and adapts):
                raise ValueError(f"`{name}` must be a number that makes a law; got {after}.")
            if before != after or (name == "coupling" and after != 1):
                raise ValueError(
                    f"`{name}` must be constant{' and 1' if name == 'coupling' else ''} after the"
                    f" warm-up of {warmup} steps; got {before:.4g} there and {after:.4g} at step"
                    f" {total}. Use a longer `warmup`."
                )
        if isinstance(sampler, AbstractMetropolis) and (steps := int(sampler.adapt_steps)) > warmup:
            raise ValueError(
                f"`adapt_steps` must be at most warmup={warmup}; got {steps}. Use a longer"
                " `warmup`."
            )


def check_energies(energies: dict[str, np.ndarray], step: int) -> None:
    """Raises NonFiniteEnergyError naming the first chain whose energy is not finite."""
    sums = {name: values.sum(axis=1) for name, values in energies.items()}
    finite = np.all([np.isfinite(each) for each in sums.values()], axis=0)
    bad = np.flatnonzero(~np.atleast_1d(finite))
    for chain in bad[:1]:
        try:
            check_finite({name: float(each[chain]) for name, each in sums.items()}, step)
        except NonFiniteEnergyError as error:
            raise NonFiniteEnergyError(f"chain {chain}: {error}") from None
