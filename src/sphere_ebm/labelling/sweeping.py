"""Labels of a map of landmarks that is swept: all points find their places among each other.

What the stages leave lies in a hidden folder (`sphere_ebm.labelling.work`) until the map is
finished: the directions of all embeddings, their neighbours and edges block by block, the state
of the sweeps, and the columns of the labels. A run that dies goes on from there. The stages are
tasks (`sphere_ebm.labelling.sweep_tasks`): of the engine where it may have other machines, else of
the process that was started, which all of the machine's processors share. The label files are
written by the engine in either case.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import jax
import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.errors import EngineError, LabelError, ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import PLACEMENT
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.machine import at_a_time
from sphere_ebm.files.mapped import Mapped, unmapped
from sphere_ebm.files.shards.columns import COLUMNS, Columns
from sphere_ebm.files.shards.discovery import WorkItem
from sphere_ebm.files.shards.labels import write_labels
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.tensors import mapped_tensors, read_tensors, write_tensors
from sphere_ebm.geometry.shells import assign_shells, ideal_radii
from sphere_ebm.graph.blockwise import (
    BOUNDED,
    EDGES,
    MET,
    NEIGHBOURS,
    Arrays,
    Blocks,
    cuts_of,
    scale_of,
)
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.labelling.engines import AbstractEngine, ExecutorEngine, LocalEngine
from sphere_ebm.labelling.join import JoinOptions, run_stage
from sphere_ebm.labelling.landmarks import choose_landmarks
from sphere_ebm.labelling.sources import Source, offsets, prominences, reread
from sphere_ebm.labelling.sweep_tasks import (
    BlockTask,
    ReplicaTask,
    Setting,
    fit_replica,
    forget_files,
    make_block,
    spread_sweeper,
    write_directions,
)
from sphere_ebm.labelling.work import DIRECTIONS, FORMAT, Work, block_file, discard
from sphere_ebm.maps import sweeps as sweeping
from sphere_ebm.maps.config import shells_of
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.replicas import n_replicas, replica_seed, uncertainty
from sphere_ebm.maps.sweeps import Landmarks, Sweeper, SweepState
from sphere_ebm.maps.threads import jax_threads
from sphere_ebm.progress import StageProgress
from sphere_ebm.quality.trust import kept_by_points

SWEPT = "sweeps"
"""What `Placement.info` calls the number of sweeps that its landmarks have been through."""

_STATE = "state.safetensors"
_COLUMNS = "columns.safetensors"


class Swept(NamedTuple):
    """What is swept: the inputs, the rows of each that are landmarks, and their placement."""

    sources: Sequence[Source]
    landmarks: Sequence[Int64[np.ndarray, " _"]]
    placement: Placement
    sweeps: int

    @property
    def rows(self) -> Int64[np.ndarray, " landmarks"]:
        """The landmarks' rows among all points."""
        begins = offsets(self.sources)[: len(self.landmarks)]
        return np.concatenate(
            [begin + rows for begin, rows in zip(begins, self.landmarks, strict=True)]
        )


@final
@dataclass(frozen=True)
class LabelTask:
    """One shard of a swept map to label: its points begin at row `begin` of `columns`."""

    item: WorkItem
    digest: str
    pooling: Pooling
    output: Path
    columns: Path
    columns_digest: str
    begin: int
    metadata: dict[str, str]


def label_shard(task: LabelTask) -> str:
    """Write the labels of a shard; returns the SHA-256 of the label file."""
    columns = _checked_columns(task.columns, task.columns_digest)
    table = reread(task.item, task.digest, task.pooling)
    rows = slice(task.begin, task.begin + len(table))
    own: Columns = {name: np.asarray(column[rows]) for name, column in columns.items()}
    return write_labels(task.output, table, own, metadata=task.metadata, source_sha256=task.digest)


@functools.lru_cache(maxsize=1)
def _checked_columns(path: Path, digest: str) -> Arrays:
    """Once a process: the columns of all points, mapped."""
    if sha256_of(path) != digest:
        raise ShardError(path, "is not what this run has made", cure="repeat the command")
    return {name: held for name, held in mapped_tensors(path).items() if name in COLUMNS}


