"""The pyramid of a finished map, kept in its folder: built when it is first needed, grown by joins.

Its file tells of which label files it is, by a hash of theirs. One of the first of a map's files
lets the points of the others join it, so that a run that died between a join and its pyramid is
made up for. Any other is built anew, and so is one whose cells have become too wide.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.formats import PYRAMID
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.retrieval.pyramid import MapPyramid, suiting_level


def map_pyramid(folder: Path | str) -> MapPyramid:
    """The pyramid of the finished map in `folder`, read from there, or built and kept there.

    Points are numbered as the rows of its label files are, in the order of `map.json`. One of
    fewer files grows, one of another map or of other points is replaced: counts, keys and order
    are those of a pyramid that is built of all points, means are too, up to rounding. Where the
    folder cannot be written, the pyramid is not kept.

    Raises LabelError or ShardError when there is no finished map, or a label file is damaged.
    """
    folder = Path(folder)
    held = read_map(folder)
    paths = label_files(folder, held)
    tags = _tags(held, paths)
    kept = _kept(folder)
    if kept is not None and kept.tags == tags:
        return kept
    pyramid = None if kept is None else _grown(kept, held, paths)
    if pyramid is None:
        pyramid = MapPyramid.build([read_labels(path) for path in paths])
    pyramid = pyramid.tagged(**tags)
    with suppress(OSError):
        pyramid.save(folder / PYRAMID)
    return pyramid


def follow_pyramid(folder: Path, parent: Path | None = None) -> None:
    """Bring the pyramid in the folder of a map that has changed up to date, where one is kept.

    With a `parent`, an older map that this one was made from: where one is kept there.
    """
    if _kept(parent or folder) is not None:
        map_pyramid(folder)


def _kept(folder: Path) -> MapPyramid | None:
    with suppress(ShardError, OSError):
        return MapPyramid.load(folder / PYRAMID)
    return None


def _grown(kept: MapPyramid, held: Mapping[str, Any], paths: Sequence[Path]) -> MapPyramid | None:
    """The pyramid with the points of label files that it lacks; None where it must be built."""
    count = kept.tags.get("files", "")
    if not count.isdecimal() or kept.tags != _tags(held, paths[: int(count)]):
        return None
    new = [labels for labels in map(read_labels, paths[int(count) :]) if len(labels)]
    if suiting_level(len(kept) + sum(map(len, new))) != kept.levels[-1].level:
        return None
    if not new:
        return kept
    return kept.join(
        np.concatenate([labels.direction for labels in new]),
        np.concatenate([labels.radius for labels in new]),
        np.concatenate([labels.embeddings for labels in new]),
    )


def _tags(held: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, str]:
    """What the file of a pyramid tells of the label files that it is of."""
    digests = [str(held["files"].get(path.name)) for path in paths]
    told = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return {"map_id": held["id"], "files": str(len(paths)), "labels": told}
