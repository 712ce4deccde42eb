"""What `python -m benchmarks.device` measures, part by part."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32
from scipy.optimize import nnls

from benchmarks.device_plan import SLACK, Clock, Part, Row, Sizes
from benchmarks.law_systems import p_values
from benchmarks.loading import WIDTH, made_up
from benchmarks.mixtures import mixture
from benchmarks.osmotic import clustered, default_sharpness, evaluate
from benchmarks.report import Check
from benchmarks.steps import advanced, bandwidth, least_milliseconds, milliseconds_per_step, traffic
from sphere_ebm import FrozenMap, PlacementConfig
from sphere_ebm.geometry.sphere import fibonacci_lattice
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.fields.costs import COSTS, TERMS, Cost, counts, device_kind
from sphere_ebm.hamiltonian.fields.evaluators import (
    MAX_PYRAMID_ROWS,
    MAX_ROWS,
    grid_problem,
    grid_rows,
    make_field,
)
from sphere_ebm.maps.place import hamiltonian_factors, make_sampler
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program, energies, forces, sphere_block
from sphere_ebm.sampling.run import Carry

REPEATS = 5
SEED = 0
DEGREE = 16
FORCE_ERROR = {"direct": 1e-3, "harmonic": 2e-3, "pyramid": 2e-3}
"""Largest difference of forces between the device and the CPU, rms over rms, by evaluator."""
ENERGY_ERROR = 1e-4
"""Largest difference of an energy term, as a share of it and the number of points."""
BYTES_A_POINT = 5_000
"""Memory of this machine that posing a map of random edges takes for each of its points."""


def roofline(clock: Clock, sizes: Sizes) -> Part:
    """What the device can do at most: copies, gathers, products, transfers."""
    part = Part("roofline")
    rows = sizes.megabytes * 2**16
    rng = np.random.default_rng(SEED)

    def gather() -> Row:
        table = jnp.asarray(rng.standard_normal((rows, 4)), jnp.float32)
        chosen = jnp.asarray(rng.integers(0, rows, rows), jnp.int32)
        taken = jax.jit(lambda table, chosen: table[chosen].sum(axis=1))
        seconds = least_milliseconds(lambda: taken(table, chosen), REPEATS) / 1000
        return {"what": "gather of rows of 16 bytes", "rate": rows / seconds / 1e9, "unit": "G/s"}

    def product(kind: str) -> Row:
        dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
        one = jnp.asarray(rng.standard_normal((sizes.side, sizes.side)), dtype)
        precision = "highest" if kind == "float32" else "default"
        multiplied = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
        seconds = least_milliseconds(lambda: multiplied(one), REPEATS) / 1000
        return {
            "what": f"product of matrices, {kind}",
            "rate": 2 * sizes.side**3 / seconds / 1e12,
            "unit": "TFLOP/s",
        }

    def copies() -> Row:
        rate = bandwidth(sizes.megabytes, REPEATS) / 1e9
        return {"what": "triad of long arrays", "rate": rate, "unit": "GB/s"}

    def transfer() -> Row:
        held = np.zeros(sizes.megabytes * 2**18, np.float32)
        seconds = least_milliseconds(lambda: jax.device_put(held), REPEATS) / 1000
        return {"what": "from this machine's memory", "rate": held.nbytes / seconds / 1e9,
                "unit": "GB/s"}  # fmt: skip

    cases: dict[str, Callable[[], Row]] = {
        "copy": copies,
        "gather": gather,
        "transfer": transfer,
        "float32": lambda: product("float32"),
        "float32, fewer digits": lambda: product("float32, fewer digits"),
        "bfloat16": lambda: product("bfloat16"),
    }
    part.each(clock, list(cases), lambda name: cases[name](), first=2)
    return part


def ringed(n_points: int, config: PlacementConfig) -> tuple[Any, Carry]:
    """A program of so many points with `DEGREE` edges each, in no order, and its beginning.

    Points lie on a lattice of the sphere and have edges to those that follow in it, so that no
    search is needed; their numbers are drawn, so that gathers meet the memory as a map's do.
    """
    rng = np.random.default_rng(SEED)
    number = rng.permutation(n_points).astype(np.int32)
    steps = range(1, DEGREE // 2 + 1)
    ends = [(number, np.roll(number, -step)) for step in steps]
    low = np.concatenate([np.minimum(*pair) for pair in ends])
    high = np.concatenate([np.maximum(*pair) for pair in ends])
    order = np.lexsort((high, low))
    weight = np.full(len(low), n_points / len(low), np.float32)
    graph = NeighbourGraph(n_points, low[order], high[order], weight)
    direction = np.empty((n_points, 3), np.float32)
    direction[number] = fibonacci_lattice(n_points)
    ideal = np.linspace(1, 32, n_points, dtype=np.float32)
    block = sphere_block(n_points)
    sampler = make_sampler(n_points, config)
    factors = hamiltonian_factors(block, ideal, graph, config)
    program = build_program(block, factors, sampler, jnp.float32)
    state = SphereState(jnp.asarray(direction), jnp.asarray(ideal))
    return program, Carry(state, [sampler.init()], empty_moments(state))


def correctness(clock: Clock, sizes: Sizes) -> Part:
    """Energies and forces beside the CPU's, and laws that a wrong temperature breaks."""
    part = Part("correctness")

    def compared(evaluator: str) -> Row:
        config = PlacementConfig(osmotic_evaluator=evaluator)
        here = energy_and_force(sizes.correct, config)
        with jax.default_device(jax.devices("cpu")[0]):
            there = energy_and_force(sizes.correct, config)
        off = [
            abs(here[0][name] - value) / (abs(value) + sizes.correct)
            for name, value in there[0].items()
        ]
        energy = max(off)
        force = float(np.linalg.norm(here[1] - there[1]) / np.linalg.norm(there[1]))
        part.checks += [
            Check(f"{evaluator}: energy beside the CPU's", energy, "<=", ENERGY_ERROR),
            Check(f"{evaluator}: force beside the CPU's", force, "<=", FORCE_ERROR[evaluator]),
        ]
        return {"what": evaluator, "energy": energy, "force": force}

    def judged(run: str) -> Row:
        found = [
            p_values("Underdamped", run, seed=20, chains=sizes.chains, wrong=wrong)
            for wrong in (0.0, 0.05)
        ]
        right, wrong = (min(each.values()) for each in found)
        part.checks.append(Check(f"law of {run}: p-value", right, ">=", 1e-3))
        if sizes.chains is None:
            part.checks.append(Check(f"law of {run}, 5 % hotter: p-value", wrong, "<", 1e-2))
        return {"what": f"law: {run}", "p_right": right, "p_wrong": wrong}

    cases = dict.fromkeys(sizes.evaluators, compared) | dict.fromkeys(sizes.laws, judged)
    part.each(clock, list(cases), lambda name: cases[name](name), first=8)
    return part


