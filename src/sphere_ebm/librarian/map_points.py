"""The points of a map and its patches, from its folder, without JAX."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import LabelError
from sphere_ebm.files.formats import MAP, PLACEMENT
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.files.tensors import read_tensors
from sphere_ebm.files.walk import natural_order


class MapPoints(NamedTuple):
    """The points that newcomers join: fitted ones, of a map of landmarks the landmarks."""

    map_id: str
    embeddings: Float32[np.ndarray, "points width"]
    direction: Float32[np.ndarray, "points 3"]


class Patch(NamedTuple):
    """A patch of a map: the document that it stands in, its first byte there, and its bytes."""

    document: str
    start: int
    octets: bytes


def label_paths(folder: Path) -> list[Path]:
    """The label files of a map in their order, or of any folder in natural order.

    Raises LabelError where there are none.
    """
    if (folder / MAP).exists():
        return label_files(folder, read_map(folder))
    found = sorted(folder.glob(f"*{LABEL_SUFFIX}"), key=natural_order) if folder.is_dir() else []
    if not found:
        raise LabelError(
            f"{folder} has no label files (*{LABEL_SUFFIX}); make some with `sphere-ebm map` or"
            " `sphere-ebm label`"
        )
    return found


def map_points(folder: Path) -> MapPoints:
    """The points of the map in `folder` that others join.

    Raises:
        LabelError: no labels there.
        ShardError: a file is damaged.
    """
    if not (folder / MAP).exists():
        return _of_labels([read_labels(path) for path in label_paths(folder)])
    held = read_map(folder)
    files = label_files(folder, held, fitted=True)
    if (folder / PLACEMENT).exists():
        tensors, _ = read_tensors(folder / PLACEMENT)
        if "embeddings" in tensors:
            return MapPoints(str(held["id"]), tensors["embeddings"], tensors["direction"])
    return _of_labels([read_labels(path) for path in files])._replace(map_id=str(held["id"]))


def _of_labels(labels: list[Labels]) -> MapPoints:
    filled = [one for one in labels if len(one)] or labels[:1]
    return MapPoints(
        filled[0].metadata.get("map_id", ""),
        np.concatenate([one.embeddings for one in filled]),
        np.concatenate([one.direction for one in filled]),
    )


def map_patches(
    folder: Path,
) -> tuple[Float32[np.ndarray, "patches 3"], Callable[[int], Patch]]:
    """Where all patches of the map lie, and what a patch is by its number.

    Raises:
        LabelError: no labels there, or labels without bytes.
        ShardError: a file is damaged.
    """
    labels = [read_labels(path) for path in label_paths(folder)]
    firsts = np.cumsum([0, *map(len, labels)])

    def described(number: int) -> Patch:
        file = int(np.searchsorted(firsts, number, side="right")) - 1
        one = labels[file]
        row = number - int(firsts[file])
        if one.bytes is None or one.bytes_offset is None:
            raise LabelError(f"{one.path} holds no bytes: make the map from text")
        ends = np.cumsum([count for _, count in one.documents])
        document = int(np.searchsorted(ends, row, side="right"))
        name, count = one.documents[document]
        begin = int(ends[document]) - count
        first = int(one.bytes_offset[row])
        octets = one.bytes[first : int(one.bytes_offset[row + 1])].tobytes()
        return Patch(name, first - int(one.bytes_offset[begin]), octets)

    return np.concatenate([one.direction for one in labels]), described
