"""The neighbour graph: symmetric weights, a hard degree bound, nobody isolated."""

import itertools
import sys

import numpy as np
import pytest

from builders import hub_lists, lists_of, weighted_edges
from sphere_ebm.errors import MissingPackageError
from sphere_ebm.graph.graph import (
    NeighbourGraph,
    add_edges,
    build_graph,
    graph_from_neighbours,
    proper_colouring,
)
from sphere_ebm.graph.index import nearest_neighbours

AFFINITIES = ("uniform", "perplexity")


def points(n: int, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


@pytest.mark.parametrize("affinity", AFFINITIES)
@pytest.mark.parametrize("n", [2, 3, 10, 400])
def test_weights_add_up_to_the_number_of_points(n, affinity):
    graph = build_graph(points(n), affinity=affinity)
    assert graph.weights.sum(dtype=np.float64) == pytest.approx(n, rel=1e-6)
    assert graph.n_points == n
    assert graph.degree.min() >= 1


def test_weights_add_up_to_the_points_that_have_edges():
    embeddings = points(60)
    embeddings[[3, 40]] = 0
    graph = build_graph(embeddings)
    assert graph.weights.sum(dtype=np.float64) == pytest.approx(58, rel=1e-6)
    assert np.flatnonzero(graph.degree == 0).tolist() == [3, 40]
    others = build_graph(np.delete(embeddings, [3, 40], axis=0))
    np.testing.assert_allclose(graph.weights, others.weights, rtol=1e-6)
    assert graph.n_components == 3


@pytest.mark.parametrize(
    "embeddings", [points(0), points(1), np.zeros((4, 3), np.float32)], ids=["none", "one", "zeros"]
)
def test_without_neighbours_the_graph_is_empty(embeddings):
    graph = build_graph(embeddings)
    assert len(graph.senders) == len(graph.weights) == graph.max_degree == 0
    assert graph.n_components == len(embeddings)
    assert graph.padded()[0].shape == (len(embeddings), 0)


def test_edges_found_from_both_ends_weigh_twice():
    graph = graph_from_neighbours(lists_of([[1, 2], [0, 2], [3, 1], [0, 2]]))
    weights = weighted_edges(graph)
    unit = weights.pop((0, 2))
    assert weights == pytest.approx(
        {(0, 1): 2 * unit, (0, 3): unit, (1, 2): 2 * unit, (2, 3): 2 * unit}
    )


def test_perplexity_weights_follow_their_definition():
    found = nearest_neighbours(points(50), 12)
    graph = graph_from_neighbours(found, affinity="perplexity", perplexity=5.0, max_degree=50)
    target = np.zeros((50, 50))
    for i in range(50):
        squared = 2 * (1 - found.similarity[i].astype(float))

        def probabilities(precision, squared=squared):
            p = np.exp(-precision * (squared - squared.min()))
            return p / p.sum()

        grid = np.geomspace(1e-3, 1e4, 200_001)
        low = 0
        high = len(grid) - 1
        while high - low > 1:
            middle = (low + high) // 2
            p = probabilities(grid[middle])
            low, high = (middle, high) if -(p * np.log(p)).sum() > np.log(5.0) else (low, middle)
        target[i, found.index[i]] = probabilities(grid[low])
    target = target + target.T
    expected = np.triu(target) * 50 / np.triu(target).sum()
    dense = np.zeros((50, 50))
    dense[graph.senders, graph.receivers] = graph.weights
    np.testing.assert_allclose(dense, expected, atol=2e-4)


@pytest.mark.parametrize("perplexity", [1.5, 4.0, 11.0])
def test_every_point_reaches_the_perplexity(perplexity):
    """On lists that no two points share, the conditional probabilities can be read off the
    weights.
    """
    rng = np.random.default_rng(0)
    centres = 30
    k = 12
    rows = np.full((centres * (k + 1), k), -1)
    similarity = np.full(rows.shape, -np.inf)
    for i in range(centres):
        rows[i] = centres + i * k + np.arange(k)
        similarity[i] = -np.sort(-rng.uniform(-1, 1, k))
    graph = graph_from_neighbours(
        lists_of(rows, similarity), affinity="perplexity", perplexity=perplexity
    )
    _, weights, _ = graph.padded()
    p = weights[:centres].astype(float) / weights[:centres].sum(axis=1, keepdims=True)
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-4)


