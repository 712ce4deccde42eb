"""Schedules: temperature, coupling and step size as functions of the step.

A schedule is a small pytree of arrays, so that changing a value never recompiles a program. All of
them hold their last value once they are over.
"""

import abc
from typing import TYPE_CHECKING, Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from typing_extensions import override


class AbstractSchedule(eqx.Module):
    """A scalar that depends on the step counter of the sampler."""

    @abc.abstractmethod
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        """The value at `step` (0 is the first step)."""


Number = float | int | Array
"""What becomes a scalar array."""

# Fields with a converter take more than they hold. mypy knows no converters and would demand of
# callers what is held, so it sees `Any`.
if TYPE_CHECKING:
    Scalar = Any
    Count = Any
else:
    Scalar = Float[Array, ""]
    Count = Int[Array, ""]


def as_scalar(value: Number) -> Float[Array, ""]:
    """A number as an array of the default precision, so that changing it does not recompile."""
    return jnp.asarray(value, jnp.result_type(float))


def as_count(value: int | Int[Array, ""]) -> Int[Array, ""]:
    """A number of steps as an array, so that changing it does not recompile."""
    return jnp.asarray(value, jnp.int32)


@final
class Constant(AbstractSchedule):
    """The same `value` at every step."""

    value: Scalar = eqx.field(converter=as_scalar)

    @override
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

    start: Scalar = eqx.field(converter=as_scalar)
    end: Scalar = eqx.field(converter=as_scalar)
    steps: Scalar = eqx.field(converter=as_scalar)

    @override
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start + (self.end - self.start) * self._progress(step)


@final
class Exponential(_AbstractRamp):
    """From `start` to `end` in `steps` steps by a constant factor per step.

    Both ends must be positive.
    """

    start: Scalar = eqx.field(converter=as_scalar)
    end: Scalar = eqx.field(converter=as_scalar)
    steps: Scalar = eqx.field(converter=as_scalar)

    def __check_init__(self) -> None:
        if not (self.start > 0 and self.end > 0):
            raise ValueError(
                f"`start` and `end` must be positive; got {self.start} and {self.end}. Use Linear"
                " for 0."
            )

    @override
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return self.start * (self.end / self.start) ** self._progress(step)


@final
class Switch(AbstractSchedule):
    """`before` for the first `steps` steps, `after` from then on.

    As a coupling it is t-SNE's "early exaggeration".
    """

    before: Scalar = eqx.field(converter=as_scalar)
    after: Scalar = eqx.field(converter=as_scalar)
    steps: Scalar = eqx.field(converter=as_scalar)

    @override
    def __call__(self, step: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(step.astype(self.steps.dtype) < self.steps, self.before, self.after)
