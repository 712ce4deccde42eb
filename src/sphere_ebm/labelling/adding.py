"""`join_map`: shards onto a finished map that does not move.

Their label files appear beside those that are there, which keep their bytes, as do the placement
and the energy; `map.json` and the figure tell of the new points. Resumable: the same command
continues what a dead one began, and ends with the same bytes.
"""

import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np

from sphere_ebm.errors import EngineError, LabelError, Refused, ShardError
from sphere_ebm.files.atomic import clean_leftovers
from sphere_ebm.files.container import read_container
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import ENERGY, FIGURE, MAP, PAGE, PLACEMENT
from sphere_ebm.files.journal import JOURNAL, Journal, read_journal
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.files.shards.layouts import LABEL_FORMAT
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.labelling.engines import AbstractEngine, reached
from sphere_ebm.labelling.join import JoinOptions, JoinTask, run_tasks
from sphere_ebm.labelling.levels import follow_pyramid
from sphere_ebm.labelling.older import (
    OldMap,
    check_joinable,
    identity,
    read_old_map,
    renamed,
    unseen,
)
from sphere_ebm.labelling.own_columns import (
    colour_of_map,
    columns_to_read,
    kept_in_map,
    not_kept,
    told_colour,
)
from sphere_ebm.labelling.recipe import COMMAND
from sphere_ebm.labelling.sources import (
    Source,
    check_sources,
    collected_warnings,
    nothing_usable,
    read_sources,
)
from sphere_ebm.labelling.summary import measured_points, write_summary
from sphere_ebm.labelling.sweeping import SWEPT
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress, stage
from sphere_ebm.quality.report import QualityReport


@final
@dataclass(frozen=True)
class JoinRun:
    """What `join_map` did.

    `files`: the new label file of each input that joined, by the input's path; `added`: their
    points. `present`: inputs that were on the map already. `points` and `quality`: of the whole
    map, the new points included.
    """

    folder: Path
    map_id: str
    files: dict[Path, Path]
    added: int
    present: tuple[Path, ...]
    points: int
    quality: QualityReport
    refused: tuple[Refused, ...]
    warnings: tuple[str, ...]


