"""Levels of detail and names in the browser, on thirty thousand points and a small budget."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from browsers import Opened
from builders import directions_at_random, unit
from sphere_ebm.figures.page import PagePoints

Open = Callable[..., Opened]
BUDGET = 1500
TOPICS = ("whale", "violin", "glacier", "senate", "pepper", "engine")


@pytest.fixture(scope="module")
def many() -> PagePoints:
    """Points of six topics, each around a place of its own, and some everywhere."""
    rng = np.random.default_rng(4)
    n = 30_000
    topic = rng.integers(0, len(TOPICS), n)
    centres = directions_at_random(len(TOPICS), 11)
    direction = unit(centres[topic] + rng.standard_normal((n, 3)) * rng.choice([0.2, 2], (n, 1)))
    order = np.argsort(topic, kind="stable")
    words = np.array(["and the ", "of it "])[rng.integers(0, 2, n)]
    texts = [f"{words[i]}{TOPICS[topic[i]]} ".encode() for i in order]
    return PagePoints(
        direction=direction[order].astype(np.float32),
        radius=(10 + 3 * topic[order] + rng.standard_normal(n)).astype(np.float32),
        documents=tuple((name, int(np.sum(topic == t))) for t, name in enumerate(TOPICS)),
        text=np.frombuffer(b"".join(texts), np.uint8),
        text_offset=np.cumsum([0, *map(len, texts)]).astype(np.int64),
    )


@pytest.fixture(scope="module")
def opened(open_map: Open, many: PagePoints) -> Iterator[Opened]:
    found = open_map(many)
    found.ask("budget => { sphere.budget = budget; }", BUDGET)
    yield found
    found.close()


def looking(opened: Opened, view: str, zoom: float, centre: np.ndarray) -> dict[str, Any]:
    """What is drawn, in view and named, looking at a direction."""
    opened.ask(
        """async ([view, zoom, centre]) => {
          sphere.lookAt(centre);
          Object.assign(sphere.state, { view, zoom });
          sphere.state.changed('camera');
        }""",
        [view, zoom, centre.tolist()],
    )
    opened.drawn()
    found: dict[str, Any] = opened.ask("({ ...sphere.stats, points: [...sphere.drawn()] })")
    return found


def test_every_level_is_a_fair_sample(opened: Opened, many: PagePoints) -> None:
    levels = opened.ask("({ start: sphere.levels.start, point: [...sphere.levels.point] })")
    starts = levels["start"]
    point = np.array(levels["point"])
    assert sorted(point) == list(range(len(many)))
    ends = [len(point), *starts[:-1]]
    document = many.document
    tested = 0
    for begin, end in zip(starts, ends, strict=True):
        sample = point[begin:end]
        if len(sample) < 100:
            continue
        tested += 1
        error = many.radius.std() / np.sqrt(len(sample))
        assert abs(many.radius[sample].mean() - many.radius.mean()) < 3 * error
        for d, (_, count) in enumerate(many.documents):
            share = count / len(many)
            error = np.sqrt(share * (1 - share) / len(sample))
            assert abs(np.mean(document[sample] == d) - share) < 3 * error
    assert tested >= 7


def in_view(opened: Opened, many: PagePoints) -> np.ndarray:
    """The points that lie on the stage in front of the globe, by NumPy."""
    turn = np.reshape(opened.ask("sphere.state.turn"), (3, 3))
    frame = opened.ask("sphere.frame")
    eye = many.direction.astype(np.float64) @ turn.T
    x = np.abs(eye[:, 0]) * frame["scale"]
    y = np.abs(eye[:, 1]) * frame["scale"]
    inside = (x < frame["width"] / 2) & (y < frame["height"] / 2) & (eye[:, 2] > 0)
    return np.flatnonzero(inside)


@pytest.mark.parametrize("zoom", [1, 2, 4, 8, 16, 32, 64, 300])
def test_no_more_is_drawn_than_the_budget_and_all_once_it_fits(
    opened: Opened, many: PagePoints, zoom: float
) -> None:
    found = looking(opened, "globe", zoom, many.direction[100])
    assert found["drawn"] <= BUDGET
    there = in_view(opened, many)
    # At the very rim of the stage, a tenth of a pixel decides.
    if len(there) < 0.97 * BUDGET:
        missing = set(there.tolist()) - set(found["points"])
        assert len(missing) <= 0.002 * len(there)
        assert opened.text("status").count("sample") == 0
    else:
        assert len(found["points"]) > BUDGET / 4
        assert "a sample of" in opened.text("status")
    assert len(found["points"]) == len(set(found["points"])), "no point is drawn twice"
    if zoom >= 64:
        assert 0 < len(there) < BUDGET


@pytest.mark.parametrize("view", ["flat", "ball"])
def test_other_views_keep_to_the_budget(opened: Opened, many: PagePoints, view: str) -> None:
    for zoom in (1, 6, 40):
        assert looking(opened, view, zoom, many.direction[5])["drawn"] <= BUDGET


@pytest.mark.parametrize("view", ["globe", "flat"])
@pytest.mark.parametrize("zoom", [1, 3, 9, 27, 81])
def test_each_populated_third_of_the_view_has_a_name_and_none_overlap(
    opened: Opened, many: PagePoints, view: str, zoom: float
) -> None:
    found = looking(opened, view, zoom, many.direction[100])
    names = found["names"]
    width = opened.ask("sphere.frame.width")
    height = opened.ask("sphere.frame.height")
    places = np.array(
        opened.ask("points => points.map(i => sphere.placeOf(i))", found["points"][:3000])
    )
    front = places[(places[:, 2] > 0.3) & (np.abs(places[:, 1] - height / 2) < height / 2 - 20)]
    for third in range(3):
        inside = (front[:, 0] > third * width / 3 + 4) & (front[:, 0] < (third + 1) * width / 3 - 4)
        named = [n for n in names if third * width / 3 <= n["x"] < (third + 1) * width / 3]
        assert named or inside.sum() < 12, f"third {third} of {zoom} has {inside.sum()} points"
    for i, one in enumerate(names):
        for other in names[:i]:
            apart = abs(one["x"] - other["x"]) >= one["half"] + other["half"] - 8
            assert apart or abs(one["y"] - other["y"]) >= 18


def test_places_are_named_by_what_is_said_there(opened: Opened, many: PagePoints) -> None:
    for t, topic in enumerate(TOPICS):
        first = sum(count for _, count in many.documents[:t])
        sums = many.direction[first : first + many.documents[t][1]].sum(axis=0)
        names = looking(opened, "globe", 4, sums / np.linalg.norm(sums))["names"]
        said = " ".join(name["name"] for name in names)
        assert topic in said
        assert not re.search(r"\b(and|the)\b", said)


def test_the_ground_is_drawn_only_where_points_are_left_out(
    opened: Opened, many: PagePoints
) -> None:
    whole = looking(opened, "globe", 1, many.direction[100])
    assert whole["level"] > 0
    assert whole["ground"]
    near = looking(opened, "globe", 300, many.direction[100])
    assert not near["ground"]
