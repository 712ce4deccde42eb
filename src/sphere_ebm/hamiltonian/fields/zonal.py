"""Zonal fields on the sphere.

Deposit points on a grid, convolve with a kernel of the angle, interpolate.

The grid is equiangular with `rows` colatitudes at cell centres (no point on a pole) and 2·rows
azimuths. A zonal kernel k(u·v) between two rows depends on the difference of azimuth only, so a
convolution is a product of matrices between rows for each azimuthal harmonic m:

    Φ_m(θ_a) = Σ_b K_m(θ_a, θ_b) ρ_m(θ_b),      K_m = Fourier coefficient of k over the azimuth
    difference.

That is the whole sphere transform, zonal filter and inverse transform (Driscoll & Healy 1994) in
one product. K is tabulated from the kernel itself, so no degree is cut off and no transform is
approximated: the only error is that of the interpolation between points and grid, cubic Lagrange in
both angles (as in FIt-SNE, Linderman et al. 2019). Cost: 16 N + O(rows³) per field; memory: rows³
floats for the potential and as much for its gradient.
"""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sphere_ebm.hamiltonian.fields.grid import cartesian, colatitudes, values_of_all


@final
class ZonalField(eqx.Module):
    """Tables that turn N points into the field Φ(u) = Σ_j k(u·u_j) and its surface gradient."""

    potential: Float[Array, "orders rows rows"]
    """(rows + 1, rows, rows) azimuthal harmonics of k."""
    slope: Float[Array, "orders rows rows"]
    """Those of the derivative of k by the colatitude of its first argument, in the same shape."""

    @classmethod
    def tabulate(
        cls,
        rows: int,
        kernel: Callable[[np.ndarray], np.ndarray],
        derivative: Callable[[np.ndarray], np.ndarray],
        dtype: np.dtype | type = np.float32,
    ) -> "ZonalField":
        """Tabulate `kernel` and its `derivative` on a grid with `rows` colatitudes.

        Both are functions of c = u·v; the derivative is dk/dc.
        """
        theta = colatitudes(rows)
        cos_phi = np.cos(np.arange(2 * rows) * np.pi / rows)
        cos = np.cos(theta)
        sin = np.sin(theta)
        potential = np.empty((rows + 1, rows, rows), dtype)
        slope = np.empty_like(potential)
        for a in range(rows):
            cosine = cos[a] * cos[:, None] + sin[a] * sin[:, None] * cos_phi
            turn = -sin[a] * cos[:, None] + cos[a] * sin[:, None] * cos_phi
            potential[:, a, :] = np.fft.rfft(kernel(cosine), axis=1).real.T
            slope[:, a, :] = np.fft.rfft(derivative(cosine) * turn, axis=1).real.T
        return cls(jnp.asarray(potential), jnp.asarray(slope))

    @property
    def rows(self) -> int:
        """Colatitudes of the grid."""
        return self.potential.shape[1]

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """Potential Φ(u_i), the point itself included, and its gradient.

        The gradient is an ambient vector near the tangent plane.
        """
        values = values_of_all(direction, self.rows, lagrange, self.convolve)
        return values[:, 0], values[:, 1:]

    def convolve(self, density: Float[Array, "rows columns"]) -> Float[Array, "rows columns 4"]:
        """Potential and Cartesian gradient on the grid."""
        rows = self.rows
        real = density.dtype
        sin_t = jnp.asarray(np.sin(colatitudes(rows))[:, None], real)
        # i m / sin(theta): the azimuthal derivative, per unit of length
        order = jnp.arange(rows + 1, dtype=real)[None, :] / sin_t
        harmonics = jnp.fft.rfft(density, axis=1).T
        parts = jnp.stack([harmonics.real, harmonics.imag], axis=-1)

        def product(table: Float[Array, "orders rows rows"]) -> Array:
            out = jnp.einsum("mab,mbc->mac", table.astype(real), parts)
            return jax.lax.complex(out[..., 0], out[..., 1]).T

        potential = product(self.potential)
        east = jax.lax.complex(-potential.imag * order, potential.real * order)
        grid = jnp.fft.irfft(jnp.stack([potential, product(self.slope), east]), n=2 * rows, axis=2)
        return jnp.moveaxis(cartesian(grid), 0, -1)


def lagrange(t: Float[Array, ""]) -> tuple[Float[Array, ""], ...]:
    """Weights of the cubic Lagrange polynomial through nodes -1, 0, 1, 2, at t in [0, 1]."""
    return (
        -t * (t - 1) * (t - 2) / 6,
        (t + 1) * (t - 1) * (t - 2) / 2,
        -(t + 1) * t * (t - 2) / 2,
        (t + 1) * t * (t - 1) / 6,
    )