def join_map(
    folder: Path | str,
    inputs: Path | str | Iterable[Path | str],
    *,
    pooling: Pooling = "mean",
    engine: AbstractEngine | Executor | None = None,
    columns: TableColumns | None = None,
    colour_by: str | None = None,
    progress: StageProgress | None = None,
) -> JoinRun:
    """Let the points of shards join the finished map in `folder`, which does not move.

    See `FrozenMap` for where they come to lie. Inputs that are on the map already, which is known
    by their hash, are passed over. A label file whose name is taken gets the start of its input's
    hash behind it.

    Args:
        folder: of the map.
        inputs: files, folders (searched recursively) and globs; one, or several.
        pooling: how tokens become patches in per-token layouts.
        engine: where shards join, see `sphere_ebm.labelling.label.label`.
        columns: of tables, see there; None: those that the map was made with.
        colour_by: the column that figure and page are coloured by; None: as they are.
        progress: called as progress(stage, done, total), stages `"reading"`, `"writing"`,
            `"quality"` and `"figure"`.

    Raises:
        LabelError: there is no finished map in `folder`, no input could be used, embeddings have
            another width than the map's, another run works there, or the engine cannot work.
        ShardError: a file of the map is missing or has changed.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    held = read_map(folder)
    engine = reached(engine)
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    # what joins is read again, one shard at a time
    read = columns_to_read(held, columns, colour_by)
    needed = not_kept(held, read)
    sources, refused = read_sources(given, pooling, progress, lambda width: 0, read, needed)
    check_sources(sources, refused)
    if not sources:
        raise nothing_usable(refused)
    try:
        with locked(folder):
            old = read_old_map(folder, whole=False)
            found, present = unseen(old, sources)
            check_joinable(old, found)
            taken = [source.name for source in old.sources]
            new = [replace(source, joined=True) for source in renamed(found, taken)]
            options = JoinOptions(pooling, engine, progress, read, colour_by)
            files, points, quality = _join(old, new, options)
    except EngineError as error:
        raise LabelError(str(error)) from error
    finally:
        engine.close()
    added = sum(len(source.table) for source in new)
    told = (tuple(refused), collected_warnings(new, ()))
    return JoinRun(folder, old.map_id, files, added, tuple(present), points, quality, *told)


def _join(
    old: OldMap, new: list[Source], options: JoinOptions
) -> tuple[dict[Path, Path], int, QualityReport]:
    """Write the labels of `new` and the summary of all; returns the former, and points and quality.

    Where nothing is new, nothing is written.
    """
    folder = old.folder
    journal = _journal(old, new, options)
    colour_by = options.colour_by or colour_of_map(old.held)
    everything = [folder / source.name for source in (*old.sources, *new)]
    if new:
        options.engine.prepare()
        before = {s.name for s in new if journal.holds(s.name)}
        drawn = {FIGURE} if journal.holds(FIGURE) else set()
        # of the whole map, and so made anew unless this very run has done it
        anew = (FIGURE, PAGE)
        kept = {name: h for name, h in old.held["files"].items() if name not in anew}
        journal.finished = kept | journal.finished
        metadata = joined_metadata(old)
        tasks = [_task(old, s, options.pooling, metadata) for s in new if s.name not in before]
        run_tasks(journal, tasks, len(new), options)
    with stage("quality", options.progress):
        points, quality = measured_points(everything, old.config)
    if new:
        about: dict[str, Any] = {"id": old.map_id, "joins": old.held.get("joins", 0) + len(new)}
        about |= {
            name: old.held[name]
            for name in ("parent", "registered", "columns", COMMAND, SWEPT)
            if name in old.held
        }
        write_summary(
            journal,
            [*old.sources, *new],
            Placement.load(folder / PLACEMENT),
            points,
            quality,
            {ENERGY, *drawn},
            options.progress,
            about,
            page=PAGE in old.held["files"],
            colour_by=colour_by,
        )
    journal.close()
    follow_pyramid(folder)
    return {s.table.source: folder / s.name for s in new}, len(points.radius), quality


def _journal(old: OldMap, new: list[Source], options: JoinOptions) -> Journal:
    """The journal of this very run; what another one that died left behind is removed.

    Raises LabelError where the run that made the map has not ended.
    """
    folder = old.folder
    content = {
        "joined": old.map_id,
        "version": version("sphere-ebm"),
        "pooling": options.pooling,
        "held": [source.digest for source in old.sources],
        "files": [[source.name, source.digest] for source in new],
        **kept_in_map(options.columns),
        **told_colour(options.colour_by),
    }
    join_id = identity(content)
    left = read_journal(folder)
    if left is not None and left.map_id == old.map_id:
        raise LabelError(
            f"the run that makes the map in {folder} has not ended; repeat its command first"
        )
    if left is not None and left.map_id != join_id:
        # its label files are on no map: `map.json` is written last
        for name in left.planned:
            if name not in old.held["files"] and _has_joined(folder / name, old.map_id):
                (folder / name).unlink(missing_ok=True)
        (folder / JOURNAL).unlink()
    for source in new:
        path = folder / source.name
        if os.path.lexists(path) and not _has_joined(path, old.map_id):
            raise LabelError(f"{path} is in the way; move it away, and join again")
    page = [PAGE] if PAGE in old.held["files"] else []
    journal = Journal(folder, join_id, [*(source.name for source in new), FIGURE, *page, MAP])
    if new:
        journal.resume()
    clean_leftovers(folder)
    return journal


def _has_joined(path: Path, map_id: str) -> bool:
    """Whether the file holds labels that a join of this map wrote."""
    try:
        told = read_container(path).metadata
    except (ShardError, OSError):
        return False
    ours = told.get("format") == LABEL_FORMAT and told.get("map_id") == map_id
    return ours and path.name.endswith(LABEL_SUFFIX) and "joined" in told


def _task(old: OldMap, source: Source, pooling: Pooling, metadata: dict[str, str]) -> JoinTask:
    nobody = np.zeros(0, np.int64)
    return JoinTask(
        item=source.item,
        digest=source.digest,
        pooling=pooling,
        output=old.folder / source.name,
        placement=old.folder / PLACEMENT,
        placement_digest=old.held["files"][PLACEMENT],
        rows=nobody,
        fitted=nobody,
        radius=None,
        metadata=metadata,
    )


def joined_metadata(old: OldMap) -> dict[str, str]:
    """What label files of joined points tell about the map: what the others tell."""
    first = read_labels(old.folder / old.sources[0].name).metadata
    told = ("map_id", "config", "seed", "energy", "quality", "landmarks", SWEPT)
    return {name: first[name] for name in told if name in first} | {"joined": "true"}
