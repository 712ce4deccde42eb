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
    windows = byte_windows(passages, 8, 3)
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
    windows = byte_windows(passages, 5, 1)
    assert told(windows.tokens[0]) == b"<abcop>"
    assert windows.length.tolist() == [16]
    assert told(byte_windows(passages, 16, 0).tokens[0]) == b"abcdefghijklmnop"


def test_places_behind_the_longest_window_can_be_cut():
    windows = byte_windows(passages_of([b"abc", b"a", b""]), 9, 2)
    assert windows.cut().tokens.shape == (3, 4)
    assert np.array_equal(windows.cut().tokens, windows.tokens[:, :4])
    assert byte_windows(passages_of([b""]), 9, 2).cut().tokens.tolist() == [[WHOLE]]
