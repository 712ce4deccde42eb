"""Names of regions: planted words are found, and what is said everywhere names nothing."""

import numpy as np
import pytest

from builders import directions_at_random, unit
from pages import made_points
from sphere_ebm.figures.page import PagePoints, named_regions
from sphere_ebm.figures.page.region_names import _Counts, log_likelihood
from sphere_ebm.geometry.cells import cell_keys

PLANTED = ("copper", "meadow", "quartet", "harbour", "ballot", "saffron")


def planted(points: int, seed: int = 2) -> tuple[PagePoints, np.ndarray]:
    """Six places with a word each, among common ones, and the places."""
    rng = np.random.default_rng(seed)
    places = unit(np.concatenate([np.eye(3), -np.eye(3)]) + 0.2)
    place = rng.integers(0, 6, points)
    direction = unit(places[place] + 0.25 * rng.standard_normal((points, 3)))
    common = np.array([b"and then ", b"it is the ", b"so the "])[rng.integers(0, 3, points)]
    rare = rng.random(points) < 0.3
    texts = [
        bytes(common[i]) + (PLANTED[place[i]].encode() if rare[i] else b"nothing") + b". "
        for i in range(points)
    ]
    return PagePoints(
        direction=direction.astype(np.float32),
        radius=np.ones(points, np.float32),
        documents=(("all", points),),
        text=np.frombuffer(b"".join(texts), np.uint8),
        text_offset=np.cumsum([0, *map(len, texts)]).astype(np.int64),
    ), places


@pytest.mark.parametrize("points", [600, 6000])
def test_planted_words_name_their_places_and_common_ones_none(points: int) -> None:
    made, places = planted(points)
    regions = named_regions(made)
    finest = max(region.level for region in regions)
    assert finest == {600: 2, 6000: 4}[points]
    for word, place in zip(PLANTED, places, strict=True):
        near = [r for r in regions if r.level > 1 and np.dot(r.direction, place) > 0.94]
        assert near
        assert all(word in region.name for region in near if region.points > points / 25)
    said = " ".join(region.name for region in regions if region.level > 1).split()
    assert not {"the", "and", "nothing", "then"} & set(said)


def test_a_region_is_the_cell_that_it_says_and_lies_among_its_points() -> None:
    made, _ = planted(2000)
    for region in named_regions(made):
        inside = cell_keys(made.direction, region.level) == region.key
        assert inside.sum() == region.points
        mean = made.direction[inside].mean(axis=0)
        np.testing.assert_allclose(region.direction, mean / np.linalg.norm(mean), atol=1e-5)


def test_documents_name_places_where_there_is_no_text() -> None:
    rng = np.random.default_rng(0)
    direction = unit(np.repeat(np.eye(3), 100, axis=0) + 0.1 * rng.standard_normal((300, 3)))
    made = PagePoints(
        direction=direction.astype(np.float32),
        radius=np.ones(300, np.float32),
        documents=(("tea", 100), ("rice", 100), ("oats", 100)),
    )
    for axis, name in enumerate(("tea", "rice", "oats")):
        near = [r.name for r in named_regions(made) if r.direction[axis] > 0.95]
        assert near
        assert all(name in found for found in near)


def test_the_score_is_dunnings() -> None:
    """Against the likelihoods themselves: one rate for inside and outside, or two."""
    here = _Counts(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([9.0, 11.0, 4.0, 76.0]))
    around = here.coarser(1)

    def likelihood(said: float, size: float, rate: float) -> float:
        return said * np.log(rate) - size * rate

    for i, (inside, size) in enumerate(((9, 20), (11, 20), (4, 80), (76, 80))):
        outside = {0: 4, 1: 76, 2: 9, 3: 11}[i]
        rest = 100 - size
        both = (inside + outside) / 100
        one = likelihood(inside, size, both) + likelihood(outside, rest, both)
        two = likelihood(inside, size, inside / size) + likelihood(outside, rest, outside / rest)
        found = log_likelihood(here, around, 1, 2)[i]
        assert found == pytest.approx(2 * (two - one) if inside / size > both else 0, abs=1e-9)


@pytest.mark.parametrize("texts", [[[]], [[b""] * 40], [[b"\xff\xfe"] * 40], [[b"one"]]])
def test_maps_with_little_to_say_have_few_names_or_none(texts: list[list[bytes]]) -> None:
    made = made_points(texts, ["x"])
    assert {region.name for region in named_regions(made)} <= {"one"}


def test_names_hang_on_nothing_but_the_map() -> None:
    made, _ = planted(500)
    assert named_regions(made) == named_regions(made)
    moved = PagePoints(
        direction=directions_at_random(500, 1),
        radius=made.radius,
        documents=made.documents,
        text=made.text,
        text_offset=made.text_offset,
    )
    assert named_regions(moved) != named_regions(made)
