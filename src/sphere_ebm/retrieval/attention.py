"""`ConeAttention`: learned cones on a finished map, at two scales, that start where a cascade led.

A cone has an axis on S², an aperture in [.1, 1.5] and weights of 8 radial bands. It attends to the
points of the map that lie in it, at most so many, which the cells around its axis hold. The score
of a point x for the query q is

    β cos(q, x) + (A_c q)·(B x) + log σ((cos angle - cos aperture) / τ) + band,

with queries of each cone (A_c), keys that all cones of a scale share (B), and a membership that is
soft, so that a gradient reaches aperture and axis. Points outside a cone, and places without a
point, are masked: their score is -inf, never a product with 0. The values that are averaged are
places on the sphere: an axis moves towards the mean of what its cone attends to. Several narrow
cones and a few wide ones are mixed by a gate. Untrained, A and all corrections are zero.

The result is a density of places on the sphere, highest where to look. It is trained so that the
known neighbours of training queries lie where it is high.
"""

import math
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Int32, Int64, PRNGKeyArray
from numpy.typing import ArrayLike

from sphere_ebm.geometry.cells import MAX_LEVEL, cell_keys, neighbours
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.checks import checked_queries
from sphere_ebm.maps.placement import Placement
from sphere_ebm.quality.points import unit_directions
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.pyramid import MapPyramid

APERTURES = (0.1, 1.5)
"""Radians between which an aperture stays."""
BANDS = 8
"""Radial bands, each with as many points of the map as any other."""
RANK = 16
"""Width of learned queries and keys."""


class ConePoints(NamedTuple):
    """The points that the cones of some queries may attend to; P places for each cone.

    Attributes:
        direction: (..., C, P, 3) unit vectors.
        band: (..., C, P) radial bands.
        embedding: (..., C, P, D) unit embeddings.
        there: (..., C, P) False where there is no point.
    """

    direction: Float[Array, "*b cones points 3"]
    band: Int[Array, "*b cones points"]
    embedding: Float[Array, "*b cones points width"]
    there: Bool[Array, "*b cones points"]


class Look(NamedTuple):
    """The cones of one query after attention.

    Attributes:
        axis: (C, 3) unit vectors.
        aperture: (C,) radians.
        strength: (C,) how much of the density is theirs, in logarithms up to a constant.
        score: (C, P) of the points attended to; -inf outside a cone.
    """

    axis: Float[Array, "cones 3"]
    aperture: Float[Array, " cones"]
    strength: Float[Array, " cones"]
    score: Float[Array, "cones points"]


