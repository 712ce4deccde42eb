"""`place`: embeddings in, `Placement` out."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32
from numpy.typing import ArrayLike
from thrml import Block

from sphere_ebm.errors import warn_of
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.geometry.shells import assign_shells
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.hamiltonian.anchor import AnchorFactor
from sphere_ebm.hamiltonian.base import AbstractSphereFactor
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.hamiltonian.own import ExtraFactor, made_factors
from sphere_ebm.maps.anchors import Anchoring, Anchors, anchored_start, checked_anchors
from sphere_ebm.maps.checks import (
    ExtraEdges,
    checked_config,
    checked_edges,
    checked_embeddings,
    checked_neighbours,
    checked_numbers,
    checked_start,
)
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.copies import find_copies
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.problem import Problem, pose
from sphere_ebm.maps.reinsertion import reinserting
from sphere_ebm.maps.replicas import n_replicas, uncertainty
from sphere_ebm.maps.runs import Runs, System, no_runs, run_fit
from sphere_ebm.maps.starts import (
    Components,
    pca_directions,
    principal_components,
    random_directions,
    spectral_directions,
    water_filling_directions,
)
from sphere_ebm.progress import StageProgress
from sphere_ebm.quality.trust import kept_by_points
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.devices import Devices, device_mesh
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.samplers import build_sampler
from sphere_ebm.sampling.schedules import Linear


def place(
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    start: ArrayLike | None = None,
    anchors: Anchors | None = None,
    extra_edges: Sequence[ArrayLike] | None = None,
    neighbours: Neighbours | tuple[ArrayLike, ArrayLike | None] | None = None,
    extra_factors: Sequence[ExtraFactor] = (),
    progress: StageProgress | None = None,
    checkpoint: Path | None = None,
    devices: Devices = None,
) -> Placement:
    """Place points on a sphere: related ones close in angle, prominent ones on their shell.

    A graph of nearest neighbours, a Hamiltonian of three factors and initial directions make a
    THRML program; annealed Langevin dynamics follow, then the mean and spread over the last
    samples. Replicas run from other random numbers and say how sure each direction is; the map is
    the same without them.

    Points of the same embedding and prominence are placed once and share their place, see `copies`
    of the result: a heap of them would tear a hole. With `anchors`, `neighbours` or
    `extra_factors`, which are given row by row, each is placed by itself.

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
        anchors: places that some points remember and are drawn to, see `Anchors`; the map keeps
            their frame. Without `start`, anchored points start at their places and others amid
            their neighbours' ones. Energies then have a term `"anchor"`.
        extra_edges: (senders, receivers, weights) added to the lateral graph; weights relative to
            the graph's own.
        neighbours: nearest neighbours found before, by this package or another
            (`Neighbours.from_arrays`), or what that takes as a tuple (index, similarity), instead
            of a search; at most `config.neighbours` of each point are taken.
        extra_factors: terms of your own, added to the Hamiltonian: `AbstractEnergyTerm`s, or
            functions that make a factor of a block of all points. Points that join the map later
            do not feel them.
        progress: called as progress(stage, done, total), stages `"neighbours"`, `"steps"` and
            `"replicas"`.
        checkpoint: file to continue from, when it belongs to this very fit, and to write between
            steps, at most every two seconds; removed at the end. The result is the same with and
            without it.
        devices: how many devices to split the points over, or which (`jax.devices()`); by default
            JAX's own choice of one. The same run but for rounding, which grows as in any dynamics;
            a checkpoint may be continued on others.

    Every line of the result's `notes` is a `sphere_ebm.errors.MapWarning`, too.

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
    given = _Given(
        None if start is None else checked_start(start, len(embeddings)),
        checked_anchors(anchors, len(embeddings)),
        checked_edges(extra_edges),
        checked_neighbours(neighbours, embeddings),
        tuple(extra_factors),
    )
    order = (
        None if prominence is None else checked_numbers("prominence", prominence, len(embeddings))
    )
    copies = None if given.by_row else find_copies(embeddings, order)
    points = embeddings if copies is None else embeddings[copies.first]
    ranked = order if copies is None or order is None else order[copies.first]
    problem = pose(
        points,
        ranked,
        config,
        given.edges if copies is None else copies.edges(given.edges),
        progress,
        neighbours=given.neighbours,
        rows=None if copies is None else copies.first,
    )
    if copies is not None and given.start is not None:
        given = given._replace(start=given.start[copies.first])
    runs = _runs(points, problem, given, mesh, progress, checkpoint)
    placed = _placed(points, problem, runs)
    warn_of(placed.notes)
    return placed if copies is None else copies.spread(placed, embeddings, order)


