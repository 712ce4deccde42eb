"""Sweeps: a map of landmarks becomes one of all points, block by block and in bounded memory.

Landmarks are fitted by themselves. Every other point starts amid its placed neighbours; then come
sweeps, in each of which every block of points moves one step while all others stay where the sweep
has found them (`sphere_ebm.sampling.sweeps`). So a sweep is a step of the whole map's Langevin
dynamics, and the sweeps are the annealing of `PlacementConfig`, in fewer steps than a map takes
that begins at its principal components: the landmarks know where regions lie.

The same is done from other landmarks, fitted by themselves, for each replica. That tells how sure
the labels are: which points are landmarks decides more of a map than the noise of its runs does.

Memory: as many blocks as move at a time, with their edges, the field, and some sixty bytes for
every point of the map.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float32, Int64
from thrml import FactorSamplingProgram

from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.files.machine import at_a_time
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.blockwise import CLASS_ENDS, Arrays, Blocks
from sphere_ebm.hamiltonian.fields.grid import POLE_ROWS, columns_of
from sphere_ebm.hamiltonian.frozen import FrozenField
from sphere_ebm.hamiltonian.lateral import DegreeClass, DegreeClasses
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.place import make_sampler
from sphere_ebm.maps.replicas import in_frame, replica_seed
from sphere_ebm.maps.starts import random_directions
from sphere_ebm.maps.threads import one_and_then_all, side_by_side
from sphere_ebm.progress import StageProgress
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.sweeps import (
    Strengths,
    Surroundings,
    block_program,
    host,
    measure_block,
    sweep_block,
)

SWEEPS = 80
"""Sweeps of a map by landmarks unless another number is asked for."""

BLOCK = 65_536
"""Points that move together."""

_ROUNDS = 30
"""How many edges from a landmark a point may be to start amid its neighbours."""

_EVERY = 10
"""Sweeps between two checkpoints."""


class Landmarks(NamedTuple):
    """Points that have places before a run: their rows, and their directions."""

    rows: Int64[np.ndarray, " landmarks"]
    places: Float32[np.ndarray, "landmarks 3"]


class SweepState(NamedTuple):
    """Where the sweeps are: what a checkpoint holds.

    `finished`: directions of the map, then those of its replicas in the map's frame. `direction`,
    `carried` (what the sampler of each block carries) and `total` (the sum of the directions to
    average) are of the run that goes on, after `sweep` sweeps.
    """

    finished: Float32[np.ndarray, "runs points 3"]
    sweep: int
    direction: Float32[np.ndarray, "points 3"]
    total: Float32[np.ndarray, "points 3"]
    carried: list[Any]


class Scene(NamedTuple):
    """What all blocks of a sweep meet, and those that are measured.

    `seed` and `sweep` decide the random numbers. `others` are the directions once more, on the
    device, or None for a process of its own to bring them there. `grid` and `pressure` are the
    field that they make, see `sphere_ebm.sampling.sweeps.Surroundings`.
    """

    seed: int
    sweep: int
    direction: Float32[np.ndarray, "points 3"]
    others: Any
    grid: Any
    pressure: Any


class Placed(NamedTuple):
    """Points that have places while others look for theirs: directions, and who has one."""

    direction: Float32[np.ndarray, "points 3"]
    known: Bool[np.ndarray, " points"]


class PointMeasures(NamedTuple):
    """Each point's share of H on the finished map, and the thermal spread of its direction."""

    point_energy: Float32[np.ndarray, " points"]
    thermal_std: Float32[np.ndarray, " points"]


Spread = Callable[[str, Any, Sequence[Any]], Iterable[tuple[int, Any]]]
"""`spread(what, common, own)`: number and result of `on_block` for every block, as they come.

`own` holds what each block has of its own.
"""


