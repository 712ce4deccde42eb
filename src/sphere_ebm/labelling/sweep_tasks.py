"""The stages of a swept map as tasks: each makes a block, in this process or on any worker.

A task names its block, and holds what all tasks of its stage share as a value that the engine has
lent. What it leaves is a function of these and of the files of the stages before.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Int64

from sphere_ebm.errors import MapWarning
from sphere_ebm.files.mapped import Mapped, unmapped
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.tensors import mapped_tensors, write_tensors
from sphere_ebm.graph.blockwise import (
    BOUNDED,
    EDGES,
    MET,
    NEIGHBOURS,
    Arrays,
    Blocks,
    Rule,
    bound,
    list_neighbours,
    meet,
    settle_edges,
)
from sphere_ebm.graph.directions import pointing_directions
from sphere_ebm.graph.held import held_type, lengthened, shortened
from sphere_ebm.labelling.engines import AbstractEngine, AbstractLent
from sphere_ebm.labelling.sources import Source, offsets, reread
from sphere_ebm.labelling.work import FORMAT, block_file
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.place import place
from sphere_ebm.maps.sweeps import Sweeper


@final
@dataclass(frozen=True)
class Setting:
    """What all tasks of a run know: its hidden folder, blocks, and the annealing in sweeps.

    `identity` is that of the run, so that no process takes one run's files for another's.
    """

    folder: Path
    identity: str
    blocks: Blocks
    config: PlacementConfig

    @property
    def rule(self) -> Rule:
        """How edges are weighted and bounded."""
        config = self.config
        return Rule(config.affinity, config.perplexity, config.max_degree, config.seed)

    def read(self, stage: str, block: int) -> Arrays:
        """What a stage has left of a block, mapped."""
        return mapped_tensors(self.folder / block_file(stage, block))


@final
@dataclass(frozen=True, eq=False)
class BlockTask:
    """A block of a stage to make; `lent` is an index, cuts or a scale, if need be."""

    setting: Setting
    stage: str
    block: int
    lent: AbstractLent[Any] | None = None


def make_block(task: BlockTask) -> str:
    """Make a block of a stage; returns the SHA-256 of the file."""
    setting = task.setting
    lent = None if task.lent is None else task.lent.value
    made = _STAGES[task.stage](setting, task.block, lent)
    path = setting.folder / block_file(task.stage, task.block)
    return write_tensors(path, made, {"format": FORMAT})


def _neighbours(setting: Setting, block: int, index: Any) -> Arrays:
    rows = setting.blocks.rows(block)
    found = index.neighbours_of(np.arange(rows.start, rows.stop), setting.config.neighbours)
    return list_neighbours(found, setting.blocks, setting.rule)


def _met(setting: Setting, block: int, _: Any) -> Arrays:
    return meet(_reader(setting), setting.blocks, block, setting.rule)


def _bounded(setting: Setting, block: int, cuts: Any) -> Arrays:
    return bound(_reader(setting), setting.blocks, block, cuts, setting.rule)


def _edges(setting: Setting, block: int, scale: Any) -> Arrays:
    return settle_edges(_reader(setting), setting.blocks, block, scale)


_STAGES: dict[str, Callable[[Setting, int, Any], Arrays]] = {
    NEIGHBOURS: _neighbours,
    MET: _met,
    BOUNDED: _bounded,
    EDGES: _edges,
}


@functools.lru_cache(maxsize=1)
def _reader(setting: Setting) -> Callable[[str, int], Arrays]:
    """Reads blocks, and keeps the last ones open."""
    return functools.lru_cache(maxsize=64)(setting.read)


def write_directions(
    path: Path, sources: Sequence[Source], pooling: Pooling
) -> tuple[Mapped, Int64[np.ndarray, " pointing"]]:
    """Write unit vectors of all points that are not zero, and tell which points those are.

    They are held as `sphere_ebm.graph.held` says.

    Raises ShardError where an input has changed.
    """
    pointing = [np.zeros(0, np.int64)]
    width = max(source.width for source in sources if len(source.table))
    dtype = held_type(offsets(sources)[-1], width)
    with path.open("wb") as file:
        for source, begin in zip(sources, offsets(sources), strict=False):
            if len(source.table):
                table = reread(source.item, source.digest, pooling)
                unit, rows = pointing_directions(table.embeddings)
                file.write(shortened(unit, dtype).data)
                pointing.append(begin + rows)
    which = np.concatenate(pointing)
    return Mapped(str(path), dtype.str, (len(which), width), 0), which


@final
@dataclass(frozen=True, eq=False)
class ReplicaTask:
    """Landmarks of a replica to fit: rows among the directions, and their rows of the map."""

    folder: Path
    name: str
    directions: Mapped
    places: Int64[np.ndarray, " landmarks"]
    rows: Int64[np.ndarray, " landmarks"]
    config: PlacementConfig


def fit_replica(task: ReplicaTask) -> str:
    """Fit the landmarks of a replica by themselves; returns the SHA-256 of the file."""
    chosen = lengthened(unmapped(task.directions)[task.places])
    with warnings.catch_warnings():
        # they are about directions, of which nobody asked for radii
        warnings.simplefilter("ignore", MapWarning)
        placed = place(chosen, config=task.config)
    found = {"rows": task.rows, "direction": placed.direction}
    return write_tensors(task.folder / task.name, found, {"format": FORMAT})


@final
@dataclass(frozen=True, eq=False)
class SweepTask:
    """What `Sweeper.on_block` is to do with a block; `common` is what all blocks share."""

    setting: Setting
    what: str
    block: int
    common: AbstractLent[Any]
    own: Any


def sweep_task(task: SweepTask) -> Any:
    """Do it, with the program that this process has compiled for all blocks."""
    sweeper = sweeper_of(task.setting)
    return sweeper.on_block(task.what, task.block, task.common.value, task.own)


@functools.lru_cache(maxsize=1)
def sweeper_of(setting: Setting) -> Sweeper:
    """Once a process: the sweeps of a run, whose edges have been found."""
    read = _reader(setting)
    return Sweeper(setting.config, setting.blocks, lambda block: read(EDGES, block))


def forget_files() -> None:
    """Close what this process has kept open of a run."""
    sweeper_of.cache_clear()
    _reader.cache_clear()


def spread_sweeper(setting: Setting, engine: AbstractEngine) -> Sweeper:
    """The sweeps of a run, with all that is done block by block spread over an engine's workers."""

    def spread(what: str, common: Any, own: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        lent = engine.lend(jax.tree.map(np.asarray, common))
        tasks = [SweepTask(setting, what, block, lent, each) for block, each in enumerate(own)]
        yield from engine.run(sweep_task, tasks)

    sweeper = sweeper_of(setting)
    return dataclasses.replace(sweeper, spread=spread) if engine.spreads else sweeper