def sweep_all(
    journal: Journal,
    swept: Swept,
    metadata: dict[str, str],
    finished: set[str],
    options: JoinOptions,
) -> tuple[dict[Path, Path], Placement]:
    """Sweep the map and label every source that is not finished.

    Returns the label file of each input, and the placement of the landmarks as they lie then, which
    takes the place of the one that was fitted.

    Raises:
        LabelError: workers are lost again and again.
        NonFiniteEnergyError: the sweeps diverged.
        ShardError: an input has changed.
    """
    folder = journal.folder
    files = {source.table.source: folder / source.name for source in swept.sources}
    if SWEPT in swept.placement.info:
        discard(folder)
        return files, swept.placement
    work = Work.begun(folder, journal.map_id)
    if not work.journal.holds(_COLUMNS):
        try:
            _write_columns(work, swept, options)
        except EngineError as error:
            raise LabelError(str(error)) from error
    digest = work.journal.finished[_COLUMNS]
    tasks = [
        LabelTask(
            item=source.item,
            digest=source.digest,
            pooling=options.pooling,
            output=folder / source.name,
            columns=work.folder / _COLUMNS,
            columns_digest=digest,
            begin=begin,
            metadata=metadata,
        )
        for source, begin in zip(swept.sources, offsets(swept.sources), strict=False)
        if source.name not in finished
    ]
    try:
        outputs = [task.output for task in tasks]
        run_stage(journal, label_shard, tasks, outputs, len(swept.sources), options)
    finally:
        _checked_columns.cache_clear()
    placement = _moved(swept, read_tensors(work.folder / _COLUMNS)[0])
    journal.record(PLACEMENT, placement.save(folder / PLACEMENT, embeddings=True))
    discard(folder)
    return files, placement


def _write_columns(work: Work, swept: Swept, options: JoinOptions) -> None:
    """All stages up to the columns of the labels."""
    config = sweeping.sweeping(swept.placement.config, swept.sweeps)
    points = offsets(swept.sources)[-1]
    blocks = Blocks(points, sweeping.BLOCK)
    setting = Setting(work.folder, work.journal.map_id, blocks, config)
    stages = _Stages(work, setting, options)
    if options.progress is not None:
        left = work.left(NEIGHBOURS, blocks)
        options.progress("neighbours", points - sum(map(blocks.count, left)), points)
    names = _replica_names(swept, points)
    if not (work.finished(NEIGHBOURS, blocks) and set(names) <= set(work.journal.finished)):
        _search(stages, swept)
    (work.folder / DIRECTIONS).unlink(missing_ok=True)
    try:
        _link(stages)
        sweeper = spread_sweeper(setting, stages.engine)
        directions = _sweep(work, sweeper, swept, options.progress)
        index = np.concatenate([setting.read(NEIGHBOURS, b)["index"] for b in range(len(blocks))])
        work.write(_COLUMNS, _columns(sweeper, swept, directions, index))
    finally:
        forget_files()
    (work.folder / _STATE).unlink(missing_ok=True)


class _Stages(NamedTuple):
    """Where the stages of a run leave their blocks, and who makes them."""

    work: Work
    setting: Setting
    options: JoinOptions

    @property
    def engine(self) -> AbstractEngine:
        """The run's own where it may have other machines, else this process."""
        return self.options.engine if self.options.engine.spreads else LocalEngine()

    def make(self, stage: str, shared: Any = None) -> None:
        """Make every block of a stage that is not there yet; `shared` is lent to its tasks."""
        blocks = self.setting.blocks
        left = self.work.left(stage, blocks)
        with jax_threads(at_a_time()) as threads:
            # other machines are not this process's threads, and the search has threads of its own
            elsewhere = self.engine.spreads or stage == NEIGHBOURS
            engine = self.engine if elsewhere else ExecutorEngine(threads)
            lent = None if shared is None or not left else engine.lend(shared)
            tasks = [BlockTask(self.setting, stage, block, lent) for block in left]
            done = blocks.points - sum(map(blocks.count, left))
            for number, digest in engine.run(make_block, tasks):
                self.work.journal.record(block_file(stage, left[number]), digest)
                done += blocks.count(left[number])
                if stage == NEIGHBOURS and self.options.progress is not None:
                    self.options.progress("neighbours", done, blocks.points)


def _search(stages: _Stages, swept: Swept) -> None:
    """Landmarks of the replicas; neighbours of every block, by an index of directions on disk."""
    sources = swept.sources
    setting = stages.setting
    path = setting.folder / DIRECTIONS
    directions, pointing = write_directions(path, sources, stages.options.pooling)
    _fit_replicas(stages, swept, directions, pointing)
    unit = unmapped(directions, "r+")
    config = setting.config
    index = NeighbourIndex.of_directions(
        unit,
        pointing,
        setting.blocks.points,
        search=config.neighbour_search,
        seed=config.seed,
    )
    if isinstance(unit, np.memmap):
        unit.flush()  # other machines read the file
    stages.make(NEIGHBOURS, index)


def _replica_names(swept: Swept, points: int) -> list[str]:
    """The files of the landmarks of replicas, as many as a map of so many points gets."""
    config = swept.placement.config
    asked = config.replicas if config.steps else 0
    return [f"replica-{number}.safetensors" for number in range(n_replicas(asked, points))]


