"""Cells that a cascade finds guide the navigator, which then keeps what it promises."""

import dataclasses
import math

import numpy as np
import pytest

from builders import mixed, still_placement, unit
from sphere_ebm import Navigator, Placement
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.cones import members
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.guides import CellGuide
from sphere_ebm.retrieval.navigator.search import true_neighbours
from sphere_ebm.retrieval.recall import found_share

POINTS = 1200
CONFIG = NavigatorConfig(pseudo_queries=128, probes=6)


@pytest.fixture(scope="module")
def made() -> Placement:
    """Clusters that lie together on the map, as its first three principal axes have them."""
    embeddings = mixed(POINTS, 8)
    return still_placement(unit(embeddings[:, :3]), embeddings=embeddings)


@pytest.fixture(scope="module")
def navigator(made) -> Navigator:
    return Navigator.build(made, CONFIG)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit_rows(mixed(64, 8, seed=5)).astype(np.float32)


def test_cells_are_the_guide_unless_the_caller_says_otherwise(navigator):
    assert isinstance(navigator.guide, CellGuide)
    assert NavigatorConfig().probe_count == 16
    assert NavigatorConfig(where="field").probe_count == 8


def test_the_guide_does_not_know_the_points_that_calibrate(navigator):
    guide = navigator.guide
    assert len(guide.cascade.pyramid) == POINTS - len(navigator.pseudo_queries)
    held = np.zeros(POINTS)
    held[np.unique(guide.deposit.indices)] = 1
    assert not held[navigator.pseudo_queries].any()
    assert held.sum() == POINTS - len(navigator.pseudo_queries)
    np.testing.assert_allclose(guide.deposit.sum(axis=1), 1)


def test_probes_are_the_best_cells_with_their_cones_and_weights(navigator, queries):
    guide = navigator.guide
    reached = guide.cascade.find(queries[:3], work=CONFIG.work)
    cones = guide.cascade.cones(queries[:3], probes=6, work=CONFIG.work)
    for row, look in enumerate(guide.looks(queries[:3])):
        np.testing.assert_array_equal(look.view.axis, cones.direction[row])
        np.testing.assert_array_equal(look.view.relative, cones.aperture[row])
        assert look.view.found.all()
        held = reached.nodes[row] >= 0
        assert np.flatnonzero(look.weight).tolist() == sorted(reached.nodes[row][held])
        score = reached.score[row][held].astype(float)
        step = (score - score[0]) / (CONFIG.temperature * score.std())
        np.testing.assert_allclose(look.weight[reached.nodes[row][held]], np.exp(step))
        # the density of all cells together, over the sphere, is 1
        area = 4 * math.pi / 4 ** guide.cascade.pyramid.levels[-1].level
        share = look.weight[reached.nodes[row, :6]] / look.weight.sum()
        np.testing.assert_allclose(look.density, share / area, rtol=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.3])
def test_exactly_the_share_is_returned_and_lies_in_the_used_cones(made, navigator, queries, share):
    config = dataclasses.replace(CONFIG, share=share)
    found = dataclasses.replace(navigator, config=config).find(queries[:16])
    assert found.points.shape == (16, round(share * POINTS))
    inside = (members(made, found.cones) & found.used[..., None]).any(axis=1)
    returned = np.zeros_like(inside)
    np.put_along_axis(returned, found.points, True, axis=1)
    assert (inside == returned).all()


def test_neighbours_are_found_far_above_chance(made, navigator, queries):
    truth = exact_neighbours(unit_rows(made.embeddings), queries, 10)
    assert found_share(truth, navigator.find(queries).points).mean() > 6 * CONFIG.share


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (0.3, False)])
def test_the_confidence_is_the_rate_of_success(made, navigator, shift, passes):
    """Of the points that calibrated it, which the guide does not know; shifted to check power."""
    trials = navigator.pseudo_queries
    found = navigator.find(made.embeddings[trials])
    truth = true_neighbours(navigator.unit, trials)
    success = found_share(truth, found.points) >= CONFIG.level
    claimed = np.clip(found.confidence + shift, 0, 1)
    assert (abs(success.mean() - claimed.mean()) < 0.15) == passes


def test_more_probes_than_cells_are_not_found(made, queries):
    few = np.arange(70)
    small = still_placement(made.direction[few], embeddings=made.embeddings[few])
    one = Navigator.build(small, dataclasses.replace(CONFIG, pseudo_queries=32, probes=40))
    found = one.find(queries[:4])
    assert found.cones.shape == (4, 40)
    assert not found.used[:, -1].any()
    assert (found.density[:, -1] == 0).all()
    assert found.used[:, 0].all()
