"""Cones on a finished map.

Which points lie in them, the best of those, and how dense the map is around a direction.

A cone is a cap of directions around its axis and a band of radii. The angle a between a point and
the axis is never computed: up to π/2 the chord |u - d| is compared with 2 sin(aperture/2), above
π/2 the chord to the other end of the axis |u + d| with 2 cos(aperture/2). Both tell angles apart
down to float32 rounding of the directions, where the arccos of a product is blind below 3e-4.
Everything is float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.checks import real_array
from sphere_ebm.maps.placement import Placement
from sphere_ebm.quality.points import unit_directions

_ScoreOf = Callable[[int, Int64[np.ndarray, " inside"]], Float64[np.ndarray, " inside"]]
_CENTRES = 65_536
# products of cones and points that one block of a mask compares
_BLOCK = 2**22


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Cones:
    """A batch of cones; `Cones.build` fills in the defaults and broadcasts.

    Attributes:
        direction: (*b, 3) unit vectors, the axes.
        aperture: (*b) half angles in radians, in [0, π]; π is the whole sphere.
        inner_radius, outer_radius: (*b) the radial band in shell units, both ends belong to it.

    Raises:
        ValueError: an array breaks one of these rules, or shapes differ.
    """

    direction: Float64[np.ndarray, "*b 3"]
    aperture: Float64[np.ndarray, "*b"]
    inner_radius: Float64[np.ndarray, "*b"]
    outer_radius: Float64[np.ndarray, "*b"]

    def __post_init__(self) -> None:
        shape = self.direction.shape[:-1]
        for name, part in (
            ("aperture", self.aperture),
            ("inner_radius", self.inner_radius),
            ("outer_radius", self.outer_radius),
        ):
            if part.shape != shape:
                raise ValueError(
                    f"`{name}` must have one entry per direction, shape {shape}; got {part.shape}."
                    " `Cones.build` broadcasts."
                )
        length = np.linalg.norm(self.direction, axis=-1)
        _refuse(
            "direction",
            ~(np.abs(length - 1) < 1e-3),
            "hold unit vectors",
            length,
            "divide it by its norms",
        )
        within = (self.aperture >= 0) & (self.aperture <= math.pi)
        _refuse("aperture", ~within, "lie in [0, π]", self.aperture, "give half angles in radians")
        inner = self.inner_radius
        outer = self.outer_radius
        _refuse(
            "inner_radius",
            ~(inner >= 0),
            "be at least 0",
            inner,
            "0 takes the band down to the centre",
        )
        _refuse(
            "outer_radius", ~(outer >= inner), "be at least `inner_radius`", outer, "swap the two"
        )

    @classmethod
    def build(
        cls,
        direction: ArrayLike,
        aperture: ArrayLike | float,
        inner_radius: ArrayLike | float = 0.0,
        outer_radius: ArrayLike | float = math.inf,
    ) -> "Cones":
        """Cones from arrays or numbers that broadcast to (*b); axes are scaled to length 1.

        Raises ValueError for axes that are zero, not finite or not of shape (*b, 3), and as the
        class itself does.
        """
        axis = _axes("direction", direction)
        given = {"aperture": aperture, "inner_radius": inner_radius, "outer_radius": outer_radius}
        parts = {name: real_array(name, value).astype(np.float64) for name, value in given.items()}
        try:
            shape = np.broadcast_shapes(axis.shape[:-1], *(part.shape for part in parts.values()))
        except ValueError as error:
            shapes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
            raise ValueError(
                f"`direction` {axis.shape[:-1]} and {shapes} must broadcast together; give one"
                " number or one per cone."
            ) from error
        return cls(
            direction=np.broadcast_to(axis, (*shape, 3)),
            **{name: np.broadcast_to(part, shape) for name, part in parts.items()},
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """*b."""
        return self.aperture.shape

    def __len__(self) -> int:
        """Number of cones, all axes of the batch together."""
        return self.aperture.size


class Found(NamedTuple):
    """The k best points of each cone, best first.

    Attributes:
        points: (*b, k) their indices, -1 where the cone holds fewer.
        score: (*b, k) their scores, -inf where `points` is -1.
    """

    points: Int64[np.ndarray, "*b k"]
    score: Float64[np.ndarray, "*b k"]


def members(placement: Placement, cones: Cones) -> Bool[np.ndarray, "*b points"]:
    """Which points lie in which cone: (*b, N), true for angle <= aperture and inner <= r <= outer.

    O(b N).

    For the indices of one cone take `np.flatnonzero` of its row. Raises ValueError for directions
    that are not unit.
    """
    points = unit_directions(placement.direction)
    radius = placement.radius.astype(np.float64)
    inside = np.empty((len(cones), len(points)), bool)
    flat = _flat(cones)
    rows = max(1, _BLOCK // max(len(points), 1))
    for start in range(0, len(cones), rows):
        block = slice(start, start + rows)
        inside[block] = _inside(points, radius, *(part[block] for part in flat))
    return inside.reshape(*cones.shape, len(points))


def top_k(
    placement: Placement,
    cones: Cones,
    k: int,
    *,
    score: ArrayLike | None = None,
    queries: ArrayLike | None = None,
) -> Found:
    """The k points of largest score within each cone; ties go to the lower index.

    Args:
        placement: the map.
        cones: (*b) of them.
        k: points to return for each cone, at least 1.
        score: (N,) for all cones, or (*b, N); larger is better, NaN is refused.
        queries: (*b, D) or (D,), instead: the score is the cosine to the embeddings of the
            placement, computed only for the points of the cone; a zero vector has the cosine 0 with
            everything.

    Cost O(b N), and with `queries` O(D) for each point that lies in a cone.

    Raises:
        ValueError: k < 1, not exactly one of `score` and `queries`, a wrong shape, NaN, or a
            placement without embeddings where `queries` need them.
    """
    if k < 1:
        raise ValueError(f"`k` must satisfy k >= 1; got {k}. Ask for at least one point.")
    if (score is None) == (queries is None):
        received = "neither" if score is None else "both"
        raise ValueError(
            f"exactly one of `score` and `queries` must be given; got {received}. Drop or add one."
        )
    points = unit_directions(placement.direction)
    radius = placement.radius.astype(np.float64)
    flat = _flat(cones)
    value_of = (
        _cosines(placement, cones, queries) if score is None else _tabled(score, cones, len(points))
    )
    index = np.full((len(cones), k), -1, np.int64)
    best = np.full((len(cones), k), -np.inf)
    for row in range(len(cones)):
        here = np.flatnonzero(_inside(points, radius, *(part[row : row + 1] for part in flat))[0])
        value = value_of(row, here)
        order = np.argsort(-value, kind="stable")[:k]
        index[row, : len(order)] = here[order]
        best[row, : len(order)] = value[order]
    return Found(index.reshape(*cones.shape, k), best.reshape(*cones.shape, k))


@final
@dataclass(frozen=True, eq=False)
class CapDensity:
    """Counts points in caps: a k-d tree of the directions of a map, to be asked more than once.

    Attributes:
        tree: of the unit directions; None for a map without points.
        n_points: N.
    """

    tree: cKDTree | None
    n_points: int

    @classmethod
    def build(cls, placement: Placement) -> "CapDensity":
        """O(N log N). Raises ValueError for directions that are not unit."""
        points = unit_directions(placement.direction)
        return cls(cKDTree(points) if len(points) else None, len(points))

    def __call__(self, centre: ArrayLike, aperture: float) -> Float64[np.ndarray, " centres"]:
        """ρ at `centre` (M, 3), any non-zero vectors; see `local_density`.

        O(points in the cap) for each at worst.
        """
        if not 0 < aperture <= math.pi:
            raise ValueError(
                f"`aperture` must lie in (0, π]; got {aperture}. Give a half angle in radians."
            )
        axes = _axes("centre", centre)
        if axes.ndim != 2:
            raise ValueError(f"`centre` must have shape (M, 3); got {axes.shape}. Reshape it.")
        count = np.zeros(len(axes))
        if self.tree is None:
            return count
        # rounding must not leave the antipode out of the whole sphere
        reach = 2.5 if aperture == math.pi else 2 * math.sin(aperture / 2)
        for start in range(0, len(axes), _CENTRES):
            block = slice(start, start + _CENTRES)
            count[block] = self.tree.query_ball_point(axes[block], reach, return_length=True)
        return count / (self.n_points * math.sin(aperture / 2) ** 2)


def local_density(
    placement: Placement, aperture: float, centre: ArrayLike | None = None
) -> Float64[np.ndarray, " centres"]:
    """ρ, points per steradian in caps of half angle `aperture`, relative to N/4π of the whole map.

    ρ = n(cap) / (N sin²(aperture/2)): the area of a cap is 4π sin²(aperture/2). 1 for an even map;
    a point at the centre counts. (M,) for `centre` (M, 3), by default every point of the map; 0 for
    a map without points.

    A k-d tree of the directions (`CapDensity`), in blocks of centres, never an array of N x M.

    Raises:
        ValueError: `aperture` outside (0, π], centres that are zero or not finite, or directions
            that are not unit.
    """
    return CapDensity.build(placement)(placement.direction if centre is None else centre, aperture)


def cone_weights(placement: Placement, neighbours: float = 16.0) -> Float64[np.ndarray, " points"]:
    """Weight of every point for attention within cones: w_i ∝ 1/ρ_i, mean 1.

    Crowded points share what a lone one has.

    ρ_i is the `local_density` in caps that hold `neighbours` points on an even map:
    sin²(aperture/2) = neighbours / N, the whole sphere when N is smaller than that. Positive, since
    a point counts itself.

    Raises:
        ValueError: `neighbours` is not positive.
    """
    if not (neighbours > 0 and math.isfinite(neighbours)):
        raise ValueError(
            f"`neighbours` must be a positive number; got {neighbours}. Some tens are usual."
        )
    if len(placement) == 0:
        return np.zeros(0)
    aperture = 2 * math.asin(math.sqrt(min(1.0, neighbours / len(placement))))
    weight = 1 / local_density(placement, aperture)
    return weight / weight.mean()


def _tabled(score: ArrayLike, cones: Cones, n_points: int) -> _ScoreOf:
    """Given scores of some points for one cone."""
    table = _rows("score", score, cones, n_points)
    return lambda row, points: table[row, points]


def _cosines(placement: Placement, cones: Cones, queries: ArrayLike | None) -> _ScoreOf:
    """Cosines of the query of one cone to some points, computed when asked for."""
    embeddings = placement.embeddings
    if embeddings is None:
        raise ValueError(
            "`placement` must hold its embeddings for `queries`; got one without. "
            "Add them with `placement.with_embeddings(embeddings)`, or give `score`."
        )
    rows = _rows("queries", queries, cones, embeddings.shape[1])
    if not np.isfinite(rows).all():
        raise ValueError(
            "`queries` must be finite; got NaN or infinity. Repair or drop that query."
        )
    unit = unit_rows(rows)
    return lambda row, points: unit_rows(embeddings[points].astype(np.float64)) @ unit[row]


def _rows(
    name: str, given: ArrayLike | None, cones: Cones, width: int
) -> Float64[np.ndarray, "rows width"]:
    """One row for every cone, a view where one serves all."""
    array = real_array(name, given).astype(np.float64)
    if array.shape not in ((width,), (*cones.shape, width)):
        raise ValueError(
            f"`{name}` must have shape ({width},) or {(*cones.shape, width)}; got {array.shape}."
            " Give one row per cone."
        )
    if np.isnan(array).any():
        raise ValueError(
            f"`{name}` must not be NaN; got {int(np.isnan(array).sum())} of them. Use -inf to leave"
            " out."
        )
    return np.broadcast_to(array.reshape(-1, width), (len(cones), width))


def _flat(
    cones: Cones,
) -> tuple[Float64[np.ndarray, "cones 3"], *tuple[Float64[np.ndarray, " cones"], ...]]:
    """Axes, apertures, inner and outer radii with one axis for the batch."""
    parts = (cones.aperture, cones.inner_radius, cones.outer_radius)
    return cones.direction.reshape(-1, 3), *(part.reshape(-1) for part in parts)


def _inside(
    points: Float64[np.ndarray, "points 3"],
    radius: Float64[np.ndarray, " points"],
    axis: Float64[np.ndarray, "cones 3"],
    aperture: Float64[np.ndarray, " cones"],
    inner: Float64[np.ndarray, " cones"],
    outer: Float64[np.ndarray, " cones"],
) -> Bool[np.ndarray, "cones points"]:
    wide = aperture > math.pi / 2
    near = np.where(wide[:, None], -axis, axis)
    chord = sum((points[:, c] - near[:, c, None]) ** 2 for c in range(3))
    bound = np.where(wide, 2 * np.cos(aperture / 2), 2 * np.sin(aperture / 2))[:, None] ** 2
    # cos(π/2) is not quite 0 in floating point
    bound[aperture == math.pi] = 0
    cap = np.where(wide[:, None], chord >= bound, chord <= bound)
    return cap & (radius >= inner[:, None]) & (radius <= outer[:, None])


def _axes(name: str, given: ArrayLike) -> Float64[np.ndarray, "*b 3"]:
    """Vectors of shape (*b, 3) scaled to length 1."""
    axis = real_array(name, given).astype(np.float64)
    if axis.ndim < 1 or axis.shape[-1] != 3:
        raise ValueError(
            f"`{name}` must have shape (*b, 3); got {axis.shape}. Give Cartesian axes."
        )
    length = np.linalg.norm(axis, axis=-1, keepdims=True)
    usable = np.isfinite(length) & (length > 0)
    _refuse(name, ~usable[..., 0], "be finite and not zero", length[..., 0], "drop it")
    return unit_rows(axis, length)


def _refuse(
    name: str,
    broken: np.ndarray | np.bool_,
    rule: str,
    received: np.ndarray | np.float64,
    cure: str,
) -> None:
    """Raises ValueError for the first entry that breaks the rule.

    NumPy makes scalars of arrays without axes.
    """
    if np.any(broken):
        first = np.unravel_index(int(np.argmax(broken)), broken.shape)
        place = f" at index ({', '.join(str(int(i)) for i in first)})" if first else ""
        raise ValueError(
            f"`{name}` must {rule}; got {np.asarray(received)[first]:g}{place}. Cure: {cure}."
        )
