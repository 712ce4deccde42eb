"""Among equals the seed decides, and never the order of the rows."""

import numpy as np
import pytest
from scipy import stats

from builders import mixed
from sphere_ebm.graph.graph import build_graph
from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours

GROUPS = 20
COPIES = 30


def equal_rows(seed: int) -> np.ndarray:
    """Groups of equal rows, one after another."""
    vectors = np.random.default_rng(seed).standard_normal((GROUPS, 24)).astype(np.float32)
    return np.repeat(vectors, COPIES, axis=0)


def consecutive_pairs_joined(embeddings: np.ndarray, seed: int) -> tuple[int, float]:
    """Edges between consecutive rows of a group, and how many chance expects."""
    graph = build_graph(embeddings, neighbours=6, max_degree=8, seed=seed)
    inside = graph.senders // COPIES == graph.receivers // COPIES
    near = inside & (graph.receivers - graph.senders == 1)
    return int(near.sum()), inside.sum() * 2 / COPIES


def test_links_among_equal_rows_do_not_follow_their_numbers():
    """Twenty seeds against the Poisson law, and the power of that: a ring by number fails it."""
    found = [consecutive_pairs_joined(equal_rows(seed), seed) for seed in range(20)]
    joined = sum(count for count, _ in found)
    expected = sum(chance for _, chance in found)
    p = 2 * min(stats.poisson.cdf(joined, expected), stats.poisson.sf(joined - 1, expected))
    assert p > 1e-3, (joined, expected)
    ring = 20 * GROUPS * (COPIES - 1)
    assert stats.poisson.sf(ring - 1, expected) < 1e-3


def test_where_all_cosines_are_equal_neighbours_are_drawn_and_the_bound_holds():
    graph = build_graph(np.eye(600, dtype=np.float32))
    assert graph.max_degree <= 32
    assert graph.degree.min() >= 1
    found = nearest_neighbours(np.eye(600, dtype=np.float32), 15)
    listed = np.bincount(found.index.ravel(), minlength=600)
    p = stats.chisquare(listed).pvalue
    assert p > 1e-3, p
    assert stats.chisquare(np.bincount(found.index.ravel() // 2, minlength=600)).pvalue < 1e-3


def test_neighbours_of_points_do_not_depend_on_the_order_of_the_rows():
    rows = np.rint(mixed(500, width=6) * 2).astype(np.float32)
    rows = np.unique(rows[rows.any(axis=1)], axis=0)
    shuffle = np.random.default_rng(0).permutation(len(rows))
    there = nearest_neighbours(rows[shuffle], 15)
    here = nearest_neighbours(rows, 15)
    same = np.sort(shuffle[there.index], axis=1) == np.sort(here.index[shuffle], axis=1)
    # collinear rows are copies, which are told apart by a draw
    assert same.mean() > 0.9
    np.testing.assert_allclose(there.similarity, here.similarity[shuffle], atol=1e-6)


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_the_seed_decides_between_equals(search):
    rows = np.eye(1100, dtype=np.float32)
    found = [
        NeighbourIndex.build(rows, search=search, seed=seed).query(rows[:3], 9).index
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][:, 0], [0, 1, 2])
    assert (found[0] != found[2]).any()
    assert len({tuple(sorted(row)) for row in found[0][:, 1:].tolist()}) == 3
