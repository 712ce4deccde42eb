"""Cells list visitors where queries look for them, and the map stays as it is."""

import dataclasses

import numpy as np
import pytest

from builders import mixed, still_placement, unit
from sphere_ebm import ShardError
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.recall import found_share
from sphere_ebm.retrieval.visitors import with_visitors

POINTS = 1500


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return mixed(POINTS, 8)


@pytest.fixture(scope="module")
def torn(embeddings) -> Cascade:
    """A map of which every fifth point lies where it has nothing to do."""
    direction = unit(embeddings[:, :3])
    rng = np.random.default_rng(1)
    direction[::5] = unit(rng.standard_normal((len(direction[::5]), 3)))
    return Cascade.build(still_placement(direction, embeddings=embeddings))


@pytest.fixture(scope="module")
def visited(torn, embeddings) -> Cascade:
    return Cascade.build(with_visitors(torn.pyramid, embeddings))


def test_what_a_map_has_torn_apart_is_found_at_less_work(torn, visited, embeddings):
    queries = unit_rows(mixed(200, 8, seed=5))
    truth = exact_neighbours(unit_rows(embeddings), queries, 10)
    without, with_ = (cascade.find(queries, work=0.1) for cascade in (torn, visited))
    assert with_.work.mean() < 1.05 * without.work.mean()
    gain = found_share(truth, with_.points).mean() - found_share(truth, without.points).mean()
    assert gain > 0.02
    # points at random in place of those that are missed win nothing
    rng = np.random.default_rng(0)
    lists = visited.lists
    guests = np.ones(len(lists.points), bool)
    for node in range(len(torn.pyramid.levels[-1])):
        own = torn.pyramid.levels[-1].count[node]
        guests[lists.first[node] : lists.first[node] + own] = False
    points = lists.points.copy()
    points[guests] = rng.permutation(points[guests])
    mixed_up = Cascade(visited.pyramid, visited.tables, lists._replace(points=points))
    chance = found_share(truth, mixed_up.find(queries, work=0.1).points).mean()
    assert chance < found_share(truth, without.points).mean() + gain / 2


def test_every_cell_lists_its_own_points_first_and_each_visitor_once(torn, visited):
    level = torn.pyramid.levels[-1]
    first, points = visited.lists
    assert len(points) > POINTS
    for node in range(len(level)):
        listed = points[first[node] : first[node + 1]].tolist()
        own = torn.pyramid.order[level.first[node] : level.first[node + 1]].tolist()
        assert listed[: len(own)] == own
        assert len(set(listed)) == len(listed)
    assert visited.pyramid.levels is torn.pyramid.levels


def test_a_point_that_several_cells_list_comes_back_once(visited, embeddings):
    reached = visited.find(embeddings[:30], work=0.3)
    for row, work in zip(reached.points, reached.work, strict=True):
        found = row[row >= 0].tolist()
        assert len(set(found)) == len(found)
        assert work < 0.4
    first, points = visited.lists
    row = reached.points[0]
    listed = [points[first[n] : first[n + 1]] for n in reached.nodes[0] if n >= 0]
    in_order = list(dict.fromkeys(np.concatenate(listed).tolist()))
    assert row.tolist() == in_order[: len(row)]


def test_a_trial_does_not_know_that_it_is_on_the_map():
    """Each pair of points shares a direction of embedding with nobody else: alone in their cells,
    neither may be led to the other by itself.
    """
    embeddings = np.repeat(np.eye(40), 2, axis=0)
    direction = unit(np.random.default_rng(0).standard_normal((80, 3)))
    cascade = Cascade.build(MapPyramid.of_points(direction, np.ones(80), embeddings, finest=3))
    lists = Cascade.build(with_visitors(cascade.pyramid, embeddings)).lists
    level = cascade.pyramid.levels[-1]
    owner = np.repeat(np.arange(len(level)), np.diff(lists.first))
    home = np.empty(80, int)
    home[cascade.pyramid.order] = np.repeat(np.arange(len(level)), level.count)
    guests = owner != home[lists.points]
    assert guests.any()
    alone = level.count[owner[guests]] == 1
    hosts = cascade.pyramid.order[level.first[owner[guests][alone]]]
    assert (hosts != lists.points[guests][alone]).all()


def test_the_same_seed_finds_the_same_visitors_and_fewer_trials_fewer(torn, embeddings, visited):
    again = with_visitors(visited.pyramid, embeddings).visitors
    assert all((a == b).all() for a, b in zip(again, visited.pyramid.visitors, strict=True))
    few = with_visitors(torn.pyramid, embeddings, trials=300).visitors
    assert 0 < len(few.point) < len(again.point)


def test_visitors_are_saved_with_their_pyramid_and_stay_when_it_grows(visited, tmp_path):
    pyramid = visited.pyramid
    pyramid.save(tmp_path / "p.safetensors")
    loaded = Cascade.build(MapPyramid.load(tmp_path / "p.safetensors"))
    np.testing.assert_array_equal(loaded.lists.points, visited.lists.points)
    grown = pyramid.join(unit(np.ones((3, 3))), np.ones(3), np.ones((3, 8)))
    lists = Cascade.build(grown).lists
    assert len(lists.points) == len(visited.lists.points) + 3
    damaged = dataclasses.replace(
        pyramid, visitors=pyramid.visitors._replace(point=pyramid.visitors.point + POINTS)
    )
    damaged.save(tmp_path / "p.safetensors")
    with pytest.raises(ShardError, match="its visitors are no points"):
        MapPyramid.load(tmp_path / "p.safetensors")


def test_a_map_of_few_points_has_no_visitors():
    embeddings = np.eye(20)
    cascade = Cascade.build(
        MapPyramid.of_points(unit(np.ones((20, 3))), np.ones(20), embeddings, finest=1)
    )
    assert with_visitors(cascade.pyramid, embeddings).visitors is None


def test_what_has_no_visitors_is_refused(torn, embeddings):
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(1500, 8\)"):
        with_visitors(torn.pyramid, embeddings[:-1])
    with pytest.raises(ValueError, match="`trials` must be at least 1; got 0"):
        with_visitors(torn.pyramid, embeddings, trials=0)