class _Given(NamedTuple):
    """What the caller may give beside embeddings, checked."""

    start: Float32[np.ndarray, "points 3"] | None
    anchoring: Anchoring | None
    edges: ExtraEdges | None
    neighbours: Neighbours | None
    extra: tuple[ExtraFactor, ...]

    @property
    def by_row(self) -> bool:
        """Whether something is given row by row that copies cannot share."""
        return self.anchoring is not None or self.neighbours is not None or bool(self.extra)


def _runs(
    embeddings: Float32[np.ndarray, "points width"],
    problem: Problem,
    given: _Given,
    mesh: Mesh | None,
    progress: StageProgress | None,
    checkpoint: Path | None,
) -> Runs:
    """The map's own run and its replicas."""
    config = problem.config

    @functools.cache
    def components() -> Components:
        return principal_components(embeddings, 3)

    def starting(seed: int) -> Float32[np.ndarray, "points 3"]:
        if given.start is not None:
            return given.start
        return _start(embeddings, problem, given.anchoring, seed, components)

    first = starting(config.seed)
    if len(embeddings) == 0:
        return no_runs(first)
    setting = _Setting(problem, given.anchoring, first, given.extra)
    system = _system(setting, mesh, kept=checkpoint is not None)
    replicas = n_replicas(config.replicas if config.steps else 0, len(embeddings))
    return run_fit(system, starting, replicas, progress, checkpoint)


def _placed(
    embeddings: Float32[np.ndarray, "points width"], problem: Problem, runs: Runs
) -> Placement:
    """The placement of a fit, with what can be said of every point."""
    found = runs.points
    kept = kept_by_points(problem.nearest, found.direction)
    sure = uncertainty(found.direction, runs.replicas, found.thermal_std)
    return Placement(
        direction=found.direction,
        radius=found.radius,
        shell=assign_shells(found.radius, problem.shells),
        radius_std=found.radius_std,
        thermal_std=found.thermal_std,
        angle_std=sure.angle_std,
        modes=sure.modes,
        mode_weight=sure.mode_weight,
        point_energy=runs.point_energy,
        kept=kept.share,
        kept_p_value=kept.p_value,
        prominence=problem.prominence.astype(np.float32),
        energy={name: np.asarray(values) for name, values in runs.trace.energy.items()},
        step=np.asarray(runs.trace.steps, np.int64),
        converged=runs.converged and not runs.notes,
        config=problem.config,
        notes=(*problem.notes, *runs.notes),
        replicas=runs.replicas,
        embeddings=embeddings,
    )


