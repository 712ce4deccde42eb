"""The osmotic field of many points with a sharp kernel, by a pyramid of azimuthal orders.

It lives on a grid whose higher azimuthal orders reach less far.

Points are deposited on an equiangular grid, convolved with q = 1 / (1 + s² chord²) row by row in
each azimuthal order m, and the field is interpolated back. With θ_a, θ_b the colatitudes of two
rows and φ their difference of azimuth, q = 1 / (A - B cos φ), A = 1 + 2 s² (1 - cos θ_a cos θ_b), B
= 2 s² sin θ_a sin θ_b, whose Fourier coefficients are a geometric sequence (Gradshteyn & Ryzhik,
3.613):

    K_m(θ_a, θ_b) = D exp(-m λ),    cosh λ = A / B,    D = 1 / (B sinh λ),    λ >= |θ_a - θ_b|.

So the rows that matter to order m lie within REACH / m radians, and the orders 2^k to 2^(k+1) - 1
need a band of K_m only, half as wide as for the octave below: a pyramid.
`ZonalField` multiplies by the full matrices, O(rows³) in time and memory; the
pyramid takes O(rows² log rows) time, and O(rows²) memory because D and λ are tabulated instead of
K. Rows grow with s and s with sqrt(N), so that is O(N log N), with a deposit of O(N).

Like the fast multipole method (Greengard & Rokhlin 1987), a far source is seen with fewer numbers
than a near one. Unlike there, the hierarchy is one of azimuthal orders rather than of cells: no
expansions, no interaction lists, and no error at the boundaries of cells. Deposit and interpolation
use cubic B-splines as in the smooth particle-mesh Ewald method (Essmann et al. 1995), with the
prefilter that makes them interpolate (Unser 1999).
"""

import itertools
import math
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from sphere_ebm.hamiltonian.fields.grid import (
    STENCIL,
    bordered_fields,
    cartesian,
    colatitudes,
    deposit,
    interpolated,
    places,
    values_of_all,
)

# Rows further apart than REACH / m, whose coefficient is below exp(-REACH) D, are left out of an
# octave that begins at order m. That changes the force by less than .1 %.
REACH = 4.0
# The orders below this one reach all rows.
FIRST_ORDERS = 8
# The inverse of the B-spline's samples (1/6, 2/3, 1/6) decays like (2 - sqrt(3))^n: the taps left
# out are below 1e-4.
HALF_TAPS = 6

DType = np.dtype | type