def _fit_replicas(
    stages: _Stages,
    swept: Swept,
    directions: Mapped,
    pointing: Int64[np.ndarray, " pointing"],
) -> None:
    """Draw and fit the landmarks of each replica, by its own seed, from the directions."""
    config = swept.placement.config
    counts = [len(source.table) for source in swept.sources]
    tasks = []
    for number, name in enumerate(_replica_names(swept, sum(counts)), start=1):
        if name in stages.work.journal.finished:
            continue
        seed = replica_seed(config.seed, number)
        other = swept._replace(landmarks=choose_landmarks(counts, len(swept.placement), seed))
        place_of = np.searchsorted(pointing, other.rows)
        known = pointing[np.minimum(place_of, max(len(pointing) - 1, 0))] == other.rows
        own = dataclasses.replace(config, seed=seed, replicas=0)
        rows = other.rows[known]
        folder = stages.setting.folder
        tasks.append(ReplicaTask(folder, name, directions, place_of[known], rows, own))
    for number, digest in stages.engine.run(fit_replica, tasks):
        stages.work.journal.record(tasks[number].name, digest)


def _link(stages: _Stages) -> None:
    """The edges of every block, from the neighbours of all."""
    work = stages.work
    blocks = stages.setting.blocks
    if work.finished(EDGES, blocks):
        return
    stages.make(MET)
    stages.make(BOUNDED, cuts_of(stages.setting.read, blocks))
    stages.make(EDGES, scale_of(stages.setting.read, blocks))
    for stage in (MET, BOUNDED):
        work.forget(stage, blocks)


def _sweep(
    work: Work, sweeper: Sweeper, swept: Swept, progress: StageProgress | None
) -> Float32[np.ndarray, "runs points 3"]:
    """Directions of all points on the map and its replicas; continued where there is a state."""
    landmarks = [Landmarks(swept.rows, swept.placement.direction)]
    for name in _replica_names(swept, sweeper.blocks.points):
        held = read_tensors(work.folder / name)[0]
        landmarks.append(Landmarks(held["rows"], held["direction"]))
    path = work.folder / _STATE
    if progress is not None:
        progress("sweeps", 0, 1)

    def keep(state: SweepState) -> None:
        write_tensors(path, _tensors_of(state), {"format": FORMAT})

    saved = _saved(path, sweeper) if path.exists() else None
    return sweeper.run(landmarks, saved, keep, progress)


def _tensors_of(state: SweepState) -> Arrays:
    leaves = jax.tree.leaves(state.carried)
    held = {f"leaf.{i:08d}": np.atleast_1d(leaf) for i, leaf in enumerate(leaves)}
    return held | {
        "finished": state.finished,
        "sweep": np.asarray([state.sweep], np.int64),
        "direction": state.direction,
        "total": state.total,
    }


def _saved(path: Path, sweeper: Sweeper) -> SweepState | None:
    """The state that a run has left; None where it cannot be read, and the sweeps begin again."""
    try:
        held = read_tensors(path)[0]
        leaves, structure = jax.tree.flatten(sweeper.carried())
        restored = [
            held[f"leaf.{i:08d}"].reshape(leaf.shape).astype(leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        carried = jax.tree.unflatten(structure, restored)
        return SweepState(
            held["finished"], int(held["sweep"][0]), held["direction"], held["total"], carried
        )
    except (ShardError, KeyError, ValueError):
        return None


def _columns(
    sweeper: Sweeper,
    swept: Swept,
    directions: Float32[np.ndarray, "runs points 3"],
    index: np.ndarray,
) -> Arrays:
    """The columns of the labels of all points, and the replicas of the landmarks."""
    config = swept.placement.config
    direction = directions[0]
    shells = shells_of(config)
    ideal = ideal_radii(prominences(swept.sources), shells, config.radius_order, seed=config.seed)
    measured = sweeper.measure(direction)
    sure = uncertainty(direction, directions[1:], measured.thermal_std)
    kept = kept_by_points(index, direction)
    spread = np.sqrt(config.temperature_end / config.radius_stiffness)
    columns: dict[str, Any] = {
        "direction": direction,
        "radius": ideal,
        "shell": assign_shells(ideal, shells),
        "radius_std": np.full(len(direction), spread, np.float32),
        "angle_std": sure.angle_std,
        "thermal_std": measured.thermal_std,
        "modes": sure.modes,
        "mode_weight": sure.mode_weight,
        "point_energy": measured.point_energy,
        "kept": kept.share,
        "kept_p_value": kept.p_value,
        "replicas": np.ascontiguousarray(directions[1:, swept.rows]),
    }
    return {name: column for name, column in columns.items() if column is not None}


def _moved(swept: Swept, columns: Arrays) -> Placement:
    """The landmarks where the sweeps have left them."""
    own: dict[str, Any] = {
        name: columns[name][swept.rows] if name in columns else None for name in COLUMNS
    }
    return dataclasses.replace(
        swept.placement,
        **own,
        replicas=columns["replicas"],
        info=swept.placement.info | {SWEPT: swept.sweeps},
    )