def energy_and_force(
    n_points: int, config: PlacementConfig
) -> tuple[dict[str, float], Float32[np.ndarray, "points 3"]]:
    """Terms of H and the force on every point of a clustered map, on JAX's default device."""
    program, carry = ringed(n_points, config)
    direction = jnp.asarray(clustered(n_points, np.random.default_rng(SEED)))
    state = SphereState(direction, carry.state.radius + jnp.float32(0.1))
    found, pull = _energies_and_forces(program, state)
    return {name: float(value) for name, value in found.items()}, np.asarray(pull.direction)


@eqx.filter_jit
def _energies_and_forces(program: Any, state: SphereState) -> tuple[Any, SphereState]:
    return energies(program, state), forces(program, state)


def crossover(clock: Clock, sizes: Sizes) -> Part:
    """Milliseconds of every evaluator by the number of points, and the cost model they give."""
    part = Part("crossover")
    rng = np.random.default_rng(SEED)
    latest: dict[str, tuple[int, float]] = {}

    def timed(n_points: int) -> Row:
        sharpness = default_sharpness(n_points)
        rows = grid_rows(sharpness)
        direction = jnp.asarray(clustered(n_points, rng))
        found: Row = {"points": n_points, "rows": rows}
        for name in TERMS:
            most = {"harmonic": MAX_ROWS, "pyramid": MAX_PYRAMID_ROWS}.get(name)
            fits = most is None or grid_problem(sharpness, n_points, most) is None
            # the direct sum grows by the square, and a timing takes one more than its repeats
            before, milliseconds = latest.get(name, (n_points, 0.0))
            expected = (REPEATS + 1) * milliseconds / 1000 * (n_points / before) ** 2
            if not fits or (name == "direct" and SLACK * expected > clock.left / 4):
                continue
            made = make_field(name, sharpness, n_points)
            run = functools.partial(evaluate, made, direction)
            found[name] = least_milliseconds(run, REPEATS)
            latest[name] = (n_points, found[name])
        return found

    part.each(clock, sizes.field_points, timed, 5, lambda before, after: after / before / 3 + 0.5)
    return part


