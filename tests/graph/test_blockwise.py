"""The graph made block by block: the edges of the graph that is made at once, in any blocks."""

from typing import Any

import numpy as np
import pytest

from builders import edges_in_blocks, mixed
from sphere_ebm.graph.blockwise import CLASS_ENDS, Arrays, Blocks, Rule
from sphere_ebm.graph.graph import graph_from_neighbours
from sphere_ebm.graph.index import Nearest, NeighbourIndex

POINTS = 300
K = 6


def edges_of(
    index: NeighbourIndex, most: int, degree: int, affinity: str = "uniform"
) -> dict[tuple[int, int], float]:
    """All passes in memory; both directions of every edge with its weight."""
    blocks = Blocks(index.n_points, most)
    rule = Rule(affinity, 4.0, degree, 0)
    made = edges_in_blocks(index.neighbours_of, blocks, rule, K)
    found: dict[tuple[int, int], float] = {}
    for b, arrays in enumerate(made):
        found |= listed(arrays, blocks.rows(b).start)
        shapes = {name: array.shape for name, array in arrays.items()}
        assert shapes == {name: array.shape for name, array in made[0].items()}, "one program"
    return found


def listed(made: Arrays, start: int) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], float] = {}
    rows = 0
    for number in range(len(CLASS_ENDS)):
        head, tail, weight = (made[f"{name}_{number}"] for name in ("head", "tail", "weight"))
        np.testing.assert_array_equal(made["place"][head], rows + np.arange(len(head)))
        rows += len(head)
        for i, others, pulls in zip(head.tolist(), tail.tolist(), weight.tolist(), strict=True):
            pairs = [(j, w) for j, w in zip(others, pulls, strict=True) if w > 0]
            assert len({j for j, _ in pairs}) == len(pairs)
            found |= {(start + i, j): w for j, w in pairs}
    return found


@pytest.fixture(scope="module")
def index() -> NeighbourIndex:
    return NeighbourIndex.build(mixed(POINTS), search="exact")


@pytest.mark.parametrize("affinity", ["uniform", "perplexity"])
def test_the_edges_are_those_of_the_graph_that_is_made_at_once(
    index: NeighbourIndex, affinity: str
) -> None:
    whole = graph_from_neighbours(
        index.self_neighbours(K), affinity=affinity, perplexity=4.0, max_degree=64
    )
    found = edges_of(index, 70, 64, affinity)
    pairs = list(zip(whole.senders.tolist(), whole.receivers.tolist(), strict=True))
    assert set(found) == {*pairs, *((j, i) for i, j in pairs)}
    np.testing.assert_allclose([found[pair] for pair in pairs], whole.weights, rtol=2e-6)


def test_neither_edges_nor_weights_depend_on_the_blocks(index: NeighbourIndex) -> None:
    whole = edges_of(index, POINTS, 7)
    for most in (41, 150):
        assert edges_of(index, most, 7) == pytest.approx(whole, rel=1e-6)


def test_every_edge_is_listed_alike_under_both_ends_and_the_degree_is_bounded(
    index: NeighbourIndex,
) -> None:
    free = edges_of(index, 100, 64)
    found = edges_of(index, 100, 7)
    assert {(j, i): w for (i, j), w in found.items()} == found
    assert np.bincount([i for i, _ in free]).max() > 7
    assert np.bincount([i for i, _ in found]).max() == 7
    assert {i for i, _ in found} == set(range(POINTS)), "nobody is left without edges"
    assert sum(found.values()) / 2 == pytest.approx(POINTS, rel=1e-6)


def test_a_point_that_loses_all_edges_keeps_the_strongest_above_the_bound() -> None:
    # everybody's one neighbour is the point 0, which may keep two of them
    spokes = np.asarray([[1.0, 0.0], *([1.0, 0.01 * i] for i in range(1, 8))], np.float32)
    hub = NeighbourIndex.build(spokes * np.float32(1), search="exact")
    star: Any = hub.neighbours_of(np.arange(8), 1)
    star.index[1:] = 0
    blocks = Blocks(8, 3)
    rule = Rule("uniform", 1.0, 2, 0)
    made = edges_in_blocks(
        lambda rows, k: Nearest(star.index[rows], star.similarity[rows]), blocks, rule, 1
    )
    found: dict[tuple[int, int], float] = {}
    for b, arrays in enumerate(made):
        found |= listed(arrays, blocks.rows(b).start)
    assert set(found) == {*((0, i) for i in range(1, 8)), *((i, 0) for i in range(1, 8))}


def test_points_without_directions_have_no_edges() -> None:
    embeddings = mixed(50)
    embeddings[7] = 0
    found = edges_of(NeighbourIndex.build(embeddings, search="exact"), 20, 64)
    assert {i for i, _ in found} == set(range(50)) - {7}
    assert sum(found.values()) / 2 == pytest.approx(49, rel=1e-6)
    nobody = edges_of(NeighbourIndex.build(np.zeros((5, 3), np.float32)), 2, 64)
    assert nobody == {}


def test_blocks_cover_all_rows_once() -> None:
    blocks = Blocks(10, 4)
    assert [blocks.rows(b) for b in range(len(blocks))] == [
        slice(0, 4),
        slice(4, 8),
        slice(8, 10),
    ]
    with pytest.raises(ValueError, match="must be at least 1; got 0 and 4"):
        Blocks(0, 4)
