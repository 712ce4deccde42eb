"""What users hand to `place`, turned into finite arrays of the right shape or refused."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped
from numpy.typing import ArrayLike

from sphere_ebm.files.shards.assemble import equal_norms
from sphere_ebm.geometry.arrays import real_array as real_array
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.maps.config import PlacementConfig

ExtraEdges = tuple[
    Shaped[np.ndarray, " edges"], Shaped[np.ndarray, " edges"], Float[np.ndarray, " edges"]
]
"""Senders, receivers and weights of edges."""


def checked_config(config: Any) -> PlacementConfig:
    """`config`, or the default one for None.

    Raises ValueError for anything else than a `PlacementConfig`.
    """
    if config is None:
        return PlacementConfig()
    if not isinstance(config, PlacementConfig):
        raise ValueError(
            f"`config` must be a PlacementConfig, or None; got {type(config).__name__}. "
            "Build one with PlacementConfig(neighbours=15, ...)."
        )
    return config


def checked_embeddings(embeddings: ArrayLike) -> Float32[np.ndarray, "points width"]:
    """Embeddings in float32, contiguous.

    Raises ValueError when they are no matrix of finite real numbers.
    """
    given = real_array("embeddings", embeddings)
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        array = np.ascontiguousarray(given, np.float32)
    if given.ndim != 2:
        cure = "; one point is embeddings[None]" if given.ndim == 1 else ""
        raise ValueError(
            f"`embeddings` must have shape (points, width); got {given.shape}. Reshape your"
            f" data{cure}."
        )
    _refuse_non_finite("embeddings", array)
    return array


def checked_queries(queries: ArrayLike, width: int) -> Float32[np.ndarray, "queries width"]:
    """Queries of norm 1 in float32.

    Raises ValueError for another width, rows that are zero or not finite.
    """
    given = real_array("queries", queries)
    if given.ndim != 2 or given.shape[1] != width:
        raise ValueError(
            f"`queries` must have shape (queries, {width}), the width of the map's embeddings; got"
            f" {given.shape}. Embed them as the map's points were; one query is queries[None]."
        )
    rows = given.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"`queries` must be finite; got NaN or infinity in row {finite.argmin()}. Drop that"
            " query."
        )
    peak = np.abs(rows).max(axis=1, initial=0)
    if not (peak > 0).all():
        raise ValueError(
            f"`queries` must not be zero; row {(peak > 0).argmin()} is. A zero vector is like no"
            " point."
        )
    rows /= peak[:, None]
    return unit_rows(rows).astype(np.float32)


def checked_prominence(
    prominence: ArrayLike | None, embeddings: Float32[np.ndarray, "points width"]
) -> tuple[Float64[np.ndarray, " points"], list[str]]:
    """The prominence in float64, so that it is ranked as given, and notes on what it leaves open.

    None stands for the norms of the embeddings. Where all non-zero norms are equal but for rounding
    (`equal_norms`), they are made equal, so that no radius follows the rounding.

    Raises:
        ValueError: the wrong shape, or not finite in float32, in which a `Placement` keeps it.
    """
    if prominence is None:
        values, notes = _norms(embeddings)
    else:
        values = real_array("prominence", prominence).astype(np.float64)
        notes = []
    if values.shape != (len(embeddings),):
        raise ValueError(f"`prominence` must have shape ({len(embeddings)},); got {values.shape}.")
    with np.errstate(over="ignore"):
        _refuse_non_finite("prominence", values.astype(np.float32))
    ordered = np.sort(values)
    equal = ordered[1:] == ordered[:-1]
    tied = int(np.count_nonzero(np.append(equal, False) | np.append(False, equal)))
    if not notes and 2 * tied > len(values):
        notes = [
            f"{tied} of {len(values)} points share their prominence with another: the seed orders"
            " equal ones"
        ]
    return values, notes


def checked_numbers(name: str, given: ArrayLike, n_points: int) -> Float64[np.ndarray, " points"]:
    """One real number for every point, finite in float32, in float64.

    Raises ValueError naming the argument `name`.
    """
    values = real_array(name, given).astype(np.float64)
    if values.shape != (n_points,):
        raise ValueError(f"`{name}` must have shape ({n_points},); got {values.shape}.")
    with np.errstate(over="ignore"):
        _refuse_non_finite(name, values.astype(np.float32))
    return values


def _norms(
    embeddings: Float32[np.ndarray, "points width"],
) -> tuple[Float64[np.ndarray, " points"], list[str]]:
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    if not equal_norms(norm):
        return norm, []
    note = (
        "embeddings are normalised: their norms order nothing, radii are by the seed; give your own"
        " prominence, or that of sphere_ebm.maps.local_density"
    )
    return np.where(norm > 0, norm.max(), 0.0), [note]


def checked_neighbours(
    neighbours: Any, embeddings: Float32[np.ndarray, "points width"]
) -> Neighbours | None:
    """Neighbours that were found elsewhere; None stays None.

    Raises:
        ValueError: neither `Neighbours` nor a pair of index and similarity, or what
            `Neighbours.from_arrays` refuses; similarities that are evidently distances.
    """
    if neighbours is None:
        return None
    if isinstance(neighbours, Neighbours):
        neighbours.check_cosines(embeddings)
        return neighbours
    if not isinstance(neighbours, (tuple, list)) or len(neighbours) != 2:
        raise ValueError(
            "`neighbours` must be a Neighbours, or a tuple of index and similarity; got"
            f" {type(neighbours).__name__}. Make one with Neighbours.from_arrays."
        )
    index, similarity = neighbours
    return Neighbours.from_arrays(index, similarity, embeddings)


def checked_start(
    start: ArrayLike, n_points: int, name: str = "start"
) -> Float32[np.ndarray, "points 3"]:
    """Directions scaled to unit length.

    Raises ValueError, naming the argument `name`, for a wrong shape, a non-finite or a zero row.
    """
    array = real_array(name, start)
    if array.shape != (n_points, 3):
        raise ValueError(f"`{name}` must have shape ({n_points}, 3); got {array.shape}.")
    array = array.astype(np.float64)
    _refuse_non_finite(name, array)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"`{name}` must have no zero rows; row {int(np.argmin(length))} is zero.")
    return unit_rows(array, length).astype(np.float32)


def checked_edges(edges: Any) -> ExtraEdges | None:
    """Extra edges as arrays, (senders, receivers, weights); None stays None.

    Raises:
        ValueError: not three one-dimensional arrays of one length, or ends that are no integers.
            That the ends are points is checked where the edges are added, see
            `sphere_ebm.graph.graph.add_edges`.
    """
    if edges is None:
        return None
    if not isinstance(edges, (tuple, list)) or len(edges) != 3:
        raise ValueError(
            "`extra_edges` must be a tuple of three arrays: senders, receivers and weights."
        )
    senders, receivers, weights = (real_array("extra_edges", part) for part in edges)
    if not (senders.ndim == 1 and senders.shape == receivers.shape == weights.shape):
        shapes = ", ".join(str(part.shape) for part in (senders, receivers, weights))
        raise ValueError(
            "`extra_edges` must hold three one-dimensional arrays of one length; got shapes"
            f" {shapes}."
        )
    if senders.size and not (senders.dtype.kind in "iu" and receivers.dtype.kind in "iu"):
        raise ValueError(
            f"`extra_edges` must name points by integers; got dtypes {senders.dtype} and"
            f" {receivers.dtype}."
        )
    return senders.astype(np.int64), receivers.astype(np.int64), weights.astype(np.float64)


def _refuse_non_finite(name: str, array: Shaped[np.ndarray, "..."]) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), array.shape)
        place = ", ".join(str(int(i)) for i in first)
        raise ValueError(
            f"`{name}` must be finite in float32; got {array[first]} at index ({place}). NaN and"
            " infinity are no numbers: drop or repair that row."
        )
