"""Real orthonormal spherical harmonics.

Transforms on a Gauss-Legendre grid, and synthesis at any direction.

    R_l^0 = Y_l^0,   R_l^m = √2 (-1)^m Re Y_l^m (m > 0),   R_l^m = √2 (-1)^|m| Im Y_l^|m| (m < 0),

Y = `scipy.special.sph_harm_y`, whose Condon-Shortley sign the factor (-1)^m takes away: R_1^{-1},
R_1^0, R_1^1 are sqrt(3/4π) times y, z, x. ∫ R_l^m R_l'^m' dΩ = δ δ. A field of band limit L has the
degrees l < L; its coefficients are flat, (*batch, L²), with (l, m) at index l² + l + m. Lengths are
those of the unit sphere, angles are radians.

s2fft 1.5 was measured first, on two cores, and does not serve here. With precomputed kernels it
transforms as fast and as exactly in float32 as these tables do at L = 64, but needs tens of times
longer to set them up, at L = 64 as at 256. Its recursion without kernels misses SciPy by 4e-4 at L
= 64 and 4e-3 at L = 256 in float32 (McEwen-Wiaux sampling; the round trip is wrong by a fifth of
the field) and on Gauss-Legendre nodes in float32 its iteration for the weights does not end; in
float64 it is exact and some ten to thirty times slower than the tables. It does not evaluate off
the grid.
"""

import math
from functools import lru_cache, partial
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float
from scipy.special import sph_legendre_p_all

MAX_BAND_LIMIT = 512
# Rows of Legendre functions that SciPy computes at once: bounds the memory at 16 · 2 L² doubles.
ROWS_AT_ONCE = 16
# Legendre functions near a pole leave the range of float32: they are kept as mantissa · 2^(RADIX ·
# exponent).
RADIX = 60

einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@final
class SphericalHarmonics(eqx.Module):
    """Synthesis and analysis on a grid of L rows by 2 L azimuths.

    Rows are Gauss-Legendre, north to south; azimuths are j π / L.

    The quadrature is exact for products of two fields of band limit L, so `forward(inverse(a)) = a`
    to rounding. An FFT along each row and one product of matrices per order; O(L³) for each field,
    the Legendre table has L³ floats. `legendre[m, row, l]` is √(2 - δ_m0) (-1)^m P̄_l^m(cos θ_row),
    zero for l < m; `weights` integrate cos θ.
    """

    legendre: Float[Array, "orders rows degrees"]
    weights: Float[Array, " rows"]
    cosine: Float[Array, " rows"]
    sine: Float[Array, " rows"]

    @classmethod
    def build(cls, band_limit: int, dtype: np.dtype | type = np.float32) -> "SphericalHarmonics":
        """Tabulate for degrees l < `band_limit`, in float64, kept as `dtype`.

        Raises ValueError unless 1 <= `band_limit` <= 512.
        """
        _check_band_limit(band_limit)
        nodes, weights = np.polynomial.legendre.leggauss(band_limit)
        cosine = nodes[::-1]
        weights = weights[::-1]
        sine = np.sqrt((1 - cosine) * (1 + cosine))
        theta = np.arctan2(sine, cosine)
        legendre = np.empty((band_limit, band_limit, band_limit), dtype)
        for start in range(0, band_limit, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            values = sph_legendre_p_all(band_limit - 1, band_limit - 1, theta[rows])[
                0, :, :band_limit
            ]
            legendre[:, rows] = (values * _sign_and_scale(band_limit)[:, None]).transpose(1, 2, 0)
        return cls(
            *(jnp.asarray(np.asarray(table, dtype)) for table in (legendre, weights, cosine, sine))
        )

    @property
    def band_limit(self) -> int:
        return self.legendre.shape[0]

    @property
    def directions(self) -> Float[Array, "rows columns 3"]:
        """Unit vectors of the grid."""
        azimuth = np.arange(2 * self.band_limit) * (np.pi / self.band_limit)
        real = self.sine.dtype
        circle = jnp.asarray(
            np.stack([np.cos(azimuth), np.sin(azimuth), np.ones_like(azimuth)], axis=-1), real
        )
        rows = jnp.stack([self.sine, self.sine, self.cosine], axis=-1)
        return rows[:, None, :] * circle[None]

    @eqx.filter_jit
    def inverse(
        self, coefficients: Float[Array, "*batch coefficients"]
    ) -> Float[Array, "*batch rows columns"]:
        """Synthesis: f(u) = Σ a_lm R_l^m(u) at the nodes of the grid.

        Raises ValueError unless there are L² of them.
        """
        size = self.band_limit
        if coefficients.shape[-1] != size**2:
            raise ValueError(
                f"`coefficients` must have band_limit² = {size**2} entries along the last axis; "
                f"got shape {coefficients.shape}."
            )
        parts = _padded(coefficients)[..., _positions(size).transpose(1, 2, 0)]
        waves = einsum("mrl,...pml->...prm", self.legendre.astype(coefficients.dtype), parts)
        waves = waves * jnp.asarray(
            np.where(np.arange(size) == 0, 2 * size, size), waves.dtype
        ).reshape((1,) * (waves.ndim - 1) + (size,))
        return jnp.fft.irfft(
            jax.lax.complex(waves[..., 0, :, :], -waves[..., 1, :, :]), n=2 * size, axis=-1
        )

    @eqx.filter_jit
    def forward(
        self, field: Float[Array, "*batch rows columns"]
    ) -> Float[Array, "*batch coefficients"]:
        """Analysis: a_lm = ∫ f R_l^m dΩ by quadrature.

        Raises ValueError unless the shape is (*batch, L, 2 L).
        """
        size = self.band_limit
        if field.shape[-2:] != (size, 2 * size):
            raise ValueError(
                f"`field` must have shape (*batch, {size}, {2 * size}); got {field.shape}."
            )
        waves = jnp.fft.rfft(field, axis=-1)[..., :size]
        weights = (self.weights * (math.pi / size)).astype(field.dtype)
        waves = jnp.stack([waves.real, -waves.imag], axis=-3) * weights.reshape(
            (1,) * (waves.ndim - 1) + (size, 1)
        )
        parts = einsum("mrl,...prm->...pml", self.legendre.astype(field.dtype), waves)
        degree, order = degrees_and_orders(size)
        flat = ((order < 0) * size + np.abs(order)) * size + degree
        return parts.reshape(*field.shape[:-2], 2 * size**2)[..., flat]


@eqx.filter_jit
def evaluate(
    coefficients: Float[Array, "*batch coefficients"], direction: Float[Array, "*batch p 3"]
) -> Float[Array, "*batch p"]:
    """f(u/|u|) = Σ a_lm R_l^m(u/|u|) at any non-zero vectors, each batch with its own.

    Both of one dtype.

    Smooth everywhere, poles included: the derivative with respect to `direction` is the surface
    gradient over |u|, from harmonics of one degree less (`gradient_coefficients`), and can itself
    be differentiated. O(p L²) time, O(p L) memory; only the gradient with respect to `coefficients`
    keeps all p L² values. Largest error in float32, over the largest value of the field: 3e-6 at L
    = 64, 1e-5 at L = 256. Raises ValueError unless the number of coefficients is a square.
    """
    return evaluate_many(coefficients[..., None, :], direction)[..., 0]


@eqx.filter_jit
def basis(direction: Float[Array, "n 3"], band_limit: int) -> Float[Array, "n coefficients"]:
    """All L² harmonics at n directions: (n, L²).

    `weights @ basis(...)` is the analysis of a sum of point masses.

    O(n L²) time and memory. Raises ValueError unless 1 <= `band_limit` <= 512.
    """
    _check_band_limit(band_limit)
    point, start = _start(direction, band_limit)

    def step(state: _Degree, inputs: tuple[Array, Array]) -> tuple[_Degree, Array]:
        coupling, odd = inputs
        cosine, sine = _row(point, state)
        row = jnp.concatenate([sine[:, :0:-1], cosine], axis=1)
        return _raise_degree(point, state, coupling), jnp.where(odd, point.side[:, None] * row, row)

    rows = jax.lax.scan(step, start, _per_degree(band_limit, direction.dtype))[1]
    # rows[degree, point, order]; one gather, where slices for each degree would take long to
    # compile
    degree, order = degrees_and_orders(band_limit)
    kept = degree * (2 * band_limit - 1) + order + band_limit - 1
    return jnp.moveaxis(rows, 0, 1).reshape(direction.shape[0], -1)[:, kept]


def gradient_coefficients(
    coefficients: Float[Array, "*batch coefficients"],
) -> Float[Array, "*batch 3 coefficients"]:
    """Coefficients of the gradient of the solid field Σ a_lm r^l R_l^m at r = 1.

    That is of ∂/∂x, ∂/∂y, ∂/∂z, themselves of degrees < L - 1.

    Their tangential part is the surface gradient of the field, without any division by sin θ. From
    (∂x ± i∂y) r^l Y_l^m = ± sqrt((2l+1)/(2l-1)) sqrt((l∓m)(l∓m-1)) r^(l-1) Y_{l-1}^{m±1} and ∂z r^l
    Y_l^m = sqrt((2l+1)/(2l-1)) sqrt(l²-m²) r^(l-1) Y_{l-1}^m. Raises ValueError unless L² is a
    square.
    """
    index, weight = _ladder(_band_limit(coefficients))
    terms = _padded(coefficients)[..., index]
    return jnp.sum(
        terms * jnp.asarray(weight, terms.dtype).reshape((1,) * (terms.ndim - 3) + weight.shape),
        axis=-2,
    )


def degrees_and_orders(band_limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Degree l and order m of each flat index l² + l + m, as two integer arrays (L²,)."""
    degree = np.repeat(np.arange(band_limit), 2 * np.arange(band_limit) + 1)
    return degree, np.arange(band_limit**2) - degree**2 - degree


class _Point(NamedTuple):
    """A direction as the recurrence wants it: sign of cos θ, and cos mφ, sin mφ times that sign^m.

    1 - |cos θ| is `rise`, rounded, plus `rest`, what the rounding left out.
    """

    rise: Float[Array, "*batch p 1"]
    rest: Float[Array, "*batch p 1"]
    side: Float[Array, "*batch p"]
    cosine: Float[Array, "*batch p orders"]
    sine: Float[Array, "*batch p orders"]


class _Degree(NamedTuple):
    """Legendre functions of one degree at |cos θ|, and their growth since the last, times 2^(-RADIX
    · exponent).
    """

    value: Float[Array, "*batch p orders"]
    growth: Float[Array, "*batch p orders"]
    exponent: Float[Array, "*batch p orders"]


@jax.custom_jvp
def evaluate_many(
    coefficients: Float[Array, "*batch fields coefficients"], direction: Float[Array, "*batch p 3"]
) -> Float[Array, "*batch p fields"]:
    """Several fields at the same directions.

    (*batch, fields, L²) to (*batch, p, fields), as `evaluate` for each.

    One recurrence over the degrees for all of them; each field adds one product of matrices per
    degree.
    """
    size = _band_limit(coefficients)
    point, start = _start(direction, size)
    by_degree = jnp.moveaxis(_padded(coefficients)[..., _positions(size)], -3, 0)

    def step(
        carry: tuple[_Degree, Array], inputs: tuple[tuple[Array, Array], Array]
    ) -> tuple[tuple[_Degree, Array], None]:
        state, total = carry
        (coupling, odd), parts = inputs
        cosine, sine = _row(point, state)
        term = einsum("...pm,...fm->...pf", cosine, parts[..., 0, :])
        term = term + einsum("...pm,...fm->...pf", sine, parts[..., 1, :])
        term = jnp.where(odd, point.side[..., None] * term, term)
        return (_raise_degree(point, state, coupling), total + term), None

    total = jnp.zeros((*direction.shape[:-1], coefficients.shape[-2]), direction.dtype)
    return jax.lax.scan(step, (start, total), (_per_degree(size, direction.dtype), by_degree))[0][1]


@partial(evaluate_many.defjvp, symbolic_zeros=True)
def _evaluate_many_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | SymbolicZero, Array | SymbolicZero]
) -> tuple[Array, Array]:
    coefficients, direction = primals
    change, motion = tangents
    if isinstance(motion, SymbolicZero):
        value = evaluate_many(coefficients, direction)
        moved = None
    else:
        fields, size = coefficients.shape[-2:]
        slopes = gradient_coefficients(coefficients).reshape(
            *coefficients.shape[:-2], 3 * fields, size
        )
        both = evaluate_many(jnp.concatenate([coefficients, slopes], axis=-2), direction)
        value = both[..., :fields]
        gradient = both[..., fields:].reshape(*both.shape[:-1], fields, 3)
        length = jnp.linalg.norm(direction, axis=-1, keepdims=True)
        unit = direction / length
        turn = motion / length
        turn = turn - unit * jnp.sum(unit * turn, axis=-1, keepdims=True)
        moved = einsum("...pfc,...pc->...pf", gradient, turn)
    if isinstance(change, SymbolicZero):
        return value, jnp.zeros_like(value) if moved is None else moved
    changed = evaluate_many(change, direction)
    return value, changed if moved is None else changed + moved


def _start(direction: Float[Array, "*batch p 3"], size: int) -> tuple[_Point, _Degree]:
    """The angles of each direction to full relative precision, and |P̄_m^m| = c_m sin^m θ for every
    order m.
    """
    unit = direction / jnp.linalg.norm(direction, axis=-1, keepdims=True)
    x = unit[..., 0]
    y = unit[..., 1]
    z = unit[..., 2]
    sine = jnp.hypot(x, y)
    height = jnp.abs(z)
    side = jnp.where(z < 0, -1, 1).astype(unit.dtype)
    rise = jnp.where(height < 0.5, 1 - height, sine**2 / (1 + height))
    rest = jnp.where(height < 0.5, (1 - rise) - height, 0)
    point = _Point(rise[..., None], rest[..., None], side, *_circle(x, y, side, size))
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
    return point, _Degree(jnp.exp2(power - RADIX * exponent), jnp.zeros_like(power), exponent)


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


def _row(
    point: _Point, state: _Degree
) -> tuple[Float[Array, "*batch p orders"], Float[Array, "*batch p orders"]]:
    """Harmonics of one degree, up to the parity of the degree.

    Cosines (m >= 0) and sines (m > 0).
    """
    small = jnp.where(state.exponent == -1, state.value * 2.0**-RADIX, 0)
    value = jnp.where(state.exponent == 0, state.value, small)
    return value * point.cosine, value * point.sine


def _raise_degree(point: _Point, state: _Degree, coupling: Float[Array, "3 orders"]) -> _Degree:
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
    return _Degree(
        value * shrink, growth * shrink, jnp.where(large, state.exponent + 1, state.exponent)
    )


def _per_degree(
    size: int, dtype: np.dtype
) -> tuple[Float[Array, "degrees 3 orders"], Bool[Array, " degrees"]]:
    """What the recurrence needs at each degree: its coefficients, and whether the degree is odd."""
    return jnp.asarray(_couplings(size), dtype), jnp.arange(size, dtype=jnp.int32) % 2 == 1


@lru_cache(maxsize=8)
def _couplings(size: int) -> Float[np.ndarray, "degrees 3 orders"]:
    """a, a - 1 - b and b of the recurrence from each degree to the next, in float64.

    Zero for l < m.
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


@lru_cache(maxsize=8)
def _positions(size: int) -> np.ndarray:
    """Flat index of the cosine and the sine coefficient of (l, m).

    (degrees, 2, orders), L² where there is none.
    """
    degree = np.arange(size)[:, None]
    order = np.arange(size)[None]
    cosine = np.where(order <= degree, degree**2 + degree + order, size**2)
    sine = np.where((order <= degree) & (order > 0), degree**2 + degree - order, size**2)
    return np.stack([cosine, sine], axis=1).astype(np.int32)


@lru_cache(maxsize=8)
def _ladder(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the solid field as two terms per coefficient.

    Flat indices and weights, (3, 2, L²) each.

    With w = a_m - i a_{-m}: w'_{m+1} gets -p w_m / 2 and w'_{m-1} gets q w_m / 2 along x, i p w_m /
    2 and i q w_m / 2 along y, p² and q² being (2l+1)/(2l-1) times (l-m)(l-m-1) and (l+m)(l+m-1);
    R_l^0 is √2 times too strong for that.
    """
    lower, order = degrees_and_orders(size)
    degree = lower + 1
    m = np.abs(order)
    sign = np.where(order < 0, -1, 1)
    base = degree**2 + degree
    scale = np.where(degree < size, (2.0 * degree + 1) / (2.0 * degree - 1), 0)
    # the terms that come from the orders m - 1 and m + 1; order 0 has no sine to give
    below = (
        0.5
        * np.sqrt(scale * (degree - m + 1) * (degree - m))
        * np.where(m == 1, math.sqrt(2), 1)
        * (m > 0)
    )
    above = (
        0.5 * np.sqrt(scale * (degree + m + 1) * (degree + m)) * np.where(m == 0, math.sqrt(2), 1)
    )
    x = (-below * (order != -1), above)
    y = (sign * below * (order != 1), sign * above)
    weight = np.stack([*x, *y, np.sqrt(scale * (degree**2 - m**2)), np.zeros(size**2)]).reshape(
        3, 2, -1
    )
    index = np.stack(
        [base + step for step in (sign * (m - 1), sign * (m + 1), sign * (1 - m), -sign * (m + 1))]
    )
    index = np.stack([*index, base + order, base]).reshape(3, 2, -1)
    return np.where(weight == 0, size**2, index).astype(np.int32), weight


def _padded(coefficients: Float[Array, "*batch coefficients"]) -> Float[Array, "*batch padded"]:
    """With a zero appended, for the places of a table that no coefficient fills."""
    return jnp.pad(coefficients, [(0, 0)] * (coefficients.ndim - 1) + [(0, 1)])


def _sign_and_scale(size: int) -> Float[np.ndarray, " orders"]:
    """√(2 - δ_m0) (-1)^m, from SciPy's Legendre functions to those of the real harmonics."""
    order = np.arange(size)
    return np.where(order == 0, 1.0, math.sqrt(2) * (-1.0) ** order)


def _check_band_limit(band_limit: int) -> None:
    if not 1 <= band_limit <= MAX_BAND_LIMIT:
        raise ValueError(
            f"`band_limit` must satisfy 1 <= band_limit <= {MAX_BAND_LIMIT}; got {band_limit}."
        )


def _band_limit(coefficients: Array) -> int:
    count = coefficients.shape[-1]
    if count == 0 or math.isqrt(count) ** 2 != count:
        raise ValueError(
            f"`coefficients` must have band_limit² entries along the last axis; got {count}."
        )
    return math.isqrt(count)
