import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sphere_ebm.text.statistics import (
    boundary_share,
    joined,
    random_boundary_share,
    statistics_of,
)

LENGTHS = st.lists(st.integers(1, 200), max_size=30).map(
    lambda lengths: np.array(lengths, np.int64)
)
quick = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def octets_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def test_the_statistics_of_a_known_document():
    lengths = np.array([1, 4, 5, 12, 13, 24, 25, 48, 49, 127, 128], np.int64)
    assert statistics_of(lengths).to_dict() == {
        "patches": 11,
        "bytes": 436,
        "mean": 436 / 11,
        "min": 1,
        "max": 128,
        "p50": 24.0,
        "p75": 48.5,
        "p90": 127.0,
        "p95": 127.5,
        "size_classes": {"<=4": 2, "5-12": 2, "13-24": 2, "25-48": 2, "49-127": 2, ">=128": 1},
        "myelination_ratio": 3 / 11,
        "myelinated_mean_length": 304 / 3,
    }


@quick
@given(LENGTHS.filter(len))
def test_percentiles_are_those_of_numpy(lengths):
    found = statistics_of(lengths)
    expected = np.percentile(lengths, [50, 75, 90, 95])
    np.testing.assert_allclose([found.p50, found.p75, found.p90, found.p95], expected, rtol=1e-12)


@quick
@given(st.lists(LENGTHS, max_size=5))
def test_documents_together_are_like_one(documents):
    assert joined(documents) == statistics_of(np.concatenate([np.empty(0, np.int64), *documents]))


def test_documents_may_come_one_after_another():
    assert joined(np.array([length], np.int64) for length in (2, 4)).mean == 3.0


def test_no_patches_give_zeros():
    found = statistics_of(np.empty(0, np.int64)).to_dict()
    assert set(found.pop("size_classes").values()) == {0}
    assert set(found.values()) == {0}


def test_no_long_patch_has_a_mean_length_of_zero():
    found = statistics_of(np.array([48], np.int64))
    assert (found.myelination_ratio, found.myelinated_mean_length) == (0.0, 0.0)


@pytest.mark.parametrize("lengths", [[], [3], [1, 50, 300]])
def test_statistics_survive_strict_json(lengths):
    found = statistics_of(np.array(lengths, np.int64)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_patch_without_bytes_is_refused():
    with pytest.raises(ValueError, match=r"`lengths` must be at least 1; got 0 at index 1"):
        statistics_of(np.array([2, 0], np.int64))


@pytest.mark.parametrize(
    ("text", "lengths", "share"),
    [
        ("one two", [3, 1, 3], 1.0),
        ("one two", [2, 3, 2], 0.0),
        ("one two", [3, 2, 2], 0.5),
        ("a_1b", [1, 1, 1, 1], 0.0),
        ("don't", [3, 1, 1], 1.0),
        ("é,", [1, 1, 1], 0.5),
        ("..", [1, 1], 0.0),
        ("word", [4], 0.0),
        ("", [], 0.0),
    ],
)
def test_the_share_of_cuts_at_words(text, lengths, share):
    assert boundary_share(octets_of(text), np.array(lengths, np.int64)) == share


def test_random_cuts_of_the_same_lengths_rarely_meet_words():
    octets = octets_of("patch " * 500)
    lengths = np.array([5, 1] * 500, np.int64)
    assert boundary_share(octets, lengths) == 1.0
    assert (
        0.25 < random_boundary_share(octets, lengths, seed=0) < 0.42
    )  # 2 of 6 positions are boundaries


def test_random_cuts_follow_the_seed():
    octets = octets_of("some words here" * 20)
    lengths = np.array([1, 2, 3, 4, 5] * 20, np.int64)
    first = random_boundary_share(octets, lengths, seed=1)
    assert first == random_boundary_share(octets, lengths, seed=1)
    assert first != random_boundary_share(octets, lengths, seed=2)


def test_random_cuts_are_those_of_one_order_when_there_is_only_one():
    octets = octets_of("to be or")
    lengths = np.array([2, 2, 2, 2], np.int64)
    assert (
        random_boundary_share(octets, lengths, seed=3) == boundary_share(octets, lengths) == 2 / 3
    )


@pytest.mark.parametrize(
    "share", [boundary_share, lambda *document: random_boundary_share(*document, seed=0)]
)
@pytest.mark.parametrize(
    ("lengths", "says"), [([1, 1], "add up to the number of bytes .3.; got 2"), ([4, -1], "got -1")]
)
def test_lengths_that_are_not_the_document_s_are_refused(share, lengths, says):
    with pytest.raises(ValueError, match=says):
        share(octets_of("abc"), np.array(lengths, np.int64))


def test_no_permutation_is_refused():
    with pytest.raises(ValueError, match=r"`permutations` must be at least 1; got 0"):
        random_boundary_share(octets_of("ab"), np.array([1, 1], np.int64), seed=0, permutations=0)
