"""`Anchors`: places that points remember while a map is fitted, and where such a fit starts."""

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.maps.checks import checked_start, real_array

STRENGTH = 0.25
"""λ at which old places of a map hold while new points find theirs."""

_ROUNDS = 30


@final
@dataclass(frozen=True, eq=False)
class Anchors:
    """Places that some points, or all, are drawn to: H_anchor = Σ_i λ_i s² (1 - u_i·a_i).

    Attributes:
        direction: (M, 3) the places a_i; normalised, zero rows are refused.
        strength: λ_i >= 0, one number or (M,), in units of energy per squared interaction length.
            Points with λ = 0 start at their place and are free. With the default step λ must stay
            below 8, or the dynamics are unstable (a note then tells so).
        rows: (M,) which points remember these places, each at most once; None: the first M.
    """

    direction: ArrayLike
    strength: float | ArrayLike = STRENGTH
    rows: ArrayLike | None = None


class Anchoring(NamedTuple):
    """Anchors that were checked against the points of a map."""

    rows: Int64[np.ndarray, " anchors"]
    place: Float32[np.ndarray, "anchors 3"]
    strength: Float32[np.ndarray, " anchors"]


def checked_anchors(anchors: Anchors | None, n_points: int) -> Anchoring | None:
    """`anchors` as arrays; None stays None, as do anchors without any place.

    Raises ValueError naming the field that does not fit, the rule and what was received.
    """
    if anchors is None:
        return None
    given: Any = real_array("anchors.direction", anchors.direction)
    if given.ndim != 2:
        raise ValueError(f"`anchors.direction` must have shape (anchors, 3); got {given.shape}.")
    place = checked_start(given, len(given), "anchors.direction")
    if anchors.rows is None:
        rows = np.arange(len(place))
    else:
        rows = np.asarray(anchors.rows)
        if rows.shape != (len(place),) or rows.dtype.kind not in "iu":
            raise ValueError(
                f"`anchors.rows` must be {len(place)} integers, one for each place; got"
                f" {rows.dtype} of shape {rows.shape}."
            )
    if len(rows) and (rows.min() < 0 or rows.max() >= n_points):
        raise ValueError(
            f"`anchors.rows` must name points in [0, {n_points}); got {rows.min()} to {rows.max()}."
        )
    if len(np.unique(rows)) < len(rows):
        raise ValueError("`anchors.rows` must name each point at most once.")
    strength = real_array("anchors.strength", anchors.strength).astype(np.float32)
    if strength.shape not in ((), rows.shape) or not (
        np.isfinite(strength).all() and (strength >= 0).all()
    ):
        raise ValueError(
            f"`anchors.strength` must be one finite number >= 0, or {len(rows)} of them; got shape"
            f" {strength.shape}."
        )
    if not len(rows):
        return None
    return Anchoring(rows.astype(np.int64), place, np.broadcast_to(strength, rows.shape))


def anchored_start(
    anchoring: Anchoring, graph: NeighbourGraph, otherwise: Float32[np.ndarray, "points 3"]
) -> Float32[np.ndarray, "points 3"]:
    """Anchored points at their places, each other one at the mean direction of its neighbours.

    Those are asked that have a place already, so that places spread along the graph, 30 edges far
    at most. A point that is not reached starts as in `otherwise`. Cost: O(edges) a round.
    """
    start = otherwise.copy()
    placed = np.zeros(len(start), bool)
    start[anchoring.rows] = anchoring.place
    placed[anchoring.rows] = True
    ends = np.concatenate([graph.senders, graph.receivers])
    others = np.concatenate([graph.receivers, graph.senders])
    weights = np.concatenate([graph.weights, graph.weights]).astype(np.float64)
    for _ in range(_ROUNDS):
        asked = ~placed[ends] & placed[others]
        if not asked.any():
            break
        total = np.zeros((len(start), 3))
        np.add.at(total, ends[asked], weights[asked, None] * start[others[asked]])
        found = np.linalg.norm(total, axis=1) > 0
        start[found] = unit_rows(total[found]).astype(np.float32)
        placed |= found
    return start
