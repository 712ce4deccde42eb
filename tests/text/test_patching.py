import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sphere_ebm.text.patching import (
    RULES,
    Patching,
    StreamingPatcher,
    find_threshold,
    patch_lengths,
)

KNOWN = [0.5, 2.0, 0.2, 1.9, 1.8, 0.1, 3.0]
quick = settings(max_examples=250, derandomize=True, deadline=None, database=None)


def entropies_of(values) -> np.ndarray:
    return np.array(values, np.float32)


def lengths_of(values, patching: Patching, octets: bytes | None = None) -> list[int]:
    octets = b"a" * len(values) if octets is None else octets
    return patch_lengths(np.frombuffer(octets, np.uint8), entropies_of(values), patching).tolist()


def starts_of(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths) - lengths


def character_starts(octets: bytes) -> list[int]:
    """For each byte the first byte of its character, found by walking from left to right."""
    firsts: list[int] = []
    while len(firsts) < len(octets):
        first = len(firsts)
        lead = octets[first]
        announced = (
            1
            if 0xC2 <= lead < 0xE0
            else 2
            if 0xE0 <= lead < 0xF0
            else 3
            if 0xF0 <= lead < 0xF5
            else 0
        )
        firsts.append(first)
        while (
            len(firsts) < len(octets)
            and len(firsts) - first <= announced
            and octets[len(firsts)] & 0xC0 == 0x80
        ):
            firsts.append(first)
    return firsts


def is_start(entropies: np.ndarray, position: int, patching: Patching) -> bool:
    rule = patching.rule
    level = np.float32(patching.threshold)
    if rule == "upstream":
        return position == 0 or bool(entropies[position] - entropies[position - 1] > level)
    if position < (2 if rule == "global" else 3):
        return True
    last = entropies[position - 1]
    rise = entropies[position - 1] - entropies[position - 2]
    if rule == "global":
        return bool(last > level)
    if rule == "monotonic":
        return bool(rise > level)
    return position > 3 and bool(last > level and rise > np.float32(patching.rise))


def slow_lengths(octets: bytes, entropies: np.ndarray, patching: Patching) -> list[int]:
    """The contract, one byte after the other."""
    if not octets:
        return []
    firsts = character_starts(octets) if patching.utf8_safe else list(range(len(octets)))
    starts = sorted({firsts[i] for i in range(len(octets)) if is_start(entropies, i, patching)})
    longest = patching.max_patch_length or len(octets) + 1
    lengths = []
    for start, stop in zip(starts, [*starts[1:], len(octets)], strict=True):
        while stop - start > longest:
            cut = firsts[start + longest]
            lengths.append(cut - start)
            start = cut
        lengths.append(stop - start)
    return lengths


PIECES = [
    b"a",
    b" ",
    "é".encode(),
    "€".encode(),
    "😀".encode(),
    b"\x80",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f",
    b"\xc0",
    b"\xff",
]


@st.composite
def documents(draw):
    octets = b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=20)))
    step = st.integers(0, 8).map(lambda quarter: quarter / 4)
    values = draw(st.lists(step, min_size=len(octets), max_size=len(octets)))
    return octets, entropies_of(values)


@st.composite
def patchings(draw):
    rule = draw(st.sampled_from(RULES))
    safe = draw(st.booleans())
    return Patching(
        rule,
        draw(st.integers(-2, 6)) / 4,
        draw(st.integers(-2, 4)) / 4 if rule == "both" else None,
        draw(st.none() | st.integers(4 if safe else 1, 9)),
        safe,
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
