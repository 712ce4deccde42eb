import itertools

import numpy as np
import pytest

from sphere_ebm.librarian.windows import (
    document_passages,
    passages_of,
    sequence_windows,
    stacked,
)


def seen(passages, row):
    text = passages.octets[passages.low[row] : passages.high[row]].tobytes()
    patch = passages.octets[passages.first[row] : passages.last[row]].tobytes()
    return text, patch


def test_a_passage_stands_between_what_is_before_and_after():
    held = passages_of(["b", "ü"], before=["a", ""], after=["c", "d"])
    assert seen(held, 0) == (b"abc", b"b")
    assert seen(held, 1) == ("üd".encode(), "ü".encode())


def test_reach_cuts_the_text_and_never_the_patch():
    held = document_passages(np.frombuffer(b"abcdefgh", np.uint8), np.array([0, 3, 5, 8]))
    assert seen(held.within(1), 1) == (b"cdef", b"de")
    assert seen(held.within(0), 0) == (b"abc", b"abc")
    assert seen(held.within(99), 2) == (b"abcdefgh", b"fgh")


def test_stacked_patches_keep_their_texts():
    one = passages_of(["b"], before=["a"])
    other = document_passages(np.frombuffer(b"xyz", np.uint8), np.array([0, 1, 3]))
    both = stacked([one, other, one])
    assert [seen(both, row) for row in range(4)] == [
        (b"ab", b"b"),
        (b"xyz", b"x"),
        (b"xyz", b"yz"),
        (b"ab", b"b"),
    ]
    assert len(stacked([])) == 0


@pytest.mark.parametrize("given", [{"before": ["a"]}, {"after": ["a", "b", "c"]}])
def test_context_of_another_length_is_refused(given):
    with pytest.raises(ValueError, match="must have 2 entries"):
        passages_of(["x", "y"], **given)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ValueError, match="lone surrogate"):
        passages_of(["\ud800"])


@pytest.mark.parametrize(("patches", "length", "overlap"), [(23, 10, 5), (4, 10, 5), (30, 10, 0)])
def test_windows_cover_a_document_and_overlap_as_asked(patches, length, overlap):
    found = list(sequence_windows(patches, length, overlap))
    rows = [list(range(patches)[window]) for window in found]
    assert {row for window in rows for row in window} == set(range(patches))
    assert all(len(window) == min(length, patches) for window in rows)
    assert all(b[0] - a[0] == length - overlap for a, b in itertools.pairwise(rows[:-1]))


def test_windows_that_would_never_end_are_refused():
    with pytest.raises(ValueError, match="`overlap` in"):
        list(sequence_windows(5, 3, 3))
