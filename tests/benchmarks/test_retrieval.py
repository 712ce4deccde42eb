"""What the benchmark of retrieval counts, on data of which the answer is known."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from builders import mixed, still_placement, unit
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.recall import found_share

Benchmark = Callable[[str], ModuleType]


def small(benchmark: Benchmark, points: int = 700) -> Any:
    embeddings = mixed(points, 8)
    placement = still_placement(unit(embeddings[:, :3]), embeddings=embeddings)
    rows = unit_rows(embeddings)
    queries = unit_rows(mixed(8, 8, seed=4))
    truth = exact_neighbours(rows, queries, 10)
    length = np.full(points, 40)
    made = benchmark("retrieval_sets").Asked
    return made("small", placement, rows, queries, truth, np.arange(points) // 10, length)


def test_the_walk_that_alternatives_are_compared_by_is_that_of_the_cascade(benchmark):
    asked = small(benchmark)
    recalls = benchmark("retrieval_recall")
    cascade = Cascade.build(asked.placement)
    reached = cascade.find(asked.queries, work=0.2)
    spent, recall = recalls._walk(asked, cascade, float(reached.work.mean()), 1.0)
    assert recall == pytest.approx(found_share(asked.truth, reached.points).mean(), abs=0.1)
    assert spent == pytest.approx(reached.work.mean(), abs=0.02)
    assert recalls._best_first(asked, cascade, 1.0)[1] > 0.9


def test_recall_between_works_is_a_straight_line_and_nothing_before_the_first(benchmark):
    at = benchmark("retrieval_recall")._at
    curve = [(0.1, 0.4), (0.2, 0.8)]
    assert at(curve, 0.15) == pytest.approx(0.6)
    assert at(curve, 0.05) == 0


def test_marginal_relevance_passes_over_what_is_like_what_is_shown(benchmark):
    asked = small(benchmark)
    asked.unit[1:200] = asked.unit[0]
    taken = benchmark("retrieval_budgets")._marginal(asked, np.ones(len(asked)))
    assert taken.sum() == 5120 // 40
    assert taken[:200].sum() == 1, "two hundred copies of one patch"


def test_every_way_to_spend_a_budget_is_told_in_one_row(benchmark):
    budgets = benchmark("retrieval_budgets")
    table, (check,) = budgets.budget_section(small(benchmark))
    lines = table.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        budgets.VARIABLE,
        budgets.FIXED,
        "all of 128",
        "all of 64",
        "variable, by region",
        "top patches alone",
        "marginal relevance (.7), patches alone",
    ]
    alone = lines[-2].split("|")
    assert float(alone[2]) == 1, "128 patches fit, and the top 50 are the first of them"
    assert np.isfinite(check.measured)


def test_an_interval_holds_the_mean_and_narrows_with_queries(benchmark):
    interval = benchmark("retrieval_budgets")._interval
    rng = np.random.default_rng(0)
    few, many = (interval(rng.normal(1, 1, n)) for n in (50, 5000))
    assert many[0] < 1 < many[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_missing_data_are_wrong_usage(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark("retrieval").main(["--data", str(tmp_path), "--parts", "recall"])
    assert ended.value.code == 2
    assert "name the folder with --data" in capsys.readouterr().err
