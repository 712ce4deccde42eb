"""Windows of bytes: what the students see that read bytes one by one."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32

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


@final
class ByteWindows(NamedTuple):
    """N patches as tokens in T places: first the whole, then what stands before, patch, after.

    Bytes are side by side from the second place on; what is left has nothing.

    - `tokens` (N, T): `NOTHING`, 1 + byte, or `WHOLE` in the first place.
    - `roles` (N, T): what each place holds; of places with nothing, 0.
    - `length` (N,): bytes of the patch, at least 1, whether they are all seen or not.
    """

    tokens: Int32[np.ndarray, "patches places"]
    roles: Int32[np.ndarray, "patches places"]
    length: Float32[np.ndarray, " patches"]

    def cut(self) -> "ByteWindows":
        """Without the places behind the last byte of the longest window."""
        used = np.flatnonzero((self.tokens != NOTHING).any(axis=0))
        places = int(used[-1]) + 1 if len(used) else 1
        return ByteWindows(self.tokens[:, :places], self.roles[:, :places], self.length)


def byte_windows(passages: Passages, longest: int, side: int) -> ByteWindows:
    """Cut windows of `1 + side + longest + side` places.

    Of a patch of more than `longest` bytes the first and the last are kept, half of each.

    Args:
        passages: patches in their texts.
        longest: bytes of a patch that are seen.
        side: bytes on either side that are seen.
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
    rows = np.where(late | (within >= inside), last + within - inside, first + within)
    roles = np.where(within < 0, BEFORE, np.where(within < inside, PATCH, AFTER))
    there = within < inside + after
    whole = np.full((len(passages), 1), WHOLE, np.int32)
    octets = np.append(passages.octets, np.uint8(0))
    tokens = np.where(there, 1 + octets[np.where(there, rows, 0)].astype(np.int32), NOTHING)
    return ByteWindows(
        np.concatenate([whole, tokens], axis=1, dtype=np.int32),
        np.concatenate([0 * whole, np.where(there, roles, 0)], axis=1, dtype=np.int32),
        np.maximum(passages.last - passages.first, 1).astype(np.float32),
    )
