"""Dual averaging: step sizes that meet a wanted acceptance, learned during warm-up."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_SHRINKAGE = 0.05
_DELAY = 10.0
_DECAY = 0.75
_FIRST_GUESS = 10.0
"""Trial factors are drawn to this one, so that steps too small are left quickly."""


class DualAveraging(NamedTuple):
    """Logarithms of a factor on the step size: the one to try next, and the average to keep."""

    log_trial: Float[Array, ""]
    log_average: Float[Array, ""]
    error: Float[Array, ""]

    @classmethod
    def start(cls, dtype: Any) -> "DualAveraging":
        """Before the first step."""
        zero = jnp.zeros((), dtype)
        return cls(zero, zero, zero)

    def factor(self, step: Int[Array, ""], adapt_steps: Int[Array, ""]) -> Float[Array, ""]:
        """The factor to use at `step`: on trial before `adapt_steps`, the average from then on."""
        return jnp.exp(jnp.where(step < adapt_steps, self.log_trial, self.log_average))

    def after(
        self,
        acceptance: Float[Array, ""],
        target: Float[Array, ""],
        step: Int[Array, ""],
        adapt_steps: Int[Array, ""],
    ) -> "DualAveraging":
        """The state once `step` (counted from 0) was accepted with this probability.

        It is unchanged after `adapt_steps`.

        Source: Hoffman & Gelman 2014, algorithm 5, with their constants.
        """
        count = step.astype(acceptance.dtype) + 1
        gain = 1 / (count + _DELAY)
        error = (1 - gain) * self.error + gain * (target.astype(acceptance.dtype) - acceptance)
        log_trial = (
            jnp.log(jnp.asarray(_FIRST_GUESS, count.dtype)) - jnp.sqrt(count) / _SHRINKAGE * error
        )
        weight = count**-_DECAY
        log_average = weight * log_trial + (1 - weight) * self.log_average
        adapting = step < adapt_steps
        return DualAveraging(
            *(
                jnp.where(adapting, new, old)
                for new, old in zip((log_trial, log_average, error), self, strict=True)
            )
        )
