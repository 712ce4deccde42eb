from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchings import (
    KNOWN,
    documents,
    entropies_of,
    lengths_of,
    patchings,
    quick,
    slow_lengths,
    starts_of,
)
from sphere_ebm.text.patching import (
    RULES,
    Patching,
    StreamingPatcher,
)


@pytest.mark.parametrize(
    ("rule", "longest", "lengths"),
    [
        ("global", None, [1, 1, 2, 1, 2]),
        ("monotonic", None, [1, 1, 2, 3]),
        ("monotonic", 2, [1, 1, 2, 2, 1]),
        ("upstream", None, [1, 2, 3, 1]),
    ],
)
def test_the_conformance_vector_is_cut_as_agreed(rule, longest, lengths):
    assert (
        lengths_of(KNOWN, Patching(rule, 1.335, max_patch_length=longest, utf8_safe=False))
        == lengths
    )


@pytest.mark.parametrize(
    ("rule", "lengths"), [("global", [1, 2]), ("monotonic", [1, 1, 1]), ("upstream", [2, 1])]
)
def test_the_last_entropy_cuts_only_upstream(rule, lengths):
    assert lengths_of([0, 0, 9], Patching(rule, 1.335)) == lengths


@pytest.mark.parametrize(
    ("values", "lengths"),
    [
        ([0, 9, 0, 0, 0, 0], [1, 1, 4]),
        ([0, 0, 9, 0, 0, 0], [1, 1, 4]),  # position 3 starts nothing
        ([0, 0, 0, 9, 9, 9], [1, 1, 2, 2]),
        (
            [0, 0, 0, 9, 9.25, 9.75, 0],
            [1, 1, 2, 2, 1],
        ),  # above the threshold at 5 and 6, but only 6 rises enough
    ],
)
def test_both_conditions_are_needed_from_position_four(values, lengths):
    assert lengths_of(values, Patching("both", 1.335, 0.25)) == lengths


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("global", [0, 1.335, 1.335, 1.335]),
        ("monotonic", [0, 0, 1.335, 0]),
        ("upstream", [0, 1.335, 0, 1.335]),
    ],
)
def test_an_entropy_at_the_threshold_is_no_boundary(rule, values):
    forced = {"global": 2, "monotonic": 3, "upstream": 1}[rule]
    assert len(lengths_of(values, Patching(rule, 1.335))) == forced
    just_below = float(np.nextafter(np.float32(1.335), np.float32(0)))
    assert len(lengths_of(values, Patching(rule, just_below))) > forced


@pytest.mark.parametrize("rule", RULES)
def test_the_shortest_documents(rule):
    patching = Patching(rule, 1.0, 0.0 if rule == "both" else None)
    assert lengths_of([], patching) == []
    assert lengths_of([9], patching) == [1]
    assert lengths_of([0, 1], patching) == ([2] if rule == "upstream" else [1, 1])
    assert lengths_of([0, 9], patching) == [1, 1]


def test_a_long_patch_is_cut_into_the_largest_pieces():
    values = np.zeros(1000)
    assert lengths_of(values, Patching("upstream", 1.0)) == [384, 384, 232]
    assert lengths_of(values, Patching("upstream", 1.0, max_patch_length=500)) == [500, 500]
    assert lengths_of(values, Patching("upstream", 1.0, max_patch_length=None)) == [1000]


def test_a_start_inside_a_character_moves_to_its_first_byte():
    octets = "ab😀c".encode()
    assert lengths_of([0, 0, 9, 0, 9, 0, 0], Patching("global", 1.0), octets) == [1, 1, 5]
    assert lengths_of([0, 0, 9, 0, 9, 0, 0], Patching("global", 1.0, utf8_safe=False), octets) == [
        1,
        2,
        2,
        2,
    ]


def test_pieces_end_at_characters_and_are_as_long_as_they_can_be():
    octets = "€€€€a€".encode()
    assert lengths_of(np.zeros(16), Patching("upstream", 1.0, max_patch_length=4), octets) == [
        3,
        3,
        3,
        4,
        3,
    ]
    assert lengths_of(np.zeros(16), Patching("upstream", 1.0, max_patch_length=7), octets) == [
        6,
        7,
        3,
    ]


@pytest.mark.parametrize(
    "octets", [b"a\x80", b"\xc0\x80", b"\xff\x80", b"\xf5\x80", b"\xc3\xa9\x80"]
)
def test_a_stray_continuation_byte_stands_for_itself(octets):
    assert lengths_of(np.full(len(octets), 9.0), Patching("global", 1.0), octets) == [
        len(octets) - 1,
        1,
    ]


