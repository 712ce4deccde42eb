"""Interference of amplitude fields.

Sources on the sphere add as complex amplitudes, |ψ|² is a density of directions.

    ψ(u) = Σ_j A_j exp(i φ_j) Σ_lm exp(-l(l+1) w²/2) R_l^m(u_j) R_l^m(u),      ρ(u) = |ψ(u)|² / Σ_lm
    |c_lm|²,

R the real harmonics of `sphere_ebm.geometry.harmonics`, c their complex coefficients. By Parseval ∫
ρ dΩ = 1. A field that is zero everywhere gives the uniform density 1 / 4π. Angles are radians,
densities are per steradian.
"""

import math
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sphere_ebm.geometry.harmonics import (
    SphericalHarmonics,
    basis,
    degrees_and_orders,
    einsum,
    evaluate,
    evaluate_many,
    gradient_coefficients,
)
from sphere_ebm.geometry.maxima import highest_around
from sphere_ebm.geometry.sphere import exponential_map, project_tangent, squared_chord

# Side lobes of one source over its peak, by the cut at the band limit.
RINGING = 0.01
# An amplitude below so many roundings of what was added up is what is left of a full cancellation.
NOISE_ROUNDINGS = 16
REFINEMENT_STEPS = 8


class Peaks(NamedTuple):
    """The strongest maxima, strongest first.

    Where `found` is False, the density is 0 and the direction the north pole.
    """

    direction: Float[Array, "*batch count 3"]
    density: Float[Array, "*batch count"]
    found: Bool[Array, "*batch count"]


def default_width(band_limit: int) -> float:
    """The narrowest source, in radians, whose ringing stays below 1 % of its peak.

    W² = 2 ln 101 / (L (L - 1)).

    The heat kernel itself is positive and falls monotonously; what rings is the cut at L. With g(l)
    = (2l+1) exp(-l(l+1) w²/2), the degrees left out add at most ∫_{L-1}^∞ g dl = (2/w²) exp(-L(L-1)
    w²/2) anywhere, and the sum over all degrees, at the peak, exceeds 2/w². So ringing over the
    peak that is left is below e / (1 - e), e = exp(-L(L-1) w²/2) = 1/101. About 3 / L. (For L = 1
    all fields are constant and the width of L = 2 is given.)
    """
    return math.sqrt(2 * math.log(1 + 1 / RINGING) / max(band_limit * (band_limit - 1), 2))


