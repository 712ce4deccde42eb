"""Exact neighbours by NumPy alone, beside a plain sort of all cosines."""

import numpy as np
import pytest

from builders import cloud, unit
from sphere_ebm.graph import exact
from sphere_ebm.graph.exact import exact_neighbours

POINTS = unit(cloud(90, 6))


@pytest.mark.parametrize("block", [2**24, 200])
def test_they_are_the_points_of_largest_cosine_without_itself_and_hidden_ones(block, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK", block)
    queries = np.concatenate([POINTS[[4, 40]], unit(cloud(5, 6))])
    own = np.array([4, 40, -1, -1, -1, -1, -1])
    hidden = np.array([7, 12])
    found = exact_neighbours(POINTS, queries, 8, own=own, hidden=hidden)
    for row, near in enumerate(found):
        order = np.argsort(-(POINTS @ queries[row]))
        assert set(near) == set(order[~np.isin(order, [*hidden, own[row]])][:8])


def test_a_query_that_is_no_point_may_have_any_neighbour():
    found = exact_neighbours(POINTS, POINTS[:3], 1)
    assert found[:, 0].tolist() == [0, 1, 2]


def test_none_are_asked_for():
    assert exact_neighbours(POINTS, POINTS[:3], 0).shape == (3, 0)
