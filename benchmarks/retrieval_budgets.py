"""What a reader gets for 5 120 bytes: budgets beside plain similarity and marginal relevance."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.report import Check, markdown_table, say
from benchmarks.retrieval_sets import Asked
from sphere_ebm.geometry.cells import cell_keys
from sphere_ebm.retrieval.budgets import BudgetConfig, allocate, choose
from sphere_ebm.retrieval.pyramid import MapPyramid

TOP = 50
VARIABLE = "variable, 64 to 400"
FIXED = "fixed, 200"
CANDIDATES = 500
"""Patches among which marginal relevance chooses."""
REGION_LEVEL = 4
RESAMPLED = 2000


def budget_section(asked: Asked) -> tuple[str, list[Check]]:
    """The table, in Markdown; the comparison with fixed pieces is a target."""
    region = cell_keys(asked.placement.direction, REGION_LEVEL)
    ways = _ways(asked)
    measured: dict[str, list[list[float]]] = {name: [] for name in ways}
    for query in asked.queries:
        relevance = (asked.unit @ query).astype(np.float64)
        best = np.argsort(-relevance, kind="stable")[:TOP]
        for name, way in ways.items():
            measured[name].append(_told(asked, relevance, best, region, way(relevance)))
    say(f"{asked.name}: budgets")
    table = {name: np.array(rows) for name, rows in measured.items()}
    base = table[VARIABLE][:, 0]
    rows = []
    for name, columns in table.items():
        low, high = _interval(base - columns[:, 0])
        means = columns.mean(axis=0)
        rows.append(
            [
                name,
                f"{means[0]:.3f}",
                "" if name == VARIABLE else f"{low:+.3f} to {high:+.3f}",
                *(f"{mean:.1f}" for mean in means[1:]),
            ]
        )
    header = [
        "pieces",
        f"share of the top {TOP}'s relevance",
        "variable pieces less this, 95 %",
        "documents",
        "regions",
        "passages",
        "bytes a passage",
    ]
    lead = _interval(base - table[FIXED][:, 0])[0]
    check = Check("variable pieces less fixed ones, lower end of 95 %", lead, ">=", 0)
    return markdown_table(header, rows), [check]


def _told(
    asked: Asked,
    relevance: Float[np.ndarray, " n"],
    best: Int[np.ndarray, " top"],
    region: Int[np.ndarray, " n"],
    taken: Bool[np.ndarray, " n"],
) -> list[float]:
    """Share of the best patches' relevance, documents, regions, passages and their mean bytes."""
    assert asked.document is not None
    assert asked.length is not None
    shown = np.flatnonzero(taken)
    runs = 1 + np.count_nonzero((np.diff(shown) > 1) | (np.diff(asked.document[shown]) != 0))
    return [
        float(relevance[best][taken[best]].sum() / relevance[best].sum()),
        len(set(asked.document[shown].tolist())),
        len(set(region[shown].tolist())),
        int(runs),
        float(asked.length[shown].sum() / runs),
    ]


def _ways(asked: Asked) -> dict[str, Callable[[Float[np.ndarray, " n"]], Bool[np.ndarray, " n"]]]:
    """Ways to spend the same bytes, from relevance to what is shown."""
    pyramid = MapPyramid.build(asked.placement)
    variable = BudgetConfig()
    fixed = BudgetConfig(smallest=200, largest=200)
    single = BudgetConfig(smallest=1, largest=1)

    def pieces(
        config: BudgetConfig, by_region: bool = False
    ) -> Callable[[Float[np.ndarray, " n"]], Bool[np.ndarray, " n"]]:
        def way(relevance: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
            regions = allocate(pyramid, relevance, config) if by_region else None
            return choose(relevance, asked.document, asked.length, config, regions=regions).taken

        return way

    return {
        VARIABLE: pieces(variable),
        FIXED: pieces(fixed),
        "all of 128": pieces(BudgetConfig(smallest=128, largest=128)),
        "all of 64": pieces(BudgetConfig(smallest=64, largest=64)),
        "variable, by region": pieces(variable, by_region=True),
        "top patches alone": pieces(single),
        "marginal relevance (.7), patches alone": lambda relevance: _marginal(asked, relevance),
    }


def _marginal(asked: Asked, relevance: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Maximal marginal relevance: .7 of relevance less .3 of the likeness to what is shown."""
    assert asked.length is not None
    pool = np.argsort(-relevance, kind="stable")[:CANDIDATES]
    like = np.zeros(len(pool))
    left = BudgetConfig().total
    taken = np.zeros(len(relevance), bool)
    while True:
        value = 0.7 * relevance[pool] - 0.3 * like
        value[taken[pool] | (asked.length[pool] > left)] = -np.inf
        best = int(np.argmax(value))
        if value[best] == -np.inf:
            return taken
        taken[pool[best]] = True
        left -= int(asked.length[pool[best]])
        like = np.maximum(like, asked.unit[pool] @ asked.unit[pool[best]])


def _interval(difference: Float[np.ndarray, " queries"]) -> tuple[float, float]:
    """95 % of the mean over queries drawn again, with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(difference), (RESAMPLED, len(difference)))
    low, high = np.quantile(difference[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