@final
class Coupling(eqx.Module):
    """K_m and its slope ∂K_m/∂θ_a for any order m, of a pair of rows per entry of the tables."""

    amplitude: Float[Array, "..."]
    """D; zero for rows beyond the poles, as both slopes."""
    decay: Float[Array, "..."]
    """λ."""
    amplitude_slope: Float[Array, "..."]
    """∂D/∂θ_a."""
    decay_slope: Float[Array, "..."]
    """D ∂λ/∂θ_a: with the factor D it vanishes beyond the poles as D itself, and needs no case of
    its own.
    """

    @classmethod
    def tabulate(
        cls,
        sharpness: float,
        rows: int,
        here: Int[np.ndarray, "..."],
        there: Int[np.ndarray, "..."],
        dtype: DType,
    ) -> "Coupling":
        """Geometry of the rows `here` (a), of the field, and `there` (b), of the points.

        The two broadcast against each other.
        """
        # an octave's band runs over the poles near them; what is read there must be finite, and
        # weighs nothing
        exists = (there >= 0) & (there < rows)
        step = math.pi / rows
        a, b = (np.clip(row, 0, rows - 1) * step + step / 2 for row in (here, there))
        sin_a = np.sin(a)
        sin_b = np.sin(b)
        # (cosh λ - 1) / 2 without the difference of nearly equal cosines
        excess = (0.5 / sharpness**2 + 2 * np.sin((a - b) / 2) ** 2) / (2 * sin_a * sin_b)
        # cosh λ = 1 + 2 sinh²(λ / 2)
        decay = 2 * np.arcsinh(np.sqrt(excess))
        sinh = np.sinh(decay)
        amplitude = np.where(exists, 1 / (2 * sharpness**2 * sin_a * sin_b * sinh), 0)
        # ∂λ/∂θ_a from the derivative of cosh λ = A / B, then ∂D/∂θ_a from that of log D
        decay_slope = (np.cos(b) - (1 + 0.5 / sharpness**2) * np.cos(a)) / (sin_a**2 * sin_b * sinh)
        amplitude_slope = -amplitude * (np.cos(a) / sin_a + decay_slope / np.tanh(decay))
        return cls(
            jnp.asarray(amplitude, dtype),
            jnp.asarray(decay, dtype),
            jnp.asarray(amplitude_slope, dtype),
            jnp.asarray(amplitude * decay_slope, dtype),
        )

    def at(
        self, m: Float[Array, "orders ..."]
    ) -> tuple[Float[Array, "orders ..."], Float[Array, "orders ..."]]:
        """K_m and its slope.

        `m` has one axis for the orders and as many of length 1 as the tables have axes.
        """
        # jax.tree.leaves lists the fields in the order in which they are declared
        amplitude, decay, amplitude_slope, decay_slope = (
            table.astype(m.dtype)[None] for table in jax.tree.leaves(self)
        )
        fall = jnp.exp(-m * decay)
        return amplitude * fall, (amplitude_slope - m * decay_slope) * fall


@final
class LowOrders(eqx.Module):
    """The product with the full matrices of the orders below `last`.

    `coupling` has shape (rows, rows).
    """

    coupling: Coupling
    first: int = eqx.field(static=True)
    last: int = eqx.field(static=True)

    @classmethod
    def tabulate(cls, sharpness: float, rows: int, last: int, dtype: DType) -> "LowOrders":
        """Tables for the orders below `last` on `rows` colatitudes."""
        row = np.arange(rows)
        return cls(Coupling.tabulate(sharpness, rows, row[:, None], row[None], dtype), 0, last)

    def __call__(self, source: Float[Array, "2 orders rows"]) -> Float[Array, "2 2 orders rows"]:
        """Σ_b K_m(θ_a, θ_b) source_m(θ_b) and its slope along the first axis.

        Their real and imaginary parts lie along the second.
        """
        m = jnp.arange(self.first, self.last, dtype=source.dtype)[:, None, None]
        tables = self.coupling.at(m)
        return jnp.stack(
            [jnp.einsum("mab,cmb->cma", table, source, precision="highest") for table in tables]
        )


