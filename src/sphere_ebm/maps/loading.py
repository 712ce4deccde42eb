"""A map from the folder that `label` made, with the embeddings of its points."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import MAP, PLACEMENT
from sphere_ebm.files.map_folder import again, label_files, read_map
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.maps.placement import Placement


class Stored(NamedTuple):
    """The placement of a map as its own file holds it, and a digest of all that it is made of.

    `held` is what `map.json` says. Of a map of landmarks embeddings are there, mapped.
    """

    placement: Placement
    held: dict[str, Any]
    digest: str


def stored_placement(folder: Path) -> Stored:
    """The placement in a finished map's folder, without what label files hold.

    Raises:
        LabelError: there is no finished map in `folder`.
        ShardError: its placement is missing, damaged or of another map.
    """
    held = read_map(folder)
    path = folder / PLACEMENT
    found = sha256_of(path) if path.is_file() else None
    if found is None or found != held["files"].get(PLACEMENT):
        raise ShardError(path, f"is not the placement that {MAP} names", cure=again(held))
    placement = Placement.load(path, mapped=True)
    if placement.embeddings is not None:
        return Stored(placement, held, found)
    files = label_files(folder, held, fitted=True)
    told = [found, *(str(held["files"].get(file.name)) for file in files)]
    return Stored(placement, held, hashlib.sha256("\n".join(told).encode()).hexdigest())


def load_placement(folder: Path | str) -> Placement:
    """The placement of the finished map in `folder`, able to let others join it.

    A map that fitted all of its points keeps their embeddings in its label files, one of landmarks
    in the placement itself, from where they are mapped and not read. Points that joined the map
    later are no part of it.

    Raises:
        LabelError: there is no finished map in `folder`.
        ShardError: its placement or a label file is missing, damaged or of another map.
    """
    return load_stored(Path(folder)).placement


def load_stored(folder: Path) -> Stored:
    """What `load_placement` loads, with what it was made of; raises as that does."""
    stored = stored_placement(folder)
    placement, held, _ = stored
    if placement.embeddings is not None:
        return stored
    files = label_files(folder, held, fitted=True)
    for file in files:
        if not file.is_file() or sha256_of(file) != held["files"].get(file.name):
            raise ShardError(file, "is missing or has changed", cure=again(held))
    parts = [read_labels(file).embeddings for file in files]
    filled = [part for part in parts if len(part)] or parts[:1]
    whole = placement.with_embeddings(np.concatenate(filled))
    return stored._replace(placement=whole)
