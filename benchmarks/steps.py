"""Where the time of a map goes, and its steps against memory bandwidth.

`python -m benchmarks.steps`.
"""

import functools
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32
from scipy.spatial import cKDTree

from benchmarks.arguments import add_counts, add_sizes, parser_of
from benchmarks.process import warm_milliseconds
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm import PlacementConfig
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.graph import NeighbourGraph, graph_from_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.lateral import degree_classes
from sphere_ebm.maps.place import hamiltonian_factors, make_sampler
from sphere_ebm.sampling.langevin import flow, tangent_noise
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.run import Carry, run_chunk
from sphere_ebm.sampling.terms import split_own_state

POINTS = (10_000, 100_000, 1_000_000)
NEIGHBOURS = 15
CLUSTERS = 20
WIDTH = 0.5
DIMENSIONS = 6
TARGET_POINTS = 100_000
TARGET_ROOFLINE = 2.0
TARGET_GROWTH = 2.0
TARGET_PROGRAM = 1.0
"""Seconds in which the program of the largest map is built."""
PARTS = ("lateral", "osmotic", "noise", "integrator")


@dataclass(frozen=True)
class Stages:
    """Seconds before the first step.

    Neighbours in six dimensions, weights and bounded degree, program, compilation.
    """

    search: float
    graph: float
    program: float
    compile: float


@dataclass(frozen=True)
class Measured:
    """One map. Milliseconds are the least of the repeats."""

    n_points: int
    degree: float
    padding: float
    stages: Stages
    step: float
    """Milliseconds of one whole step."""
    parts: dict[str, float]
    """Milliseconds of each of its parts alone."""
    traffic: int
    """Bytes that a step must move, whatever the caches hold; see the function of the same
    name.
    """
    least: float
    """Milliseconds that moving them takes at the bandwidth that was measured."""

    @property
    def ratio(self) -> float:
        return self.step / self.least

    @property
    def per_point(self) -> float:
        """Nanoseconds a step takes for each point."""
        return 1e6 * self.step / self.n_points

    def cells(self) -> list[str]:
        parts = [f"{self.parts[name]:.2f}" for name in PARTS]
        stages = [
            f"{x:.1f}"
            for x in (
                self.stages.search,
                self.stages.graph,
                self.stages.program,
                self.stages.compile,
            )
        ]
        count = [str(self.n_points), f"{self.degree:.1f}", f"{100 * self.padding:.0f} %"]
        end = [
            f"{self.per_point:.0f}",
            f"{self.traffic / self.n_points:.0f}",
            f"{self.least:.2f}",
            f"{self.ratio:.1f}",
        ]
        return [*count, *stages, f"{self.step:.2f}", *parts, *end]


HEADER = [
    "N",
    "degree",
    "padding",
    *(f"{name} s" for name in ("search", "graph", "program", "compile")),
    *(f"{name} ms" for name in ("step", *PARTS)),
    "ns a point",
    "bytes a point",
    "roofline ms",
    "step / roofline",
]


def clustered_cloud(n_points: int, rng: np.random.Generator) -> Float32[np.ndarray, "points 6"]:
    """Unit vectors in six dimensions around random centres, in no order."""
    centre = rng.standard_normal((CLUSTERS, DIMENSIONS))[rng.integers(0, CLUSTERS, n_points)]
    points = centre + WIDTH * rng.standard_normal((n_points, DIMENSIONS))
    return unit_rows(points).astype(np.float32)


def neighbours_of(points: Float32[np.ndarray, "points width"]) -> Neighbours:
    """Exact neighbours of unit vectors by a tree, cheap in few dimensions."""
    chord, index = cKDTree(points).query(points, NEIGHBOURS + 1, workers=-1)
    return Neighbours(index[:, 1:].astype(np.int32), (1 - chord[:, 1:] ** 2 / 2).astype(np.float32))


def bandwidth(megabytes: int = 256, repeats: int = 9) -> float:
    """Bytes a second that a triad moves.

    Two arrays read and one written, each far larger than a cache.
    """
    a, b = (jnp.full(megabytes * 2**18, value, jnp.float32) for value in (1.0, 2.0))
    triad = jax.jit(lambda a, b: a + 0.5 * b)
    return 3 * a.nbytes / (least_milliseconds(lambda: triad(a, b), repeats) / 1000)


def traffic(n_points: int, slots: int) -> int:
    """Bytes that a step of underdamped dynamics must move, whatever the caches hold, in float32.

    Directions, radii and their velocities are read and written once: 16 numbers a point. Each slot
    of an edge reads its tail, its weight and the tail's direction: 5 numbers. The osmotic field
    adds to 16 cells of a grid and reads 16 cells of four numbers: 96 numbers a point.
    """
    return 4 * (16 * n_points + 5 * slots + 96 * n_points)


def least_milliseconds(run: Callable[[], Any], repeats: int) -> float:
    return min(warm_milliseconds(run, repeats))