@final
class InterferenceField(eqx.Module):
    """A complex amplitude ψ by the coefficients of its real and its imaginary part.

    They are flat as everywhere: at l² + l + m.

    Where sources cancel down to 16 roundings of their incoherent sum, the field is set to exactly
    zero: what is left would, normalised, be a density made of rounding errors.
    """

    real: Float[Array, "*batch coefficients"]
    imaginary: Float[Array, "*batch coefficients"]

    @classmethod
    def from_sources(
        cls,
        harmonics: SphericalHarmonics,
        directions: Float[Array, "n 3"],
        amplitudes: Float[Array, "*batch n"],
        phases: Float[Array, "*batch n"] | None = None,
        width: float | Float[Array, ""] | None = None,
    ) -> "InterferenceField":
        """Smoothed point sources at unit vectors, with phases and one width in radians.

        Without phases all are 0.

        `width` defaults to `default_width`. O(n L²). Raises ValueError for a negative `width`.
        """
        width = default_width(harmonics.band_limit) if width is None else width
        if isinstance(width, float | int) and not width >= 0:
            raise ValueError(f"`width` must be >= 0 (radians); got {width}.")
        turned = jnp.zeros_like(amplitudes) if phases is None else phases
        return _sources(
            directions,
            amplitudes,
            turned,
            jnp.asarray(width, directions.dtype),
            harmonics.band_limit,
        )

    @property
    def power(self) -> Float[Array, "*batch"]:
        """∫ |ψ|² dΩ = Σ |c_lm|²."""
        return jnp.sum(self.real**2 + self.imaginary**2, axis=-1)

    def __add__(self, other: "InterferenceField") -> "InterferenceField":
        """Superposition: amplitudes add, so densities interfere.

        Raises ValueError if the shapes differ.
        """
        if self.real.shape != other.real.shape:
            raise ValueError(
                "fields to superpose must have the same batch and band limit; got coefficients of"
                f" shapes {self.real.shape} and {other.real.shape}."
            )
        return _cancelled(
            self.real + other.real, self.imaginary + other.imaginary, self.power + other.power
        )

    @eqx.filter_jit
    def intensity(self, harmonics: SphericalHarmonics) -> Float[Array, "*batch rows columns"]:
        """ρ at the nodes of the grid, whose quadrature of it gives 1 to rounding.

        Raises as `harmonics.inverse`.
        """
        squared = harmonics.inverse(self.real) ** 2 + harmonics.inverse(self.imaginary) ** 2
        return _normalised(squared, self.power[..., None, None])

    @eqx.filter_jit
    def density(self, direction: Float[Array, "*batch p 3"]) -> Float[Array, "*batch p"]:
        """ρ at any directions, each batch with its own; differentiable as `evaluate` is."""
        squared = evaluate(self.real, direction) ** 2 + evaluate(self.imaginary, direction) ** 2
        return _normalised(squared, self.power[..., None])

    def peaks(
        self,
        harmonics: SphericalHarmonics,
        count: int,
        separation: float | Float[Array, ""] | None = None,
    ) -> Peaks:
        """The `count` strongest local maxima of ρ, no two closer than `separation` radians.

        By default `separation` is 2π / L.

        Maxima of the grid over their eight neighbours, across the poles too, are refined off the
        grid by Newton steps on the exact field that never go down; of those closer than
        `separation` the strongest stays. Maxima below 1e-4 of the strongest cannot be told from
        ringing and are left out. Compiled once for each shape and `count`. Raises ValueError for
        count < 1 or a negative `separation`, and as `harmonics.inverse`.
        """
        if count < 1:
            raise ValueError(f"`count` must be >= 1; got {count}.")
        if isinstance(separation, float | int) and not separation >= 0:
            raise ValueError(f"`separation` must be >= 0 (radians); got {separation}.")
        apart = 2 * math.pi / harmonics.band_limit if separation is None else separation
        return _peaks(self, harmonics, count, jnp.asarray(apart, self.real.dtype))


@eqx.filter_jit
def _sources(
    directions: Float[Array, "n 3"],
    amplitudes: Float[Array, "*batch n"],
    phases: Float[Array, "*batch n"],
    width: Float[Array, ""],
    size: int,
) -> InterferenceField:
    degree = degrees_and_orders(size)[0]
    damping = jnp.exp(-jnp.asarray(degree * (degree + 1), width.dtype) * (width**2 / 2))
    parts = jnp.stack([amplitudes * jnp.cos(phases), amplitudes * jnp.sin(phases)])
    both = einsum("...n,nk->...k", parts, basis(directions, size)) * damping.reshape(
        (1,) * amplitudes.ndim + (-1,)
    )
    alone = jnp.sum(damping**2) / (4 * math.pi)
    return _cancelled(both[0], both[1], alone * jnp.sum(amplitudes**2, axis=-1))


def _cancelled(
    real: Float[Array, "*batch coefficients"],
    imaginary: Float[Array, "*batch coefficients"],
    incoherent: Float[Array, "*batch"],
) -> InterferenceField:
    """The field of these coefficients.

    Exactly zero where its power is rounding noise of the `incoherent` power.
    """
    power = jnp.sum(real**2 + imaginary**2, axis=-1)
    noise = (NOISE_ROUNDINGS * jnp.finfo(real.dtype).eps) ** 2
    kept = (power > float(noise) * incoherent)[..., None]
    return InterferenceField(jnp.where(kept, real, 0), jnp.where(kept, imaginary, 0))


def _normalised(squared: Array, power: Array) -> Array:
    """|ψ|² / power; 1 / 4π where the power is zero."""
    return jnp.where(power > 0, squared / jnp.where(power > 0, power, 1), 1 / (4 * math.pi))


