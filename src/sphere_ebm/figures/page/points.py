"""What the page shows of a map: its points, their documents and texts, and numbers of each."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Int32, Int64, UInt8

from sphere_ebm.errors import MissingPackageError
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.files.shards.own import OwnColumn, joined_columns
from sphere_ebm.geometry.shells import radii_tell
from sphere_ebm.graph import nearest_neighbours

NEIGHBOURS = 10
MOST_WITH_NEIGHBOURS = 200_000
"""Points up to which the page holds the neighbours in the embedding, and two modes of each."""

_NUMBERS = {
    "angle_std": "spread",
    "kept": "neighbours kept",
    "kept_p_value": "p-value of kept",
    "point_energy": "energy",
}
"""Tensors of label files that points are coloured by, where all files have them."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PagePoints:
    """N points in the order of their documents.

    Attributes:
        direction: (N, 3) unit vectors.
        radius: (N,) in shell units.
        shell: (N,) 0 innermost, or None.
        radius_tells: whether the radii order anything; where not, nothing is coloured by them.
        documents: name and number of points of each document, in order.
        text: (B,) bytes of all patches in order, or None where no file has any.
        text_offset: (N + 1,) where each patch begins in `text`.
        numbers: by name, (N,) finite numbers that points can be coloured by.
        own: by name, (N,) numbers or words of the user's own, to colour by and to read.
        names: the column of `own` that says what each point is called, or None.
        by_row: numbers of the documents whose points are rows of a table and no running text.
        colour_by: the column of `own` that points are coloured by at first; None: by document.
        neighbours: (N, k) nearest in the embedding, best first, -1 where there are fewer; or None.
        modes: (N, 2, 3) two directions of a point that has two homes, and `mode_weight` (N, 2)
            their weights; or None.
    """

    direction: Float[np.ndarray, "points 3"]
    radius: Float[np.ndarray, " points"]
    documents: tuple[tuple[str, int], ...]
    shell: Int32[np.ndarray, " points"] | None = None
    radius_tells: bool = True
    text: UInt8[np.ndarray, " bytes"] | None = None
    text_offset: Int64[np.ndarray, " offsets"] | None = None
    numbers: dict[str, Float32[np.ndarray, " points"]] = field(default_factory=dict)
    own: dict[str, OwnColumn] = field(default_factory=dict)
    names: str | None = None
    by_row: tuple[int, ...] = ()
    colour_by: str | None = None
    neighbours: Int32[np.ndarray, "points k"] | None = None
    modes: Float32[np.ndarray, "points 2 3"] | None = None
    mode_weight: Float32[np.ndarray, "points 2"] | None = None

    def __post_init__(self) -> None:
        counted = sum(count for _, count in self.documents)
        if counted != len(self):
            raise ValueError(f"`documents` must add up to {len(self)} points; got {counted}.")
        if (self.text is None) != (self.text_offset is None):
            raise ValueError("`text` and `text_offset` must be given together.")
        for name, column in self.own.items():
            if column.shape != (len(self),):
                raise ValueError(
                    f"`own` must have {len(self)} values in {name!r}; got {column.shape}."
                )
        for one in (self.names, self.colour_by):
            if one is not None and one not in self.own:
                raise ValueError(f"`own` must have the column {one!r}; it has {[*self.own]}.")

    def __len__(self) -> int:
        return len(self.radius)

    @property
    def borders(self) -> Int64[np.ndarray, " borders"]:
        """Where texts begin that are read by themselves, in points, and the number of points.

        A document is one text, or as many as it has rows.
        """
        ends = np.cumsum([0, *(count for _, count in self.documents)])
        parts = [
            np.arange(begin, end) if d in self.by_row else np.array([begin])
            for d, (begin, end) in enumerate(itertools.pairwise(ends))
        ]
        return np.concatenate([*parts, [len(self)]]).astype(np.int64)

    @property
    def document(self) -> Int32[np.ndarray, " points"]:
        """(N,) the document of each point."""
        counts = [count for _, count in self.documents]
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def points_of_labels(paths: Iterable[Path], *, neighbours: bool = True) -> PagePoints:
    """The points of all label files of a map, in order; without `neighbours` none are sought.

    Raises ShardError for a file that is missing or damaged.
    """
    files = [_File(path) for path in paths]
    files = [file for file in files if file.points] or files[:1]
    count = sum(file.points for file in files)
    small = count <= MOST_WITH_NEIGHBOURS
    texts = any(file.text is not None for file in files)
    shared = set.intersection(*(set(file.numbers) for file in files))
    modes = small and all(file.modes is not None for file in files)
    named = {file.own.id for file in files}
    return PagePoints(
        direction=np.concatenate([file.direction for file in files]),
        radius=np.concatenate([file.radius for file in files]),
        shell=np.concatenate([file.shell for file in files]),
        radius_tells=count < 2
        or radii_tell(np.array([end for file in files for end in file.ends])),
        documents=tuple(pair for file in files for pair in file.documents),
        text=np.concatenate([file.octets for file in files]) if texts else None,
        text_offset=_offsets(files) if texts else None,
        numbers={
            name: np.concatenate([file.numbers[name] for file in files])
            for name in _NUMBERS.values()
            if name in shared
        },
        own=joined_columns([file.own.values for file in files], [file.points for file in files]),
        names=named.pop() if len(named) == 1 else None,
        by_row=tuple(_of_rows(files)),
        neighbours=nearest_in_embedding([file.path for file in files])
        if small and neighbours
        else None,
        modes=np.concatenate([file.modes for file in files if file.modes is not None])
        if modes
        else None,
        mode_weight=np.concatenate([file.weight for file in files if file.weight is not None])
        if modes
        else None,
    )


