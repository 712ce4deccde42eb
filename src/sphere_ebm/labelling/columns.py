"""Label files from placements: the one place where columns of a map become those of label files.

Points that were fitted, that joined and that were turned with their map are all written here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.columns import COLUMNS
from sphere_ebm.files.shards.labels import Labels, write_labels
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.labelling.sources import Source, offsets
from sphere_ebm.labelling.summary import final_energy
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress
from sphere_ebm.quality.report import QualityReport


def write_placed(
    path: Path,
    table: PatchTable,
    placed: Placement,
    rows: slice,
    metadata: Mapping[str, str],
    digest: str,
) -> str:
    """Write the labels of a shard, whose points are `rows` of `placed`.

    `digest` is the SHA-256 of the shard. Returns that of the label file.
    """
    return write_labels(path, table, placed.columns(rows), metadata=metadata, source_sha256=digest)


def placement_of_labels(files: Sequence[Labels], config: PlacementConfig) -> Placement:
    """The points of label files as one placement, in their order, with what all files hold."""
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        parts = [getattr(labels, name) for labels in files]
        columns[name] = None if any(part is None for part in parts) else np.concatenate(parts)
    return Placement(
        **columns,
        prominence=np.concatenate([labels.prominence for labels in files]),
        energy={},
        step=np.zeros(0, np.int64),
        converged=False,
        config=config,
    )


def label_metadata(map_id: str, placement: Placement, quality: QualityReport) -> dict[str, str]:
    """What every label file tells about its map.

    Energy and quality are those of the points that were fitted.
    """
    config = placement.config
    return {
        "map_id": map_id,
        "config": config.to_json(),
        "seed": str(config.seed),
        "energy": json.dumps(final_energy(placement)),
        "quality": json.dumps(quality.to_dict(), sort_keys=True),
    }


def write_all_labels(
    journal: Journal,
    sources: Sequence[Source],
    placement: Placement,
    metadata: Sequence[Mapping[str, str]],
    finished: set[str],
    progress: StageProgress | None,
) -> dict[Path, Path]:
    """Write the label file of every source that is not finished; returns them by the input's path.

    The points of `placement` are those of the sources, one after the other; each file has its
    `metadata`.
    """
    files = {}
    for i, (source, begin) in enumerate(zip(sources, offsets(sources), strict=False)):
        if progress is not None:
            progress("writing", i, len(sources))
        path = journal.folder / source.name
        if source.name not in finished:
            rows = slice(begin, begin + len(source.table))
            digest = write_placed(path, source.table, placement, rows, metadata[i], source.digest)
            journal.record(source.name, digest)
        files[source.table.source] = path
    if progress is not None:
        progress("writing", len(sources), len(sources))
    return files
