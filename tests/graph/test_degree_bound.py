"""The degree bound: a hard one, that isolates nobody wherever that is possible."""

import itertools

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from builders import cloud, hub_lists, lists_of, weighted_edges
from sphere_ebm.graph.graph import NeighbourGraph, add_edges, build_graph, graph_from_neighbours
from sphere_ebm.graph.index import nearest_neighbours


def a_bounded_cover_exists(graph: NeighbourGraph, bound: int) -> bool:
    """Whether some subgraph has every degree between 1 and `bound`.

    An independent answer by integer programming.
    """
    incidence = np.zeros((graph.n_points, len(graph.senders)))
    incidence[graph.senders, np.arange(len(graph.senders))] = 1
    incidence[graph.receivers, np.arange(len(graph.senders))] = 1
    rows = LinearConstraint(incidence, np.minimum(graph.degree, 1), bound)
    return milp(
        np.zeros(len(graph.senders)), constraints=rows, integrality=1, bounds=(0, 1)
    ).success


@pytest.mark.parametrize("affinity", ["uniform", "perplexity"])
@pytest.mark.parametrize("max_degree", [2, 5, 16, 20])
def test_the_degree_bound_is_hard_and_nobody_is_isolated(affinity, max_degree):
    graph = build_graph(cloud(500, 30), affinity=affinity, max_degree=max_degree)
    assert build_graph(cloud(500, 30), affinity=affinity, max_degree=500).max_degree > max_degree
    assert graph.max_degree <= max_degree
    assert graph.degree.min() >= 1


def test_an_edge_stays_exactly_when_it_is_among_the_strongest_of_both_ends():
    found = nearest_neighbours(cloud(300, 20), 10)
    whole = graph_from_neighbours(found, affinity="perplexity", perplexity=5.0, max_degree=300)
    bounded = graph_from_neighbours(found, affinity="perplexity", perplexity=5.0, max_degree=15)
    weights = weighted_edges(whole)
    strongest = {i: set() for i in range(300)}
    for i in range(300):
        mine = sorted((e for e in weights if i in e), key=lambda e: -weights[e])
        strongest[i] = set(mine[:15])
    assert set(weighted_edges(bounded)) == {
        e for e in weights if e in strongest[e[0]] and e in strongest[e[1]]
    }


def test_between_equal_weights_the_larger_cosine_stays_then_the_lower_index():
    rows = [[-1], [0], [0], [0], [0], [1], [2], [3], [4]]
    cosines = [[-np.inf], [0.1], [0.3], [0.3], [0.3], [0.9], [0.9], [0.9], [0.9]]
    graph = graph_from_neighbours(lists_of(rows, cosines), max_degree=2)
    assert set(weighted_edges(graph)) == {(0, 2), (0, 3), (1, 5), (2, 6), (3, 7), (4, 8)}


def test_bound_and_cover_hold_whenever_they_can():
    """Random hub-ridden graphs.

    The bound is exceeded exactly where integer programming finds no bounded cover.
    """
    outcomes = set()
    for seed, bound in itertools.product(range(60), (2, 3)):
        found = hub_lists(14, seed)
        whole = graph_from_neighbours(found, max_degree=14)
        bounded = graph_from_neighbours(found, max_degree=bound)
        assert bounded.degree.min() >= 1
        assert set(weighted_edges(bounded)) <= set(weighted_edges(whole))
        possible = a_bounded_cover_exists(whole, bound)
        assert (bounded.max_degree <= bound) == possible, (seed, bound)
        outcomes.add(possible)
    assert outcomes == {True, False}


def test_a_leaf_moves_to_another_hub_to_make_room():
    """Hubs 0 and 1 are full.

    4 knows only 0, whose leaf 3 can move to 1 when 1 lets go of 6, which has 7 besides.
    """
    rows = [(0, 2, 9), (0, 3, 8), (0, 4, 1), (1, 5, 9), (1, 6, 8), (1, 3, 1), (6, 7, 5)]
    src, dst, weight = (np.array(column) for column in zip(*rows, strict=True))
    graph = add_edges(
        build_graph(np.zeros((8, 2), np.float32)), src, dst, weight.astype(float), max_degree=2
    )
    assert set(weighted_edges(graph)) == {(0, 2), (0, 4), (1, 3), (1, 5), (6, 7)}


def test_where_all_have_only_one_hub_it_exceeds_the_bound():
    n = 3000
    graph = graph_from_neighbours(lists_of([[1]] + [[0]] * (n - 1)), max_degree=4)
    assert graph.degree[0] == n - 1
    assert graph.n_components == 1