def hamiltonian_factors(
    block: Block,
    ideal_radius: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    config: PlacementConfig,
    anchoring: Anchoring | None = None,
) -> list[AbstractSphereFactor]:
    """The factors that `config` describes, for the nodes of `block`, and the pull of anchors.

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
    if anchoring is not None and anchoring.strength.any():
        factors.append(
            AnchorFactor(
                block,
                anchoring.rows,
                anchoring.place.astype(dtype),
                anchoring.strength,
                sharpness=sharpness,
            )
        )
    return factors


def make_sampler(
    n_points: int,
    config: PlacementConfig,
    minimum_radius: float = 0.0,
    *,
    nodes: int | None = None,
) -> AbstractLangevin:
    """The sampler that `config` describes, with its schedules.

    Mobilities are 1/s² for directions, less where the terms are strong, and 1/κ for radii, so that
    one step size suits maps of every size and strength. It moves a block of so many `nodes` of the
    `n_points`; None: all.
    """
    ramp = config.cooling * config.steps
    coefficients = Coefficients(
        temperature=Linear(config.temperature_start, config.temperature_end, ramp),
        step_size=Linear(config.step_size, config.step_size * config.step_size_growth, ramp),
        coupling=Linear(config.coupling_start, 1.0, ramp),
        direction_mobility=config.direction_mobility(n_points),
        radius_mobility=1.0 / config.radius_stiffness,
        minimum_radius=minimum_radius,
    )
    moved = n_points if nodes is None else nodes
    return build_sampler(config.scheme, moved, coefficients, friction=config.friction)


def _start(
    embeddings: Float32[np.ndarray, "points width"],
    problem: Problem,
    anchoring: Anchoring | None,
    seed: int,
    components: Callable[[], Components],
) -> Float32[np.ndarray, "points 3"]:
    """Initial directions of the run with this seed: the map's, or a replica's."""
    config = dataclasses.replace(problem.config, seed=seed)
    if anchoring is not None:
        # the frame of anchors is not that of the other starts
        lost = random_directions(len(embeddings), config.seed)
        return anchored_start(anchoring, problem.graph, lost)
    if config.start == "random" or len(embeddings) < 2:
        return random_directions(len(embeddings), config.seed)
    if config.start == "spectral":
        return spectral_directions(problem.graph, config.seed)
    if config.start == "water-filling":
        return water_filling_directions(embeddings, problem.prominence, config)
    return pca_directions(embeddings, config.seed, components() if embeddings.size else None)


class _Setting(NamedTuple):
    """What the runs of a fit depend on."""

    problem: Problem
    anchoring: Anchoring | None
    directions: Float32[np.ndarray, "points 3"]
    extra: tuple[ExtraFactor, ...]


def _system(setting: _Setting, mesh: Mesh | None, kept: bool) -> System:
    """The program of the factors, and how it is run; `kept` tells whether there are checkpoints."""
    config = setting.problem.config
    ideal = setting.problem.ideal_radius
    anchoring = setting.anchoring
    block = sphere_block(len(ideal))
    sampler = make_sampler(len(ideal), config, minimum_radius=float(shells_of(config).edges[0]))
    graph = setting.problem.graph
    # who remembers a place, or feels more than the graph, is not put back elsewhere
    free = (anchoring is None or not anchoring.strength.any()) and not setting.extra
    own = made_factors(setting.extra, block)
    factors = hamiltonian_factors(block, ideal, graph, config, anchoring) + own
    return System(
        program=build_program(block, factors, sampler, jnp.result_type(float)),
        sampler=sampler,
        ideal_radius=ideal,
        config=config,
        mesh=mesh,
        fingerprint=_fingerprint(setting, own) if kept else "",
        between=(lambda plan: reinserting(plan, graph, ideal, config)) if free else None,
    )


def _fingerprint(setting: _Setting, own: Sequence[AbstractSphereFactor]) -> str:
    """SHA-256 of everything that the runs depend on."""
    problem = setting.problem
    graph = problem.graph
    versions = [
        f"{name} {version(name)}" for name in ("sphere-ebm", "thrml", "equinox", "jax", "jaxlib")
    ]
    versions.append(f"CPUs {visible_cpus()}")
    config = problem.config.to_json()
    digest = hashlib.sha256(f"{versions}\n{jnp.result_type(float)}\n{config}\n".encode())
    arrays = (problem.ideal_radius, setting.directions, graph.senders, graph.receivers)
    for array in (*arrays, graph.weights, *(setting.anchoring or ())):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    for factor in own:
        digest.update(repr(factor.to_interaction_groups()[0].interaction).encode())
        for leaf in jax.tree.leaves(factor):
            if eqx.is_array(leaf):
                digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()