def test_fewer_neighbours_than_the_perplexity_weigh_equally():
    weights = graph_from_neighbours(
        nearest_neighbours(points(6), 15), affinity="perplexity", perplexity=10.0
    ).weights
    np.testing.assert_allclose(weights, 6 / 15, rtol=1e-6)


def test_many_duplicates_get_finite_weights_and_no_hub():
    embeddings = points(300)
    embeddings[:200] = embeddings[0]
    for affinity in AFFINITIES:
        graph = build_graph(embeddings, affinity=affinity)
        assert np.isfinite(graph.weights).all()
        assert graph.degree.min() >= 1
        assert graph.max_degree <= 32


def test_equal_distances_give_equal_weights():
    graph = build_graph(
        np.eye(8, dtype=np.float32), neighbours=7, affinity="perplexity", perplexity=3.0
    )
    np.testing.assert_allclose(graph.weights, 8 / 28, rtol=1e-6)


def test_padded_lists_every_edge_under_both_ends():
    graph = build_graph(points(200), affinity="perplexity", max_degree=20)
    tails, weights, active = graph.padded()
    assert tails.shape == (200, graph.max_degree)
    seen = {(i, tails[i, s]): weights[i, s] for i, s in zip(*np.nonzero(active), strict=True)}
    assert seen == {
        pair: w for (i, j), w in weighted_edges(graph).items() for pair in ((i, j), (j, i))
    }
    empty = ~active
    np.testing.assert_array_equal(tails[empty], np.nonzero(empty)[0])
    assert (weights[empty] == 0).all()
    np.testing.assert_array_equal(active.sum(axis=1), graph.degree)


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_graph_follows_a_permutation_of_the_points(affinity):
    embeddings = points(300, width=20)
    order = np.random.default_rng(2).permutation(300)
    kwargs = {"neighbours": 8, "affinity": affinity, "perplexity": 5.0, "max_degree": 6}
    graph = build_graph(embeddings, **kwargs)
    permuted = build_graph(embeddings[order], **kwargs)
    renamed = {
        tuple(sorted((int(order[i]), int(order[j])))): w
        for (i, j), w in weighted_edges(permuted).items()
    }
    expected = weighted_edges(graph)
    assert renamed.keys() == expected.keys()
    np.testing.assert_allclose([renamed[e] for e in expected], list(expected.values()), rtol=1e-4)


