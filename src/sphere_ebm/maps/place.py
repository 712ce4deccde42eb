"""`place`: embeddings in, `Placement` out."""

import hashlib
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, Key
from numpy.typing import ArrayLike
from thrml import Block, FactorSamplingProgram

from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.geometry.shells import assign_shells
from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.maps.checkpoint import load_checkpoint, save_checkpoint
from sphere_ebm.maps.checks import (
    checked_config,
    checked_edges,
    checked_embeddings,
    checked_neighbours,
    checked_start,
)
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.problem import Problem, pose
from sphere_ebm.maps.starts import (
    pca_directions,
    random_directions,
    spectral_directions,
    water_filling_directions,
)
from sphere_ebm.progress import StageProgress
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.devices import Devices, device_mesh, over_devices
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.run import WINDOW, Carry, RunPlan, RunResult, Trace, run_chunk, run_program
from sphere_ebm.sampling.samplers import build_sampler
from sphere_ebm.sampling.schedules import Linear


def place(
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    start: ArrayLike | None = None,
    extra_edges: Sequence[ArrayLike] | None = None,
    neighbours: Neighbours | tuple[ArrayLike, ArrayLike | None] | None = None,
    progress: StageProgress | None = None,
    checkpoint: Path | None = None,
    devices: Devices = None,
) -> Placement:
    """Place points on a sphere: related ones close in angle, prominent ones on their shell.

    A graph of nearest neighbours, a Hamiltonian of three factors and initial directions make a
    THRML program; annealed Langevin dynamics follow, then the mean and spread over the last
    samples.

    Args:
        embeddings: (N, D) real numbers, as an array or nested lists (so too the others below); only
            their directions matter for the map. A zero vector carries no direction: it gets no
            lateral edges and drifts where there is room. N may be 0 or 1.
        prominence: (N,) real numbers that order the radii, ranked in float64; by default the norms
            of the embeddings. Equal ones, and norms that differ by rounding only, are ordered by
            the seed; `notes` tell when most are.
        config: see `PlacementConfig`; the default one when None.
        start: (N, 3) initial directions instead of `config.start`; normalised, zero rows are
            refused.
        extra_edges: (senders, receivers, weights) added to the lateral graph; weights relative to
            the graph's own.
        neighbours: nearest neighbours found before, by this package or another
            (`Neighbours.from_arrays`), or what that takes as a tuple (index, similarity), instead
            of a search; at most `config.neighbours` of each point are taken.
        progress: called as progress(stage, done, total), stages `"neighbours"` and `"steps"`.
        checkpoint: file to continue from, when it belongs to this very run_program, and to write
            after every chunk; removed at the end. The result is the same with and without it.
        devices: how many devices to split the points over, or which (`jax.devices()`); by default
            JAX's own choice of one. The same run but for rounding, which grows as in any dynamics;
            a checkpoint may be continued on others.

    Raises:
        ValueError: an input has the wrong shape, is not finite, or is no dense array of real
            numbers; neighbours of another number of points; more devices than there are.
        MissingPackageError: faiss is not installed and `neighbour_search` is `"approximate"`.
        NonFiniteEnergyError: the energy diverged during sampling.

    Cost: the k-NN search, O(N² D) exact; then O(N · degree) and the osmotic evaluator's cost a
    step.
    """
    config = checked_config(config)
    mesh = device_mesh(devices)
    embeddings = checked_embeddings(embeddings)
    given_start = None if start is None else checked_start(start, len(embeddings))
    problem = pose(
        embeddings,
        prominence,
        config,
        checked_edges(extra_edges),
        progress,
        neighbours=checked_neighbours(neighbours, embeddings),
    )
    ideal = problem.ideal_radius
    graph = problem.graph
    notes = problem.notes
    directions = _start(embeddings, problem) if given_start is None else given_start
    restless: tuple[str, ...] = ()
    if len(embeddings) == 0:
        result = None
        found = _Points(directions, ideal, ideal, ideal)
    else:
        result, restless = _sample(ideal, graph, directions, config, progress, checkpoint, mesh)
        notes += restless
        found = _mean_and_spread(result)
    return Placement(
        direction=found.direction,
        radius=found.radius,
        shell=assign_shells(found.radius, problem.shells),
        radius_std=found.radius_std,
        angle_std=found.angle_std,
        prominence=problem.prominence.astype(np.float32),
        energy=(
            {name: np.asarray(values) for name, values in result.trace.energy.items()}
            if result
            else {}
        ),
        step=np.asarray(result.trace.steps if result else [], np.int64),
        converged=bool(result and result.converged and not restless),
        config=config,
        notes=notes,
        embeddings=embeddings,
    )