@final
@dataclass(frozen=True, eq=False)
class Sweeper:
    """Sweeps of one map.

    Args:
        config: of the map; `steps` are the sweeps.
        blocks: into which its points are cut.
        edges: what `sphere_ebm.graph.blockwise.settle_edges` has made of each block.
        spread: who works on the blocks; None: this process, with all of its processors.
    """

    config: PlacementConfig
    blocks: Blocks
    edges: Callable[[int], Arrays]
    spread: Spread | None = None

    @property
    def sharpness(self) -> float:
        """The inverse interaction length s of a map of all points."""
        return self.config.sharpness(self.blocks.points)

    @property
    def averaged(self) -> int:
        """Sweeps at the end whose mean is the map: those after cooling, one at least."""
        steps = self.config.steps
        return max(1, steps - math.ceil(self.config.cooling * steps))

    def run(
        self,
        landmarks: Sequence[Landmarks],
        saved: SweepState | None = None,
        keep: Callable[[SweepState], None] | None = None,
        progress: StageProgress | None = None,
    ) -> Float32[np.ndarray, "runs points 3"]:
        """Directions of all points on the map, then on each of its replicas in the map's frame.

        Args:
            landmarks: of the map, and of each replica that is to be run.
            saved: to continue from.
            keep: called with what a checkpoint is to hold, every `_EVERY` sweeps and after a run.
            progress: called as progress("sweeps", done, total).

        Raises:
            NonFiniteEnergyError: directions that are not finite.
        """
        runs = len(landmarks)
        steps = self.config.steps
        finished = [] if saved is None else list(saved.finished)
        first = len(finished)
        far = np.zeros(runs, np.int64)
        far[:first] = steps

        def heard(number: int, state: SweepState) -> None:
            far[number] = state.sweep
            if progress is not None and state.sweep:
                progress("sweeps", int(far.sum()), runs * steps)
            # of several runs at a time, the others would begin again
            due = state.sweep < steps and state.sweep % _EVERY == 0
            if keep is not None and due and number == len(finished):
                keep(_with(state, finished))

        begin = self._begun(landmarks[0]) if saved is None else saved
        if begin.sweep < steps:
            # by itself, so that nothing is compiled twice
            begin = self._swept(self._seed(first), begin)
            heard(first, begin)

        def run(number: int, say: Callable[[SweepState], None]) -> SweepState:
            if number == first:
                return self._to_the_end(number, begin, say)
            say(state := self._begun(landmarks[number]))
            return self._to_the_end(number, state, say)

        for state in side_by_side(run, range(first, runs), self._runs_at_a_time, heard):
            # the map is a mean, as a fitted one is; replicas end where their last sweep does
            place = in_frame(finished[0], state.direction) if finished else unit_rows(state.total)
            finished.append(place.astype(np.float32))
            if keep is not None and len(finished) == runs:
                keep(_with(state, finished))
        return np.asarray(finished, np.float32)

    def _to_the_end(
        self, number: int, state: SweepState, say: Callable[[SweepState], None]
    ) -> SweepState:
        """The last state of a run; every one is said."""
        while state.sweep < self.config.steps:
            state = self._swept(self._seed(number), state)
            say(state)
        return state

    def _seed(self, number: int) -> int:
        """Of the map, which is run 0, or of a replica."""
        return self.config.seed if number == 0 else replica_seed(self.config.seed, number)

    @property
    def _runs_at_a_time(self) -> int:
        """One where its blocks are enough for all processors, or somebody else's."""
        return at_a_time() if self.spread is None and len(self.blocks) == 1 else 1

    def measure(self, direction: Float32[np.ndarray, "points 3"]) -> PointMeasures:
        """What is measured of every point of the finished map."""
        config = self.config
        points = self.blocks.points
        scene, repulsion = self._scene(direction, 0, 0)
        energy = np.empty(points, np.float32)
        spread = np.empty(points, np.float32)
        for block, found in self._each("measure", scene, [None] * len(self.blocks)):
            rows = self.blocks.rows(block)
            energy[rows] = found.point_energy
            spread[rows] = found.thermal_std
        if config.osmotic_strength > 0:
            mean = repulsion / (points * (points - 1.0))
            energy += np.float32(config.osmotic_strength * (math.log(mean) - 1))
        return PointMeasures(energy, spread)

    def on_block(self, what: str, block: int, common: Any, own: Any) -> Any:
        """What is done with one block, in whatever process: `"start"`, `"sweep"` or `"measure"`."""
        kinds: dict[str, Callable[[int, Any, Any], Any]] = {
            "start": self._mean_of_placed,
            "sweep": self._moved,
            "measure": self._measured,
        }
        return kinds[what](block, common, own)

    def _each(self, what: str, common: Any, own: Sequence[Any]) -> Iterable[tuple[int, Any]]:
        """Number and result of every block, here or wherever they are spread to."""
        return (self.spread or self._here)(what, common, own)

    def _here(self, what: str, common: Any, own: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        def done(block: int) -> Any:
            return self.on_block(what, block, common, own[block])

        yield from enumerate(one_and_then_all(done, range(len(self.blocks)), at_a_time()))

    def _begun(self, landmarks: Landmarks) -> SweepState:
        """Before the first sweep of a run."""
        start = self.start(landmarks)
        nothing = np.zeros((0, *start.shape), np.float32)
        return SweepState(nothing, 0, start, np.zeros_like(start), self.carried())

    def carried(self) -> list[Any]:
        """What the sampler of each block carries before its first step."""
        return [host(self._sampler.init()) for _ in range(len(self.blocks))]

    def start(self, landmarks: Landmarks) -> Float32[np.ndarray, "points 3"]:
        """Landmarks at their places, each other point at the mean direction of its neighbours.

        Those are asked that have a place already, so that places spread along the graph, 30 edges
        far at most. A point that is not reached starts anywhere.
        """
        start = random_directions(self.blocks.points, self.config.seed)
        placed = np.zeros(len(start), bool)
        start[landmarks.rows] = landmarks.places
        placed[landmarks.rows] = True
        for _ in range(_ROUNDS):
            before = placed.copy()
            nothing = [None] * len(self.blocks)
            for block, mean in self._each("start", Placed(start.copy(), before), nothing):
                own = self.blocks.rows(block)
                found = mean.any(axis=1) & ~before[own]
                start[own][found] = mean[found]
                placed[own] |= found
            if (placed == before).all():
                break
        return start

    def _mean_of_placed(
        self, block: int, placed: Placed, own: None
    ) -> Float32[np.ndarray, "rows 3"]:
        """Mean direction of each point's neighbours that have places; zero where none has."""
        direction = placed.direction
        edges = self.edges(block)
        total = np.zeros((self.blocks.size, 3))
        for number in range(len(CLASS_ENDS)):
            tail = np.asarray(edges[f"tail_{number}"])
            pull = np.where(placed.known[tail], edges[f"weight_{number}"], np.float32(0))
            head = edges[f"head_{number}"]
            for axis in range(3):
                total[head, axis] = np.einsum("nk,nk->n", pull, direction[:, axis][tail])
        return unit_rows(total[: self.blocks.count(block)]).astype(np.float32)

    def _swept(self, seed: int, state: SweepState) -> SweepState:
        """One sweep later, of the run with this seed."""
        scene, _ = self._scene(state.direction, seed, state.sweep)
        after = np.empty_like(state.direction)
        carried = list(state.carried)
        for block, (moved, carries) in self._each("sweep", scene, state.carried):
            after[self.blocks.rows(block)] = moved
            carried[block] = carries
        if not np.isfinite(after).all():
            row = int(np.isfinite(after).all(axis=1).argmin())
            raise NonFiniteEnergyError(
                f"the direction of point {row} is not finite after {state.sweep + 1} sweeps: lower"
                " step_size or coupling_start"
            )
        sweep = state.sweep + 1
        late = sweep > self.config.steps - self.averaged
        total = state.total + after if late else state.total
        return SweepState(state.finished, sweep, after, total, carried)

    def _moved(
        self, block: int, scene: Scene, carried: Any
    ) -> tuple[Float32[np.ndarray, "rows 3"], Any]:
        """Where a block's points are one step later, and what its sampler carries then."""
        key = jax.random.fold_in(jax.random.key(int(scene.seed)), int(scene.sweep))
        moved, carries = sweep_block(
            jax.random.fold_in(key, block), self._program, self._around(block, scene), carried
        )
        return np.asarray(moved)[: self.blocks.count(block)], host(carries)

    def _measured(self, block: int, scene: Scene, own: None) -> PointMeasures:
        """What the points of a block own of the energy, but for what all own alike."""
        dtype = scene.direction.dtype
        scales = (jnp.asarray(x, dtype) for x in (self.config.temperature_end, self.sharpness))
        found = measure_block(self._program, self._around(block, scene), *scales)
        count = self.blocks.count(block)
        return PointMeasures(np.asarray(found.energy)[:count] / 2, np.asarray(found.spread)[:count])

    def _scene(
        self, direction: Float32[np.ndarray, "points 3"], seed: int, sweep: int
    ) -> tuple[Scene, float]:
        """All points with their field, and S, the sum over all pairs."""
        others = jnp.asarray(direction)
        made = self._pressure.of(others)
        strength = 2 * self.config.osmotic_strength * self.blocks.points / made.repulsion
        held = None if self.spread is not None else others
        return Scene(seed, sweep, direction, held, made.grid, strength), float(made.repulsion)

    def _around(self, block: int, scene: Scene) -> Surroundings:
        """What a block meets; its last rows, where points are wanting, lie at the north pole."""
        direction = scene.direction
        own = direction[self.blocks.rows(block)]
        wanting = self.blocks.size - len(own)
        pole = np.repeat(np.asarray([[0, 0, 1]], own.dtype), wanting, axis=0)
        places = jnp.asarray(np.concatenate([own, pole]))
        others = direction if scene.others is None else scene.others
        field = (jnp.asarray(part) for part in (others, scene.grid, scene.pressure))
        return Surroundings(_classes(self.edges(block)), places, *field)

    @functools.cached_property
    def _sampler(self) -> AbstractLangevin:
        return make_sampler(self.blocks.points, self.config, nodes=self.blocks.size)

    @functools.cached_property
    def _pressure(self) -> FrozenField:
        return FrozenField.tabulate(self.sharpness, self.blocks.points, np.float32)

    @functools.cached_property
    def _program(self) -> FactorSamplingProgram:
        """With surroundings that any block then replaces."""
        config = self.config
        anywhere = np.zeros((self.blocks.points, 3), np.float32)
        rows = self._pressure.rows
        cells = (rows + 2 * POLE_ROWS) * columns_of(rows)
        nothing = jnp.zeros((cells, 4), jnp.float32)
        first = self._around(0, Scene(0, 0, anywhere, anywhere, nothing, np.float32(0)))
        strengths = Strengths(config.lateral_strength, config.kernel, self.sharpness, rows)
        return block_program(first, strengths, self._sampler)


def _with(state: SweepState, finished: Sequence[Float32[np.ndarray, "points 3"]]) -> SweepState:
    """`state`, when these runs are finished."""
    return state._replace(finished=np.asarray(finished, np.float32).reshape(-1, *state.total.shape))


def sweeping(config: PlacementConfig, sweeps: int) -> PlacementConfig:
    """`config` with its annealing in so many sweeps."""
    return dataclasses.replace(config, steps=sweeps)


def _classes(edges: Arrays) -> DegreeClasses:
    parts = tuple(
        DegreeClass(*(jnp.asarray(edges[f"{name}_{i}"]) for name in ("head", "tail", "weight")))
        for i in range(len(CLASS_ENDS))
    )
    return DegreeClasses(parts, jnp.asarray(edges["place"]))
