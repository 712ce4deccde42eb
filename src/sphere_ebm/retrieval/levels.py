"""One level of a pyramid: its nodes, and what is known of the points in each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.sparse import csr_array

from sphere_ebm.geometry.sphere import unit_rows

_BLOCK = 2048
"""Rows whose norms are taken at a time, so that they stay in the processor's cache."""


class MapColumns(NamedTuple):
    """What a pyramid is made of: unit directions, radii, and embeddings of any length."""

    direction: Float64[np.ndarray, "points 3"]
    radius: Float64[np.ndarray, " points"]
    embeddings: Float32[np.ndarray, "points width"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PyramidLevel:
    """C nodes that hold all points between them, in the order of their keys.

    Attributes:
        level: its number, 0 the coarsest.
        key: (C,) rising; `key >> 2` is the parent's.
        first: (C + 1,) node c holds `order[first[c]:first[c + 1]]` of the pyramid.
        below: (C + 1,) its children are the nodes `below[c]` to `below[c + 1]` of the next level;
            of the finest level the same as `first`.
        direction: (C, 3) mean of the unit directions, shorter than 1 by their spread.
        radius: (C,) mean, in shell units.
        embedding: (C, D) mean of the unit embeddings; zero vectors count as they are.
        variance: (C,) mean squared distance of the unit embeddings to their mean.
    """

    level: int
    key: Int64[np.ndarray, " nodes"]
    first: Int64[np.ndarray, " ends"]
    below: Int64[np.ndarray, " ends"]
    direction: Float64[np.ndarray, "nodes 3"]
    radius: Float64[np.ndarray, " nodes"]
    embedding: Float32[np.ndarray, "nodes width"]
    variance: Float64[np.ndarray, " nodes"]

    def __len__(self) -> int:
        return len(self.key)

    @property
    def count(self) -> Int64[np.ndarray, " nodes"]:
        """Points of each node, at least 1."""
        return np.diff(self.first)

    @property
    def centre(self) -> Float64[np.ndarray, "nodes 3"]:
        """Unit vectors of the mean directions; zero where points cancel."""
        return unit_rows(self.direction)

    @property
    def spread(self) -> Float64[np.ndarray, " nodes"]:
        """Root mean square distance of a node's directions to their mean.

        For the usual narrow node the root mean square angle in radians, as `angle_std` is.
        """
        return np.sqrt(np.maximum(1 - np.sum(self.direction**2, axis=1), 0))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        return {name: vars(self)[name] for name in _DTYPES}

    @classmethod
    def of_arrays(cls, level: int, arrays: Mapping[str, np.ndarray], prefix: str) -> "PyramidLevel":
        """From what `arrays` gave, under names with a prefix.

        Raises KeyError or ValueError for one that is missing or does not fit the others.
        """
        made = {name: arrays[f"{prefix}{name}"] for name in _DTYPES}
        nodes = len(made["key"])
        for name, dtype in _DTYPES.items():
            rows = nodes + 1 if name in ("first", "below") else nodes
            axes = {"direction": (3,), "embedding": made["embedding"].shape[1:2]}.get(name, ())
            if made[name].dtype != dtype or made[name].shape != (rows, *axes):
                raise ValueError(f"`{prefix}{name}` is {made[name].dtype} {made[name].shape}")
        return cls(level=level, **made)


_DTYPES = {
    "key": np.int64,
    "first": np.int64,
    "below": np.int64,
    "direction": np.float64,
    "radius": np.float64,
    "embedding": np.float32,
    "variance": np.float64,
}


def finest_level(
    level: int,
    key: Int64[np.ndarray, " nodes"],
    first: Int64[np.ndarray, " nodes"],
    order: Int64[np.ndarray, " points"],
    points: MapColumns,
) -> PyramidLevel:
    """The level whose nodes have these keys and begin at `first` in `order`. O(N D).

    Means are sums in float32 with the inverse norms as weights: nothing of N x D is made for them.
    """
    ends = np.append(first, len(order))
    count = np.diff(ends)
    norm = _norms(points.embeddings)[order]
    pointing = norm > 0
    weight = np.divide(1, norm, out=np.zeros_like(norm), where=pointing) / np.repeat(count, count)
    mean = _weighted_sums(weight, order, ends, points.embeddings)
    square = np.add.reduceat(pointing.astype(np.float64), first) / count
    return PyramidLevel(
        level=level,
        key=key,
        first=ends,
        below=ends,
        direction=np.add.reduceat(points.direction[order], first, axis=0) / count[:, None],
        radius=np.add.reduceat(points.radius[order], first) / count,
        embedding=mean,
        variance=np.maximum(square - _squares(mean), 0),
    )


def parent_level(level: PyramidLevel) -> PyramidLevel:
    """The level above, from the means of this one. O(nodes D)."""
    key = level.key >> 2
    begin = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    below = np.append(begin, len(key))
    share = level.count / np.repeat(np.add.reduceat(level.count, begin), np.diff(below))
    mean = _weighted_sums(share, np.arange(len(key)), below, level.embedding)
    # all that varies within the parent: within its children, and between them
    square = np.add.reduceat(share * (level.variance + _squares(level.embedding)), begin)
    return PyramidLevel(
        level=level.level - 1,
        key=key[begin],
        first=level.first[below],
        below=below,
        direction=np.add.reduceat(share[:, None] * level.direction, begin, axis=0),
        radius=np.add.reduceat(share * level.radius, begin),
        embedding=mean,
        variance=np.maximum(square - _squares(mean), 0),
    )


def combined(one: PyramidLevel, other: PyramidLevel) -> PyramidLevel:
    """One finest level of the points of two: nodes of one key are one node. O(nodes D)."""
    key = np.union1d(one.key, other.key)
    total = np.zeros(len(key), np.int64)
    for part in (one, other):
        total[np.searchsorted(key, part.key)] += part.count
    direction = np.zeros((len(key), 3))
    radius = np.zeros(len(key))
    mean = np.zeros((len(key), one.embedding.shape[1]))
    for part in (one, other):
        row = np.searchsorted(key, part.key)
        share = part.count / total[row]
        direction[row] += share[:, None] * part.direction
        radius[row] += share * part.radius
        mean[row] += share[:, None] * part.embedding
    variance = np.zeros(len(key))
    for part in (one, other):
        row = np.searchsorted(key, part.key)
        apart = _squares(part.embedding - mean[row])
        variance[row] += part.count / total[row] * (part.variance + apart)
    ends = np.append(0, np.cumsum(total))
    return PyramidLevel(
        level=one.level,
        key=key,
        first=ends,
        below=ends,
        direction=direction,
        radius=radius,
        embedding=mean.astype(np.float32),
        variance=variance,
    )


def _weighted_sums(
    weight: Float64[np.ndarray, " members"],
    member: Int64[np.ndarray, " members"],
    ends: Int64[np.ndarray, " ends"],
    rows: Float32[np.ndarray, "rows width"],
) -> Float32[np.ndarray, "nodes width"]:
    """For each node the weighted sum of the rows that are its members, a slice of `member`."""
    sums = csr_array((weight.astype(np.float32), member, ends), shape=(len(ends) - 1, len(rows)))
    return sums @ rows


def _norms(rows: Float32[np.ndarray, "rows width"]) -> Float64[np.ndarray, " rows"]:
    """In float64, where the squares of float32 numbers neither overflow nor vanish; in blocks."""
    norm = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        norm[block] = np.sqrt(_squares(rows[block]))
    return norm


def _squares(rows: Float[np.ndarray, "rows width"]) -> Float64[np.ndarray, " rows"]:
    wide = rows.astype(np.float64)
    return np.einsum("ij,ij->i", wide, wide)
