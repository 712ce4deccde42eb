"""Windows of bytes: what the students see that read bytes one by one."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32, UInt32

from sphere_ebm.librarian.windows import Passages

NOTHING = 0
"""Where a window has no byte. Byte b is 1 + b, and the window as a whole is `WHOLE`."""
WHOLE = 257
TOKENS = 258
ROLES = 4
"""What a place of a window holds: the whole, a byte before the patch, of it, or after it."""
BEFORE = 1
PATCH = 2
AFTER = 3
GRAMS = (3, 4, 5)
"""Bytes of the n-grams that end at a place."""
_EMPTY = 2166136261
_PRIME = np.uint32(16777619)


@final
class ByteWindows(NamedTuple):
    """N patches as tokens in T places: first the whole, then what stands before, patch, after.

    Bytes are side by side from the second place on; what is left has nothing.

    - `tokens` (N, T): `NOTHING`, 1 + byte, or `WHOLE` in the first place.
    - `roles` (N, T): what each place holds; of places with nothing, 0.
    - `grams` (N, T, G): rows of the n-grams of `GRAMS` bytes that end at each place, by a fixed
      hash; 0 where there is none.
    - `length` (N,): bytes of the patch, at least 1, whether they are all seen or not.
    """

    tokens: Int32[np.ndarray, "patches places"]
    roles: Int32[np.ndarray, "patches places"]
    grams: Int32[np.ndarray, "patches places grams"]
    length: Float32[np.ndarray, " patches"]

    def cut(self) -> "ByteWindows":
        """Without the places behind the last byte of the longest window."""
        used = np.flatnonzero((self.tokens != NOTHING).any(axis=0))
        places = int(used[-1]) + 1 if len(used) else 1
        return ByteWindows(
            self.tokens[:, :places], self.roles[:, :places], self.grams[:, :places], self.length
        )


def byte_windows(passages: Passages, longest: int, side: int, rows: int) -> ByteWindows:
    """Cut windows of `1 + side + longest + side` places.

    Of a patch of more than `longest` bytes the first and the last are kept, half of each.

    Args:
        passages: patches in their texts.
        longest: bytes of a patch that are seen.
        side: bytes on either side that are seen.
        rows: of n-grams; their hashes fall into one less, since nothing has the first.
    """
    place = np.arange(longest + 2 * side)[None]
    first = passages.first[:, None]
    last = passages.last[:, None]
    before = np.minimum(first - passages.low[:, None], side)
    inside = np.minimum(last - first, longest)
    after = np.minimum(passages.high[:, None] - last, side)
    within = place - before
    # behind the head of a long patch the places count from its end
    late = (last - first > longest) & (within >= longest - longest // 2)
    source = np.where(late | (within >= inside), last + within - inside, first + within)
    roles = np.where(within < 0, BEFORE, np.where(within < inside, PATCH, AFTER))
    there = within < inside + after
    whole = np.full((len(passages), 1), WHOLE, np.int32)
    octets = np.append(passages.octets, np.uint8(0))
    tokens = np.where(there, 1 + octets[np.where(there, source, 0)].astype(np.int32), NOTHING)
    tokens = np.concatenate([whole, tokens], axis=1, dtype=np.int32)
    return ByteWindows(
        tokens,
        np.concatenate([0 * whole, np.where(there, roles, 0)], axis=1, dtype=np.int32),
        _grams(tokens, rows),
        np.maximum(passages.last - passages.first, 1).astype(np.float32),
    )


def _grams(
    tokens: Int32[np.ndarray, "patches places"], rows: int
) -> Int32[np.ndarray, "patches places grams"]:
    """Rows of the n-grams that end at each place.

    The hash is FNV-1a over the bytes and the number of them, with a final mix.
    """
    byte = (tokens != NOTHING) & (tokens != WHOLE)
    code = np.full(tokens.shape, _EMPTY, np.uint32)
    complete = np.ones(tokens.shape, bool)
    found = np.zeros((*tokens.shape, len(GRAMS)), np.int32)
    # after round n, `code` is the hash of the n bytes up to a place, if there are so many
    for count in range(1, GRAMS[-1] + 1):
        code = (_before(code) ^ tokens.astype(np.uint32)) * _PRIME
        complete = _before(complete) & byte
        if count in GRAMS:
            row = 1 + _mixed(code + np.uint32(count)) % np.uint32(max(rows - 1, 1))
            found[:, :, GRAMS.index(count)] = np.where(complete, np.minimum(row, rows - 1), 0)
    return found


def _mixed(code: UInt32[np.ndarray, "patches places"]) -> UInt32[np.ndarray, "patches places"]:
    """Bits stirred, so that all of them count for a row."""
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        code = (code ^ (code >> np.uint32(shift))) * np.uint32(factor)
    return code ^ (code >> np.uint32(15))


def _before(values: np.ndarray) -> np.ndarray:
    """What the place before each has; the first has none."""
    moved = np.zeros_like(values)
    moved[:, 1:] = values[:, :-1]
    return moved