def hamiltonian_factors(
    block: Block,
    ideal_radius: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    config: PlacementConfig,
) -> list[AbstractSphereFactor]:
    """The factors that `config` describes, for the nodes of `block`.

    A term of strength 0 is left out.

    Their numbers have JAX's default precision.
    """
    sharpness = config.sharpness(len(block))
    dtype = jnp.result_type(float)
    wells = GravityFactor(block, ideal_radius.astype(dtype), config.radius_stiffness)
    factors: list[AbstractSphereFactor] = [wells]
    if graph.senders.size and config.lateral_strength > 0:
        factors.append(
            LateralFactor(
                block,
                graph.senders,
                graph.receivers,
                graph.weights.astype(dtype),
                sharpness=sharpness,
                strength=config.lateral_strength,
                kernel=config.kernel,
            )
        )
    if len(block) > 1 and config.osmotic_strength > 0:
        factors.append(
            OsmoticFactor(
                block,
                sharpness=sharpness,
                strength=config.osmotic_strength,
                evaluator=config.osmotic_evaluator,
            )
        )
    return factors


def make_sampler(
    n_points: int, config: PlacementConfig, minimum_radius: float = 0.0
) -> AbstractLangevin:
    """The sampler that `config` describes, with its schedules.

    Mobilities are 1/s² for directions and 1/κ for radii, so that one step size suits maps of every
    size.
    """
    ramp = config.cooling * config.steps
    coefficients = Coefficients(
        temperature=Linear(config.temperature_start, config.temperature_end, ramp),
        step_size=Linear(config.step_size, config.step_size * config.step_size_growth, ramp),
        coupling=Linear(config.coupling_start, 1.0, ramp),
        direction_mobility=1.0 / config.sharpness(n_points) ** 2,
        radius_mobility=1.0 / config.radius_stiffness,
        minimum_radius=minimum_radius,
    )
    return build_sampler(config.scheme, n_points, coefficients, friction=config.friction)


def _start(
    embeddings: Float32[np.ndarray, "points width"], problem: Problem
) -> Float32[np.ndarray, "points 3"]:
    config = problem.config
    if config.start == "random" or len(embeddings) < 2:
        return random_directions(len(embeddings), config.seed)
    if config.start == "spectral":
        return spectral_directions(problem.graph, config.seed)
    if config.start == "water-filling":
        return water_filling_directions(embeddings, problem.prominence, config)
    return pca_directions(embeddings, config.seed)


def _sample(
    ideal: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    directions: Float32[np.ndarray, "points 3"],
    config: PlacementConfig,
    progress: StageProgress | None,
    checkpoint: Path | None,
    mesh: Mesh | None,
) -> tuple[RunResult, tuple[str, ...]]:
    """Build the program and run it; with the result, a note when its dynamics were not stable."""
    block = sphere_block(len(ideal))
    sampler = make_sampler(len(ideal), config, minimum_radius=float(shells_of(config).edges[0]))
    dtype = jnp.result_type(float)
    program = build_program(block, hamiltonian_factors(block, ideal, graph, config), sampler, dtype)
    state = SphereState(jnp.asarray(directions, dtype), jnp.asarray(ideal, dtype))
    carry = Carry(state, [sampler.init()], empty_moments(state))
    trace = Trace()
    fingerprint = "" if checkpoint is None else _fingerprint(ideal, graph, directions, config)
    if checkpoint is not None:
        carry, trace = load_checkpoint(checkpoint, fingerprint, carry) or (carry, trace)
    program, carry = over_devices(program, carry, len(ideal), mesh)
    plan = RunPlan(
        steps=config.steps,
        average=config.average,
        settled=int(np.ceil(config.cooling * config.steps)),
        tolerance=_tolerance(config, len(ideal)),
    )
    key = jax.random.key(config.seed)
    result = run_program(
        key,
        program,
        carry,
        plan,
        trace=trace,
        progress=(
            None if progress is None else lambda done, total, _: progress("steps", done, total)
        ),
        checkpoint=(
            None
            if checkpoint is None
            else lambda c, t: save_checkpoint(checkpoint, fingerprint, c, t)
        ),
    )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return result, _stability_notes(
        key, program, sampler, result.carry, config.sharpness(len(ideal))
    )