@final
class ConeScale(eqx.Module):
    """Cones of one width: C of them, of at most P points each."""

    query: Float[Array, "cones rank width"]
    key: Float[Array, "rank width"]
    likeness: Float[Array, ""]
    opening: Float[Array, " cones"]
    band: Float[Array, "cones bands"]
    shift: Float[Array, ""]
    listening: Float[Array, ""]
    sharpness: Float[Array, ""]
    points: int = eqx.field(static=True)

    @classmethod
    def build(
        cls, key: PRNGKeyArray, width: int, *, cones: int, points: int, aperture: float
    ) -> "ConeScale":
        """Untrained: scores are cosines, axes stay, all cones are as wide as `aperture`."""
        low, high = APERTURES
        share = (aperture - low) / (high - low)
        return cls(
            query=jnp.zeros((cones, RANK, width)),
            key=jax.random.normal(key, (RANK, width)) / math.sqrt(width),
            likeness=jnp.asarray(10.0),
            opening=jnp.full(cones, math.log(share / (1 - share))),
            band=jnp.zeros((cones, BANDS)),
            shift=jnp.asarray(0.0),
            listening=jnp.asarray(0.0),
            sharpness=jnp.asarray(math.log(20.0)),
            points=points,
        )

    @property
    def aperture(self) -> Float[Array, " cones"]:
        """Half angles in radians, within `APERTURES`."""
        low, high = APERTURES
        return low + (high - low) * jax.nn.sigmoid(self.opening)

    def __call__(
        self, query: Float[Array, " width"], axis: Float[Array, "cones 3"], points: ConePoints
    ) -> Look:
        """Attend from cones around `axis` (C, 3) to the points that they may attend to."""
        cosine = jnp.einsum("cpk,ck->cp", points.direction, axis)
        edge = jnp.cos(self.aperture)[:, None]
        like = self.likeness * (points.embedding @ query)
        learned = jnp.einsum(
            "cr,cpr->cp", self.query @ query, jnp.einsum("cpd,rd->cpr", points.embedding, self.key)
        )
        member = jax.nn.log_sigmoid(jnp.exp(self.sharpness) * (cosine - edge))
        bands = jnp.take_along_axis(self.band, points.band, axis=1)
        inside = points.there & (cosine >= edge)
        score = jnp.where(inside, like + learned + member + bands, -jnp.inf)
        # a cone without a point attends to nothing; zeros in place of -inf keep its gradient finite
        held = jnp.any(inside, axis=1)
        safe = jnp.where(held[:, None], score, 0.0)
        weight = jnp.where(inside, jax.nn.softmax(safe, axis=1), 0.0)
        mean = jnp.einsum("cp,cpk->ck", weight, points.direction)
        moved = axis + jnp.tanh(self.shift) * jnp.where(held[:, None], mean - axis, 0.0)
        axis = moved / jnp.linalg.norm(moved, axis=1, keepdims=True)
        heard = jnp.where(held, jax.nn.logsumexp(safe, axis=1), 0.0)
        return Look(axis, self.aperture, self.listening * heard, score)

    def density(self, look: Look, place: Float[Array, "places 3"]) -> Float[Array, " places"]:
        """Logarithm of the density of these cones at places, up to a constant."""
        cosine = place @ look.axis.T
        sharp = jnp.exp(self.sharpness)
        member = sharp * (cosine - jnp.cos(look.aperture)[None])
        return jax.nn.logsumexp(member + jax.nn.log_softmax(look.strength)[None], axis=1)


@final
class ConeAttention(eqx.Module):
    """Narrow and wide cones and the gate between them."""

    fine: ConeScale
    coarse: ConeScale
    gate: Float[Array, " width"]
    bias: Float[Array, ""]

    @classmethod
    def build(cls, key: PRNGKeyArray, width: int) -> "ConeAttention":
        """Untrained: 8 cones of .5 and 50 points, 2 of 1 and 200 points, mixed alike."""
        fine, coarse = jax.random.split(key)
        return cls(
            fine=ConeScale.build(fine, width, cones=8, points=50, aperture=0.5),
            coarse=ConeScale.build(coarse, width, cones=2, points=200, aperture=1.0),
            gate=jnp.zeros(width),
            bias=jnp.asarray(0.0),
        )

    def __call__(
        self, query: Float[Array, " width"], seen: "Seen", place: Float[Array, "places 3"]
    ) -> Float[Array, " places"]:
        """Logarithm of the density of where to look for one query, at places of the sphere."""
        open_ = self.gate @ query + self.bias
        fine = self.fine.density(self.fine(query, seen.fine_axis, seen.fine), place)
        coarse = self.coarse.density(self.coarse(query, seen.coarse_axis, seen.coarse), place)
        return jnp.logaddexp(jax.nn.log_sigmoid(open_) + fine, jax.nn.log_sigmoid(-open_) + coarse)


class Seen(NamedTuple):
    """What the cones of queries begin with: axes from a cascade, and the points around them."""

    fine_axis: Float[Array, "*b fine 3"]
    fine: ConePoints
    coarse_axis: Float[Array, "*b coarse 3"]
    coarse: ConePoints


