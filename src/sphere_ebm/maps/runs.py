"""The runs of one fit: the map's own, then its replicas, all of one program.

The map's run is the same whether replicas follow or not. A replica differs from it by its seed
alone: other random numbers, and another start where the start is random. It stops after the
annealing, since nobody asks for its mean and spread.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, Key
from thrml import FactorSamplingProgram

from sphere_ebm.files.machine import at_a_time
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.checkpoint import Keeper, RunState, Saved
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.replicas import in_frame, replica_seed
from sphere_ebm.maps.threads import side_by_side
from sphere_ebm.progress import StageProgress
from sphere_ebm.sampling.devices import over_devices
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.run import (
    WINDOW,
    Carry,
    Chunk,
    RunPlan,
    RunResult,
    Trace,
    run_chunk,
    run_program,
)

UNSTABLE = "the dynamics are unstable"
"""What the note on such a run says."""

_FIRST_JUDGED = 20
# points up to which several replicas are run at a time; a step of more fills the processors
_MOST_TOGETHER = 100_000

Between = Callable[[int, Chunk], Carry]
"""What a run does between two chunks, after so many steps."""

Start = Callable[[int], Float32[np.ndarray, "points 3"]]
"""Initial directions of a run, by its seed."""


@final
@dataclass(frozen=True, eq=False)
class System:
    """What all runs of a fit share.

    `fingerprint` names everything the runs depend on, for
    checkpoints. `between` makes what a run of a plan does between chunks, see `run_program`.
    """

    program: FactorSamplingProgram
    sampler: AbstractLangevin
    ideal_radius: Float32[np.ndarray, " points"]
    config: PlacementConfig
    mesh: Mesh | None
    fingerprint: str
    between: Callable[[RunPlan], Between] | None = None

    def carry(self, directions: Float32[np.ndarray, "points 3"]) -> Carry:
        """What a run carries before its first step."""
        dtype = jnp.result_type(float)
        state = SphereState(jnp.asarray(directions, dtype), jnp.asarray(self.ideal_radius, dtype))
        return Carry(state, [self.sampler.init()], empty_moments(state))

    def plan(self, average: int) -> RunPlan:
        """Annealing as `config` has it, and `average` steps."""
        return RunPlan(
            steps=self.config.steps,
            average=average,
            settled=int(np.ceil(self.config.cooling * self.config.steps)),
            tolerance=_tolerance(self.config, len(self.ideal_radius)),
        )


class MeanPoints(NamedTuple):
    """Mean configuration over the last samples, and the spread about it.

    See `Placement` for what `thermal_std` means.
    """

    direction: Float32[np.ndarray, "points 3"]
    radius: Float32[np.ndarray, " points"]
    thermal_std: Float32[np.ndarray, " points"]
    radius_std: Float32[np.ndarray, " points"]


class Runs(NamedTuple):
    """What the map's run and its replicas found.

    `points` and `point_energy`, each point's share of H there; the map's `trace` and whether it
    `converged`; directions of the `replicas` in the map's frame; what the user should know.
    """

    points: MeanPoints
    point_energy: Float32[np.ndarray, " points"]
    trace: Trace
    converged: bool
    replicas: Float32[np.ndarray, "replicas points 3"]
    notes: tuple[str, ...]


def no_runs(directions: Float32[np.ndarray, "0 3"]) -> Runs:
    """Of a map without points."""
    nothing = np.zeros(0, np.float32)
    points = MeanPoints(directions, nothing, nothing, nothing)
    return Runs(points, nothing, Trace(), False, directions[None, :0][:0], ())


def run_fit(
    system: System,
    start: Start,
    replicas: int,
    progress: StageProgress | None,
    checkpoint: Path | None,
) -> Runs:
    """Run the map and its replicas.

    Args:
        system: what is run.
        start: initial directions by seed.
        replicas: how many replicas.
        progress: called as progress(stage, done, total), stages `"steps"` and `"replicas"`; the
            latter with done = 0 before it begins.
        checkpoint: file to continue from where it belongs to this very fit, and to write after a
            chunk, though not more often than every `EVERY` seconds; removed at the end.

    Raises:
        NonFiniteEnergyError: the energy diverged.
    """
    config = system.config
    first = system.carry(start(config.seed))
    keeper = Keeper(checkpoint, system.fingerprint)
    saved = keeper.held(first) or Saved(
        (first, Trace()), np.zeros((0, *first.state.direction.shape))
    )
    result, program = _run(
        system,
        config.seed,
        saved.map_run,
        system.plan(config.average),
        None if progress is None else lambda done, total: progress("steps", done, total),
        lambda carry, trace: keeper.keep(saved._replace(map_run=(carry, trace))),
    )
    points = _mean_and_spread(result)
    energy = _point_energy(program, result.carry, points)
    notes = (*_stability_notes(system, program, result.carry), *_lost_notes(result))
    saved = saved._replace(map_run=(result.carry, result.trace))
    if progress is not None and replicas:
        progress("replicas", 0, replicas)
    replicated = _replicated(system, start, replicas, points, saved, progress, keeper)
    keeper.forget()
    return Runs(points, energy, result.trace, result.converged, replicated, notes)


class _News(NamedTuple):
    """What a replica says after a chunk: where it is, and how many steps it will have taken."""

    run: RunState
    steps: int


def _replicated(
    system: System,
    start: Start,
    replicas: int,
    points: MeanPoints,
    saved: Saved,
    progress: StageProgress | None,
    keeper: Keeper,
) -> Float32[np.ndarray, "replicas points 3"]:
    """Where the replicas have the `points`, in the map's frame.

    Those that `saved` holds are not run again.
    """
    places = list(saved.replicas)
    begun = dict(saved.begun)
    share = np.zeros(replicas)
    share[: len(places)] = 1
    for number, (_, trace) in begun.items():
        share[number] = trace.steps[-1] / max(system.config.steps, 1)

    def together() -> Float32[np.ndarray, "done points 3"]:
        return np.asarray(places, np.float32).reshape(-1, *points.direction.shape)

    def run(number: int, say: Callable[[_News], None]) -> Float32[np.ndarray, "points 3"]:
        return _replica(system, start, number, saved.begun.get(number), say)

    def heard(number: int, news: _News) -> None:
        begun[number] = news.run
        share[number] = news.run[1].steps[-1] / news.steps
        if progress is not None:
            progress("replicas", round(share.sum() * news.steps), replicas * news.steps)
        keeper.keep(saved._replace(replicas=together(), begun=begun))

    alone = len(points.direction) > _MOST_TOGETHER or system.mesh is not None
    left = range(len(places), replicas)
    for place in side_by_side(run, left, 1 if alone else at_a_time(), heard):
        begun.pop(len(places), None)
        places.append(in_frame(points.direction, place))
    return together()


def _replica(
    system: System,
    start: Start,
    number: int,
    before: RunState | None,
    say: Callable[[_News], None],
) -> Float32[np.ndarray, "points 3"]:
    """Where replica `number` (from 0) ends, in its own frame; it goes on from `before`."""
    seed = replica_seed(system.config.seed, number + 1)
    steps = system.config.steps

    def tell(_: int, total: int) -> None:
        nonlocal steps
        steps = total

    def keep(carry: Carry, trace: Trace) -> None:
        say(_News((carry, trace), steps))

    begun = before or (system.carry(start(seed)), Trace())
    result, _ = _run(system, seed, begun, system.plan(0), tell, keep)
    return np.asarray(result.carry.state.direction, np.float32)


def _run(
    system: System,
    seed: int,
    before: RunState,
    plan: RunPlan,
    progress: Callable[[int, int], None] | None,
    keep: Callable[[Carry, Trace], None],
) -> tuple[RunResult, FactorSamplingProgram]:
    """Run by `plan` from what there was `before`; the result, and the program over its devices."""
    program, carry = over_devices(system.program, before[0], len(system.ideal_radius), system.mesh)
    result = run_program(
        jax.random.key(seed),
        program,
        carry,
        plan,
        trace=before[1],
        progress=None if progress is None else lambda done, total, _: progress(done, total),
        checkpoint=keep,
        between=None if system.between is None else system.between(plan),
    )
    return result, program


def _mean_and_spread(result: RunResult) -> MeanPoints:
    """Mean configuration and the spread about it, over the last samples of a run.

    A point whose mean has no direction gets that of the last sample, see `_lost_notes`.
    """
    moments = jax.tree.map(lambda x: np.asarray(x, np.float64), result.carry.moments)
    last = np.asarray(result.carry.state.direction, np.float64)
    mean = moments.mean.direction
    mean = unit_rows(np.where(mean.any(axis=1, keepdims=True), mean, last))
    angle = np.sqrt(moments.deviation.direction.sum(axis=1) / (moments.count - 1))
    radius = np.sqrt(moments.deviation.radius / (moments.count - 1))
    columns = (mean, moments.mean.radius, angle, radius)
    return MeanPoints(*(x.astype(np.float32) for x in columns))


def _lost_notes(result: RunResult) -> tuple[str, ...]:
    """A note when points have no mean direction: their samples cancel out."""
    mean = np.asarray(result.carry.moments.mean.direction)
    lost = int(np.count_nonzero(~mean.any(axis=1)))
    if not lost:
        return ()
    return (
        f"{lost} of {len(mean)} points have no mean direction: they wandered over the whole sphere,"
        " and lie where the last sample put them",
    )


def _point_energy(
    program: FactorSamplingProgram, carry: Carry, found: MeanPoints
) -> Float32[np.ndarray, " points"]:
    """Each point's share of H at the mean configuration, which is the map."""

    def like(given: np.ndarray, held: Array) -> Array:
        """Where the run's own array lies, so that nothing is compiled again."""
        array = jnp.asarray(given, held.dtype)
        return jax.device_put(array, held.sharding) if held.committed else array

    still = SphereState(
        like(found.direction, carry.state.direction), like(found.radius, carry.state.radius)
    )
    zero = jnp.asarray(0, jnp.int32)
    chunk = run_chunk(jax.random.key(0), program, carry._replace(state=still), zero, zero)
    return np.asarray(chunk.point_energy, np.float32)


