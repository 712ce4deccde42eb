"""A cascade returns what it says for what it says, and finds a query's own region."""

import numpy as np
import pytest

from builders import mixed, still_placement, unit
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.maps.placement import Placement
from sphere_ebm.retrieval import cascade as module
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.recall import found_share

POINTS = 1500


@pytest.fixture(scope="module")
def placement() -> Placement:
    """Clusters that lie together on the map, as its first three principal axes have them."""
    embeddings = mixed(POINTS, 8)
    return still_placement(unit(embeddings[:, :3]), embeddings=embeddings)


@pytest.fixture(scope="module")
def cascade(placement: Placement) -> Cascade:
    return Cascade.build(placement)


def by_hand(cascade: Cascade, query: np.ndarray, work: float) -> tuple[list[int], int]:
    """The same walk with Python's own lists: nodes of the last level, and nodes compared."""
    plan = cascade.plan(work)
    levels = cascade.pyramid.levels[plan.first :]

    def cosine(level, node):
        return float(unit_rows(level.embedding[node].astype(np.float64)) @ query)

    nodes = list(range(len(levels[0])))
    compared = len(nodes)
    for width, level, below in zip(plan.widths, levels, levels[1:], strict=False):
        kept = sorted(nodes, key=lambda node: -cosine(level, node))[:width]
        nodes = [child for node in kept for child in range(*level.below[node : node + 2])]
        compared += len(nodes)
        assert max(nodes) < len(below)
    return sorted(nodes, key=lambda node: -cosine(levels[-1], node)), compared


def test_the_compiled_walk_is_the_one_written_by_hand(cascade):
    queries = unit(mixed(5, 8, seed=7).astype(np.float64))
    reached = cascade.find(queries, work=0.1)
    pyramid = cascade.pyramid
    last = pyramid.levels[-1]
    for row, query in enumerate(queries):
        nodes, compared = by_hand(cascade, query, 0.1)
        assert reached.nodes[row][: len(nodes)].tolist() == nodes
        points = [
            p for node in nodes for p in pyramid.order[last.first[node] : last.first[node + 1]]
        ]
        returned = cascade.plan(0.1).returned
        assert reached.points[row].tolist() == points[:returned]
        assert reached.work[row] == pytest.approx((compared + returned) / POINTS)
        assert (np.diff(reached.score[row][: len(nodes)]) <= 0).all()


@pytest.mark.parametrize("work", [0.05, 0.2])
def test_work_is_about_what_was_wanted_and_more_of_it_finds_more(cascade, placement, work):
    queries = unit_rows(mixed(40, 8, seed=3))
    truth = exact_neighbours(unit_rows(placement.embeddings), queries, 10)
    reached = cascade.find(queries, work=work)
    assert reached.work.mean() == pytest.approx(work, rel=0.2)
    chance = reached.points.shape[1] / POINTS
    assert found_share(truth, reached.points).mean() > 4 * chance


def test_all_points_come_back_once_where_all_work_is_paid_for(cascade):
    reached = cascade.find(mixed(2, 8, seed=1), work=1.0)
    for row in reached.points:
        found = row[row >= 0]
        assert len(set(found.tolist())) == len(found)
    apart = unit([[1, 1, 0], [-1, 1, 0], [1, -1, 0]])
    three = Cascade.build(MapPyramid.of_points(apart, np.ones(3), np.eye(3), finest=1))
    assert three.find(np.eye(3), work=1.0).points[:, 0].tolist() == [0, 1, 2]


def test_neither_batches_nor_company_change_an_answer(cascade, monkeypatch):
    queries = mixed(7, 8, seed=5)
    together = cascade.find(queries, work=0.05)
    monkeypatch.setattr(module, "_MOST_NUMBERS", 3 * 4 * max(cascade.plan(0.05).widths) * 8)
    apart = cascade.find(queries, work=0.05)
    np.testing.assert_array_equal(apart.points, together.points)
    assert cascade.find(np.zeros((0, 8)), work=0.05).points.shape[0] == 0


def test_windows_of_documents_are_walked_as_cells_are(placement):
    document = np.sort(np.arange(POINTS) % 7)
    cascade = Cascade.build(MapPyramid.over_time(placement, document))
    reached = cascade.find(placement.embeddings[:3], work=0.1)
    assert reached.points.shape == (3, cascade.plan(0.1).returned)


def test_cones_look_at_the_best_nodes(cascade, placement):
    cones = cascade.cones(placement.embeddings[:4], probes=3, work=0.05)
    assert cones.shape == (4, 3)
    best = cascade.find(placement.embeddings[:4], work=0.05).nodes[:, 0]
    np.testing.assert_allclose(
        cones.direction[:, 0], cascade.pyramid.levels[-1].centre[best], atol=1e-12
    )
    many = cascade.cones(placement.embeddings[:1], probes=10_000, work=0.05)
    assert many.shape == (1, 10_000)


def test_a_program_is_compiled_once_for_a_plan(cascade):
    cascade.find(mixed(3, 8, seed=2), work=0.07)
    before = module._narrowed._cached._cache_size()
    cascade.find(mixed(3, 8, seed=4), work=0.07)
    assert module._narrowed._cached._cache_size() == before


def test_what_cannot_be_asked_is_refused(cascade, placement):
    with pytest.raises(ValueError, match=r"`work` must lie in \(0, 1\]; got 0"):
        cascade.find(placement.embeddings[:1], work=0.0)
    with pytest.raises(ValueError, match="must pay for at least 2 nodes and points"):
        cascade.find(placement.embeddings[:1], work=1e-4)
    with pytest.raises(ValueError, match="`queries` must have shape"):
        cascade.find(np.ones((1, 3)))
    with pytest.raises(ValueError, match="`probes` must be at least 1"):
        cascade.cones(placement.embeddings[:1], probes=0)
