"""`register_map`: a map turned or reflected onto an older one, so that both can be compared.

The energy does not change when all of a map is turned, so that two fits of the same points differ
by a turn and by what really moved. The turn is the best one for the points that both maps hold,
and what is left is reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64

from sphere_ebm.errors import LabelError
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import MAP_FORMAT, PAGE, PLACEMENT
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.labels import RESERVED, Labels
from sphere_ebm.geometry.frames import robust_frame, turned
from sphere_ebm.labelling.columns import placement_of_labels, write_placed
from sphere_ebm.labelling.fitting import fitted_placement
from sphere_ebm.labelling.folder import claim
from sphere_ebm.labelling.older import OldMap, identity, read_old_map
from sphere_ebm.labelling.own_columns import colour_of_map
from sphere_ebm.labelling.recipe import COMMAND
from sphere_ebm.labelling.sources import Source, planned_files
from sphere_ebm.labelling.summary import measured_points, write_summary
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.growth import Drift, degrees_moved
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress, stage


@final
@dataclass(frozen=True, eq=False)
class Registration:
    """How one map lies on another.

    `frame` (3, 3) brings directions of the map onto the other one, `direction @ frame`;
    `reflected` tells that it is no rotation. `shared` points are on both maps; `residual` is how
    far they lie apart in that frame, and `before` as the maps are. `output` holds the turned map,
    where one was asked for.
    """

    frame: Float64[np.ndarray, "3 3"]
    reflected: bool
    shared: int
    residual: Drift
    before: Drift
    output: Path | None


def register_map(
    folder: Path | str,
    onto: Path | str,
    output: Path | str | None = None,
    *,
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> Registration:
    """The best rotation or reflection of the map in `folder` onto the one in `onto`.

    Points are the same where they have their shard, known by its hash, and their number in it.
    The frame is robust: points that changed place do not turn the others, see
    `sphere_ebm.geometry.frames.robust_frame`.

    Args:
        folder: of the map to turn; it is only read.
        onto: of the older map, which is only read.
        output: folder for the turned map, with all of its files; None: none is written.
        overwrite: as for `label`.
        progress: called as progress(stage, done, total), stages `"quality"`, `"writing"` and
            `"figure"`.

    Raises:
        LabelError: a folder holds no finished map; the maps share fewer than three points; `output`
            is one of them, or holds another map.
        ShardError: a file of a map is missing or has changed.
    """
    fresh = read_old_map(folder)
    older = read_old_map(onto)
    here, there = _shared(fresh, older)
    if len(here) < 3:
        raise LabelError(
            f"{fresh.folder} and {older.folder} share {len(here)} points, and a frame needs three:"
            " register maps of the same shards"
        )
    frame = robust_frame(there, here)
    residual = Drift.of(degrees_moved(there, turned(here, frame)))
    if output is not None:
        output = Path(output)
        for old in (fresh, older):
            if output.exists() and output.samefile(old.folder):
                raise LabelError(f"{output} is one of the maps; choose another --output")
        _write(fresh, older, frame, residual, output, overwrite, progress)
    return Registration(
        frame,
        bool(np.linalg.det(frame) < 0),
        len(here),
        residual,
        Drift.of(degrees_moved(there, here)),
        output,
    )


def _shared(
    fresh: OldMap, older: OldMap
) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, "points 3"]]:
    """Directions of the points that both maps hold, on either."""
    there = {source.digest: i for i, source in enumerate(older.sources)}
    pairs = [
        (fresh.labels[i].direction, older.labels[there[source.digest]].direction)
        for i, source in enumerate(fresh.sources)
        if source.digest in there
    ]
    # one shard can become patches in several ways
    pairs = [(a, b) for a, b in pairs if len(a) == len(b)]
    nothing = np.zeros((0, 3), np.float32)
    return (
        np.concatenate([nothing, *(a for a, _ in pairs)]),
        np.concatenate([nothing, *(b for _, b in pairs)]),
    )


def _write(
    fresh: OldMap,
    older: OldMap,
    frame: Float64[np.ndarray, "3 3"],
    residual: Drift,
    output: Path,
    overwrite: bool,
    progress: StageProgress | None,
) -> None:
    """Write the turned map: every file of the map, with other directions."""
    content = {
        "format": MAP_FORMAT,
        "version": version("sphere-ebm"),
        "registered": [fresh.map_id, fresh.held["files"]],
        "onto": [older.map_id, older.held["files"]],
    }
    placement = load_placement(fresh.folder)
    whole = Placement.load(fresh.folder / PLACEMENT).embeddings is not None
    embeddings = placement.embeddings
    assert embeddings is not None  # `load_placement` has them
    with locked(output):
        map_id = identity(content)
        planned = planned_files(fresh.sources, PAGE in fresh.held["files"])
        claimed = claim(output, map_id, planned, overwrite)
        fitted = fitted_placement(
            claimed, embeddings, lambda checkpoint: placement.turned(frame), joined=whole
        )
        journal = claimed.take_over()
        about: dict[str, Any] = {
            "registered": {
                "from": fresh.map_id,
                "onto": older.map_id,
                "frame": frame.tolist(),
                "apart_degrees": residual._asdict(),
            }
        }
        about |= {
            name: fresh.held[name] for name in ("parent", "joins", "columns") if name in fresh.held
        }
        _write_files(journal, fresh, fitted, frame, about, progress)
        journal.close()


def _write_files(
    journal: Journal,
    fresh: OldMap,
    fitted: Placement,
    frame: Float64[np.ndarray, "3 3"],
    about: Mapping[str, Any],
    progress: StageProgress | None,
) -> None:
    """Write all turned labels that an earlier run has not finished, and the summary."""
    before = journal.whole()
    for done, (source, labels) in enumerate(zip(fresh.sources, fresh.labels, strict=True)):
        if progress is not None:
            progress("writing", done, len(fresh.sources))
        if source.name not in before:
            _write_turned(journal, source, labels, fresh.config, frame)
    with stage("quality", progress):
        placed, quality = measured_points(
            [journal.folder / source.name for source in fresh.sources], fresh.config
        )
    write_summary(
        journal,
        fresh.sources,
        fitted,
        placed,
        quality,
        before,
        progress,
        about,
        page=PAGE in fresh.held["files"],
        colour_by=colour_of_map(fresh.held),
        recipe={COMMAND: "register"},
    )


def _write_turned(
    journal: Journal,
    source: Source,
    labels: Labels,
    config: PlacementConfig,
    frame: Float64[np.ndarray, "3 3"],
) -> None:
    """One label file of the turned map, with all columns that it has on the map."""
    points = placement_of_labels([labels], config).turned(frame)
    path = journal.folder / source.name
    everything = slice(0, len(points))
    told = _metadata(labels, journal.map_id)
    digest = write_placed(path, source.table, points, everything, told, source.digest)
    journal.record(source.name, digest)


def _metadata(labels: Labels, map_id: str) -> dict[str, str]:
    """What a label file tells, but for what its writer adds; of another map."""
    kept = {name: text for name, text in labels.metadata.items() if name not in RESERVED}
    return kept | {"map_id": map_id}
