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
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float
from scipy.special import sph_legendre_p_all

from sphere_ebm.geometry.recurrence import (
    Degree,
    harmonics_of,
    length_of,
    per_degree,
    raise_degree,
    start_of,
)

MAX_BAND_LIMIT = 512
# Rows of Legendre functions that SciPy computes at once: bounds the memory at 16 · 2 L² doubles.
ROWS_AT_ONCE = 16

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
        """L: the grid holds fields of degrees l < L."""
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

    Coefficients and directions have one dtype.

    f is smooth everywhere, poles included: the derivative with respect to `direction` is the
    surface gradient over |u|, from harmonics of one degree less (`gradient_coefficients`), and can
    itself be differentiated. O(p L²) time, O(p L) memory; only the gradient with respect to
    `coefficients` keeps all p L² values. Largest error in float32, over the largest value of the
    field: 3e-6 at L = 64, 1e-5 at L = 256. Raises ValueError unless the number of coefficients is a
    square.
    """
    return evaluate_many(coefficients[..., None, :], direction)[..., 0]


@eqx.filter_jit
def basis(direction: Float[Array, "n 3"], band_limit: int) -> Float[Array, "n coefficients"]:
    """All L² harmonics at n directions: (n, L²).

    `weights @ basis(...)` is the analysis of a sum of point masses.

    O(n L²) time and memory. Raises ValueError unless 1 <= `band_limit` <= 512.
    """
    _check_band_limit(band_limit)
    point, start = start_of(direction, band_limit)

    def step(state: Degree, inputs: tuple[Array, Array]) -> tuple[Degree, Array]:
        coupling, odd = inputs
        cosine, sine = harmonics_of(point, state)
        row = jnp.concatenate([sine[:, :0:-1], cosine], axis=1)
        return raise_degree(point, state, coupling), jnp.where(odd, point.side[:, None] * row, row)

    rows = jax.lax.scan(step, start, per_degree(band_limit, direction.dtype))[1]
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


@jax.custom_jvp
def evaluate_many(
    coefficients: Float[Array, "*batch fields coefficients"], direction: Float[Array, "*batch p 3"]
) -> Float[Array, "*batch p fields"]:
    """Several fields at the same directions, each as by `evaluate`.

    Coefficients (*batch, fields, L²) become values (*batch, p, fields). One recurrence over the
    degrees for all of them; each field adds one product of matrices per degree.
    """
    size = _band_limit(coefficients)
    point, start = start_of(direction, size)
    by_degree = jnp.moveaxis(_padded(coefficients)[..., _positions(size)], -3, 0)

    def step(
        carry: tuple[Degree, Array], inputs: tuple[tuple[Array, Array], Array]
    ) -> tuple[tuple[Degree, Array], None]:
        state, total = carry
        (coupling, odd), parts = inputs
        cosine, sine = harmonics_of(point, state)
        term = einsum("...pm,...fm->...pf", cosine, parts[..., 0, :])
        term = term + einsum("...pm,...fm->...pf", sine, parts[..., 1, :])
        term = jnp.where(odd, point.side[..., None] * term, term)
        return (raise_degree(point, state, coupling), total + term), None

    total = jnp.zeros((*direction.shape[:-1], coefficients.shape[-2]), direction.dtype)
    return jax.lax.scan(step, (start, total), (per_degree(size, direction.dtype), by_degree))[0][1]


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
        length = length_of(direction)
        unit = direction / length
        turn = motion / length
        turn = turn - unit * jnp.sum(unit * turn, axis=-1, keepdims=True)
        moved = einsum("...pfc,...pc->...pf", gradient, turn)
    if isinstance(change, SymbolicZero):
        return value, jnp.zeros_like(value) if moved is None else moved
    changed = evaluate_many(change, direction)
    return value, changed if moved is None else changed + moved


@lru_cache(maxsize=8)
def _positions(size: int) -> np.ndarray:
    """Flat index of the cosine and the sine coefficient of (l, m).

    The shape is (degrees, 2, orders); the index is L² where there is none.
    """
    degree = np.arange(size)[:, None]
    order = np.arange(size)[None]
    cosine = np.where(order <= degree, degree**2 + degree + order, size**2)
    sine = np.where((order <= degree) & (order > 0), degree**2 + degree - order, size**2)
    return np.stack([cosine, sine], axis=1).astype(np.int32)


@lru_cache(maxsize=8)
def _ladder(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the solid field as two terms per coefficient: flat indices and weights.

    Both have shape (3, 2, L²).

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
