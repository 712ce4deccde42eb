import numpy as np

from sphere_ebm.librarian.students.byte_windows import NOTHING, WHOLE, byte_windows
from sphere_ebm.librarian.windows import passages_of


def told(window: np.ndarray) -> bytes:
    """The bytes of a window, with a dot where there is nothing."""
    return bytes(46 if token == NOTHING else token - 1 for token in window[1:])


def test_bytes_stand_side_by_side_with_their_roles():
    passages = passages_of(
        [b"patch", b"", b"q"], [b"long before ", b"ab", b""], [b"after", b"", b"c"]
    )
    windows = byte_windows(passages, 8, 3, 300)
    assert (windows.tokens[:, 0] == WHOLE).all()
    assert [told(one) for one in windows.tokens] == [
        b"re patchaft...",
        b"ab............",
        b"qc............",
    ]
    assert windows.roles[0].tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 0, 0, 0]
    assert windows.roles[2].tolist() == [0, 2, 3] + [0] * 12
    assert windows.length.tolist() == [5, 1, 1]


def test_a_long_patch_shows_its_beginning_and_its_end():
    passages = passages_of([b"abcdefghijklmnop"], [b"<"], [b">"])
    windows = byte_windows(passages, 5, 1, 300)
    assert told(windows.tokens[0]) == b"<abcop>"
    assert windows.length.tolist() == [16]
    assert told(byte_windows(passages, 16, 0, 300).tokens[0]) == b"abcdefghijklmnop"


def test_places_behind_the_longest_window_can_be_cut():
    windows = byte_windows(passages_of([b"abc", b"a", b""]), 9, 2, 300)
    assert windows.cut().tokens.shape == (3, 4)
    assert np.array_equal(windows.cut().tokens, windows.tokens[:, :4])
    assert byte_windows(passages_of([b""]), 9, 2, 300).cut().tokens.tolist() == [[WHOLE]]


def test_n_grams_are_rows_of_the_bytes_that_end_at_a_place_and_of_nothing_else():
    passages = passages_of([b"abcabcd", b"xabc", b"\x00\x00\x00\x00"], [b"ab", b"", b""])
    grams = byte_windows(passages, 8, 3, 5000).grams
    assert grams.shape == (3, 15, 3)
    assert (grams >= 0).all()
    assert (grams < 5000).all()
    # "ab" stands before; "abc" ends at the fifth byte, at the eighth, and in the other patch
    assert grams[0, 5, 0] == grams[0, 8, 0] == grams[1, 4, 0] > 0
    assert grams[0, 5, 0] != grams[0, 6, 0]
    assert grams[0, 5, 0] != grams[0, 5, 1] > 0
    # three bytes are needed for the first size, five for the last; the whole is no byte
    assert (grams[0, :10] > 0).sum(axis=0).tolist() == [7, 6, 5]
    assert not grams[0, 10:].any()
    # bytes of 0 are bytes: runs of them are told apart by their length
    three, four, five = grams[2, 4]
    assert three != four > 0
    assert five == 0


def test_n_grams_fill_all_rows_but_the_first_which_is_for_none():
    text = np.random.default_rng(0).integers(97, 123, 4000).astype(np.uint8).tobytes()
    grams = byte_windows(passages_of([text]), 4000, 0, 50).grams
    count = np.bincount(grams[0, 10:].ravel(), minlength=50)
    assert count[0] == 0
    assert count[1:].min() > 0.7 * count[1:].mean()
    assert not byte_windows(passages_of([text]), 4000, 0, 1).grams.any()
