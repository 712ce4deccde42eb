"""Places that points remember: they hold, they keep the frame, and nothing changes without them."""

import numpy as np
import pytest

from builders import cloud, unit
from sphere_ebm import PlacementConfig, place
from sphere_ebm.geometry.frames import angles_between, robust_frame
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.maps.anchors import Anchors, anchored_start, checked_anchors

N = 40
CONFIG = PlacementConfig(neighbours=4, shells=3, steps=30, average=5, tolerance=0.0, replicas=1)
CLOUD = cloud(N)
HELD = np.arange(0, N, 2)


@pytest.fixture(scope="module")
def before():
    return place(CLOUD, config=CONFIG)


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    """A frame of its own: no start of `place` has it."""
    return unit(np.random.default_rng(7).standard_normal((len(HELD), 3)))


@pytest.fixture(scope="module")
def held(places):
    return place(CLOUD, config=CONFIG, anchors=Anchors(3 * places, 4.0, HELD[::-1]))


def test_strong_anchors_hold_their_points_and_no_others(held, places):
    moved = angles_between(held.direction[HELD[::-1]], places)
    assert moved.max() < 0.25
    assert set(held.energy) == {"gravity", "lateral", "osmotic", "anchor"}
    assert held.energy["anchor"][-1] < 0.5 * N


def test_a_map_with_anchors_keeps_their_frame(held, places):
    frame = robust_frame(places, held.direction[HELD[::-1]].astype(np.float64))
    np.testing.assert_allclose(frame, np.eye(3), atol=0.1)


def test_without_anchors_nothing_changes(before):
    again = place(CLOUD, config=CONFIG, anchors=Anchors(np.zeros((0, 3)), rows=np.zeros(0, int)))
    for name in ("direction", "radius", "angle_std"):
        np.testing.assert_array_equal(getattr(again, name), getattr(before, name))
    assert set(again.energy) == set(before.energy) == {"gravity", "lateral", "osmotic"}


def test_anchors_of_no_strength_are_only_a_start(before, places):
    everywhere = unit(np.random.default_rng(8).standard_normal((N, 3)))
    free = place(CLOUD, config=CONFIG, anchors=Anchors(everywhere, 0.0))
    started = place(CLOUD, config=CONFIG, start=everywhere)
    np.testing.assert_array_equal(free.direction, started.direction)
    assert "anchor" not in free.energy


@pytest.mark.usefixtures("kept_at_once")
def test_a_run_continues_from_its_checkpoint_only_with_the_same_anchors(tmp_path, places, held):
    class Died(Exception):
        pass

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "steps" and done >= 25:
            raise Died

    checkpoint = tmp_path / "checkpoint"
    anchors = Anchors(3 * places, 4.0, HELD[::-1])
    with pytest.raises(Died):
        place(CLOUD, config=CONFIG, anchors=anchors, progress=dying, checkpoint=checkpoint)
    other = place(
        CLOUD, config=CONFIG, anchors=Anchors(places[::-1], 4.0, HELD), checkpoint=checkpoint
    )
    assert angles_between(other.direction[HELD], places[::-1]).max() < 0.25
    with pytest.raises(Died):
        place(CLOUD, config=CONFIG, anchors=anchors, progress=dying, checkpoint=checkpoint)
    told = []
    resumed = place(
        CLOUD,
        config=CONFIG,
        anchors=anchors,
        progress=lambda stage, done, total: told.append((stage, done)),
        checkpoint=checkpoint,
    )
    assert min(done for stage, done in told if stage == "steps") >= 25
    np.testing.assert_array_equal(resumed.direction, held.direction)


def test_a_fit_with_anchors_starts_amid_the_places_of_neighbours():
    # a path 0 - 1 - 2 - 3 with a place at one end, and a lonely point
    senders = np.arange(3, dtype=np.int32)
    graph = NeighbourGraph(5, senders, senders + 1, np.full(3, 4 / 3, np.float32))
    east = np.asarray([[1.0, 0, 0]])
    otherwise = np.tile(np.float32([0, 0, 1]), (5, 1))
    start = anchored_start(checked_anchors(Anchors(east, rows=[0]), 5), graph, otherwise)
    np.testing.assert_array_equal(start, [*east.repeat(4, 0), [0, 0, 1]])


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        (Anchors(np.ones(3)), r"`anchors.direction` must have shape \(anchors, 3\)"),
        (Anchors(np.zeros((2, 3))), "`anchors.direction` must have no zero rows"),
        (Anchors(np.ones((4, 3))), r"`anchors.rows` must name points in \[0, 3\); got 0 to 3"),
        (Anchors(np.ones((1, 3)), rows=[0.5]), "`anchors.rows` must be 1 integers"),
        (Anchors(np.ones((2, 3)), rows=[1, 1]), "each point at most once"),
        (Anchors(np.ones((2, 3)), [1, 2, 3]), "`anchors.strength` must be .* or 2 of them"),
        (Anchors(np.ones((2, 3)), -1.0), "`anchors.strength` must be"),
        (Anchors(np.ones((2, 3)), np.inf), "`anchors.strength` must be"),
    ],
)
def test_anchors_that_do_not_fit_are_refused_by_name(anchors, message):
    with pytest.raises(ValueError, match=message):
        checked_anchors(anchors, 3)
