"""What the benchmark of growth counts and when it fails. The numbers are measured by hand."""

import numpy as np
import pytest


@pytest.fixture
def growth(benchmark):
    return benchmark("growth")


def outcomes(growth, new: float = 0.36, moved: float = 1.0, kept: float = 0.449):
    """Two newcomers by every way; a full fit keeps .4."""
    found = []
    for name in ("a", "b"):
        still = growth.Drift(0.0, 0.0)
        found += [
            growth.Outcome("parent", name, np.nan, np.nan, 0.45, still),
            growth.Outcome("fitted again", name, 0.4, 0.45, 0.45, growth.Drift(15.0, 50.0)),
            growth.Outcome("joined", name, 0.2, 0.44, 0.45, still),
        ]
        drift = growth.Drift(moved, 3 * moved)
        found += [
            growth.Outcome(f"λ = {strength:g}", name, new, 0.45, kept, drift)
            for strength in growth.STRENGTHS
        ]
    return found


def links(growth, share: float):
    drift = growth.Drift(1.0, 3.0)
    return [growth.Link("b", 20, 0.4, share, drift, drift)]


@pytest.mark.parametrize(
    ("changes", "share", "missed"),
    [
        ({"new": 0.38}, 0.98, 0),
        ({"new": 0.36}, 0.98, 1),  # .9 of a full fit's: above .88, below .93
        ({"new": 0.34}, 0.98, 2),
        ({"new": 0.38, "moved": 1.8}, 0.98, 2),  # p90 5.4, of the mean and of the worst
        ({"new": 0.38, "moved": 2.1}, 0.98, 4),
        ({"new": 0.38, "kept": 0.446}, 0.98, 1),
        ({"new": 0.38}, 0.96, 1),
    ],
)
def test_every_target_is_judged_at_the_default_strength(growth, changes, share, missed):
    checks = growth.checks_of(outcomes(growth, **changes), links(growth, share))
    assert sum(not check.passed for check in checks) == missed


def test_recall_counts_the_neighbours_that_are_kept(growth):
    rows = np.random.default_rng(0).standard_normal((40, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = growth.nearest(rows)
    assert growth.recall(wanted, rows).mean() == 1
    shuffled = growth.recall(wanted, np.random.default_rng(1).permutation(rows)).mean()
    assert abs(shuffled - growth.K / 39) < 0.1


def test_the_report_and_the_figure_name_every_strength(growth):
    text = growth.report("header", outcomes(growth), links(growth, 0.98))
    figure = growth.frontier_figure(outcomes(growth))
    said = {note.get_text() for note in figure.axes[0].texts}
    for strength in growth.STRENGTHS:
        assert f"| λ = {strength:g}" in text
        assert f"λ = {strength:g}" in said
    assert "(default)" in text
