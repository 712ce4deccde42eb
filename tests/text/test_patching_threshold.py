"""The search for a threshold, and choices of patching that are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchings import (
    documents,
    entropies_of,
    lengths_of,
    patchings,
    quick,
)
from sphere_ebm.text.patching import (
    RULES,
    Patching,
    StreamingPatcher,
    find_threshold,
    patch_lengths,
)


def random_document(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    words = ["the", "entropy", "größe", "数据", "of", "a", "byte", "😀", "prediction", "über"]
    octets = np.frombuffer(" ".join(rng.choice(words, size)).encode()[:size], np.uint8)
    first = np.concatenate([[True], octets[:-1] == ord(" ")])
    return octets, (rng.gamma(2.0, 0.35, len(octets)) + 1.5 * first).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wanted", [4.5, 12.0, 30.0])
def test_the_threshold_search_finds_the_wanted_mean_length(rule, wanted):
    octets, entropies = random_document(40_000)
    template = Patching(rule, rise=0.0 if rule == "both" else None)
    threshold = find_threshold([(octets, entropies)], wanted, template)
    found = patch_lengths(octets, entropies, replace(template, threshold=threshold))
    assert len(octets) / len(found) == pytest.approx(wanted, rel=0.01)
    stored = json.loads(json.dumps(threshold))
    assert float(np.float32(stored)) == threshold


@settings(quick, max_examples=100)
@given(documents().filter(lambda document: len(document[0]) > 3), patchings(), st.floats(1, 12))
def test_no_threshold_comes_nearer_to_the_wanted_mean_length(document, patching, wanted):
    octets, entropies = document

    def miss(threshold: float) -> float:
        return abs(
            len(octets) / len(lengths_of(entropies, replace(patching, threshold=threshold), octets))
            - wanted
        )

    found = find_threshold([(np.frombuffer(octets, np.uint8), entropies)], wanted, patching)
    assert miss(found) == min(miss(quarter / 4) for quarter in range(-9, 10))


@pytest.mark.parametrize(
    ("values", "longest", "wanted", "lengths"),
    [
        (
            np.ones(100),
            None,
            25.0,
            [1] * 100,
        ),  # equal entropies: a mean length of 1 or of 50, nothing between
        (np.ones(100), None, 26.0, [1, 99]),
        (np.ones(100), 10, 50.0, [1] + [10] * 9 + [9]),
        (np.arange(10.0), None, 1000.0, [1, 9]),
    ],
)
def test_a_mean_length_out_of_reach_gives_the_nearest(values, longest, wanted, lengths):
    octets = np.full(len(values), 97, np.uint8)
    template = Patching("global", max_patch_length=longest)
    threshold = find_threshold([(octets, entropies_of(values))], wanted, template)
    assert lengths_of(values, replace(template, threshold=threshold)) == lengths


@pytest.mark.parametrize("wanted", [0.5, -1.0, float("nan"), float("inf")])
def test_a_mean_length_that_makes_no_sense_is_refused(wanted):
    with pytest.raises(ValueError, match="`mean_length` must be a finite number of bytes >= 1"):
        find_threshold([(np.zeros(9, np.uint8), np.zeros(9, np.float32))], wanted, Patching())


def test_documents_are_searched_together():
    octets, entropies = random_document(20_000)
    parts = [(octets[a : a + 2_000], entropies[a : a + 2_000]) for a in range(0, 20_000, 2_000)]
    threshold = find_threshold(parts, 12.0, Patching())
    patches = [patch_lengths(*part, Patching(threshold=threshold)) for part in parts]
    assert 20_000 / sum(map(len, patches)) == pytest.approx(12.0, rel=0.01)


def test_where_no_threshold_decides_the_answer_is_zero():
    assert find_threshold([(np.zeros(2, np.uint8), np.ones(2, np.float32))], 4.0, Patching()) == 0.0
    assert find_threshold([], 4.0, Patching()) == 0.0


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"rule": "space"}, "`rule` must be one of global, monotonic, both, upstream; got 'space'"),
        (
            {"rule": "both"},
            "`rise` must be a number with the rule both and None with others; got None with both",
        ),
        ({"rise": 0.5}, "`rise` must be a number with .* got 0.5 with monotonic"),
        (
            {"rule": "both", "rise": float("inf")},
            "`rise` must be a number that float32 can hold; got inf",
        ),
        (
            {"threshold": float("nan")},
            "`threshold` must be a number that float32 can hold; got nan",
        ),
        ({"threshold": 1e39}, "`threshold` must be a number that float32 can hold; got 1e[+]39"),
        ({"threshold": "1.3"}, "`threshold` must be a number that float32 can hold; got '1.3'"),
        (
            {"max_patch_length": 3},
            "`max_patch_length` must be None or an integer >= 4 with `utf8_safe`; got 3",
        ),
        ({"max_patch_length": 0, "utf8_safe": False}, "an integer >= 1 without `utf8_safe`; got 0"),
        (
            {"max_patch_length": 4.5},
            "`max_patch_length` must be None or an integer >= 4 with `utf8_safe`; got 4.5",
        ),
    ],
)
def test_bad_choices_are_refused_by_name(unchecked, choices, says):
    with pytest.raises(ValueError, match=says):
        Patching(**choices)


def test_numbers_of_numpy_are_kept_as_python_s(unchecked):
    patching = Patching(threshold=np.float32(1.5), max_patch_length=np.int64(8))
    assert json.dumps([patching.threshold, patching.max_patch_length]) == "[1.5, 8]"


def test_no_threshold_cuts_nothing():
    with pytest.raises(ValueError, match="`threshold` must be a number to cut patches; got None"):
        lengths_of([0.0], Patching())


def test_entropies_that_are_not_one_per_byte_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"`entropies` must be one per byte \(2\); got 3"):
        lengths_of([0, 0, 0], Patching("global", 1.0), b"ab")


def test_an_entropy_that_is_no_number_is_refused_with_its_place():
    patcher = StreamingPatcher(Patching("global", 1.0))
    patcher.push(np.frombuffer(b"ab\xe2\x82", np.uint8), np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="`entropies` must be finite; got nan at byte 5"):
        patcher.push(np.frombuffer(b"\xacd", np.uint8), entropies_of([0, np.nan]))
