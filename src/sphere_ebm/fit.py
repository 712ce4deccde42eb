"""`place`: embeddings in, `Placement` out; and `SphereMap`, the same with scikit-learn's conventions."""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Shaped
from thrml import Block

from sphere_ebm.config import PlacementConfig
from sphere_ebm.graph import NeighbourGraph, add_edges, graph_from_neighbours
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.heuristics.initial import pca_directions, random_directions, spectral_directions
from sphere_ebm.neighbours import nearest_neighbours
from sphere_ebm.placement import Placement, shells_of
from sphere_ebm.sampling.checkpoint import load_checkpoint, save_checkpoint
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.nodes import build_program, sphere_block
from sphere_ebm.sampling.run import Carry, RunPlan, RunResult, Trace, empty_moments, run
from sphere_ebm.sampling.schedules import Linear
from sphere_ebm.sampling.underdamped import Underdamped
from sphere_ebm.shells import assign_shells, ideal_radii

StageProgress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); stages are `"neighbours"` and `"steps"`."""

ExtraEdges = tuple[Shaped[np.ndarray, " edges"], Shaped[np.ndarray, " edges"], Float[np.ndarray, " edges"]]


def place(
    embeddings: Shaped[np.ndarray, "points width"],
    prominence: Shaped[np.ndarray, " points"] | None = None,
    config: PlacementConfig | None = None,
    *,
    start: Float[np.ndarray, "points 3"] | None = None,
    extra_edges: ExtraEdges | None = None,
    progress: StageProgress | None = None,
    checkpoint: Path | None = None,
) -> Placement:
    """Place points on a sphere: related ones close in angle, prominent ones on their shell.

    k-NN graph, Hamiltonian of three factors, initial directions, THRML program, annealed Langevin dynamics, then the
    mean and spread over the last samples.

    Args:
        embeddings: (N, D) real numbers; only their directions matter for the map. A zero vector carries no direction:
            it gets no lateral edges and drifts where there is room. N may be 0 or 1.
        prominence: (N,) real numbers that order the radii; by default the norms of the embeddings.
        config: see `PlacementConfig`; the default one when None.
        start: (N, 3) initial directions instead of `config.start`; normalised, zero rows are refused.
        extra_edges: (senders, receivers, weights) added to the lateral graph; weights relative to the graph's own.
        progress: called while neighbours are searched and while the sampler runs.
        checkpoint: file to continue from, when it belongs to this very run, and to write after every chunk; removed
            at the end. The result is the same with and without it.

    Raises:
        ValueError: an input has the wrong shape or is not finite.
        NonFiniteEnergyError: the energy diverged during sampling.

    Cost: the k-NN search, O(N² D) exact; then about 10 ms per step for 10 000 points on two cores.
    """
    config = PlacementConfig() if config is None else config
    embeddings, prominence = _checked(embeddings, prominence)
    shells = shells_of(config)
    ideal = ideal_radii(prominence, shells, config.radius_order)
    graph, notes = _graph(embeddings, config, extra_edges, progress)
    directions = _start(embeddings, graph, config) if start is None else _given_start(start, len(embeddings))
    if len(embeddings) == 0:
        result, found = None, _Points(directions, ideal, ideal, ideal)
    else:
        fingerprint = _fingerprint(embeddings, prominence, directions, extra_edges, config)
        result = _sample(ideal, graph, directions, config, progress, checkpoint, fingerprint)
        found = _mean_and_spread(result)
    return Placement(
        direction=found.direction,
        radius=found.radius,
        shell=assign_shells(found.radius, shells),
        radius_std=found.radius_std,
        angle_std=found.angle_std,
        prominence=prominence,
        energy={name: np.asarray(values) for name, values in result.trace.energy.items()} if result else {},
        step=np.asarray(result.trace.steps if result else [], np.int64),
        converged=bool(result and result.converged),
        config=config,
        notes=notes,
        embeddings=embeddings,
    )


def hamiltonian(
    block: Block,
    ideal_radius: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    config: PlacementConfig,
) -> list[AbstractSphereFactor]:
    """The factors that `config` describes, for the nodes of `block`; a term of strength 0 is left out."""
    sharpness = config.sharpness(len(block))
    factors: list[AbstractSphereFactor] = [GravityFactor(block, ideal_radius, config.radius_stiffness)]
    if graph.senders.size and config.lateral_strength > 0:
        factors.append(
            LateralFactor(
                block,
                graph.senders,
                graph.receivers,
                graph.weights,
                sharpness=sharpness,
                strength=config.lateral_strength,
                kernel=config.kernel,
            )
        )
    if len(block) > 1 and config.osmotic_strength > 0:
        factors.append(
            OsmoticFactor(
                block, sharpness=sharpness, strength=config.osmotic_strength, evaluator=config.osmotic_evaluator
            )
        )
    return factors


def make_sampler(n_points: int, config: PlacementConfig, minimum_radius: float = 0.0) -> AbstractLangevin:
    """The sampler that `config` describes, with its schedules.

    Mobilities are 1/s² for directions and 1/κ for radii, so that one step size suits maps of every size.
    """
    ramp = config.cooling * config.steps
    temperature = Linear(config.temperature_start, config.temperature_end, ramp)
    coupling = Linear(config.coupling_start, 1.0, ramp)
    direction_mobility = 1.0 / config.sharpness(n_points) ** 2
    radius_mobility = 1.0 / config.radius_stiffness
    if config.scheme == "underdamped":
        return Underdamped(
            n_points,
            temperature,
            config.step_size,
            config.friction,
            coupling,
            direction_mobility=direction_mobility,
            radius_mobility=radius_mobility,
            minimum_radius=minimum_radius,
        )
    return EulerMaruyama(
        temperature,
        config.step_size,
        coupling,
        direction_mobility=direction_mobility,
        radius_mobility=radius_mobility,
        minimum_radius=minimum_radius,
    )


def _checked(
    embeddings: Shaped[np.ndarray, "points width"], prominence: Shaped[np.ndarray, " points"] | None
) -> tuple[Float32[np.ndarray, "points width"], Float32[np.ndarray, " points"]]:
    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
        embeddings = np.ascontiguousarray(embeddings, np.float32)
    if embeddings.ndim != 2:
        raise ValueError(f"`embeddings` must have shape (points, width); got {embeddings.shape}.")
    _refuse_non_finite("embeddings", embeddings)
    if prominence is None:
        prominence = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    with np.errstate(over="ignore"):
        prominence = np.ascontiguousarray(prominence, np.float32)
    if prominence.shape != (len(embeddings),):
        raise ValueError(f"`prominence` must have shape ({len(embeddings)},); got {prominence.shape}.")
    _refuse_non_finite("prominence", prominence)
    return embeddings, prominence


def _refuse_non_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        first = np.unravel_index(int(np.argmin(finite)), array.shape)
        place = ", ".join(str(int(i)) for i in first)
        raise ValueError(
            f"`{name}` must be finite in float32; got {array[first]} at index ({place}). Drop or repair that row."
        )


def _graph(
    embeddings: Float32[np.ndarray, "points width"],
    config: PlacementConfig,
    extra_edges: ExtraEdges | None,
    progress: StageProgress | None,
) -> tuple[NeighbourGraph, tuple[str, ...]]:
    found = nearest_neighbours(
        embeddings,
        config.neighbours,
        search=config.neighbour_search,
        seed=config.seed,
        progress=None if progress is None else lambda done, total: progress("neighbours", done, total),
    )
    graph = graph_from_neighbours(
        found, affinity=config.affinity, perplexity=config.perplexity, max_degree=config.max_degree
    )
    if extra_edges is not None:
        graph = add_edges(graph, *extra_edges, max_degree=config.max_degree)
    empty = int(np.count_nonzero(~embeddings.any(axis=1)))
    notes = [] if found.note is None else [found.note]
    if empty:
        notes.append(f"{empty} of {len(embeddings)} embeddings are zero vectors: no direction, no lateral edges")
    return graph, tuple(notes)


def _start(
    embeddings: Float32[np.ndarray, "points width"], graph: NeighbourGraph, config: PlacementConfig
) -> Float32[np.ndarray, "points 3"]:
    if config.start == "random" or len(embeddings) < 2:
        return random_directions(len(embeddings), config.seed)
    if config.start == "spectral":
        return spectral_directions(graph, config.seed)
    return pca_directions(embeddings, config.seed)


def _given_start(start: Float[np.ndarray, "points 3"], n_points: int) -> Float32[np.ndarray, "points 3"]:
    if start.shape != (n_points, 3):
        raise ValueError(f"`start` must have shape ({n_points}, 3); got {start.shape}.")
    _refuse_non_finite("start", start)
    length = np.linalg.norm(start.astype(np.float64), axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError(f"`start` must have no zero rows; row {int(np.argmin(length))} is zero.")
    return (start / length).astype(np.float32)


def _sample(
    ideal: Float32[np.ndarray, " points"],
    graph: NeighbourGraph,
    directions: Float32[np.ndarray, "points 3"],
    config: PlacementConfig,
    progress: StageProgress | None,
    checkpoint: Path | None,
    fingerprint: str,
) -> RunResult:
    block = sphere_block(len(ideal))
    sampler = make_sampler(len(ideal), config)
    program = build_program(block, hamiltonian(block, ideal, graph, config), sampler)
    state = SphereState(jnp.asarray(directions), jnp.asarray(ideal))
    carry, trace = Carry(state, sampler.init(), empty_moments(state)), Trace()
    if checkpoint is not None:
        carry, trace = load_checkpoint(checkpoint, fingerprint, carry) or (carry, trace)
    plan = RunPlan(
        steps=config.steps,
        average=config.average,
        settled=int(np.ceil(config.cooling * config.steps)),
        tolerance=config.tolerance,
    )
    result = run(
        jax.random.key(config.seed),
        program,
        carry,
        plan,
        trace=trace,
        progress=None if progress is None else lambda done, total, _: progress("steps", done, total),
        checkpoint=None if checkpoint is None else lambda c, t: save_checkpoint(checkpoint, fingerprint, c, t),
    )
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return result


class _Points(NamedTuple):
    direction: Float32[np.ndarray, "points 3"]
    radius: Float32[np.ndarray, " points"]
    angle_std: Float32[np.ndarray, " points"]
    radius_std: Float32[np.ndarray, " points"]


def _mean_and_spread(result: RunResult) -> _Points:
    """Mean configuration; root mean square angle to it (radians), and standard deviation of the radius."""
    moments = jax.tree.map(lambda x: np.asarray(x, np.float64), result.carry.moments)
    mean = moments.mean.direction
    mean = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    angle = np.sqrt(moments.deviation.direction.sum(axis=1) / moments.count)
    radius = np.sqrt(moments.deviation.radius / moments.count)
    return _Points(*(x.astype(np.float32) for x in (mean, moments.mean.radius, angle, radius)))


def _fingerprint(
    embeddings: Float32[np.ndarray, "points width"],
    prominence: Float32[np.ndarray, " points"],
    directions: Float32[np.ndarray, "points 3"],
    extra_edges: ExtraEdges | None,
    config: PlacementConfig,
) -> str:
    """SHA-256 of everything that the result depends on."""
    digest = hashlib.sha256(f"{version('sphere-ebm')}\n{jax.__version__}\n{config.to_json()}\n".encode())
    for array in (embeddings, prominence, directions, *(extra_edges or ())):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class SphereMap:
    """`place` as an estimator with scikit-learn's conventions.

    Keyword arguments are the fields of `PlacementConfig`, refused at once when unknown or out of range.

    Attributes:
        config: the configuration.
        placement_: the `Placement` (after `fit`).
        n_features_in_: width of the embeddings (after `fit`).
    """

    def __init__(self, **parameters: Any) -> None:
        self.config = PlacementConfig(**parameters)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters by name."""
        return {field.name: getattr(self.config, field.name) for field in dataclasses.fields(self.config)}

    def set_params(self, **parameters: Any) -> "SphereMap":
        """Change parameters by name; raises ValueError for one that does not exist or is out of range."""
        unknown = sorted(set(parameters) - set(self.get_params()))
        if unknown:
            raise ValueError(f"unknown parameters {', '.join(unknown)}; `get_params()` lists the valid ones.")
        self.config = dataclasses.replace(self.config, **parameters)
        return self

    def fit(
        self,
        X: Shaped[np.ndarray, "points width"],
        y: None = None,
        *,
        prominence: Shaped[np.ndarray, " points"] | None = None,
    ) -> "SphereMap":
        """Place the rows of `X`; see `place`."""
        self.placement_ = place(np.asarray(X), prominence, self.config)
        self.n_features_in_ = int(np.shape(X)[1])
        return self

    def fit_transform(
        self,
        X: Shaped[np.ndarray, "points width"],
        y: None = None,
        *,
        prominence: Shaped[np.ndarray, " points"] | None = None,
    ) -> Float32[np.ndarray, "points 3"]:
        """Place the rows of `X` and return their directions, (N, 3) unit vectors."""
        return self.fit(X, y, prominence=prominence).placement_.direction

    def __repr__(self) -> str:
        default = PlacementConfig()
        changed = {k: v for k, v in self.get_params().items() if v != getattr(default, k)}
        return f"SphereMap({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


# shows the parameters to `help` and to editors
SphereMap.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *inspect.signature(PlacementConfig).parameters.values(),
    ]
)
