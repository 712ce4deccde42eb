"""Schedules: temperature, coupling and step size as functions of the step.

A schedule is a small pytree of arrays, so that changing a value never recompiles a program. All of
them hold their last value once they are over.
"""

import abc
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class AbstractSchedule(eqx.Module):
    """A scalar that depends on the step counter of the sampler."""

    @abc.abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at `step` (0 is the first step)."""


Number = float | int | Array
"""What becomes a scalar array."""


def as_scalar(value: Number) -> Float[Array, ""]:
    """A number as an array of the default precision, so that changing it does not recompile."""
    return jnp.asarray(value, jnp.result_type(float))


@final
class Constant(AbstractSchedule):
    """The same `value` at every step."""

    value: Float[Array, ""]

    def __init__(self, value: Number):
        self.value = as_scalar(value)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.value


class _AbstractRamp(AbstractSchedule):
    start: eqx.AbstractVar[Float[Array, ""]]
    end: eqx.AbstractVar[Float[Array, ""]]
    steps: eqx.AbstractVar[Float[Array, ""]]

    def _progress(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """Share of the ramp that is behind us, in [0, 1]; a ramp of no steps is over at once."""
        elapsed = step.astype(self.steps.dtype)
        return jnp.where(self.steps > 0, jnp.clip(elapsed / jnp.maximum(self.steps, 1), 0, 1), 1)


@final
class Linear(_AbstractRamp):
    """From `start` to `end` in `steps` steps, along a straight line."""

    start: Float[Array, ""]
    end: Float[Array, ""]
    steps: Float[Array, ""]

    def __init__(self, start: Number, end: Number, steps: Number):
        self.start = as_scalar(start)
        self.end = as_scalar(end)
        self.steps = as_scalar(steps)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start + (self.end - self.start) * self._progress(step)


@final
class Exponential(_AbstractRamp):
    """From `start` to `end` in `steps` steps by a constant factor per step.

    Both ends must be positive.
    """

    start: Float[Array, ""]
    end: Float[Array, ""]
    steps: Float[Array, ""]

    def __init__(self, start: Number, end: Number, steps: Number):
        self.start = as_scalar(start)
        self.end = as_scalar(end)
        self.steps = as_scalar(steps)

    def __check_init__(self) -> None:
        if not (self.start > 0 and self.end > 0):
            raise ValueError(
                f"`start` and `end` must be positive; got {self.start} and {self.end}. Use Linear"
                " for 0."
            )

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start * (self.end / self.start) ** self._progress(step)


@final
class Cosine(_AbstractRamp):
    """From `start` to `end` in `steps` steps along half a cosine: flat at both ends."""

    start: Float[Array, ""]
    end: Float[Array, ""]
    steps: Float[Array, ""]

    def __init__(self, start: Number, end: Number, steps: Number):
        self.start = as_scalar(start)
        self.end = as_scalar(end)
        self.steps = as_scalar(steps)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.end + (self.start - self.end) * (1 + jnp.cos(jnp.pi * self._progress(step))) / 2


@final
class Switch(AbstractSchedule):
    """`before` for the first `steps` steps, `after` from then on.

    As a coupling it is t-SNE's "early exaggeration".
    """

    before: Float[Array, ""]
    after: Float[Array, ""]
    steps: Float[Array, ""]

    def __init__(self, before: Number, after: Number, steps: Number):
        self.before = as_scalar(before)
        self.after = as_scalar(after)
        self.steps = as_scalar(steps)

    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(step.astype(self.steps.dtype) < self.steps, self.before, self.after)