@final
class _File:
    """The columns of one label file, without its embeddings."""

    def __init__(self, path: Path) -> None:
        labels = read_labels(path)
        container = read_container(path)
        self.path = path
        self.points = len(labels)
        self.documents = labels.named_documents
        self.direction = labels.direction
        self.radius = labels.radius
        self.shell = labels.shell
        self.ends = (labels.prominence.min(), labels.prominence.max()) if len(labels) else ()
        self.own = labels.own
        self.text = labels.bytes
        self.octets, self.lengths = _text_of(labels)
        self.numbers = {
            name: container.floats(tensor)
            for tensor, name in _NUMBERS.items()
            if _has(container, tensor, (self.points,))
        }
        both = _has(container, "modes", (self.points, 2, 3)) and _has(
            container, "mode_weight", (self.points, 2)
        )
        self.modes = container.floats("modes").reshape(-1, 2, 3) if both else None
        self.weight = container.floats("mode_weight").reshape(-1, 2) if both else None


def _text_of(labels: Labels) -> tuple[UInt8[np.ndarray, " _"], Int64[np.ndarray, " _"]]:
    """The bytes of all patches and the length of each; none where the file has no bytes."""
    if labels.bytes is None or labels.bytes_offset is None:
        return np.zeros(0, np.uint8), np.zeros(len(labels), np.int64)
    return labels.bytes, np.diff(labels.bytes_offset)


def _has(container: Container, name: str, shape: tuple[int, ...]) -> bool:
    """Whether a file has this tensor of float32, in this shape."""
    info = container.tensors.get(name)
    return info is not None and info.shape == shape and info.dtype == "F32"


def _of_rows(files: Sequence[_File]) -> Iterator[int]:
    """Numbers of the documents that are tables."""
    first = 0
    for file in files:
        if file.own.by_row:
            yield from range(first, first + len(file.documents))
        first += len(file.documents)


def _offsets(files: Sequence[_File]) -> Int64[np.ndarray, " offsets"]:
    lengths = np.concatenate([file.lengths for file in files])
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def nearest_in_embedding(paths: Sequence[Path]) -> Int32[np.ndarray, "points k"] | None:
    """The `NEIGHBOURS` nearest of every point in the embedding, from label files.

    None where there are fewer than 2 points, or the search needs a package that is missing.
    """
    embeddings = np.concatenate([read_labels(path).embeddings for path in paths])
    return neighbours_of(embeddings)


def neighbours_of(
    embeddings: Float32[np.ndarray, "points width"],
) -> Int32[np.ndarray, "points k"] | None:
    """The same from embeddings."""
    if len(embeddings) < 2 or not embeddings.shape[1]:
        return None
    try:
        found = nearest_neighbours(embeddings, min(NEIGHBOURS, len(embeddings) - 1))
    except MissingPackageError:
        return None
    return found.index