@quick
@given(documents(), patchings())
def test_patches_follow_the_contract_byte_by_byte(document, patching):
    octets, entropies = document
    assert lengths_of(entropies, patching, octets) == slow_lengths(octets, entropies, patching)


@quick
@given(documents(), patchings())
def test_patches_are_positive_and_make_up_the_document(document, patching):
    octets, entropies = document
    lengths = np.array(lengths_of(entropies, patching, octets), np.int64)
    assert (lengths > 0).all()
    assert lengths.sum() == len(octets)
    assert (np.diff(starts_of(lengths)) > 0).all()
    if patching.max_patch_length is not None:
        assert (lengths <= patching.max_patch_length).all()


@quick
@given(st.text("aé€😀 ", min_size=1), patchings(), st.randoms(use_true_random=False))
def test_no_character_is_cut(text, patching, random):
    octets = text.encode()
    patching = replace(patching, utf8_safe=True, max_patch_length=random.choice([None, 4, 5, 9]))
    lengths = lengths_of([random.uniform(0, 3) for _ in octets], patching, octets)
    ends = np.cumsum(lengths).tolist()
    assert (
        "".join(octets[start:end].decode() for start, end in zip([0, *ends], ends, strict=False))
        == text
    )


@quick
@given(documents(), patchings(), st.data())
def test_chunks_of_any_size_give_the_same_patches(document, patching, data):
    octets, entropies = document
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    patcher = StreamingPatcher(patching)
    lengths = []
    for start, stop in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        lengths += patcher.push(
            np.frombuffer(octets[start:stop], np.uint8), entropies[start:stop]
        ).tolist()
    lengths += patcher.finish().tolist()
    assert lengths == slow_lengths(octets, entropies, patching)


@quick
@given(documents(), patchings(), st.integers(1, 8))
def test_a_higher_threshold_never_gives_more_starts(document, patching, quarters):
    octets, entropies = document
    patching = replace(patching, max_patch_length=None)
    higher = replace(patching, threshold=patching.threshold + quarters / 4)
    lower_starts, higher_starts = (
        set(starts_of(np.array(lengths_of(entropies, choice, octets), np.int64)).tolist())
        for choice in (patching, higher)
    )
    assert higher_starts <= lower_starts


def test_pieces_of_an_open_patch_come_out_as_soon_as_a_byte_follows():
    patcher = StreamingPatcher(Patching("upstream", 1.0, max_patch_length=4, utf8_safe=False))
    given_out = [
        patcher.push(np.array([97], np.uint8), entropies_of([0])).tolist() for _ in range(9)
    ]
    assert given_out == [[], [], [], [], [4], [], [], [], [4]]
    assert patcher.finish().tolist() == [1]


def test_a_character_is_held_back_until_it_is_whole():
    patcher = StreamingPatcher(Patching("upstream", 1.0, max_patch_length=4))
    octets = "aaa€".encode()
    values = [0, 0, 0, 0, 0, 9]
    given_out = [
        patcher.push(np.array([octet], np.uint8), entropies_of([value])).tolist()
        for octet, value in zip(octets, values, strict=True)
    ]
    assert given_out == [[], [], [], [], [], [3]]
    assert patcher.finish().tolist() == [3]


def test_a_stream_without_boundaries_holds_a_few_numbers():
    patcher = StreamingPatcher(Patching("upstream", 1.0, max_patch_length=None))
    chunk = np.frombuffer("ab😀".encode() * 500 + b"\xf0\x9f\x98", np.uint8)
    for _ in range(5):
        patcher.push(chunk, np.zeros(len(chunk), np.float32))
        held = [value for value in vars(patcher).values() if isinstance(value, np.ndarray)]
        assert sum(len(value) if value.base is None else len(value.base) for value in held) <= 10
    assert patcher.finish().tolist() == [5 * len(chunk)]


def test_a_finished_patcher_takes_no_more():
    patcher = StreamingPatcher(Patching("global", 1.0))
    patcher.push(np.array([97], np.uint8), entropies_of([0]))
    assert patcher.finish().tolist() == [1]
    assert patcher.finish().tolist() == []
    with pytest.raises(ValueError, match="`push` must come before `finish`"):
        patcher.push(np.array([97], np.uint8), entropies_of([0]))
