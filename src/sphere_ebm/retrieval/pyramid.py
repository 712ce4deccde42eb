"""`MapPyramid`: a finished map in levels, from a few wide regions to cells of a few points.

A level is a partition of the points into nodes, and every node of the next level lies in one of
them. There are two kinds of pyramid. `MapPyramid.build` takes the equal-area cells of
`sphere_ebm.geometry.cells`: up to four children a node, regions that hang together on the sphere.
`MapPyramid.over_time` takes windows of patches that follow each other in a document: windows of 4,
16, 64 patches and so on, where documents have an order.

For each node a level keeps the number of points, their mean direction and its spread, the mean
radius, and the mean and the variance of their unit embeddings. Means of parents are means of their
children's, weighted by counts: O(N D) for the finest level, O(nodes · D) for the others. Nodes
without points are not kept.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, final, get_args

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Shaped
from numpy.typing import ArrayLike

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.files.shards.layouts import PYRAMID_FORMAT
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.geometry.cells import MAX_LEVEL, cell_keys, checked_level
from sphere_ebm.maps.checks import checked_embeddings, checked_numbers, real_array
from sphere_ebm.maps.placement import Placement
from sphere_ebm.quality.points import unit_directions
from sphere_ebm.retrieval.levels import (
    MapColumns,
    PyramidLevel,
    combined,
    finest_level,
    parent_level,
)

Axis = Literal["cells", "windows"]
FEW = 4
"""Points that a cell of the finest level holds at most on an even map, unless the caller says
otherwise; patches of the shortest windows.
"""
_CURE = "build the pyramid again"
_VISITORS = "visitors."


class Visitors(NamedTuple):
    """Points that nodes of the finest level list beside their own.

    Attributes:
        key: (V,) rising, of nodes of the finest level.
        point: (V,) rising for each key; none that the node holds.
    """

    key: Int64[np.ndarray, " visitors"]
    point: Int64[np.ndarray, " visitors"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MapPyramid:
    """The levels of a map, coarsest first. Made by `build`, `of_points` or `over_time`.

    Attributes:
        axis: `"cells"` of the sphere, or `"windows"` of documents.
        order: (N,) the points, node by node: those of a node of any level are one slice of it.
        key: (N,) rising, in that order: keys of cells of level 16, or of the finest windows.
        levels: coarsest first. That of cells is the whole sphere, that of windows a node for each
            document.
        tags: text kept beside it in its file, for whoever made it: of which map it is.
        visitors: see `sphere_ebm.retrieval.visitors`; None: there are none.
    """

    axis: Axis
    order: Int64[np.ndarray, " points"]
    key: Int64[np.ndarray, " points"]
    levels: tuple[PyramidLevel, ...]
    tags: dict[str, str]
    visitors: Visitors | None = None

    def __len__(self) -> int:
        """N, the number of points."""
        return len(self.order)

    @property
    def width(self) -> int:
        """D, of the embeddings."""
        return self.levels[0].embedding.shape[1]

    @classmethod
    def build(
        cls, source: Placement | Labels | Sequence[Labels], *, finest: int | None = None
    ) -> "MapPyramid":
        """The cells of a finished map.

        Args:
            source: a placement with its embeddings, or the labels of a map, in the order in which
                its points are to be numbered.
            finest: level of the finest cells; None: the first on which cells hold at most four
                points on an even map.

        O(N log N) to sort, O(N D) for the means; besides the result and the embeddings, memory
        for some numbers a point.

        Raises:
            ValueError: a placement without embeddings, no points, or `finest` outside [0, 16].
        """
        return cls.of_points(*_columns(source), finest=finest)

    @classmethod
    def of_points(
        cls,
        direction: ArrayLike,
        radius: ArrayLike,
        embeddings: ArrayLike,
        *,
        finest: int | None = None,
    ) -> "MapPyramid":
        """The same from arrays: unit directions (N, 3), radii (N,), embeddings (N, D)."""
        points = _checked(direction, radius, embeddings)
        last = (
            suiting_level(len(points.radius)) if finest is None else checked_level(finest, "finest")
        )
        key, order, level = _sorted_cells(points, last)
        return cls(axis="cells", order=order, key=key, levels=_stacked(level), tags={})

    @classmethod
    def over_time(
        cls,
        source: Placement | Labels | Sequence[Labels],
        document: ArrayLike | None = None,
        *,
        shortest: int = FEW,
    ) -> "MapPyramid":
        """Windows of patches that follow each other: of `shortest`, 4, 16, ... times as many.

        Args:
            source: as in `build`; patches come in the order of their documents.
            document: (N,) of a placement: the number of each point's document, points of one
                document together. Labels know theirs.
            shortest: patches of a window of the finest level, at least 1. The last window of a
                document may be shorter, and windows never reach over its end.

        Raises:
            ValueError: as `build`; documents of another length, missing, or not together.
        """
        if shortest < 1:
            raise ValueError(f"`shortest` must be at least 1; got {shortest}. Four is usual.")
        points = _checked(*_columns(source))
        starts = _document_starts(source, document, len(points.radius))
        length = np.diff(np.append(starts, len(points.radius)))
        depth = 0
        while shortest * 4**depth < length.max():
            depth += 1
        place = np.arange(len(points.radius)) - np.repeat(starts, length)
        # numbered within their document as cells are: a parent is the number >> 2
        number = np.repeat(np.arange(len(starts)), length)
        key = (number << 2 * depth) + place // shortest
        order = np.arange(len(key))
        first = _starts(key)
        level = finest_level(depth, key[first], first, order, points)
        return cls(axis="windows", order=order, key=key, levels=_stacked(level), tags={})

    def join(self, direction: ArrayLike, radius: ArrayLike, embeddings: ArrayLike) -> "MapPyramid":
        """The pyramid of the map after newcomers have joined it: they are points N, N + 1, ...

        Levels stay as many as they are. Counts, keys and order are those of a pyramid that is
        built of all points; means are too, up to rounding. O(M D) for M newcomers and O(nodes D),
        without reading the embeddings of the points that are there. Once a map has grown
        fourfold, build it anew, with a finer level.

        Raises:
            ValueError: arrays that do not fit, another width, or a pyramid of windows.
        """
        if self.axis != "cells":
            raise ValueError(
                "windows of documents must be built anew; got a pyramid of axis 'windows'. Call"
                " `over_time` with all points."
            )
        points = _checked(direction, radius, embeddings)
        if points.embeddings.shape[1] != self.width:
            raise ValueError(
                f"`embeddings` must have the width of the map's, {self.width}; got"
                f" {points.embeddings.shape[1]}. Embed newcomers as the map's points were."
            )
        key, order, level = _sorted_cells(points, self.levels[-1].level)
        # newcomers have larger numbers, so that behind equal keys is where they belong
        place = np.searchsorted(self.key, key, side="right")
        return MapPyramid(
            axis="cells",
            order=np.insert(self.order, place, order + len(self)),
            key=np.insert(self.key, place, key),
            levels=_stacked(combined(self.levels[-1], level)),
            tags=self.tags,
            visitors=self.visitors,
        )

    def summarise(
        self, values: Float[np.ndarray, " points"]
    ) -> list[tuple[Float64[np.ndarray, " nodes"], Float64[np.ndarray, " nodes"]]]:
        """Mean and variance of any number of the points, in every node of every level. O(N)."""
        sorted_values = real_array("values", values).astype(np.float64)[self.order]
        offset = sorted_values.mean()
        sums = np.concatenate([[0], np.cumsum(sorted_values - offset)])
        squares = np.concatenate([[0], np.cumsum((sorted_values - offset) ** 2)])
        found = []
        for level in self.levels:
            ends = level.first
            mean = np.diff(sums[ends]) / level.count
            variance = np.diff(squares[ends]) / level.count - mean**2
            found.append((mean + offset, np.maximum(variance, 0)))
        return found

    def tagged(self, **tags: str) -> "MapPyramid":
        """The same with this text beside it in its file, in place of any other."""
        return dataclasses.replace(self, tags=tags)

    def save(self, path: Path | str) -> str:
        """Write one safetensors file, atomically; returns its SHA-256."""
        tensors: dict[str, np.ndarray] = {"order": self.order, "key": self.key}
        for number, level in enumerate(self.levels):
            tensors |= {f"{number}.{name}": array for name, array in level.arrays().items()}
        if self.visitors is not None:
            tensors |= {f"{_VISITORS}{name}": a for name, a in self.visitors._asdict().items()}
        known = {"format": PYRAMID_FORMAT, "axis": self.axis}
        numbers = {"levels": " ".join(str(level.level) for level in self.levels)}
        return write_tensors(Path(path), tensors, {**self.tags, **known, **numbers})

    @classmethod
    def load(cls, path: Path | str) -> "MapPyramid":
        """Read what `save` wrote.

        Raises ShardError naming the file when it is no pyramid, or damaged.
        """
        path = Path(path)
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != PYRAMID_FORMAT or metadata.get("axis") not in get_args(Axis):
            raise ShardError(path, f"not a {PYRAMID_FORMAT} file", cure=_CURE)
        try:
            levels = tuple(
                PyramidLevel.of_arrays(int(level), tensors, f"{number}.")
                for number, level in enumerate(metadata["levels"].split())
            )
            order = tensors["order"]
            whole = all(level.first[-1] == len(order) for level in levels)
            if not levels or not whole or tensors["key"].shape != order.shape:
                raise ValueError("its levels do not hold all points")
            visitors = _read_visitors(tensors, levels[-1], len(order))
        except (KeyError, ValueError, IndexError) as error:
            raise ShardError(path, f"incomplete pyramid ({error})", cure=_CURE) from error
        tags = {k: v for k, v in metadata.items() if k not in ("format", "axis", "levels")}
        axis: Axis = "cells" if metadata["axis"] == "cells" else "windows"
        return cls(
            axis=axis,
            order=order,
            key=tensors["key"],
            levels=levels,
            tags=tags,
            visitors=visitors,
        )


def _read_visitors(
    tensors: dict[str, np.ndarray], finest: PyramidLevel, points: int
) -> Visitors | None:
    """The visitors of a file, if it holds any. Raises KeyError or ValueError for damaged ones."""
    if f"{_VISITORS}key" not in tensors:
        return None
    found = Visitors(*(tensors[f"{_VISITORS}{name}"] for name in Visitors._fields))
    known = found.key.shape == found.point.shape and np.isin(found.key, finest.key).all()
    if not known or not ((found.point >= 0) & (found.point < points)).all():
        raise ValueError("its visitors are no points that visit its cells")
    return found


def suiting_level(points: int) -> int:
    """The first level on which so many points are at most four a cell: that of `build`."""
    level = 0
    while level < MAX_LEVEL and points > FEW * 4**level:
        level += 1
    return level


def _sorted_cells(
    points: MapColumns, level: int
) -> tuple[Int64[np.ndarray, " points"], Int64[np.ndarray, " points"], PyramidLevel]:
    """Keys of level 16, rising, the points in that order, and their finest level."""
    key = cell_keys(points.direction)
    order = np.argsort(key, kind="stable")
    key = key[order]
    cell = key >> 2 * (MAX_LEVEL - level)
    first = _starts(cell)
    return key, order, finest_level(level, cell[first], first, order, points)


def _stacked(finest: PyramidLevel) -> tuple[PyramidLevel, ...]:
    """All levels from 0 down to the finest one."""
    levels = [finest]
    while levels[-1].level > 0:
        levels.append(parent_level(levels[-1]))
    return tuple(reversed(levels))


def _starts(group: Int64[np.ndarray, " points"]) -> Int64[np.ndarray, " nodes"]:
    """Where runs of equal numbers begin."""
    return np.flatnonzero(np.append(True, group[1:] != group[:-1]))


def _columns(
    source: Placement | Labels | Sequence[Labels],
) -> tuple[Float32[np.ndarray, "points 3"], Shaped[np.ndarray, " points"], np.ndarray]:
    """Directions, radii and embeddings of a map."""
    if isinstance(source, Placement):
        if source.embeddings is None:
            raise ValueError(
                "`source` must hold its embeddings; got a placement without. Add them with"
                " `placement.with_embeddings(embeddings)`."
            )
        return source.direction, source.radius, source.embeddings
    files = [one for one in _listed(source) if len(one)]
    if not files:
        raise ValueError("`source` must hold at least one point; got none. Label something first.")
    return (
        np.concatenate([one.direction for one in files]),
        np.concatenate([one.radius for one in files]),
        np.concatenate([one.embeddings for one in files]),
    )


def _listed(source: Labels | Sequence[Labels]) -> Sequence[Labels]:
    return [source] if isinstance(source, Labels) else source


def _document_starts(
    source: Placement | Labels | Sequence[Labels], document: ArrayLike | None, points: int
) -> Int64[np.ndarray, " documents"]:
    """Where documents begin. Raises ValueError where that cannot be told."""
    if not isinstance(source, Placement):
        length = np.array([n for one in _listed(source) for _, n in one.documents if n], np.int64)
        return np.cumsum(length) - length
    given = real_array("document", np.zeros(0) if document is None else document)
    if given.shape != (points,):
        raise ValueError(
            f"`document` must have shape ({points},), the document of each point; got"
            f" {None if document is None else given.shape}. A placement does not know them."
        )
    starts = np.flatnonzero(np.append(True, given[1:] != given[:-1]))
    if len(np.unique(given[starts])) < len(starts):
        raise ValueError(
            "`document` must keep points of one document together; got one that comes back."
            " Sort the points by document."
        )
    return starts


def _checked(direction: ArrayLike, radius: ArrayLike, embeddings: ArrayLike) -> MapColumns:
    """Unit directions, radii and embeddings of the same points, at least one."""
    rows = checked_embeddings(embeddings)
    given = real_array("direction", direction)
    if given.shape != (len(rows), 3) or len(rows) == 0:
        raise ValueError(
            f"`direction` must have shape ({len(rows)}, 3), a row per embedding and at least one;"
            f" got {given.shape}."
        )
    unit = unit_directions(given.astype(np.float64))
    return MapColumns(unit, checked_numbers("radius", radius, len(rows)), rows)
