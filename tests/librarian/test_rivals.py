"""Rivals know what they should: each is tried where its answer is known beforehand."""

import dataclasses

import numpy as np
import pytest

from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.librarian.measures import prior_of
from sphere_ebm.librarian.rivals import (
    GUESSES,
    NAMES,
    Ground,
    Spans,
    chance,
    gathered,
    gram_counts,
    knn,
    ridge,
)

WORDS = ("river", "engine", "sonnet", "quartz")


def spans(texts):
    ends = np.cumsum([0, *map(len, texts)])
    return Spans(np.frombuffer("".join(texts).encode(), np.uint8), ends[:-1], ends[1:])


@pytest.fixture(scope="module")
def ground():
    """Four topics, each a place, a word and a direction of the embedding."""
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 4, 500)
    places = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    places = np.concatenate([places, -places[:1]])
    direction = places[topic] + 0.02 * rng.standard_normal((500, 3))
    direction = (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)
    axes = np.linalg.qr(rng.standard_normal((8, 8)))[0][:4]
    embeddings = (axes[topic] + 0.05 * rng.standard_normal((500, 8))).astype(np.float32)
    texts = [f"{WORDS[number]} {rng.integers(100)}" for number in topic]
    return Ground(
        direction[:400],
        topic[:400] * 8,
        embeddings[:400],
        spans(texts[:400]),
        prior_of(direction[:400]),
        direction[400:],
        embeddings[400:],
        spans(texts[400:]),
        0,
    )


def degrees_off(answers, ground):
    return np.degrees(angles_between(answers.direction, ground.judged))


@pytest.mark.parametrize(("rival", "most"), [(ridge, 10), (knn, 4)])
def test_a_rival_that_can_know_the_topic_finds_its_place(ground, rival, most):
    answers = rival(ground)
    assert np.median(degrees_off(answers, ground)) < most
    assert answers.cell.log_probability.mean() > np.log(ground.prior).mean() + 2
    # topics differ by eight shells
    own = np.round(ground.judged @ ground.direction[:400].T).argmax(axis=1)
    assert abs(answers.shell - ground.shell[own]).mean() < 2


def test_chance_knows_nothing_and_repeats_itself(ground):
    answers = chance(ground)
    assert np.median(degrees_off(answers, ground)) > 60
    assert answers.direction == pytest.approx(chance(ground).direction)
    assert (answers.direction != chance(dataclasses.replace(ground, seed=1)).direction).any()


def test_places_gather_at_the_denser_of_two_and_not_between_them():
    north = np.array([0.0, 0, 1])
    east = np.array([1.0, 0, 0])
    places = np.stack([north, north, east, east, east])[None]
    np.testing.assert_allclose(gathered(places, np.ones((1, 5))), east[None], atol=1e-6)
    heavy = np.array([[2.0, 2, 1, 1, 1]])
    np.testing.assert_allclose(gathered(places, heavy), north[None], atol=1e-6)


def test_grams_stay_inside_their_patch():
    both = gram_counts(spans(["abc", "abd"]))
    one, other = (both[[row]] for row in (0, 1))
    assert abs(gram_counts(spans(["abc"])) - one).max() < 1e-12
    assert one.nnz == 6  # a b c ab bc abc
    assert one.multiply(other).nnz == 3  # a b ab
    assert both.multiply(both).sum(axis=1) == pytest.approx([1, 1])
    assert gram_counts(spans(["", "x"])).nnz == 1


def test_every_name_but_the_seed_is_a_guess():
    assert {*GUESSES, "seed"} == set(NAMES)