@final
class Octave(eqx.Module):
    """The product with the bands that matter to the orders `first` <= m < `last`.

    `coupling` has shape (2 reach + 1, rows): entry (k, a) is that of the rows a and a + k - reach.
    """

    coupling: Coupling
    first: int = eqx.field(static=True)
    last: int = eqx.field(static=True)

    @classmethod
    def tabulate(cls, sharpness: float, rows: int, first: int, last: int, dtype: DType) -> "Octave":
        """Tables for the orders `first` to `last` - 1 on `rows` colatitudes."""
        # REACH / first radians, in rows; no band is wider than all rows
        reach = min(math.ceil(REACH * rows / (math.pi * first)), rows - 1)
        row = np.arange(rows)[None]
        offset = np.arange(-reach, reach + 1)[:, None]
        return cls(Coupling.tabulate(sharpness, rows, row, row + offset, dtype), first, last)

    def __call__(self, source: Float[Array, "2 orders rows"]) -> Float[Array, "2 2 orders rows"]:
        """As `LowOrders.__call__`, diagonal by diagonal: no matrix is ever held."""
        orders, rows = source.shape[1:]
        # Diagonal k of the band couples row a with row a + k - reach, so it multiplies the source
        # shifted by that much. Zeros beyond the poles stand in for rows that do not exist.
        offsets = self.coupling.decay.shape[0]
        padded = jnp.pad(source, ((0, 0), (0, 0), (offsets // 2, offsets // 2)))
        m = jnp.arange(self.first, self.last, dtype=source.dtype)[:, None]

        def add(
            total: tuple[Float[Array, "2 orders rows"], Float[Array, "2 orders rows"]],
            diagonal: tuple[Coupling, Int[Array, ""]],
        ) -> tuple[tuple[Array, Array], None]:
            coupling, start = diagonal
            there = jax.lax.dynamic_slice_in_dim(padded, start, rows, axis=2)
            value, slope = coupling.at(m)
            return (total[0] + value[None] * there, total[1] + slope[None] * there), None

        nothing = jnp.zeros((2, orders, rows), source.dtype)
        starts = jnp.arange(offsets, dtype=jnp.int32)
        return jnp.stack(jax.lax.scan(add, (nothing, nothing), (self.coupling, starts))[0])


@final
class PyramidField(eqx.Module):
    """Q(u_i) = Σ_{j≠i} q(u_i, u_j) and its gradient, by the pyramid of orders.

    The grid has `rows` colatitudes.

    With six rows per unit of s, s = 0.15 sqrt(N) and N from 10⁴ to 10⁶, the force differs from the
    direct sum by 0.7 to 2.1 % (rms over rms) for clustered points and 2.8 to 3.6 % for uniform
    random ones, whose net force is shot noise; the energy per point by less than .0002 (`python -m
    benchmarks.osmotic`). A point's own share of the grid's potential is taken to be 1 and is up to
    3 % less: Q of a lone point is between -.03 and 0.

    Cost: 16 (1 + 4) N + about 3 rows² log2(rows), each of the latter with an exponential. Memory: 7
    rows² numbers in tables, some 30 rows² more while it runs, and about 20 N.
    """

    low: LowOrders
    octaves: tuple[Octave, ...]
    rows: int = eqx.field(static=True)

    @classmethod
    def tabulate(cls, sharpness: float, rows: int, dtype: DType = np.float32) -> "PyramidField":
        """Tables for `sharpness` s > 0 on `rows` >= 8 colatitudes. Raises ValueError for less."""
        if not sharpness > 0:
            raise ValueError(f"`sharpness` must be positive; got {sharpness}.")
        if rows < 2 * STENCIL:
            raise ValueError(f"`rows` must be at least {2 * STENCIL}; got {rows}.")
        # the orders 0 to `rows` in octaves; the last one ends where the orders end
        bounds = [FIRST_ORDERS]
        while bounds[-1] < rows + 1:
            bounds.append(2 * bounds[-1])
        bounds[-1] = rows + 1
        octaves = (
            Octave.tabulate(sharpness, rows, *ends, dtype) for ends in itertools.pairwise(bounds)
        )
        return cls(LowOrders.tabulate(sharpness, rows, FIRST_ORDERS, dtype), tuple(octaves), rows)

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """Q and its gradient as ambient vectors near the tangent planes.

        Both have the precision of `direction`.
        """
        values = values_of_all(direction, self.rows, b_spline, self.convolve)
        return values[:, 0] - 1, values[:, 1:]

    def grid_of(self, direction: Float[Array, "n 3"]) -> Float[Array, "cells 4"]:
        """Spline coefficients of Σ_j q(u, u_j) and its gradient on the bordered grid.

        They are for `interpolate`.
        """
        return self.grid_and_sum(direction)[0]

    def grid_and_sum(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, "cells 4"], Float[Array, ""]]:
        """What `grid_of` gives, and Σ_i Q(u_i) over the points themselves, from one deposit.

        The sum is one over cells: to deposit points on the grid is the transpose of interpolating
        the grid at the points, so that nothing is interpolated.
        """
        density = deposit(places(direction, self.rows, b_spline), self.rows)
        fields = self.convolve(density)
        # row by row, for the sake of rounding
        total = jnp.sum(jnp.sum(density * fields[..., 0], axis=1))
        return bordered_fields(fields), total - direction.shape[0]

    def convolve(self, density: Float[Array, "rows columns"]) -> Float[Array, "rows columns 4"]:
        """Spline coefficients of the potential and of its Cartesian gradient."""
        rows = self.rows
        dtype = density.dtype
        m = np.arange(rows + 1)
        # in azimuth both prefilters, of the deposit and of the interpolation, are a factor of each
        # order
        prefilter = 2 * rows * (3 / (2 + np.cos(m * np.pi / rows))) ** 2
        harmonics = jnp.fft.rfft(_prefilter_rows(density[None])[0], axis=1).T
        source = (
            jnp.stack([harmonics.real, harmonics.imag])
            * jnp.asarray(prefilter, dtype)[None, :, None]
        )
        # each part sees its own orders alone, and together they are all orders in turn
        parts: tuple[LowOrders | Octave, ...] = (self.low, *self.octaves)
        products = [part(source[:, part.first : part.last]) for part in parts]
        potential, slope = jnp.concatenate(products, axis=2)
        # i m / sin(theta): the azimuthal derivative, per unit of length; times i turns (real,
        # imaginary) into (-imaginary, real)
        order = jnp.asarray(m[:, None] / np.sin(colatitudes(rows)), dtype)
        east = jnp.stack([-potential[1] * order, potential[0] * order])
        # axes: field, real and imaginary part, order, row; then field, row, order for the transform
        waves = jnp.stack([potential, slope, east])
        waves = jnp.swapaxes(jax.lax.complex(waves[:, 0], waves[:, 1]), 1, 2)
        grid = jnp.fft.irfft(waves, n=2 * rows, axis=2)
        return jnp.moveaxis(_prefilter_rows(cartesian(grid)), 0, -1)


def interpolate(
    grid: Float[Array, "cells 4"], rows: int, direction: Float[Array, "n 3"]
) -> Float[Array, "n 4"]:
    """The potential and its ambient gradient at any points, from a grid.

    The grid is what `PyramidField.grid_of` made on `rows` rows.
    """
    return interpolated(grid, places(direction, rows, b_spline), rows)


def _prefilter_rows(
    fields: Float[Array, "fields rows columns"],
) -> Float[Array, "fields rows columns"]:
    """Turn samples along meridians into the coefficients of the cubic spline through them.

    The map is its own transpose.

    The filter is sqrt(3) (sqrt(3) - 2)^|n|, cut at `HALF_TAPS` and scaled to sum 1. It runs on
    across the poles, where a meridian goes on half a turn further.
    """
    rows = fields.shape[1]
    # scaled to sum 1, so that the cut leaves a constant as it is
    tap = math.sqrt(3) * (math.sqrt(3) - 2) ** np.arange(HALF_TAPS + 1)
    tap = tap / (tap[0] + 2 * np.sum(tap[1:]))
    turned = jnp.roll(fields[:, ::-1], rows, axis=2)
    extended = jnp.concatenate([turned[:, -HALF_TAPS:], fields, turned[:, :HALF_TAPS]], axis=1)
    out = float(tap[0]) * fields
    for n in range(1, HALF_TAPS + 1):
        before = extended[:, HALF_TAPS - n :][:, :rows]
        after = extended[:, HALF_TAPS + n :][:, :rows]
        out = out + float(tap[n]) * (before + after)
    return out


def b_spline(t: Float[Array, ""]) -> tuple[Float[Array, ""], ...]:
    """Weights of the cubic B-splines at nodes -1, 0, 1, 2, at t in [0, 1]."""
    u = 1 - t
    return u**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (4 - 6 * u**2 + 3 * u**3) / 6, t**3 / 6
