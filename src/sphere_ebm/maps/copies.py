"""Exact copies among points: found, placed once, and brought back to all rows.

A boilerplate sentence that stands a thousand times in a corpus is one point of a map. Placed a
thousand times it would be a heap that its own pressure blows into a hole.
"""

import dataclasses
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32, Int64, Shaped

from sphere_ebm.files.shards.columns import COLUMNS
from sphere_ebm.maps.checks import ExtraEdges
from sphere_ebm.maps.placement import Placement

_CHUNK = 16_384
_MULTIPLIER = 0x9E3779B97F4A7C15  # of a linear congruential generator: odd, with mixed bits


_Apart = tuple[
    Shaped[np.ndarray, " apart"], Shaped[np.ndarray, " apart"], Shaped[np.ndarray, " apart"]
]
"""Edges as `ExtraEdges` are, fewer than were given."""


@final
class Copies(NamedTuple):
    """Which of N points are copies of each other.

    `first` (M,): the first row of each of the M that differ, rising. `group` (N,): the number, in
    [0, M), of the one that each row is a copy of. `size` (N,): how many rows are alike.
    """

    first: Int64[np.ndarray, " distinct"]
    group: Int64[np.ndarray, " points"]
    size: Int32[np.ndarray, " points"]

    def edges(self, edges: ExtraEdges | None) -> _Apart | None:
        """Edges between rows as edges between the M; those between two copies have no force.

        Raises ValueError for an end that is no row.
        """
        if edges is None:
            return None
        rows = len(self.group)
        for end in edges[:2]:
            if len(end) and not 0 <= end.min() <= end.max() < rows:
                raise ValueError(
                    f"`extra_edges` must join points of 0 .. {rows - 1}; got {end.min()} to"
                    f" {end.max()}."
                )
        senders, receivers = (self.group[end] for end in edges[:2])
        apart = senders != receivers
        return senders[apart], receivers[apart], edges[2][apart]

    def spread(
        self,
        placed: Placement,
        embeddings: Float32[np.ndarray, "points width"],
        prominence: Shaped[np.ndarray, " points"] | None,
    ) -> Placement:
        """The placement of all N points from that of the M: copies share everything but H.

        Their shares of the energy are parts of that of the one point, so that they still add up.
        """
        columns: dict[str, Any] = {
            name: rows[self.group] for name, rows in placed.columns().items()
        }
        if placed.point_energy is not None:
            shared = self.size.astype(np.float32)
            columns["point_energy"] = columns["point_energy"] / shared
        replicas = None if placed.replicas is None else placed.replicas[:, self.group]
        own = placed.prominence[self.group] if prominence is None else prominence
        return dataclasses.replace(
            placed,
            **columns | {"copies": self.size},
            prominence=own.astype(np.float32),
            replicas=replicas,
            embeddings=embeddings,
        )


def find_copies(
    embeddings: Float32[np.ndarray, "points width"],
    prominence: Shaped[np.ndarray, " points"] | None = None,
) -> Copies | None:
    """Points with the same embedding and, where it is given, the same prominence; None: no two.

    Zero vectors, which carry no direction, are nobody's copies. Cost: O(N D) and a sort of N
    numbers.
    """
    if len(embeddings) < 2:
        return None
    marks = _marks(embeddings, prominence)
    _, first, inverse = np.unique(marks, return_index=True, return_inverse=True)
    leader = first[inverse.reshape(-1)]
    rows = np.arange(len(embeddings))
    twins = np.flatnonzero(leader != rows)
    alike = _alike(embeddings, twins, leader[twins])
    if prominence is not None:
        alike &= prominence[twins] == prominence[leader[twins]]
    # rows whose marks agree by chance, and zero vectors, stand for themselves
    leader[twins[~alike]] = twins[~alike]
    if not alike.any():
        return None
    kept, group, count = np.unique(leader, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    return Copies(kept, group, count[group].astype(np.int32))


def distinct(placement: Placement) -> Placement:
    """The placement without copies: of each heap its first point, with all of its energy."""
    if placement.copies is None:
        return placement
    heaps = np.flatnonzero(placement.copies > 1)
    # copies share every bit of their place, and other points do not
    places = np.column_stack([placement.direction[heaps], placement.radius[heaps]])
    _, first = np.unique(places, axis=0, return_index=True)
    rows = np.union1d(np.flatnonzero(placement.copies == 1), heaps[first])
    columns: dict[str, Any] = dict.fromkeys(COLUMNS) | placement.columns(rows)
    if placement.point_energy is not None:
        columns["point_energy"] = columns["point_energy"] * placement.copies[rows].astype(
            np.float32
        )
    held = placement.embeddings
    return dataclasses.replace(
        placement,
        **columns | {"copies": None},
        prominence=placement.prominence[rows],
        replicas=None if placement.replicas is None else placement.replicas[:, rows],
        embeddings=None if held is None else held[rows],
    )


def _marks(
    embeddings: Float32[np.ndarray, "points width"],
    prominence: Shaped[np.ndarray, " points"] | None,
) -> Shaped[np.ndarray, " points"]:
    """A number of 64 bits for each row, the same for equal rows."""
    width = embeddings.shape[1]
    with np.errstate(over="ignore"):
        factors = np.cumprod(np.full(width + 1, _MULTIPLIER, np.uint64))
    marks = np.empty(len(embeddings), np.uint64)
    for start in range(0, len(embeddings), _CHUNK):
        rows = slice(start, start + _CHUNK)
        # 0 is added since -0 has other bits than 0
        bits = (embeddings[rows] + np.float32(0)).view(np.uint32).astype(np.uint64)
        marks[rows] = (bits * factors[:width]).sum(axis=1, dtype=np.uint64)
    if prominence is not None:
        marks += (prominence.astype(np.float64) + 0.0).view(np.uint64) * factors[width]
    return marks


def _alike(
    embeddings: Float32[np.ndarray, "points width"],
    rows: Int64[np.ndarray, " some"],
    leaders: Int64[np.ndarray, " some"],
) -> Shaped[np.ndarray, " some"]:
    """Whether rows equal their leaders and are no zero vectors."""
    alike = np.empty(len(rows), bool)
    for start in range(0, len(rows), _CHUNK):
        some = slice(start, start + _CHUNK)
        own = embeddings[rows[some]]
        alike[some] = (own == embeddings[leaders[some]]).all(axis=1) & own.any(axis=1)
    return alike
