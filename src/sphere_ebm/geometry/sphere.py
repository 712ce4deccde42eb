"""Geometry of directions on the unit sphere and of radii. Pure functions.

A direction is a unit vector `u` of shape (..., 3); a tangent vector at `u` is orthogonal to it.
Angles are derived, never stored: colatitude theta = arccos(u_z) in [0, pi] and azimuth phi =
atan2(u_y, u_x) in [0, 2 pi).
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Shaped

TWO_PI = 2.0 * math.pi


def project_tangent(
    direction: Float[Array, "*n 3"], vector: Float[Array, "*n 3"]
) -> Float[Array, "*n 3"]:
    """Project ambient vectors on the tangent planes: P_u a = a - u (u·a)."""
    return vector - direction * _inner(direction, vector)


def _inner(a: Float[Array, "*n 3"], b: Float[Array, "*n 3"]) -> Float[Array, "*n 1"]:
    """a·b, component by component.

    XLA is several times slower at reducing a trailing axis of three.
    """
    return a[..., 0:1] * b[..., 0:1] + a[..., 1:2] * b[..., 1:2] + a[..., 2:3] * b[..., 2:3]


def squared_chord(a: Float[Array, "*#n 3"], b: Float[Array, "*#n 3"]) -> Float[Array, "..."]:
    """|a - b|² = 2 (1 - a·b) of unit vectors, from the difference.

    The product loses all digits for close points.
    """
    # component by component: XLA is several times slower at reducing a trailing axis of three
    x, y, z = (a[..., k] - b[..., k] for k in range(3))
    return x**2 + y**2 + z**2


def normalise(vector: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Scale vectors to unit length; a zero vector becomes the north pole, NaN stays NaN."""
    norm = jnp.linalg.norm(vector, axis=-1, keepdims=True)
    pole = jnp.asarray([0.0, 0.0, 1.0], vector.dtype).reshape((1,) * (vector.ndim - 1) + (3,))
    return jnp.where(norm == 0, pole, vector / jnp.where(norm == 0, 1, norm))


def unit_rows(
    rows: Float[np.ndarray, "*rows width"], norm: Shaped[np.ndarray, "*rows 1"] | None = None
) -> Float[np.ndarray, "*rows width"]:
    """Rows of any width divided by their norms, in the rows' own precision.

    Zero rows stay zero, and what is not a number stays so. `norm` are the norms of the rows, where
    the caller has them already.
    """
    length = np.linalg.norm(rows, axis=-1, keepdims=True) if norm is None else norm
    return np.divide(rows, length, out=np.zeros_like(rows), where=length != 0)


def exponential_map(
    direction: Float[Array, "*n 3"], tangent: Float[Array, "*n 3"]
) -> Float[Array, "*n 3"]:
    """Follow the geodesic that leaves `direction` with velocity `tangent` for unit time.

    exp_u(d) = u cos|d| + d sin|d| / |d|, then renormalised so that rounding does not accumulate.
    """
    length = jnp.linalg.norm(tangent, axis=-1, keepdims=True)
    moved = direction * jnp.cos(length) + tangent * jnp.sinc(length / math.pi)
    return moved / jnp.linalg.norm(moved, axis=-1, keepdims=True)


def tangent_basis(
    direction: Float[Array, "*n 3"],
) -> tuple[Float[Array, "*n 3"], Float[Array, "*n 3"]]:
    """Two orthonormal tangent vectors at each direction.

    They jump where z changes sign, and nowhere vanish.

    Source: Duff et al. 2017, "Building an orthonormal basis, revisited".
    """
    x = direction[..., 0]
    y = direction[..., 1]
    z = direction[..., 2]
    sign = jnp.where(z < 0, -1.0, 1.0).astype(direction.dtype)
    a = -1 / (sign + z)
    b = x * y * a
    first = jnp.stack([1 + sign * x**2 * a, sign * b, -sign * x], axis=-1)
    return first, jnp.stack([b, sign + y**2 * a, -y], axis=-1)


def geodesic_flow(
    direction: Float[Array, "*n 3"], velocity: Float[Array, "*n 3"], time: Float[Array, ""]
) -> tuple[Float[Array, "*n 3"], Float[Array, "*n 3"]]:
    """Free motion on the sphere: position and parallel-transported velocity after `time`.

    With speed c = |v|: u' = u cos ct + (v/c) sin ct and v' = v cos ct - u c sin ct. Speed is
    conserved. The result is renormalised and the velocity re-projected, both at rounding level
    only.
    """
    speed = jnp.sqrt(_inner(velocity, velocity))
    angle = speed * time
    moved = direction * jnp.cos(angle) + velocity * (time * jnp.sinc(angle / math.pi))
    moved = moved / jnp.sqrt(_inner(moved, moved))
    turned = velocity * jnp.cos(angle) - direction * (speed * jnp.sin(angle))
    return moved, project_tangent(moved, turned)


def reflect_radius(
    radius: Float[Array, "*n"], velocity: Float[Array, "*n"], minimum: Float[Array, ""]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Mirror radii that fell below `minimum`, and their velocities: r -> 2 r_min - r, v -> -v."""
    below = radius < minimum
    return jnp.where(below, 2 * minimum - radius, radius), jnp.where(below, -velocity, velocity)


def angles(
    direction: Float[np.ndarray, "*n 3"],
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Colatitude theta in [0, pi] and azimuth phi in [0, 2 pi) of unit vectors, in radians.

    Both have the input's precision. theta is computed as atan2(hypot(x, y), z), which stays
    accurate at the poles where arccos loses half its digits.
    """
    x = direction[..., 0]
    y = direction[..., 1]
    z = direction[..., 2]
    theta = np.arctan2(np.hypot(x, y), z)
    phi = np.arctan2(y, x)
    phi = np.where(phi < 0, phi + np.asarray(TWO_PI, phi.dtype), phi)
    # a tiny negative angle rounds up to 2 pi itself, which is 0
    return theta, np.where(phi >= TWO_PI, np.zeros_like(phi), phi)


def fibonacci_lattice(count: int) -> Float64[np.ndarray, "count 3"]:
    """Points around the axis by the golden angle, each in the middle of its own equal zone."""
    step = np.arange(count) + 0.5
    z = 1 - 2 * step / count
    azimuth = step * (math.pi * (3 - math.sqrt(5)))
    ring = np.sqrt(1 - z * z)
    return np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z], axis=1)
