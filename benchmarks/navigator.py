"""How much of a query's neighbourhood the navigator finds on a map.

`python -m benchmarks.navigator --data DIR`.

500 queries are held out of wordnet-10k and placed nowhere. The answer is compared with a random
cone, with the best cone that exists on the map for each query (the oracle), and with faiss HNSW.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import equinox as eqx
import numpy as np
from jaxtyping import Float, Float32, Int

from benchmarks.arguments import add_data, parser_of
from benchmarks.datasets import load
from benchmarks.report import Check, finish, machine, markdown_table, say, target_section
from sphere_ebm import Placement, place
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.navigator import guides as guides_module
from sphere_ebm.retrieval.navigator.bearings import Bearings
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.guides import FieldGuide
from sphere_ebm.retrieval.navigator.probing import ProbeTables, probe
from sphere_ebm.retrieval.navigator.search import Navigator

PACKAGES = ("sphere-ebm", "jax", "numpy", "scipy", "faiss-cpu")
SET = "wordnet-10k"
HELD_OUT = 500
SEED = 0
SHARES = (0.01, 0.02, 0.05, 0.1)
FOUND = 10
ORACLE_TARGET = 0.6
MILLISECONDS_TARGET = 5.0
SETUP_TARGET = 2.0
CALIBRATION_TARGET = 0.1
LATTICE = 10_000
REFINEMENTS = 3
TURNS = 32
CHOICES: tuple[dict, ...] = (
    {"landmarks": 300},
    {"landmarks": 600},
    {"choice": "farthest"},
    {"choice": "random"},
    {"deposit_neighbours": 0},
    {"temperature": 0.3},
    {"temperature": 1.0},
    {"band_limit": 8, "smoothing": 0.2},
    {"band_limit": 16, "smoothing": 0.14},
    {"band_limit": 64, "smoothing": 0.06},
    {"smoothing": 0.12},
    {"probes": 1},
    {"probes": 4},
    {"probes": 16},
    {"strength_exponent": 0.0},
    {"crowding": 0.0},
    {"crowding": 1.0},
    {"band": 2.0},
)


@dataclass(frozen=True, eq=False)
class Task:
    """A map, unit queries that are not on it, their 10 nearest points by cosine, and unit
    embeddings of the map.
    """

    placement: Placement
    unit: Float32[np.ndarray, "points width"]
    queries: Float32[np.ndarray, "queries width"]
    truth: Int[np.ndarray, "queries found"]

    def recall(self, points: Int[np.ndarray, "queries returned"]) -> float:
        """Mean share of the true neighbours among returned points."""
        return float(self.recalls(points).mean())

    def recalls(self, points: Int[np.ndarray, "queries returned"]) -> Float[np.ndarray, " queries"]:
        """The same for every query."""
        return np.array(
            [np.isin(true, found).mean() for true, found in zip(self.truth, points, strict=True)]
        )

    def count(self, share: float) -> int:
        """Points that a share amounts to."""
        return round(share * len(self.unit))


def hold_out(embeddings: Float32[np.ndarray, "points width"], held_out: int = HELD_OUT) -> Task:
    """A map of all but `held_out` points, placed with the default configuration.

    Those are the queries.
    """
    asked = np.sort(np.random.default_rng(SEED).choice(len(embeddings), held_out, replace=False))
    placement = place(np.delete(embeddings, asked, axis=0))
    unit = unit_rows(np.delete(embeddings, asked, axis=0))
    queries = unit_rows(embeddings[asked])
    return Task(placement, unit, queries, exact_neighbours(unit, queries, FOUND))


def oracle(task: Task) -> list[float]:
    """Recall of the best cap of each size that exists for each query.

    The ceiling of any single cone on this map.

    Axes: every point, a lattice of 10 000 directions, then random turns around the best of them,
    narrower each time.
    """
    points = task.placement.direction.astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    axes = np.concatenate([points, _fibonacci(LATTICE)])
    best = np.full((len(SHARES), len(task.queries)), -1)
    where = np.zeros((len(SHARES), len(task.queries), 3))
    for start in range(0, len(axes), 256):
        block = axes[start : start + 256]
        cosine = block @ points.T
        inside = cosine[:, task.truth]
        for row, bound in enumerate(_bounds(cosine, task)):
            hits = (inside >= bound[:, None, None]).sum(axis=2)
            better = hits.max(axis=0) > best[row]
            best[row] = np.where(better, hits.max(axis=0), best[row])
            where[row] = np.where(better[:, None], block[hits.argmax(axis=0)], where[row])
    rng = np.random.default_rng(SEED)
    for step in range(REFINEMENTS):
        for row in range(len(SHARES)):
            for query in range(len(task.queries)):
                turned = where[row, query] + 0.05 / 2**step * rng.standard_normal((TURNS, 3))
                turned /= np.linalg.norm(turned, axis=1, keepdims=True)
                cosine = turned @ points.T
                bound = np.partition(cosine, -task.count(SHARES[row]), axis=1)[
                    :, -task.count(SHARES[row])
                ]
                hits = (cosine[:, task.truth[query]] >= bound[:, None]).sum(axis=1)
                if hits.max() > best[row, query]:
                    best[row, query] = hits.max()
                    where[row, query] = turned[hits.argmax()]
    return [float(found.mean() / FOUND) for found in best]


def random_cones(task: Task) -> list[float]:
    """Recall of a cone of each size around a uniform direction, one for each query."""
    axes = np.random.default_rng(SEED).standard_normal((len(task.queries), 3))
    order = np.argsort(-(axes @ task.placement.direction.T), axis=1)
    return [task.recall(order[:, : task.count(share)]) for share in SHARES]


def without_map(task: Task, made: Navigator) -> list[float]:
    """Recall of the points on which the same landmarks deposit most for each query.

    No sphere, no cones.

    Points without a deposit come last, in an order that says nothing.
    """
    assert isinstance(made.guide, FieldGuide)
    cosine = task.queries @ task.unit[made.guide.landmarks].T
    best = cosine.max(axis=1, keepdims=True)
    scale = made.config.temperature * cosine.std(axis=1, keepdims=True)
    relevance = np.exp((cosine - best).astype(np.float64) / scale) @ made.guide.deposit
    shuffle = np.random.default_rng(SEED).permutation(len(task.unit))
    order = shuffle[np.argsort(-relevance[:, shuffle], axis=1, kind="stable")]
    return [task.recall(order[:, : task.count(share)]) for share in SHARES]


def hnsw(task: Task) -> tuple[float, float]:
    """Recall@10 of faiss HNSW with 16 links, depth 96, and its milliseconds per query on all
    cores.
    """
    import faiss

    index = faiss.IndexHNSWFlat(task.unit.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 40
    index.hnsw.efSearch = 96
    index.add(task.unit)
    found = index.search(task.queries, FOUND)[1]
    return task.recall(found), _milliseconds(lambda block: index.search(block, FOUND), task)


@dataclass(frozen=True, eq=False)
class Measured:
    """The navigator by its field: bearings by share, with and without early exit, and its costs."""

    bearings: tuple[Bearings, ...]
    all_probes: tuple[float, ...]
    first_seconds: float
    setup_seconds: float
    milliseconds: float
    traces: int
    landmarks: int
    without_map: tuple[float, ...]


def measure(task: Task, config: NavigatorConfig) -> Measured:
    """Build twice (the first compiles) and ask at every share, all of it from one compilation of
    the probes.
    """
    traces = 0

    def counted(tables: ProbeTables, queries: Float[np.ndarray, "batch width"]) -> object:
        nonlocal traces
        traces += 1
        return probe(tables, queries)

    with mock.patch.object(guides_module, "probe_batch", eqx.filter_jit(counted)):
        start = time.perf_counter()
        Navigator.build(task.placement, config)
        middle = time.perf_counter()
        made = Navigator.build(task.placement, config)
        setup = time.perf_counter() - middle
        bearings = tuple(made.with_share(share).find(task.queries) for share in SHARES)
        milliseconds = _milliseconds(made.find, task)
    assert isinstance(made.guide, FieldGuide)
    return Measured(
        bearings=bearings,
        all_probes=recalls(task, config),
        first_seconds=middle - start,
        setup_seconds=setup,
        milliseconds=milliseconds,
        traces=traces,
        landmarks=len(made.guide.landmarks),
        without_map=tuple(without_map(task, made)),
    )


def recalls(task: Task, config: NavigatorConfig) -> tuple[float, ...]:
    """Recall at every share when all probes are used."""
    made = Navigator.build(task.placement, dataclasses.replace(config, enough=1.0))
    return tuple(task.recall(made.with_share(share).find(task.queries).points) for share in SHARES)


def choices_table(task: Task, default: Sequence[float], choices: Sequence[dict]) -> str:
    """What every choice does, all probes used."""
    rows = [["default", *_digits(default)]]
    for choice in choices:
        rows.append([", ".join(f"{name}={value}" for name, value in choice.items())])
        rows[-1] += _digits(recalls(task, NavigatorConfig(where="field", **choice)))
        say(f"navigator: {' | '.join(rows[-1])}")
    return markdown_table(["choice", *(f"{share:.0%}" for share in SHARES)], rows)


def calibration(task: Task, measured: Measured, level: float) -> tuple[str, float]:
    """Queries in four groups of rising confidence at 5 %: mean confidence and share of successes.

    The largest gap.
    """
    found = measured.bearings[SHARES.index(0.05)]
    success = task.recalls(found.points) >= level
    groups = np.array_split(np.argsort(found.confidence, kind="stable"), 4)
    pairs = [
        (float(found.confidence[group].mean()), float(success[group].mean())) for group in groups
    ]
    rows = [[str(len(group)), *_digits(pair)] for group, pair in zip(groups, pairs, strict=True)]
    table = markdown_table(["queries", "mean confidence", "successes"], rows)
    return table, float(abs(found.confidence.mean() - success.mean()))


def navigator_section(
    data_folder: Path, choices: Sequence[dict] = CHOICES
) -> tuple[str, list[Check]]:
    """The report in Markdown, without a title, and its targets."""
    config = NavigatorConfig(where="field")
    task = hold_out(load(SET, data_folder).embeddings)
    say("navigator: placed")
    measured = measure(task, config)
    ceiling = oracle(task)
    chance = random_cones(task)
    peer, peer_time = hnsw(task)
    gap_table, gap = calibration(task, measured, config.level)
    found = [task.recall(bearings.points) for bearings in measured.bearings]
    cells = recalls(task, NavigatorConfig())
    cells_time = _milliseconds(Navigator.build(task.placement).find, task)
    checks = navigator_checks(task, measured, found, ceiling, gap)
    least = min(a - b for a, b in zip(cells, measured.all_probes, strict=True))
    checks.append(Check("least lead of cells over the field", least, ">=", 0))
    rows = [
        ["cells of a cascade, all probes", *_digits(cells)],
        ["field, early exit", *_digits(found)],
        ["field, all probes", *_digits(measured.all_probes)],
        ["best single cone (oracle)", *_digits(ceiling)],
        ["deposits of the same landmarks, without the map", *_digits(measured.without_map)],
        ["random cone", *_digits(chance)],
        [
            "probes of the field used",
            *(f"{bearings.used.sum(axis=1).mean():.1f}" for bearings in measured.bearings),
        ],
    ]
    text = f"""{HELD_OUT} queries held out of {SET}, the map holds the other {len(task.unit)}
