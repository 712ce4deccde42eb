"""What lies around a passage on a finished map: its nearest patches, with their bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from sphere_ebm.frozen_map import FrozenMap
from sphere_ebm.ingest.base import AbstractEmbedder
from sphere_ebm.ingest.static_embedder import StaticEmbedder
from sphere_ebm.map_folder import PLACEMENT, LabelError, label_files, read_map
from sphere_ebm.placement import Placement
from sphere_ebm.shards.labels import Labels, read_labels


@dataclass(frozen=True)
class Neighbour:
    """A patch near the passage: `angle` in radians, the stem of its shard, its first byte there, and its own bytes.

    `before` and `after` are the bytes around it.
    """

    angle: float
    stem: str
    start: int
    patch: bytes
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Surroundings:
    """Where a passage lies on a map, and what lies around it, nearest first.

    `direction` (3,): unit vector. `found`: the patch of the map that holds the passage, which is no neighbour of its
    own; None if no text holds it: it was then placed on the map as a newcomer.
    """

    direction: Float32[np.ndarray, "3"]
    found: Neighbour | None
    neighbours: tuple[Neighbour, ...]


def surroundings(
    folder: Path | str,
    passage: str,
    embedder: Callable[[], AbstractEmbedder] = StaticEmbedder,
    *,
    count: int = 15,
    context: int = 60,
) -> Surroundings:
    """What lies around `passage` on the finished map in `folder`, whose label files hold bytes.

    A passage that one of the texts holds (white space aside) lies where the patch with its middle byte lies. Any other
    is embedded and joins the map as a newcomer, see `FrozenMap`; the map stays as it is.

    Args:
        embedder: called only for a passage that no text holds; must make the embedder of the map's shards.
        count: of neighbours.
        context: bytes of text to give before and after each patch.

    Raises:
        LabelError: there is no finished map in `folder`, or labels in it hold no bytes.
        ShardError: a label file is missing or damaged.
        ValueError: a negative `count`, an empty passage, or one whose embedding has another width than the map's.
    """
    if not passage.strip():
        raise ValueError("`passage` must hold something to look for; got white space only.")
    if count < 0:
        raise ValueError(f"`count` must be at least 0; got {count}.")
    folder = Path(folder)
    files = [read_labels(path) for path in label_files(folder, read_map(folder))]
    files = [labels for labels in files if len(labels)]
    without = next((labels for labels in files if labels.bytes is None), None)
    if without is not None:
        raise LabelError(f"{without.path} holds no bytes: make the map from text, or from shards with bytes")
    directions = np.concatenate([labels.direction for labels in files])
    where = _held(files, passage)
    place = directions[where] if where is not None else _joined(folder, files, passage, embedder())
    chords = np.linalg.norm(directions.astype(np.float64) - place, axis=1)
    order = np.argsort(chords, kind="stable")
    nearest = order[order != where][:count] if where is not None else order[:count]
    angles = 2 * np.arcsin(np.minimum(chords[nearest] / 2, 1))
    described = [_described(files, int(row), float(angle), context) for row, angle in zip(nearest, angles, strict=True)]
    found = None if where is None else _described(files, where, 0.0, context)
    return Surroundings(place, found, tuple(described))


def _held(files: list[Labels], passage: str) -> int | None:
    """Number of the patch that holds the middle of the passage, in the first text that holds it."""
    words = re.compile(rb"\s+".join(re.escape(word.encode()) for word in passage.split()))
    first = 0
    for labels in files:
        assert labels.bytes is not None
        assert labels.bytes_offset is not None
        if match := words.search(labels.bytes.tobytes()):
            middle = (match.start() + match.end() - 1) // 2
            return first + int(np.searchsorted(labels.bytes_offset, middle, side="right")) - 1
        first += len(labels)
    return None


def _joined(folder: Path, files: list[Labels], passage: str, embedder: AbstractEmbedder) -> Float32[np.ndarray, "3"]:
    """Direction of a passage that is in no text of the map."""
    placement = Placement.load(folder / PLACEMENT)
    if placement.embeddings is None:  # all points were fitted, in the order of the files
        placement = placement.with_embeddings(np.concatenate([labels.embeddings for labels in files]))
    octets = np.frombuffer(passage.encode(), np.uint8)
    (embeddings, prominence), *_ = embedder.embed(octets, np.array([len(octets)]))
    joined = FrozenMap(placement, placement.embeddings).place(embeddings, prominence)
    return joined.direction[0]


def _described(files: list[Labels], row: int, angle: float, context: int) -> Neighbour:
    for labels in files:
        if row < len(labels):
            assert labels.bytes is not None
            assert labels.bytes_offset is not None
            begin, end = (int(n) for n in labels.bytes_offset[row : row + 2])
            text = labels.bytes
            return Neighbour(
                angle=angle,
                stem=Path(labels.metadata.get("source_file", labels.path.name)).stem,
                start=int(labels.patch_start[row]),
                patch=text[begin:end].tobytes(),
                before=text[max(begin - context, 0) : begin].tobytes(),
                after=text[end : end + context].tobytes(),
            )
        row -= len(labels)
    raise IndexError(row)
