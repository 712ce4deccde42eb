"""A wanted recall becomes a work, by points that are taken out of the map and asked for."""

import numpy as np
import pytest

from builders import mixed, still_placement, unit
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.maps.placement import Placement
from sphere_ebm.retrieval.cascade import Cascade
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.recall import RecallCurve, found_share
from sphere_ebm.retrieval.visitors import with_visitors

POINTS = 1500


@pytest.fixture(scope="module")
def placement() -> Placement:
    """Clusters that lie together on the map, as its first three principal axes have them."""
    embeddings = mixed(POINTS, 8)
    return still_placement(unit(embeddings[:, :3]), embeddings=embeddings)


@pytest.mark.parametrize("visitors", [False, True])
def test_a_wanted_recall_becomes_a_work_that_reaches_it(placement, visitors):
    curve = RecallCurve.measure(placement, [0.05, 0.3, 0.1], trials=60, visitors=visitors)
    assert (np.diff(curve.work) > 0).all()
    assert (np.diff(curve.recall) >= 0).all()
    assert (curve.error < 0.1).all()
    wanted = float(curve.recall[:2].mean())
    work = curve.work_for(wanted)
    assert curve.work[0] < work < curve.work[1]
    queries = unit_rows(mixed(60, 8, seed=11))
    truth = exact_neighbours(unit_rows(placement.embeddings), queries, 10)
    pyramid = MapPyramid.build(placement)
    cascade = Cascade.build(with_visitors(pyramid, placement.embeddings) if visitors else pyramid)
    reached = cascade.find(queries, work=work)
    assert abs(found_share(truth, reached.points).mean() - wanted) < 0.2
    with pytest.raises(ValueError, match="what the measured works found"):
        curve.work_for(2.0)


def test_a_share_is_of_the_true_neighbours():
    truth = np.array([[1, 2], [3, 4]])
    assert found_share(truth, np.array([[2, 5, -1], [4, 3, 9]])).tolist() == [0.5, 1.0]


def test_what_cannot_be_measured_is_refused(placement):
    with pytest.raises(ValueError, match="must hold its embeddings"):
        RecallCurve.measure(still_placement(placement.direction))
    few = still_placement(placement.direction[:20], embeddings=placement.embeddings[:20])
    with pytest.raises(ValueError, match="at least 64 points"):
        RecallCurve.measure(few)