def measure(n_points: int, repeats: int, bytes_per_second: float) -> Measured:
    """All stages of one map, and the parts of its step."""
    say(f"steps: {n_points} points")
    config = PlacementConfig()
    points = clustered_cloud(n_points, np.random.default_rng(0))
    clock = [time.perf_counter()]
    found = neighbours_of(points)
    clock.append(time.perf_counter())
    graph = graph_from_neighbours(found, max_degree=config.max_degree)
    clock.append(time.perf_counter())
    block = sphere_block(n_points)
    ideal = np.linspace(1, 32, n_points, dtype=np.float32)
    sampler = make_sampler(n_points, config)
    program = build_program(
        block, hamiltonian_factors(block, ideal, graph, config), sampler, jnp.float32
    )
    clock.append(time.perf_counter())
    state = SphereState(jnp.asarray(unit_rows(points[:, :3])), jnp.asarray(ideal))
    carry = advanced(program, Carry(state, [sampler.init()], empty_moments(state)), 0)
    clock.append(time.perf_counter())
    carry = advanced(program, carry, 5)
    step = milliseconds_per_step(lambda n: advanced(program, carry, n), repeats)
    slots = sum(part.tail.size for part in classes_of(graph).parts)
    moved = traffic(n_points, 2 * len(graph.senders))
    return Measured(
        n_points,
        float(graph.degree.mean()),
        1 - 2 * len(graph.senders) / slots,
        Stages(*(after - before for before, after in itertools.pairwise(clock))),
        step,
        parts_of(program, carry, repeats),
        moved,
        1000 * moved / bytes_per_second,
    )


def classes_of(graph: NeighbourGraph) -> Any:
    heads, tails = (
        np.concatenate(ends)
        for ends in ((graph.senders, graph.receivers), (graph.receivers, graph.senders))
    )
    return degree_classes(heads, tails, np.tile(graph.weights, 2), graph.n_points)


def advanced(program: Any, carry: Carry, steps: int) -> Carry:
    number = jnp.asarray(steps, jnp.int32)
    none = jnp.asarray(0, jnp.int32)
    return jax.block_until_ready(run_chunk(jax.random.key(0), program, carry, number, none)[0])


def milliseconds_per_step(run: Callable[[int], Any], repeats: int, steps: int = 5) -> float:
    """What each of `steps` more steps takes: a chunk's energies and its call are left out."""
    few, many = (least_milliseconds(functools.partial(run, n), repeats) for n in (1, 1 + steps))
    return (many - few) / steps


def parts_of(program: Any, carry: Carry, repeats: int) -> dict[str, float]:
    """Milliseconds of each part by itself.

    Forces as a step has them, noise, and two half steps of free motion.
    """
    state = carry.state
    velocity = carry.sampler_states[0].velocity
    one = jnp.asarray(1.0, state.radius.dtype)
    unit = SphereState(one, one)

    @eqx.filter_jit
    def force(program: Any, state: SphereState, name: str) -> SphereState:
        interactions = program.per_block_interactions[0]
        slices = program.per_block_interaction_global_slices[0]
        active = program.per_block_interaction_active[0]
        states = [[jax.tree.map(lambda x, s=s: x[s], state) for s in tails] for tails in slices]
        here, terms = split_own_state(interactions, active, states)
        return next(term.force(here, there, on) for term, there, on in terms if term.name == name)

    noise = jax.jit(lambda key, state: tangent_noise(key, state, unit, one))
    free = jax.jit(lambda state, velocity: flow(*flow(state, velocity, unit, one), unit, one))
    key = jax.random.key(1)
    names = {term.name for term in program.per_block_interactions[0][1:]}
    runs: dict[str, Callable[[], Any]] = {
        name: functools.partial(force, program, state, name) for name in PARTS if name in names
    }
    runs |= {"noise": lambda: noise(key, state), "integrator": lambda: free(state, velocity)}
    return {name: least_milliseconds(run, repeats) for name, run in runs.items()}


def checks(measured: Sequence[Measured]) -> list[Check]:
    """The targets whose maps were measured."""
    rows = {row.n_points: row for row in measured}
    found = [Check(f"padding at {n} points", row.padding, "<", 1 / 3) for n, row in rows.items()]
    if TARGET_POINTS in rows:
        target = f"step / roofline at {TARGET_POINTS} points"
        found.append(Check(target, rows[TARGET_POINTS].ratio, "<=", TARGET_ROOFLINE))
    if POINTS[-1] in rows:
        program = rows[POINTS[-1]].stages.program
        found.append(Check(f"program of {POINTS[-1]} points", program, "<", TARGET_PROGRAM, "s"))
    if POINTS[0] in rows and POINTS[-1] in rows:
        growth = rows[POINTS[-1]].per_point / rows[POINTS[0]].per_point
        found.append(
            Check(f"time a point, {POINTS[-1]} over {POINTS[0]} points", growth, "<", TARGET_GROWTH)
        )
    return found


def report(measured: Sequence[Measured], bytes_per_second: float, header: str, repeats: int) -> str:
    return f"""# The time of a step against memory bandwidth

{header}
- memory bandwidth, by a triad of 256 MiB arrays: {bytes_per_second / 1e9:.1f} GB/s
- maps: {CLUSTERS} clusters in {DIMENSIONS} dimensions, points in no order, {NEIGHBOURS}
  neighbours; the default configuration
- step: one of `run_chunk`, least of {repeats}; parts each by itself, so that their sum is not the
  step; compile: the first call of `run_chunk`
- roofline: bytes a step must move over bandwidth. Bytes: 64 a point for the state, 20 a slot that
  holds an edge, 384 a point for the grid; `traffic` in `benchmarks/steps.py` counts them

{markdown_table(HEADER, [row.cells() for row in measured])}

{check_table(checks(measured))}"""


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("steps", __doc__)
    add_sizes(cli, POINTS)
    add_counts(cli, {"repeats": (7, "timed evaluations")})
    options = cli.parse_args(arguments)
    header = machine(("sphere-ebm", "jax", "thrml"))
    bytes_per_second = bandwidth()
    measured = [measure(n, options.repeats, bytes_per_second) for n in options.points]
    text = report(measured, bytes_per_second, header, options.repeats)
    return finish(text, options.output, checks(measured))


if __name__ == "__main__":
    sys.exit(main())