@final
class ConeMap:
    """A map whose points cones can attend to.

    Attributes:
        cascade: over its cells; tells where cones begin.
        direction: (N, 3) unit vectors of its points.
    """

    def __init__(self, placement: Placement) -> None:
        """Raises ValueError for a placement without embeddings."""
        self.cascade = Cascade.build(placement)
        self.direction = unit_directions(placement.direction)
        embeddings = placement.embeddings
        assert embeddings is not None, "a pyramid was built of them"
        self._unit = unit_rows(embeddings.astype(np.float64)).astype(np.float32)
        rank = np.argsort(np.argsort(placement.radius, kind="stable"), kind="stable")
        self._band = (rank * BANDS // max(len(rank), 1)).astype(np.int32)

    def see(self, model: ConeAttention, queries: ArrayLike, *, work: float = 0.05) -> Seen:
        """Where the cones of `queries` (Q, D) begin, and the points that they may attend to.

        Fine cones begin at the best cells of the last level that a cascade of this work finds,
        coarse ones at the means of the first and of the second half of them.
        """
        unit = checked_queries(queries, self.cascade.pyramid.width)
        fine = len(model.fine.opening)
        axes = self.cascade.cones(unit, probes=fine, work=work).direction
        halves = np.array_split(axes, len(model.coarse.opening), axis=1)
        wide = np.stack([half.sum(axis=1) for half in halves], axis=1)
        lost = np.linalg.norm(wide, axis=-1, keepdims=True) < 1e-6
        wide = unit_rows(np.where(lost, axes[:, :1], wide))
        return Seen(
            jnp.asarray(axes, jnp.float32),
            self._points(axes, model.fine.points),
            jnp.asarray(wide, jnp.float32),
            self._points(wide, model.coarse.points),
        )

    def _points(self, axis: Float64[np.ndarray, "queries cones 3"], most: int) -> ConePoints:
        """The points nearest to each axis among those of its cell and the cells around it."""
        found = nearest_in_cells(
            self.cascade.pyramid, self.direction, axis.reshape(-1, 3), most
        ).reshape(*axis.shape[:2], most)
        safe = np.maximum(found, 0)
        return ConePoints(
            jnp.asarray(self.direction[safe], jnp.float32),
            jnp.asarray(self._band[safe]),
            jnp.asarray(self._unit[safe]),
            jnp.asarray(found >= 0),
        )


def nearest_in_cells(
    pyramid: MapPyramid,
    direction: Float64[np.ndarray, "points 3"],
    axis: Float64[np.ndarray, "axes 3"],
    most: int,
) -> Int64[np.ndarray, "axes most"]:
    """Up to `most` points around each axis, nearest first, -1 where there are fewer.

    They come from the cell that holds the axis and the eight around it, on the finest level on
    which nine cells of an even map hold twice as many. O(axes · most).
    """
    level = 0
    while level < MAX_LEVEL and 9 * len(pyramid) / 4 ** (level + 1) >= 2 * most:
        level += 1
    own = cell_keys(axis, level)
    around = np.concatenate([own[:, None], neighbours(own, level)], axis=1)
    shift = 2 * (MAX_LEVEL - level)
    found = np.full((len(axis), most), -1, np.int64)
    for row, cells in enumerate(around):
        keys = np.unique(cells)
        begin = np.searchsorted(pyramid.key, keys << shift)
        end = np.searchsorted(pyramid.key, (keys + 1) << shift)
        ranges = [np.arange(a, b) for a, b in zip(begin, end, strict=True)]
        points = pyramid.order[np.concatenate(ranges)]
        nearest = np.argsort(-(direction[points] @ axis[row]), kind="stable")[:most]
        found[row, : len(nearest)] = points[nearest]
    return found


def train_attention(
    model: ConeAttention,
    world: ConeMap,
    queries: ArrayLike,
    truth: Int[np.ndarray, "queries k"],
    *,
    steps: int = 300,
    batch: int = 32,
    rate: float = 0.01,
    others: int = 1024,
    seed: int = 0,
) -> tuple[ConeAttention, Float32[np.ndarray, " steps"]]:
    """Train so that the density is high where the neighbours of queries lie; Adam, `steps` steps.

    The loss of a query is the mean over its neighbours of -log of their share of the density among
    themselves and `others` points of the map, drawn anew for each batch.

    Args:
        model: where to begin.
        world: the map.
        queries: (Q, D) that are not on it.
        truth: (Q, k) the points that should be found.
        steps: of Adam.
        batch: queries of a step, drawn with replacement.
        rate: of Adam.
        others: points beside the neighbours.
        seed: of what is drawn.

    Returns:
        The trained model and the loss of every step.
    """
    unit = checked_queries(queries, world.cascade.pyramid.width)
    seen = world.see(model, unit)
    place = world.direction.astype(np.float32)
    rng = np.random.default_rng(seed)
    state = _Adam.build(model)
    losses = []
    for _ in range(steps):
        rows = rng.integers(0, len(unit), batch)
        part = jax.tree.map(lambda array, taken=rows: array[taken], seen)
        beside = jnp.asarray(place[rng.integers(0, len(place), others)])
        known = jnp.asarray(place[truth[rows]])
        taken_part = (jnp.asarray(unit[rows]), part, known, beside)
        model, state, loss = _step(model, state, taken_part, jnp.asarray(rate))
        losses.append(float(loss))
    return model, np.array(losses, np.float32)


@final
class _Adam(eqx.Module):
    """First and second moments of the gradient, and the steps done."""

    first: ConeAttention
    second: ConeAttention
    count: Int32[Array, ""]

    @classmethod
    def build(cls, model: ConeAttention) -> "_Adam":
        zero = jax.tree.map(jnp.zeros_like, model)
        return cls(zero, zero, jnp.asarray(0, jnp.int32))


Batch = tuple[
    Float[Array, "batch width"], Seen, Float[Array, "batch k 3"], Float[Array, "others 3"]
]


def attention_loss(model: ConeAttention, batch: Batch) -> Float[Array, ""]:
    """What `train_attention` lowers, over queries, what they see, their neighbours and others."""
    queries, seen, known, beside = batch

    def one(
        query: Float[Array, " width"], around: Seen, near: Float[Array, "k 3"]
    ) -> Float[Array, ""]:
        density = model(query, around, jnp.concatenate([near, beside]))
        return -jnp.mean(jax.nn.log_softmax(density)[: len(near)])

    return jnp.mean(jax.vmap(one)(queries, seen, known))


@eqx.filter_jit
def _step(
    model: ConeAttention, state: _Adam, batch: Batch, rate: Float[Array, ""]
) -> tuple[ConeAttention, _Adam, Float[Array, ""]]:
    """One step of Adam with its usual decays, .9 and .999."""
    loss, slope = eqx.filter_value_and_grad(attention_loss)(model, batch)
    count = state.count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.first, slope)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.second, slope)
    steps = count.astype(jnp.float32)

    def moved(p: Array, m: Array, v: Array) -> Array:
        return p - rate * (m / (1 - 0.9**steps)) / (jnp.sqrt(v / (1 - 0.999**steps)) + 1e-8)

    return jax.tree.map(moved, model, first, second), _Adam(first, second, count), loss


def look_where(
    model: ConeAttention, world: ConeMap, queries: ArrayLike, *, share: float = 0.05
) -> Int64[np.ndarray, "queries returned"]:
    """The points where the density is highest, round(share N) of them, best first.

    Raises ValueError for a share that is not in (0, 1], and for bad queries.
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` must lie in (0, 1]; got {share}. A twentieth is usual.")
    unit = checked_queries(queries, world.cascade.pyramid.width)
    place = jnp.asarray(world.direction, jnp.float32)
    count = max(1, round(share * len(place)))
    rows = []
    for start in range(0, len(unit), 32):
        part = unit[start : start + 32]
        density = _densities(model, jnp.asarray(part), world.see(model, part), place)
        rows.append(np.argsort(-np.asarray(density), axis=1, kind="stable")[:, :count])
    return np.concatenate(rows) if rows else np.zeros((0, count), np.int64)


@eqx.filter_jit
def _densities(
    model: ConeAttention,
    queries: Float[Array, "batch width"],
    seen: Seen,
    place: Float[Array, "places 3"],
) -> Float[Array, "batch places"]:
    return jax.vmap(lambda query, around: model(query, around, place))(queries, seen)
