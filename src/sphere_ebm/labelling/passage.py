"""What lies around a passage on a finished map: its nearest patches, with their bytes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float32

from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.labelling.texts import Neighbour, held_by, texts_of
from sphere_ebm.maps.kept import load_frozen_map
from sphere_ebm.rules import checked_choice
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.folder import SHARDS, read_manifest
from sphere_ebm.text.static_embedder import StaticEmbedder

Rank = Literal["angle", "cosine"]
RANKS: tuple[Rank, ...] = ("angle", "cosine")

_OFFERED = math.radians(60)
"""What lies further away is around nothing: on a map of six patches the next is at 90°."""
_NEAR_SHARE = 0.05
_NEAR_LEAST = 15
_ASKED = 256  # patches whose nearest other one tells what is usual


@final
@dataclass(frozen=True)
class Surroundings:
    """Where a passage lies on a map, and what lies around it.

    A neighbour is far in the embedding where a twentieth of the map's patches, and fifteen at
    least, are nearer there: on the map it is near by accident, or for want of anything better.

    `direction` (3,): unit vector. `found`: the patch of the map that holds the passage, which is no
    neighbour of its own; None if no text holds it: it was then placed on the map as a newcomer.
    `neighbours`: in the order that was asked for. `nearest`: the greatest cosine of the passage's
    embedding with that of a patch; `usual`: what 95 % of the map's patches reach with another one,
    nan on a map of one patch.
    """

    direction: Float32[np.ndarray, "3"]
    found: Neighbour | None
    neighbours: tuple[Neighbour, ...]
    nearest: float
    usual: float

    @property
    def fits(self) -> bool:
        """Whether anything on the map is as near to the passage as patches are to each other."""
        return self.found is not None or not self.nearest < self.usual


def surroundings(
    folder: Path | str,
    passage: str,
    embedder: Callable[[], AbstractEmbedder] = StaticEmbedder,
    *,
    count: int = 15,
    context: int = 60,
    rank: Rank = "angle",
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
        rank: `"angle"`: the nearest on the map, those that lie within 60°; `"cosine"`: the nearest
            in the embedding, wherever they lie.

    Raises:
        LabelError: there is no finished map in `folder`, or labels in it hold no bytes.
        ShardError: a label file is missing or damaged.
        ValueError: a negative `count`, another `rank`, a passage that is empty or cannot be written
            in UTF-8, or another embedder than that of the map.
    """
    _check_asked(passage, count, rank)
    folder = Path(folder)
    files = [read_labels(path) for path in label_files(folder, read_map(folder))]
    files = [labels for labels in files if len(labels)]
    texts = [text for labels in files for text in texts_of(labels)]
    where = held_by(texts, passage)
    patches = _Patches.of(files)
    if where is not None:
        place = patches.direction[where]
        embedding = patches.unit[where]
    else:
        place, embedding = _joined(folder, passage, embedder())
    chords = np.linalg.norm(patches.direction.astype(np.float64) - place, axis=1)
    angles = 2 * np.arcsin(np.minimum(chords / 2, 1))
    cosines = np.clip(patches.unit @ embedding, -1, 1)
    others = np.arange(len(cosines)) != (-1 if where is None else where)
    level = _chance_level(cosines[others])
    keys = -cosines if rank == "cosine" else chords
    order = np.argsort(keys, kind="stable")
    order = order[others[order]]
    if rank == "angle":
        order = order[angles[order] <= _OFFERED]
    firsts = np.cumsum([0, *(len(text.offset) - 1 for text in texts)])

    def described(row: int, angle: float) -> Neighbour:
        document = int(np.searchsorted(firsts, row, side="right")) - 1
        patch = row - int(firsts[document])
        plain = texts[document].neighbour(patch, angle, context)
        if row == where:
            return plain
        return replace(plain, cosine=float(cosines[row]), far=bool(cosines[row] < level))

    found = None if where is None else described(where, 0.0)
    near = tuple(described(int(row), float(angles[row])) for row in order[:count])
    nearest = float(cosines[others].max(initial=-1.0))
    return Surroundings(place, found, near, nearest, patches.usual_cosine())


def _check_asked(passage: str, count: int, rank: str) -> None:
    """Raises ValueError for what no map can answer."""
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
    checked_choice("rank", rank, RANKS)


class _Patches(NamedTuple):
    """All patches of a map: directions, and embeddings of norm 1 (or 0)."""

    direction: Float32[np.ndarray, "patches 3"]
    unit: Float32[np.ndarray, "patches width"]

    @classmethod
    def of(cls, files: Sequence[Labels]) -> "_Patches":
        return cls(
            np.concatenate([labels.direction for labels in files]),
            np.concatenate([_unit(labels.embeddings) for labels in files]),
        )

    def usual_cosine(self) -> float:
        """The cosine that 95 % of the patches reach with another one, by some of them."""
        if len(self.unit) < 2:
            return math.nan
        asked = np.unique(np.linspace(0, len(self.unit) - 1, _ASKED).astype(int))
        cosines = self.unit[asked] @ self.unit.T
        cosines[np.arange(len(asked)), asked] = -1
        return float(np.quantile(cosines.max(axis=1), 0.05))


def _unit(vectors: Float32[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows width"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _chance_level(cosines: Float32[np.ndarray, " others"]) -> float:
    """The cosine of the patch that is just among the nearest twentieth, of fifteen at least."""
    among = max(math.ceil(len(cosines) * _NEAR_SHARE), _NEAR_LEAST)
    if len(cosines) <= among:
        return -math.inf
    return float(np.partition(cosines, -among)[-among])


def _joined(
    folder: Path, passage: str, embedder: AbstractEmbedder
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, " width"]]:
    """Direction and embedding (of norm 1, or 0) of a passage that is in no text of the map."""
    check_embedder(folder, embedder)
    octets = np.frombuffer(passage.encode(), np.uint8)
    (embeddings, prominence), *_ = embedder.embed(octets, np.array([len(octets)]))
    joined = load_frozen_map(folder).place(embeddings, prominence)
    return joined.direction[0], _unit(embeddings)[0]


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
