"""The compiled half of the navigator: queries to relevance fields to probes.

It is compiled once for each batch shape.

A query q of unit length meets S landmarks of cosines c_s. Its amplitude on the sphere is

    ψ(u) = Σ_s w_s g_s(u),      w_s = exp((c_s - max c) / (τ std(c))),

g_s the signature of landmark s (see `landmarks.signatures`); |ψ|² / ∫|ψ|² is a density of
directions. Probes are its strongest maxima.
"""

import math
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sphere_ebm.geometry.harmonics import (
    SphericalHarmonics,
    degrees_and_orders,
    evaluate_many,
    gradient_coefficients,
)
from sphere_ebm.geometry.interference import InterferenceField
from sphere_ebm.geometry.maxima import highest_around
from sphere_ebm.geometry.sphere import exponential_map, project_tangent, squared_chord

MOMENTUM = 0.5
ASCENT_STEPS = 8
# radius of the circle on which a probe is compared with its surroundings, in smoothing widths
RING = 1.25
# the grid for maxima is twice as fine as the band limit needs, while that costs little memory
FINE_GRID = 128
_LEAST = 1e-3


@final
class ProbeTables(eqx.Module):
    """What every query meets. S landmarks of width D, band limit L."""

    landmark: Float[Array, "landmarks width"]
    """(S, D) unit embeddings."""
    signature: Float[Array, "landmarks coefficients"]
    """(S, L²) harmonic coefficients of their deposits, smoothed; see
    `sphere_ebm.retrieval.navigator.landmarks.signatures`.
    """
    direction: Float[Array, "landmarks 3"]
    """(S, 3) where they lie on the map."""
    radius: Float[Array, " landmarks"]
    """(S,) in shell units."""
    temperature: Float[Array, ""]
    """τ."""
    smoothing: Float[Array, ""]
    """Width of one deposit in radians."""
    grid: SphericalHarmonics
    """Of a band limit that is at least L."""
    probes: int = eqx.field(static=True)


class Probes(NamedTuple):
    """The P strongest maxima of B queries, strongest first."""

    direction: Float[Array, "batch probes 3"]
    """Unit vectors."""
    density: Float[Array, "batch probes"]
    """|ψ|² / ∫|ψ|² there, per steradian; 0 where not `found`."""
    found: Bool[Array, "batch probes"]
    """Whether the field has that many maxima that are apart."""
    openness: Float[Array, "batch probes"]
    """1 - q: mean of ψ on a circle of 1.25 smoothing widths around the maximum, over ψ there; in
    (0, 1].
    """
    radius: Float[Array, "batch probes"]
    """Mean of the radii of relevant landmarks nearby, in shell units."""
    spread: Float[Array, "batch probes"]
    """Their standard deviation."""
    weight: Float[Array, "batch landmarks"]
    """w_s of every landmark, in [0, 1]."""


def fine_grid(band_limit: int) -> SphericalHarmonics:
    """The grid that maxima are sought on: 2 L up to 128, else L."""
    return SphericalHarmonics.build(max(band_limit, min(2 * band_limit, FINE_GRID)))


def probe(tables: ProbeTables, queries: Float[Array, "batch width"]) -> Probes:
    """Probes of unit queries.

    O(B S (D + L²)) and a few evaluations of B P points in O(L²) each; float32.
    """
    cosine = jnp.matmul(queries, tables.landmark.T, precision=jax.lax.Precision.HIGHEST)
    scale = tables.temperature * jnp.std(cosine, axis=1, keepdims=True)
    best = jnp.max(cosine, axis=1, keepdims=True)
    weight = jnp.exp((cosine - best) / jnp.maximum(scale, 1e-6))
    amplitude = weight @ tables.signature
    field = InterferenceField(amplitude, jnp.zeros_like(amplitude))
    amplitude = amplitude / jnp.sqrt(field.power)[:, None]
    start = _grid_maxima(amplitude, tables.grid, tables.probes)
    direction, value, ring = _ascend(amplitude, start, tables.smoothing)
    density, found = _distinct(direction, value**2, tables.smoothing)
    order = jnp.argsort(-density, axis=1)
    direction = jnp.take_along_axis(direction, order[..., None], axis=1)
    density, found, openness = (
        jnp.take_along_axis(part, order, axis=1)
        for part in (density, found, jnp.clip(ring / jnp.where(value == 0, 1, value), _LEAST, 1))
    )
    radius, spread = _radii(tables, direction, weight)
    return Probes(direction, density, found, openness, radius, spread, weight)


probe_batch = eqx.filter_jit(probe)
"""`probe`, compiled once for each shape of queries and tables."""


