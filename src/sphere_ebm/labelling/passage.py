"""What lies around a passage on a finished map: its nearest patches, with their bytes."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sphere_ebm.errors import LabelError
from sphere_ebm.files.formats import FROZEN
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.maps.kept import kept_frozen_map
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.folder import SHARDS, read_manifest
from sphere_ebm.text.static_embedder import StaticEmbedder

# what `str.split` splits at, in UTF-8
_SPACES = (
    rb"(?:\s|[\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80"
    rb"|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)+"
)


@final
@dataclass(frozen=True)
class Neighbour:
    """A patch near the passage.

    `angle` is in radians; `start` is its first byte in its document (in UTF-8), `patch` its own
    bytes, `before` and `after` those around it there.
    """

    angle: float
    document: str
    start: int
    patch: bytes
    before: bytes
    after: bytes


@final
@dataclass(frozen=True)
class Surroundings:
    """Where a passage lies on a map, and what lies around it, nearest first.

    `direction` (3,): unit vector. `found`: the patch of the map that holds the passage, which is no
    neighbour of its own; None if no text holds it: it was then placed on the map as a newcomer.
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

    A passage that one of the texts holds (white space aside) lies where the patch with its middle
    byte lies. Any other is embedded and joins the map as a newcomer, see `FrozenMap`; the map stays
    as it is.

    Args:
        folder: of the map.
        passage: the text to look for.
        embedder: called only for a passage that no text holds; must make the embedder of the map's
            shards.
        count: of neighbours.
        context: bytes of text to give before and after each patch.

    Raises:
        LabelError: there is no finished map in `folder`, or labels in it hold no bytes.
        ShardError: a label file is missing or damaged.
        ValueError: a negative `count`, a passage that is empty or cannot be written in UTF-8, or
            another embedder than that of the map.
    """
    if not passage.strip():
        raise ValueError("`passage` must hold something to look for; got white space only.")
    try:
        passage.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            "`passage` must be text that UTF-8 can hold; it has a lone surrogate."
        ) from error
    if count < 0:
        raise ValueError(f"`count` must be at least 0; got {count}.")
    folder = Path(folder)
    files = [read_labels(path) for path in label_files(folder, read_map(folder))]
    files = [labels for labels in files if len(labels)]
    texts = [text for labels in files for text in texts_of(labels)]
    directions = np.concatenate([labels.direction for labels in files])
    where = _held(texts, passage)
    place = directions[where] if where is not None else _joined(folder, passage, embedder())
    chords = np.linalg.norm(directions.astype(np.float64) - place, axis=1)
    order = np.argsort(chords, kind="stable")
    nearest = order[order != where][:count] if where is not None else order[:count]
    angles = 2 * np.arcsin(np.minimum(chords[nearest] / 2, 1))
    firsts = np.cumsum([0, *(len(text.offset) - 1 for text in texts)])

    def described(row: int, angle: float) -> Neighbour:
        document = int(np.searchsorted(firsts, row, side="right")) - 1
        return texts[document].neighbour(row - int(firsts[document]), angle, context)

    found = None if where is None else described(where, 0.0)
    near = tuple(
        described(int(row), float(angle)) for row, angle in zip(nearest, angles, strict=True)
    )
    return Surroundings(place, found, near)


class Text(NamedTuple):
    """One document: its name, its bytes, and where each of its patches begins.

    The number of bytes comes last.
    """

    name: str
    octets: UInt8[np.ndarray, " bytes"]
    offset: Int64[np.ndarray, " offsets"]

    def neighbour(self, patch: int, angle: float, context: int) -> Neighbour:
        """A patch of it, with so many bytes of what is before and after."""
        begin, end = (int(n) for n in self.offset[patch : patch + 2])
        before = self.octets[max(begin - context, 0) : begin]
        after = self.octets[end : end + context]
        return Neighbour(
            angle,
            self.name,
            begin,
            self.octets[begin:end].tobytes(),
            before.tobytes(),
            after.tobytes(),
        )


def texts_of(labels: Labels) -> Iterator[Text]:
    """The documents of a label file that have patches."""
    if labels.bytes is None or labels.bytes_offset is None:
        raise LabelError(
            f"{labels.path} holds no bytes: make the map from text, or from shards with bytes"
        )
    documents = labels.documents
    row = 0
    stem = Path(labels.metadata.get("source_file", labels.path.name)).stem
    for name, patches in documents:
        if patches:
            offset = labels.bytes_offset[row : row + patches + 1]
            whole = name if len(documents) == 1 else f"{stem} {name}"
            yield Text(whole, labels.bytes[offset[0] : offset[-1]], offset - offset[0])
        row += patches


def _held(texts: list[Text], passage: str) -> int | None:
    """Number of the patch that holds the middle of the passage, in the first text that holds it."""
    words = re.compile(_SPACES.join(re.escape(word.encode()) for word in passage.split()))
    first = 0
    for text in texts:
        if match := words.search(text.octets.tobytes()):
            middle = (match.start() + match.end() - 1) // 2
            return first + int(np.searchsorted(text.offset, middle, side="right")) - 1
        first += len(text.offset) - 1
    return None


def _joined(folder: Path, passage: str, embedder: AbstractEmbedder) -> Float32[np.ndarray, "3"]:
    """Direction of a passage that is in no text of the map."""
    check_embedder(folder, embedder)
    placement = load_placement(folder)
    octets = np.frombuffer(passage.encode(), np.uint8)
    (embeddings, prominence), *_ = embedder.embed(octets, np.array([len(octets)]))
    joined = kept_frozen_map(placement, folder / FROZEN).place(embeddings, prominence)
    return joined.direction[0]


def check_embedder(folder: Path, embedder: AbstractEmbedder) -> None:
    """Refuse another embedder than that of the map's shards, where `map` has left them.

    Raises ValueError.
    """
    held = read_manifest(folder / SHARDS)
    if held is not None and held.get("embedding_model") != embedder.name:
        raise ValueError(
            f"`embedder` must be that of the map, {held.get('embedding_model')}; got"
            f" {embedder.name}. Repeat the options that the map was made with."
        )
