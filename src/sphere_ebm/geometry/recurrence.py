"""The recurrence over degrees by which harmonics are evaluated at any direction.

It is stable up to the poles in float32: angles are kept to full relative precision, and values
beyond the range of float32 as a mantissa and an exponent.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

# Legendre functions near a pole leave the range of float32: they are kept as mantissa · 2^(RADIX ·
# exponent).
RADIX = 60


class Point(NamedTuple):
    """A direction as the recurrence wants it."""

    rise: Float[Array, "*batch p 1"]
    """1 - |cos θ|, rounded."""
    rest: Float[Array, "*batch p 1"]
    """What the rounding left out of `rise`."""
    side: Float[Array, "*batch p"]
    """The sign of cos θ, 1 on the equator: Legendre functions are those at |cos θ|, mirrored by the
    parity of l + m.
    """
    cosine: Float[Array, "*batch p orders"]
    """cos mφ, times `side`^m."""
    sine: Float[Array, "*batch p orders"]
    """sin mφ, times `side`^m."""


class Degree(NamedTuple):
    """Legendre functions of one degree at |cos θ|, and their growth since the last degree.

    Both are times 2^(-RADIX · exponent).
    """

    value: Float[Array, "*batch p orders"]
    growth: Float[Array, "*batch p orders"]
    exponent: Float[Array, "*batch p orders"]


def length_of(direction: Float[Array, "*batch p 3"]) -> Float[Array, "*batch p 1"]:
    """|u|, also where the squares of u overflow or vanish in float32."""
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(direction), axis=-1, keepdims=True))
    # 1 changes no bit of ordinary vectors
    scale = jnp.where((peak > 1e10) | ((peak > 0) & (peak < 1e-10)), peak, 1)
    return scale * jnp.linalg.norm(direction / scale, axis=-1, keepdims=True)


def start_of(direction: Float[Array, "*batch p 3"], size: int) -> tuple[Point, Degree]:
    """Where the recurrence begins.

    The angles of each direction to full relative precision, and |P̄_m^m| = c_m sin^m θ for every
    order m.
    """
    unit = direction / length_of(direction)
    x = unit[..., 0]
    y = unit[..., 1]
    z = unit[..., 2]
    sine = jnp.hypot(x, y)
    height = jnp.abs(z)
    side = jnp.where(z < 0, -1, 1).astype(unit.dtype)
    rise = jnp.where(height < 0.5, 1 - height, sine**2 / (1 + height))
    rest = jnp.where(height < 0.5, (1 - rise) - height, 0)
    point = Point(rise[..., None], rest[..., None], side, *_circle(x, y, side, size))
    # sin θ itself where it is small, through cos θ where it is close to 1
    log_sine = jnp.where(
        sine < 0.7, jnp.log(jnp.maximum(sine, 1e-30)), 0.5 * jnp.log1p(-jnp.minimum(z**2, 0.9))
    )
    order = np.arange(size)
    steps = np.cumsum(np.log1p(1 / (2.0 * np.maximum(order, 1))) * (order > 0))
    norm = 0.5 * (steps - math.log(4 * math.pi) + math.log(2) * (order > 0)) / math.log(2)
    axes = (1,) * (unit.ndim - 1) + (size,)
    times, offset = (
        jnp.asarray(table, unit.dtype).reshape(axes) for table in (order / math.log(2), norm)
    )
    power = log_sine[..., None] * times + offset
    exponent = jnp.minimum(jnp.round(power / RADIX), 0)
    return point, Degree(jnp.exp2(power - RADIX * exponent), jnp.zeros_like(power), exponent)


def _circle(
    x: Float[Array, "*batch p"],
    y: Float[Array, "*batch p"],
    side: Float[Array, "*batch p"],
    size: int,
) -> tuple[Float[Array, "*batch p orders"], Float[Array, "*batch p orders"]]:
    """side^m cos mφ and side^m sin mφ.

    Quarter turns and the leading bits of φ are multiplied by m without rounding.
    """
    steep = jnp.abs(y) > jnp.abs(x)
    long = jnp.where(steep, y, x)
    turn = jnp.arctan(jnp.where(steep, -x, y) / jnp.where(long == 0, 1, long)) / (2 * math.pi)
    turn = turn[..., None]
    quarter = jnp.where(long < 0, 0.5, 0).astype(x.dtype) + jnp.where(steep, 0.25, 0).astype(
        x.dtype
    )
    coarse = jnp.round(turn * 4096) / 4096
    order = jnp.arange(size, dtype=x.dtype).reshape((1,) * x.ndim + (size,))
    whole = order * (coarse + quarter[..., None])
    angle = 2 * math.pi * (whole - jnp.round(whole) + order * (turn - coarse))
    sign = jnp.where((order % 2 == 1) & (side[..., None] < 0), -1, 1).astype(x.dtype)
    return sign * jnp.cos(angle), sign * jnp.sin(angle)


def harmonics_of(
    point: Point, state: Degree
) -> tuple[Float[Array, "*batch p orders"], Float[Array, "*batch p orders"]]:
    """Harmonics of one degree, up to the parity of the degree.

    Cosines (m >= 0) and sines (m > 0).
    """
    small = jnp.where(state.exponent == -1, state.value * 2.0**-RADIX, 0)
    value = jnp.where(state.exponent == 0, state.value, small)
    return value * point.cosine, value * point.sine


def raise_degree(point: Point, state: Degree, coupling: Float[Array, "3 orders"]) -> Degree:
    """P̄_{l+1} = a P̄_l cos θ - b P̄_{l-1}, written for the difference P̄_{l+1} - P̄_l.

    Source: Reinsch; Deuflhard 1976.

    The plain recurrence knows cos θ only to rounding, which near a pole spoils θ and with it the
    high degrees; the difference needs 1 - cos θ, known to full relative precision. Until l = m the
    value stays at |P̄_m^m|.
    """
    a, excess, b = (row.reshape((1,) * (state.value.ndim - 1) + row.shape) for row in coupling)
    growth = (excess - a * point.rise - a * point.rest) * state.value + b * state.growth
    value = state.value + growth
    large = (jnp.abs(value) > 2.0 ** (RADIX // 2)) & (state.exponent < 0)
    shrink = jnp.where(large, 2.0**-RADIX, 1).astype(value.dtype)
    return Degree(
        value * shrink, growth * shrink, jnp.where(large, state.exponent + 1, state.exponent)
    )


def per_degree(
    size: int, dtype: np.dtype
) -> tuple[Float[Array, "degrees 3 orders"], Bool[Array, " degrees"]]:
    """What the recurrence needs at each degree: its coefficients, and whether the degree is odd."""
    return jnp.asarray(_couplings(size), dtype), jnp.arange(size, dtype=jnp.int32) % 2 == 1


@lru_cache(maxsize=8)
def _couplings(size: int) -> Float[np.ndarray, "degrees 3 orders"]:
    """a, a - 1 - b and b of the recurrence from each degree to the next, in float64.

    They are zero for l < m.
    """
    degree = np.arange(size)[:, None]
    order = np.arange(size)[None]
    above = degree >= order
    here = degree > order
    gap = np.where(above, (degree + 1.0) ** 2 - order**2, 1)
    a = np.where(above, np.sqrt((4 * (degree + 1.0) ** 2 - 1) / gap), 0)
    b = np.where(
        here,
        a
        * np.sqrt(np.where(here, degree**2 - order**2, 0) / np.where(here, 4.0 * degree**2 - 1, 1)),
        0,
    )
    return np.stack([a, np.where(above, a - 1 - b, 0), b], axis=1)