def _grid_maxima(
    amplitude: Float[Array, "batch coefficients"], grid: SphericalHarmonics, count: int
) -> Float[Array, "batch count 3"]:
    """The `count` strongest nodes of |ψ|² that none of their eight neighbours exceeds.

    Where there are fewer, any other nodes follow them.
    """
    missing = grid.band_limit**2 - amplitude.shape[1]
    # flat coefficients are nested: higher degrees follow the lower ones
    squared = grid.inverse(jnp.pad(amplitude, ((0, 0), (0, missing)))) ** 2
    score = jnp.where(squared >= highest_around(squared), squared, 0).reshape(squared.shape[0], -1)
    return grid.directions.reshape(-1, 3)[jax.lax.top_k(score, count)[1]]


def _ascend(
    amplitude: Float[Array, "batch coefficients"],
    start: Float[Array, "batch count 3"],
    width: Float[Array, ""],
) -> tuple[Float[Array, "batch count 3"], Float[Array, "batch count"], Float[Array, "batch count"]]:
    """Follow ∇ log |ψ|² with momentum, v' = μ v + (σ²/3) ∇ log |ψ|².

    The best place on the way is kept.

    A lone deposit is a Gaussian of width σ, whose Newton step is (σ²/2) ∇ log |ψ|²: the rate is two
    thirds of that. Returned with ψ there and its mean on the circle of angle RING σ around: a mean
    over a circle multiplies degree l by P_l(cos angle) (Funk-Hecke), so that it is one more field
    beside ψ and its gradient.
    """
    size = math.isqrt(amplitude.shape[1])
    circle = _legendre(jnp.cos(RING * width), size)[degrees_and_orders(size)[0]]
    both = jnp.stack([amplitude, amplitude * circle[None]], axis=1)
    fields = jnp.concatenate([both, gradient_coefficients(amplitude)], axis=1)

    def step(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        here, speed, best, highest, ring = state
        seen = evaluate_many(fields, here)
        value = seen[..., 0]
        better = value**2 > highest**2
        best = jnp.where(better[..., None], here, best)
        highest = jnp.where(better, value, highest)
        ring = jnp.where(better, seen[..., 1], ring)
        push = (2 * width**2 / 3) * seen[..., 2:] / jnp.where(value == 0, 1, value)[..., None]
        speed = project_tangent(here, MOMENTUM * speed + push)
        length = jnp.linalg.norm(speed, axis=-1, keepdims=True)
        speed = speed * jnp.minimum(1.0, width / jnp.maximum(length, 1e-12))
        return exponential_map(here, speed), speed, best, highest, ring

    zero = jnp.zeros(start.shape[:-1], start.dtype)
    state = (start, jnp.zeros_like(start), start, zero, zero)
    return jax.lax.fori_loop(0, ASCENT_STEPS, step, state)[2:]


def _legendre(cosine: Float[Array, ""], count: int) -> Float[Array, " count"]:
    """P_0 .. P_{count-1} by Bonnet's recurrence."""

    def step(last: tuple[Array, Array], degree: Array) -> tuple[tuple[Array, Array], Array]:
        below, here = last
        above = ((2 * degree + 1) * cosine * here - degree * below) / (degree + 1)
        return (here, above), here

    start = (jnp.zeros_like(cosine), jnp.ones_like(cosine))
    return jax.lax.scan(step, start, jnp.asarray(np.arange(count), cosine.dtype))[1]


def _distinct(
    direction: Float[Array, "batch count 3"],
    density: Float[Array, "batch count"],
    width: Float[Array, ""],
) -> tuple[Float[Array, "batch count"], Bool[Array, "batch count"]]:
    """Set the density to 0 where an earlier maximum lies within a smoothing width.

    It is 0 as well where there is no maximum: below 1e-4 of the best counts as none. Returns the
    density, and where it was kept.
    """
    count = direction.shape[1]
    near = squared_chord(direction[:, :, None], direction[:, None]) < width**2
    earlier = jnp.asarray(np.tri(count, k=-1, dtype=bool))[None]
    strong = density >= 1e-4 * jnp.max(density, axis=1, keepdims=True)
    found = strong & ~jnp.any(near & earlier, axis=2)
    return jnp.where(found, density, 0), found


def _radii(
    tables: ProbeTables,
    direction: Float[Array, "batch probes 3"],
    weight: Float[Array, "batch landmarks"],
) -> tuple[Float[Array, "batch probes"], Float[Array, "batch probes"]]:
    """Mean and standard deviation of landmark radii, by relevance and distance.

    Distance weighs by a Gaussian of twice the smoothing width.
    """
    chord = squared_chord(direction[:, :, None], tables.direction[None, None])
    near = weight[:, None] * jnp.exp(-chord / (8 * tables.smoothing**2))
    share = near / jnp.maximum(jnp.sum(near, axis=2, keepdims=True), 1e-30)
    mean = jnp.sum(share * tables.radius[None, None], axis=2)
    square = jnp.sum(share * (tables.radius[None, None] - mean[..., None]) ** 2, axis=2)
    return mean, jnp.sqrt(square)