def fitted_costs(rows: Sequence[Row]) -> dict[str, Cost]:
    """The cost of each evaluator that fits its times best, errors counted as shares of them.

    An evaluator that was timed fewer times than its cost has terms is left out.
    """
    found = {}
    for name, terms in TERMS.items():
        timed = [row for row in rows if name in row]
        if len(timed) < len(terms):
            continue
        every = np.asarray([counts(row["points"], row["rows"]) for row in timed])
        columns = [Cost._fields.index(term) for term in terms]
        measured = np.asarray([row[name] for row in timed])
        numbers = nnls(every[:, columns] / measured[:, None], np.ones(len(timed)))[0]
        found[name] = Cost(**dict(zip(terms, numbers.tolist(), strict=True)))
    return found


def stepping(clock: Clock, sizes: Sizes) -> Part:
    """Steps a second of whole maps, and a step beside the bytes that it must move."""
    part = Part("steps")
    bytes_per_second = bandwidth(sizes.megabytes, REPEATS)

    def timed(n_points: int) -> Row:
        if n_points * BYTES_A_POINT > free_bytes():
            raise MemoryError
        program, carry = ringed(n_points, PlacementConfig())
        carry = advanced(program, carry, 2)
        step = milliseconds_per_step(lambda n: advanced(program, carry, n), REPEATS)
        least = 1000 * traffic(n_points, n_points * DEGREE) / bytes_per_second
        return {
            "points": n_points,
            "steps_a_second": 1000 / step,
            "nanoseconds_a_point": 1e6 * step / n_points,
            "step_over_roofline": step / least,
        }

    part.each(clock, sizes.points, timed, 10, lambda before, after: after / before * 0.8 + 0.2)
    return part


def free_bytes() -> float:
    """Memory of this machine that is free, or without bound where it does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")
    return 1024 * float(found.split()[1])


def joining(clock: Clock, sizes: Sizes) -> Part:
    """Points a second that join, by landmarks and by how many settle together."""
    part = Part("joining")

    def timed(landmarks: int) -> Row:
        placement = made_up(landmarks)
        new = mixture(sizes.new, WIDTH, seed=1)
        index = FrozenMap(placement).index
        slots = min(placement.config.neighbours, landmarks)
        found: Row = {"landmarks": landmarks}
        found["searched_a_second"] = rate(lambda: index.query(new, slots), len(new))
        for batch in sizes.batches:
            frozen = FrozenMap(placement, index=index, batch=batch)
            frozen.place(new[:batch])  # compiles
            joined = functools.partial(frozen.place, new)
            found[f"joined_a_second_by_{batch}"] = rate(joined, len(new))
        return found

    part.each(clock, sizes.landmarks, timed, 20, lambda before, after: after / before / 2)
    return part


def rate(run: Callable[[], Any], count: int) -> float:
    """How many a second, in one run of so many."""
    begun = time.perf_counter()
    run()
    return count / (time.perf_counter() - begun)


def table_row(found: dict[str, Cost]) -> str:
    """What `COSTS` would say of this device, as Python, beside what it says."""
    lines = [f"# {device_kind()}: measured, to stand in `COSTS` of {Cost.__module__}"]
    for name, cost in found.items():
        told = ", ".join(f"{key}={value:.3g}" for key, value in cost._asdict().items() if value)
        lines.append(f'"{name}": Cost({told}),  # now {COSTS[device_kind()][name]}')
    return "\n".join(lines)
