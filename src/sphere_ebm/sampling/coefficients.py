"""The numbers that every Langevin scheme has: temperature, step size, coupling and mobilities."""

from typing import TYPE_CHECKING, Any, final

import equinox as eqx

from sphere_ebm.sampling.schedules import AbstractSchedule, Constant, Number, Scalar, as_scalar

if TYPE_CHECKING:
    # as `Scalar`: a number or a schedule is taken, a schedule is held
    Scheduled = Any
else:
    Scheduled = AbstractSchedule


def as_schedule(value: AbstractSchedule | Number) -> AbstractSchedule:
    """A number becomes a constant schedule."""
    return value if isinstance(value, AbstractSchedule) else Constant(value)


@final
class Coefficients(eqx.Module):
    """What a scheme is told of the law and of its pace. Plain numbers become arrays.

    Schedules are read at the step counter in the sampler state.

    Attributes:
        temperature: T, in units of energy per point.
        step_size: h, a time.
        coupling: multiplies the annealed terms (the lateral attraction).
        direction_mobility: μ of the directions. Mobilities turn forces into velocities (for
            underdamped dynamics 1 / μ is the mass): they set how fast each part moves and leave the
            Gibbs law p ∝ exp(-H / T) unchanged. A free direction diffuses with D = μ T.
        radius_mobility: μ of the radii.
        minimum_radius: where radii are reflected.
    """

    temperature: Scheduled = eqx.field(converter=as_schedule)
    step_size: Scheduled = eqx.field(converter=as_schedule)
    coupling: Scheduled = eqx.field(converter=as_schedule, default=1.0)
    direction_mobility: Scalar = eqx.field(converter=as_scalar, default=1.0, kw_only=True)
    radius_mobility: Scalar = eqx.field(converter=as_scalar, default=1.0, kw_only=True)
    minimum_radius: Scalar = eqx.field(converter=as_scalar, default=0.0, kw_only=True)