def _tolerance(config: PlacementConfig, n_points: int) -> float:
    """`config.tolerance`, but no less than thermal noise would feign.

    It is at least two standard errors of the difference that noise makes between windows.

    H fluctuates by T sqrt(3 N / 2) where it is quadratic in the 3 N coordinates.
    """
    noise = config.temperature_end * math.sqrt(1.5 / n_points)
    return max(config.tolerance, 2 * noise * math.sqrt(2 / WINDOW)) if config.tolerance > 0 else 0.0


def _stability_notes(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    sampler: AbstractLangevin,
    carry: Carry,
    sharpness: float,
) -> tuple[str, ...]:
    """A note when points move further in a step than temperature explains.

    Energies on a sphere stay finite however unstable the dynamics are, so that this is where
    instability shows: one more step is taken and not kept. What a cold, converged map still moves
    is far below 0.3 interaction lengths. A run of a few steps is still on its way, and is not
    judged.
    """
    if int(carry.step) < _FIRST_JUDGED:
        return ()
    one = jnp.asarray(1, jnp.int32)
    after, _ = run_chunk(key, program, carry, one, one - 1)
    move = float(jnp.sqrt(jnp.mean(squared_chord(after.state.direction, carry.state.direction))))
    thermal = float(sampler.thermal_move(carry.step))
    if move < max(3 * thermal, 0.3 / sharpness):
        return ()
    return (
        (
            f"points still move {move * sharpness:.2g} interaction lengths a step, of which"
            f" temperature explains {thermal * sharpness:.2g}: the dynamics are unstable and the"
            " map is not to be trusted. Lower step_size, lateral_strength or the weights of extra"
            " edges, or raise friction"
        ),
    )


_FIRST_JUDGED = 20


class _Points(NamedTuple):
    direction: Float32[np.ndarray, "points 3"]
    radius: Float32[np.ndarray, " points"]
    angle_std: Float32[np.ndarray, " points"]
    radius_std: Float32[np.ndarray, " points"]


def _mean_and_spread(result: RunResult) -> _Points:
    """Mean configuration and the spread about it; see `Placement` for what `angle_std` means."""
    moments = jax.tree.map(lambda x: np.asarray(x, np.float64), result.carry.moments)
    # Not `unit_rows`: a mean without a direction has to be seen, as NaN with NumPy's warning.
    mean = moments.mean.direction
    mean = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    angle = np.sqrt(moments.deviation.direction.sum(axis=1) / (moments.count - 1))
    radius = np.sqrt(moments.deviation.radius / (moments.count - 1))
    return _Points(*(x.astype(np.float32) for x in (mean, moments.mean.radius, angle, radius)))


def _fingerprint(
    ideal: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    directions: Float32[np.ndarray, "points 3"],
    config: PlacementConfig,
) -> str:
    """SHA-256 of everything that the run depends on."""
    versions = [
        f"{name} {version(name)}" for name in ("sphere-ebm", "thrml", "equinox", "jax", "jaxlib")
    ]
    versions.append(f"CPUs {visible_cpus()}")
    digest = hashlib.sha256(f"{versions}\n{jnp.result_type(float)}\n{config.to_json()}\n".encode())
    for array in (ideal, directions, graph.senders, graph.receivers, graph.weights):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