(default placement). {measured.landmarks} landmarks for the field, and 5 % of work for the cells; no
query is compared with any other point.
Recall@10 of the exact cosine neighbours.

{markdown_table(["returned", *(f"{share:.0%}" for share in SHARES)], rows)}

faiss HNSW, which compares the query with points it visits and returns the 10 alone: recall@10
{peer:.3f}, {peer_time:.2f} ms a query; the navigator by its field
{measured.milliseconds:.2f} ms, by cells {cells_time:.2f} ms. Set-up of the field
{measured.setup_seconds:.2f} s once compiled, {measured.first_seconds:.1f} s with compilation.

Confidence that {config.level:.0%} of the 10 are found at 5 %, on queries that are not on the map:

{gap_table}"""
    if choices:
        text += "\n\nOne choice of the field changed at a time, all probes used:\n\n"
        text += choices_table(task, measured.all_probes, choices)
    return text, checks


def navigator_checks(
    task: Task,
    measured: Measured,
    found: Sequence[float],
    ceiling: Sequence[float],
    gap: float,
) -> list[Check]:
    """The targets: recall `found` over that of the best cones, cost, and calibration."""
    at = SHARES.index(0.05)
    exact = all(
        b.points.shape[1] == task.count(s) for b, s in zip(measured.bearings, SHARES, strict=True)
    )
    return [
        Check(
            "recall@10 at 5 % returned, over the oracle's",
            found[at] / ceiling[at],
            ">=",
            ORACLE_TARGET,
        ),
        Check("share of points returned is exact", float(exact), "=", 1),
        Check(
            "time per query, batches of 64", measured.milliseconds, "<=", MILLISECONDS_TARGET, "ms"
        ),
        Check("set-up, compiled", measured.setup_seconds, "<=", SETUP_TARGET, "s"),
        Check("compilations of the probes", measured.traces, "=", 1),
        Check("mean confidence against successes", gap, "<=", CALIBRATION_TARGET),
    ]


def _milliseconds(
    search: Callable[[Float32[np.ndarray, "batch width"]], object], task: Task
) -> float:
    """Median over batches of 64, per query."""
    taken = []
    for start in range(0, len(task.queries) - 63, 64):
        begun = time.perf_counter()
        search(task.queries[start : start + 64])
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) / 64 * 1e3


def _bounds(
    cosine: Float[np.ndarray, "axes points"], task: Task
) -> list[Float[np.ndarray, " axes"]]:
    """For every share, the cosine of the cap around each axis that holds so many points."""
    last = [cosine.shape[1] - task.count(share) for share in SHARES]
    split = np.partition(cosine, last, axis=1)
    return [split[:, place_] for place_ in last]


def _fibonacci(count: int) -> Float[np.ndarray, "count 3"]:
    turn = np.arange(count) + 0.5
    z = 1 - 2 * turn / count
    azimuth = np.pi * (1 + 5**0.5) * turn
    return np.stack(
        [np.sqrt(1 - z * z) * np.cos(azimuth), np.sqrt(1 - z * z) * np.sin(azimuth), z], axis=1
    )


def _digits(values: Sequence[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("navigator", __doc__)
    add_data(cli, f"{SET}.npz")
    cli.add_argument("--no-choices", action="store_true", help="leave out the table of choices")
    options = cli.parse_args(arguments)
    header = machine(PACKAGES)
    try:
        text, checks = navigator_section(options.data, () if options.no_choices else CHOICES)
    except FileNotFoundError as error:
        cli.error(f"{error.filename} is missing; name the folder with --data.")
    report = f"# Navigator\n\n{header}\n\n{target_section(checks)}\n\n## Recall\n\n{text}"
    return finish(report, options.output, checks)


if __name__ == "__main__":
    sys.exit(main())