@eqx.filter_jit
def _peaks(
    field: InterferenceField,
    harmonics: SphericalHarmonics,
    count: int,
    separation: Float[Array, ""],
) -> Peaks:
    batch = field.real.shape[:-1]
    size = harmonics.band_limit
    flat = InterferenceField(field.real.reshape(-1, size**2), field.imaginary.reshape(-1, size**2))
    nodes = harmonics.directions.reshape(-1, 3)
    spacing = jnp.asarray(math.pi / size, separation.dtype)
    reach = 1.5 * spacing
    score = _grid_maxima(flat.intensity(harmonics))
    # seeds may approach each other by twice the reach; spare ones make up for those that meet
    apart = jnp.maximum(spacing, separation - 2 * reach)
    seeds = jax.vmap(lambda one: _distinct(one, nodes, 2 * count + 4, apart))(score)
    direction, value = _refined(flat, nodes[seeds[0]], reach)
    value = jnp.where(seeds[1], _normalised(value, flat.power[:, None]), -jnp.inf)
    value = jnp.where(value >= RINGING**2 * jnp.max(value, axis=1, keepdims=True), value, -jnp.inf)
    chosen, found = jax.vmap(lambda one, where: _distinct(one, where, count, separation))(
        value, direction
    )
    direction = jnp.take_along_axis(direction, chosen[..., None], axis=1)
    density = jnp.where(found, jnp.take_along_axis(value, chosen, axis=1), 0)
    pole = jnp.asarray([[[0, 0, 1]]], direction.dtype)
    direction = jnp.where(found[..., None], direction, pole)
    return Peaks(
        direction.reshape(*batch, count, 3),
        density.reshape(*batch, count),
        found.reshape(*batch, count),
    )


def _grid_maxima(density: Float[Array, "batch rows columns"]) -> Float[Array, "batch nodes"]:
    """The density at nodes that no neighbour exceeds, -inf elsewhere.

    It is -inf, too, where all nine are equal to rounding.
    """
    flat = density * (1 - 32 * float(jnp.finfo(density.dtype).eps))
    lowest = -highest_around(-density)
    peak = (density >= highest_around(density)) & (lowest < flat)
    return jnp.where(peak, density, -jnp.inf).reshape(density.shape[0], -1)