def test_same_input_gives_the_same_bits():
    first, second = (
        build_graph(points(500), affinity="perplexity", max_degree=8) for _ in range(2)
    )
    for name in ("senders", "receivers", "weights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_affinities_in_chunks_are_those_of_all_points_at_once(monkeypatch):
    whole = build_graph(points(100), affinity="perplexity")
    monkeypatch.setattr("sphere_ebm.graph.graph._CHUNK", 7)
    np.testing.assert_array_equal(
        build_graph(points(100), affinity="perplexity").weights, whole.weights
    )


def test_precomputed_neighbours_give_the_same_graph():
    built = build_graph(
        points(100), neighbours=9, affinity="perplexity", perplexity=4.0, max_degree=12
    )
    found = nearest_neighbours(points(100), 9)
    given = graph_from_neighbours(found, affinity="perplexity", perplexity=4.0, max_degree=12)
    assert weighted_edges(built) == weighted_edges(given)


def test_components_are_counted():
    assert graph_from_neighbours(lists_of([[1], [0], [3], [2], [-1]])).n_components == 3


def test_added_edges_join_the_old_ones_in_units_of_the_mean_weight():
    graph = graph_from_neighbours(lists_of([[1], [2], [1], [0]]))
    mean = float(graph.weights.mean())
    joined = add_edges(
        graph, np.array([3, 2, 3, 1]), np.array([2, 3, 1, 0]), np.array([0.5, 0.25, 1.0, 2.0])
    )
    raw = weighted_edges(graph) | {(2, 3): 0.75 * mean, (1, 3): mean}
    raw[0, 1] += 2 * mean
    scale = 4 / sum(raw.values())
    assert weighted_edges(joined) == pytest.approx({e: w * scale for e, w in raw.items()}, rel=1e-6)


def test_added_edges_respect_the_bound():
    graph = build_graph(points(200), neighbours=5, max_degree=10)
    src = np.zeros(150, np.int64)
    dst = np.arange(1, 151)
    joined = add_edges(graph, src, dst, np.full(150, 3.0), max_degree=10)
    assert joined.max_degree <= 10
    assert joined.degree.min() >= 1
    assert joined.weights.sum(dtype=np.float64) == pytest.approx(200, rel=1e-6)


def test_edges_can_be_added_to_a_graph_without_any():
    graph = add_edges(
        build_graph(np.zeros((3, 2), np.float32)), np.array([2]), np.array([0]), np.array([0.1])
    )
    assert weighted_edges(graph) == {(0, 2): pytest.approx(2.0)}


@pytest.mark.parametrize(
    ("src", "dst", "weight", "message"),
    [
        (0, 0, 1.0, r"got \(0, 0\) in row 0"),
        (0, 3, 1.0, r"0 \.\. 2; got \(0, 3\)"),
        (-1, 1, 1.0, r"got \(-1, 1\)"),
        (0, 1, 0.0, "positive and finite; got 0.0"),
        (0, 1, np.nan, "positive and finite; got nan"),
    ],
)
def test_bad_added_edges_are_refused(src, dst, weight, message):
    graph = graph_from_neighbours(lists_of([[1], [2], [0]]))
    with pytest.raises(ValueError, match=message):
        add_edges(graph, np.array([src]), np.array([dst]), np.array([weight]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "`neighbours` must satisfy 0 < neighbours; got 0"),
        ({"affinity": "gauss"}, "`affinity` must be .* got 'gauss'"),
        ({"affinity": "perplexity", "perplexity": 16.0}, "perplexity <= neighbours=15; got 16.0"),
        ({"affinity": "perplexity", "perplexity": 0.5}, "1 <= perplexity; got 0.5"),
        ({"max_degree": 1}, "2 <= max_degree; got 1"),
        ({"search": "fast"}, "`search`"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_graph(points(20), **options)


@pytest.mark.parametrize(
    ("senders", "receivers", "weights"),
    [
        ([1], [0], [3.0]),
        ([0, 0], [1, 1], [1.5, 1.5]),
        ([0], [3], [3.0]),
        ([0], [1], [1.0]),
        ([0, 1], [1, 2], [-1.0, 4.0]),
    ],
    ids=["reversed", "repeated", "outside", "wrong sum", "negative"],
)
def test_a_graph_that_breaks_its_rules_is_refused(senders, receivers, weights):
    ends = np.array([senders, receivers], np.int32)
    with pytest.raises(ValueError, match="must"):
        NeighbourGraph(3, ends[0], ends[1], np.array(weights, np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_no_edge_joins_two_points_of_one_colour_and_colours_are_few(seed):
    graph = graph_from_neighbours(hub_lists(60, seed))
    colour = proper_colouring(60, graph.senders, graph.receivers)
    assert (colour.shape, colour.dtype) == ((60,), np.dtype("int32"))
    assert np.all(colour[graph.senders] != colour[graph.receivers])
    assert set(colour) == set(range(colour.max() + 1)), "numbered from 0 without gaps"
    assert colour.max() <= graph.max_degree


@pytest.mark.parametrize(
    ("n", "ends", "colours"),
    [
        (6, [(i, i + 1) for i in range(5)], 2),
        (5, [(i, (i + 1) % 5) for i in range(5)], 3),
        (4, list(itertools.combinations(range(4), 2)), 4),
        (5, [(0, i) for i in range(1, 5)], 2),
        (3, [(1, 2)], 2),
    ],
    ids=["path", "odd ring", "complete", "star", "with a point alone"],
)
def test_simple_graphs_get_as_many_colours_as_they_need(n, ends, colours):
    senders, receivers = np.asarray(ends, np.int32).T
    colour = proper_colouring(n, senders, receivers)
    assert np.all(colour[senders] != colour[receivers])
    assert len(set(colour)) == colours


def test_points_without_edges_are_of_one_colour():
    nobody = np.zeros(0, np.int32)
    np.testing.assert_array_equal(proper_colouring(4, nobody, nobody), [0, 0, 0, 0])


def test_one_graph_is_always_coloured_in_the_same_way():
    graph = build_graph(points(200), max_degree=8)
    one, other = (proper_colouring(200, graph.senders, graph.receivers) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_missing_networkx_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    nobody = np.zeros(0, np.int32)
    with pytest.raises(
        MissingPackageError, match=r"colouring a graph .* `networkx`: .*'networkx>="
    ):
        proper_colouring(4, nobody, nobody)