def _tolerance(config: PlacementConfig, n_points: int) -> float:
    """`config.tolerance`, but no less than thermal noise would feign.

    It is at least two standard errors of the difference that noise makes between windows.

    H fluctuates by T sqrt(3 N / 2) where it is quadratic in the 3 N coordinates.
    """
    noise = config.temperature_end * math.sqrt(1.5 / n_points)
    return max(config.tolerance, 2 * noise * math.sqrt(2 / WINDOW)) if config.tolerance > 0 else 0.0


def _stability_notes(
    system: System, program: FactorSamplingProgram, carry: Carry
) -> tuple[str, ...]:
    """A note when points move further in a step than temperature explains.

    Energies on a sphere stay finite however unstable the dynamics are, so that this is where
    instability shows: one more step is taken and not kept. What a cold, converged map still moves
    is far below 0.3 interaction lengths. A run of a few steps is still on its way, and is not
    judged.
    """
    if int(carry.step) < _FIRST_JUDGED:
        return ()
    key: Key[Array, ""] = jax.random.key(system.config.seed)
    sharpness = system.config.sharpness(len(system.ideal_radius))
    one = jnp.asarray(1, jnp.int32)
    after = run_chunk(key, program, carry, one, one - 1).carry
    # in NumPy, for which nothing is compiled
    apart = np.asarray(after.state.direction) - np.asarray(carry.state.direction)
    move = math.sqrt(np.mean(np.sum(apart**2, axis=1)))
    thermal = float(system.sampler.thermal_move(carry.step))
    if move < max(3 * thermal, 0.3 / sharpness):
        return ()
    return (
        (
            f"points still move {move * sharpness:.2g} interaction lengths a step, of which"
            f" temperature explains {thermal * sharpness:.2g}: {UNSTABLE} and the"
            " map is not to be trusted. Lower step_size, lateral_strength or the weights of extra"
            " edges, or raise friction"
        ),
    )
