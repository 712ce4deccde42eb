"""A map from the folder that `label` made, with the embeddings of its points."""

from pathlib import Path

import numpy as np

from sphere_ebm.errors import ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import MAP, PLACEMENT
from sphere_ebm.files.map_folder import again, label_files, read_map
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.maps.placement import Placement


def load_placement(folder: Path | str) -> Placement:
    """The placement of the finished map in `folder`, able to let others join it.

    A map that fitted all of its points keeps their embeddings in its label files, one of landmarks
    in the placement itself. Points that joined the map later are no part of it.

    Raises:
        LabelError: there is no finished map in `folder`.
        ShardError: its placement or a label file is missing, damaged or of another map.
    """
    folder = Path(folder)
    held = read_map(folder)
    path = folder / PLACEMENT
    if not path.is_file() or sha256_of(path) != held["files"].get(PLACEMENT):
        raise ShardError(path, f"is not the placement that {MAP} names", cure=again(held))
    placement = Placement.load(path)
    if placement.embeddings is not None:
        return placement
    files = label_files(folder, held, fitted=True)
    for file in files:
        if not file.is_file() or sha256_of(file) != held["files"].get(file.name):
            raise ShardError(file, "is missing or has changed", cure=again(held))
    parts = [read_labels(file).embeddings for file in files]
    filled = [part for part in parts if len(part)] or parts[:1]
    return placement.with_embeddings(np.concatenate(filled))
