"""Labels of shards whose points join a map of landmarks: one task a shard, on any engine."""

import dataclasses
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.errors import EngineError, LabelError, ShardError
from sphere_ebm.files.atomic import clean_leftovers, sha256_of
from sphere_ebm.files.formats import FROZEN
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.columns import COLUMNS, spliced
from sphere_ebm.files.shards.discovery import WorkItem
from sphere_ebm.files.shards.own import ALL_FOUND, DENSITY, TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.geometry.shells import assign_shells, ideal_radii
from sphere_ebm.labelling.columns import write_placed
from sphere_ebm.labelling.engines import AbstractEngine, Task, Work
from sphere_ebm.labelling.sources import Source, offsets, prominences, reread
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.density import density_among
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.kept import kept_frozen_map, load_frozen_map
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress


@final
@dataclass(frozen=True, eq=False)
class JoinTask:
    """One shard to label.

    `placement` is the file of the landmarks' placement, with embeddings, and `placement_digest` its
    SHA-256. `rows` are those of the shard that are landmarks, `fitted` their positions in the
    placement. `radius` (P,) are the ideal radii of the shard's points among all points; None, where
    no point of the shard is a landmark: each has the radius at its rank among the fitted ones.
    """

    item: WorkItem
    digest: str
    pooling: Pooling
    output: Path
    placement: Path
    placement_digest: str
    rows: Int64[np.ndarray, " landmarks"]
    fitted: Int64[np.ndarray, " landmarks"]
    radius: Float32[np.ndarray, " patches"] | None
    metadata: dict[str, str]


def join_shard(task: JoinTask) -> str:
    """Place the points of a shard and write their labels; returns the SHA-256 of the label file.

    Landmarks keep the direction that they were fitted with. All radii are ideal ones, the means of
    their law.
    """
    frozen = _frozen_map(task.placement, task.placement_digest)
    table = reread(task.item, task.digest, task.pooling)
    if task.item.columns.prominence == DENSITY:
        neighbours = frozen.placement.config.neighbours
        density = density_among(frozen.index, table.embeddings, neighbours)
        table = dataclasses.replace(table, prominence=density)
    placed = _placed(frozen, table, task)
    everything = slice(0, len(table))
    return write_placed(task.output, table, placed, everything, task.metadata, task.digest)


def _placed(frozen: FrozenMap, table: PatchTable, task: JoinTask) -> Placement:
    """The points of a shard: landmarks where they were fitted, the others where they join."""
    new = np.setdiff1d(np.arange(len(table)), task.rows)
    radius = task.radius
    placed = frozen.place(
        table.embeddings[new],
        table.prominence[new],
        ideal_radius=None if radius is None else radius[new],
    )
    if radius is None:
        return placed
    fitted = frozen.placement
    columns = spliced(
        len(table), (new, placed.columns()), (task.rows, fitted.columns(task.fitted))
    ) | {
        "radius": radius,
        "shell": assign_shells(radius, fitted.shells),
        "radius_std": np.full(len(table), frozen.radius_std, np.float32),
    }
    whole: dict[str, Any] = {name: columns.get(name) for name in COLUMNS}
    return dataclasses.replace(
        placed,
        **whole,
        prominence=table.prominence,
        embeddings=table.embeddings,
    )


_LOADING = threading.Lock()


def _frozen_map(path: Path, digest: str) -> FrozenMap:
    """Once a process: the index and the program of the landmarks' map.

    Raises:
        ShardError: `path` is another map.
    """
    # Of several threads, one loads it and the others wait: twice might not fit in the memory.
    with _LOADING:
        return _loaded_map(path, digest)


@functools.lru_cache(maxsize=1)
def _loaded_map(path: Path, digest: str) -> FrozenMap:
    if sha256_of(path) != digest:
        raise ShardError(
            path, "is not the placement that this run has made", cure="repeat the command"
        )
    placement = Placement.load(path, mapped=True)
    if placement.embeddings is None:
        # of a map that fitted all of its points, the label files hold the embeddings
        return load_frozen_map(path.parent)
    return kept_frozen_map(placement, path.parent / FROZEN, digest)


class JoinOptions(NamedTuple):
    """How shards are read, where they join, whom to tell, and what figures are coloured by."""

    pooling: Pooling
    engine: AbstractEngine
    progress: StageProgress | None
    columns: TableColumns = ALL_FOUND
    colour_by: str | None = None


def join_all(
    journal: Journal,
    sources: Sequence[Source],
    landmarks: Sequence[Int64[np.ndarray, " _"]],
    placement: Path,
    config: PlacementConfig,
    metadata: dict[str, str],
    finished: set[str],
    options: JoinOptions,
) -> dict[Path, Path]:
    """Label every source that is not finished; returns the label file of each input.

    Raises LabelError when workers are lost again and again, and what `join_shard` raises.
    """
    radius = ideal_radii(
        prominences(sources), shells_of(config), config.radius_order, seed=config.seed
    )
    firsts = np.cumsum([0, *map(len, landmarks)])
    tasks = [
        JoinTask(
            item=source.item,
            digest=source.digest,
            pooling=options.pooling,
            output=journal.folder / source.name,
            placement=placement,
            placement_digest=journal.finished[placement.name],
            rows=rows,
            fitted=np.arange(first, first + len(rows)),
            radius=radius[begin : begin + len(source.table)],
            metadata=metadata,
        )
        for source, begin, rows, first in zip(
            sources, offsets(sources), landmarks, firsts, strict=False
        )
        if source.name not in finished
    ]
    run_tasks(journal, tasks, len(sources), options)
    return {source.table.source: journal.folder / source.name for source in sources}


def run_tasks(
    journal: Journal, tasks: Sequence[JoinTask], shards: int, options: JoinOptions
) -> None:
    """Label the shards of `tasks`, of which there are `shards` with the finished ones.

    Raises LabelError when workers are lost again and again, and what `join_shard` raises.
    """
    try:
        run_stage(journal, join_shard, tasks, [task.output for task in tasks], shards, options)
    finally:
        _loaded_map.cache_clear()


def run_stage(
    journal: Journal,
    work: Work[Task, str],
    tasks: Sequence[Task],
    outputs: Sequence[Path],
    shards: int,
    options: JoinOptions,
) -> None:
    """Let the engine write `outputs`, a label file for each task, of `shards` with finished ones.

    `work` returns the SHA-256 of the file.

    Raises LabelError when workers are lost again and again, and what `work` raises.
    """
    kept = shards - len(tasks)
    progress = options.progress
    if progress is not None:
        progress("writing", kept, shards)
    try:
        for done, (number, digest) in enumerate(options.engine.run(work, tasks), start=1):
            journal.record(outputs[number].name, digest)
            if progress is not None:
                progress("writing", kept + done, shards)
    except EngineError as error:
        raise LabelError(str(error)) from error
    clean_leftovers(journal.folder)  # of workers that were killed while they wrote