def _distinct(
    score: Float[Array, " n"],
    direction: Float[Array, "n 3"],
    count: int,
    separation: Float[Array, ""],
) -> tuple[Int[Array, " count"], Bool[Array, " count"]]:
    """Take the highest scores that are at least `separation` apart, greedily.

    Returns their indices, and whether there was one (-inf is none).
    """
    chord = (2 * jnp.sin(jnp.minimum(separation, math.pi) / 2)) ** 2

    def take(left: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        best = jnp.argmax(left).astype(jnp.int32)
        near = squared_chord(direction, direction[best][None]) < chord
        near = near | (jnp.arange(left.shape[0], dtype=jnp.int32) == best)
        return jnp.where(near, -jnp.inf, left), (best, left[best] > -jnp.inf)

    return jax.lax.scan(take, score, None, length=count)[1]


def _refined(
    field: InterferenceField, seed: Float[Array, "batch p 3"], reach: Float[Array, ""]
) -> tuple[Float[Array, "batch p 3"], Float[Array, "batch p"]]:
    """Ascend |ψ|² from each seed, at most `reach` away.

    A step that goes down is undone and tried again, shorter.
    """
    jet = _jet_coefficients(field)

    def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        here, value, move, bound = state
        there = exponential_map(here, move)
        seen, onward = _ascent(jet, there)
        within = squared_chord(there, seed) <= reach**2
        better = (seen >= value) & within
        bound = jnp.where(better, bound, bound / 4)
        # the refused move again, shorter
        move = jnp.where(better[..., None], onward, move / 4)
        here = jnp.where(better[..., None], there, here)
        return here, jnp.where(better, seen, value), _clipped(move, bound), bound

    # the first step does not move: it evaluates the seed
    unknown = jnp.full(seed.shape[:2], -jnp.inf, seed.dtype)
    start = (seed, unknown, jnp.zeros_like(seed), jnp.full(unknown.shape, 0.5, seed.dtype) * reach)
    here, value, _, _ = jax.lax.fori_loop(0, 1 + REFINEMENT_STEPS, step, start)
    return here, value


def _jet_coefficients(field: InterferenceField) -> Float[Array, "batch jet coefficients"]:
    """Coefficients of ψ, its solid gradient and its solid Hessian.

    They are those of (2, 1 + 3 + 9) fields, flattened.
    """
    parts = jnp.stack([field.real, field.imaginary], axis=1)
    slope = gradient_coefficients(parts)
    bend = gradient_coefficients(slope)
    batch = parts.shape[0]
    count = parts.shape[-1]
    jet = [parts[:, :, None], slope, bend.reshape(batch, 2, 9, count)]
    return jnp.concatenate(jet, axis=2).reshape(batch, 26, count)


def _ascent(
    jet: Float[Array, "batch jet coefficients"], here: Float[Array, "batch p 3"]
) -> tuple[Float[Array, "batch p"], Float[Array, "batch p 3"]]:
    """|ψ|² and the step towards its maximum.

    The step is Newton's where it curves down in all directions, else it is along the gradient.

    With R, I the parts of ψ: ∇|ψ|² = 2 Σ v ∇v and Hess |ψ|² = 2 Σ (∇v ∇vᵀ + v Hess v), v = R, I; on
    the sphere the Hessian of a solid field F is P ∇²F P - (u·∇F) P.
    """
    values = evaluate_many(jet, here).reshape(*here.shape[:2], 2, 13)
    v = values[..., 0]
    slope = values[..., 1:4]
    bend = values[..., 4:].reshape(*here.shape[:2], 2, 3, 3)
    frame = _frame(here)
    radial = einsum("bpvx,bpx->bpv", slope, here)
    slope = einsum("bpvx,bpkx->bpvk", slope, frame)
    bend = (
        einsum("bpvxy,bpkx,bply->bpvkl", bend, frame, frame)
        - radial[..., None, None] * jnp.eye(2, dtype=v.dtype)[None, None, None]
    )
    gradient = 2 * einsum("bpv,bpvk->bpk", v, slope)
    hessian = 2 * (einsum("bpvk,bpvl->bpkl", slope, slope) + einsum("bpv,bpvkl->bpkl", v, bend))
    a = hessian[..., 0, 0]
    b = hessian[..., 0, 1]
    c = hessian[..., 1, 1]
    middle = (a + c) / 2
    spread = jnp.hypot((a - c) / 2, b)
    concave = middle + spread < 0
    determinant = jnp.where(concave, a * c - b * b, 1)
    gx = gradient[..., 0]
    gy = gradient[..., 1]
    newton = jnp.stack([b * gy - c * gx, b * gx - a * gy], axis=-1) / determinant[..., None]
    stiffness = jnp.abs(middle) + spread
    uphill = gradient / jnp.where(stiffness > 0, stiffness, 1)[..., None]
    step = jnp.where(concave[..., None], newton, uphill)
    return jnp.sum(v**2, axis=-1), einsum("bpk,bpkx->bpx", step, frame)


def _frame(direction: Float[Array, "batch p 3"]) -> Float[Array, "batch p 2 3"]:
    """Two orthonormal tangent vectors.

    They are built from z, or from x where `direction` is close to z.
    """
    x, z = (jnp.asarray([[axis]], direction.dtype) for axis in ([1, 0, 0], [0, 0, 1]))
    away = jnp.where(jnp.abs(direction[..., 2:]) < 0.9, z, x)
    first = project_tangent(direction, jnp.broadcast_to(away, direction.shape))
    first = first / jnp.linalg.norm(first, axis=-1, keepdims=True)
    return jnp.stack([first, jnp.cross(direction, first)], axis=-2)


def _clipped(
    move: Float[Array, "batch p 3"], bound: Float[Array, "batch p"]
) -> Float[Array, "batch p 3"]:
    """Tangent vectors no longer than `bound`."""
    length = jnp.linalg.norm(move, axis=-1)
    return move * jnp.where(length > bound, bound / jnp.where(length > 0, length, 1), 1)[..., None]
