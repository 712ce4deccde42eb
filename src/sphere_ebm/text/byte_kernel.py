"""The compiled inner loop of the byte model: predict, measure, learn, one byte after another.

The state is a tuple of arrays (`State`), so that it can be copied and grown from outside:

- `single` (256, 256), `single_sum` (256,) float64: how often a byte followed a byte, never zero,
  and the rows' sums.
- `row` (65 536,) int32: the row of two bytes in `pairs`, or -1. `pairs` (rows, 256) float64: how
  often a byte followed them, on top of `_PSEUDO` counts by the law of one byte when the row was
  new. `sums` (rows, 2): of each row, the sum of n and that of n log n, from which the row's entropy
  follows without a loop.
- `nodes` (slots, 4) uint32: an open-addressing table of longer contexts. Two words of key (the
  bytes of the context, and its order above them), where its list begins in `entries`, and total <<
  9 | distinct. A second word of 0 marks a free slot.
- `entries` (room,) uint32: lists of count << 8 | byte, one for each context, in one piece; a list
  that is full moves to one of twice the size.
- `used` (3,) int64: nodes, entries and rows in use.
- `trust` (orders, buckets, 2) float64: how often a context of this order and bucket was asked, and
  was right to be.

Keys are exact: how large the arrays are changes no result.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from sphere_ebm.files.compiled import compiled

LOWEST = 3
HIGHEST = 6
"""Orders of the contexts kept in lists; shorter ones have a row for all bytes."""

_ORDERS = HIGHEST - LOWEST + 1
_LEVELS = 16
_KINDS = 6
_MOST_TOTAL = (1 << 22) - 1
_LONGEST_LIST = 256
_PSEUDO = 5.0
_EVEN = 0.2
"""Counts that a row of two bytes begins with, and the part of them that all bytes share alike."""
_ASKED = 2000.0
"""A bucket forgets half of what it knows when it was asked so often."""

_MOST_SHARE = 1 - 2.0**-16
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class State(NamedTuple):
    """See the module's docstring."""

    single: np.ndarray
    single_sum: np.ndarray
    row: np.ndarray
    pairs: np.ndarray
    sums: np.ndarray
    nodes: np.ndarray
    entries: np.ndarray
    used: np.ndarray
    trust: np.ndarray


def fresh_state() -> State:
    """A model that has read nothing."""
    count = 1 / 64
    return State(
        single=np.full((256, 256), count),
        single_sum=np.full(256, 256 * count),
        row=np.full(65536, -1, np.int32),
        pairs=np.zeros((64, 256)),
        sums=np.zeros((64, 2)),
        nodes=np.zeros((1 << 10, 4), np.uint32),
        entries=np.zeros(1 << 13, np.uint32),
        used=np.zeros(3, np.int64),
        trust=np.tile([2.0, 1.0], (_ORDERS, _LEVELS * _KINDS, 1)),
    )


def grown(state: State) -> State:
    """The state with twice the room wherever `advance` may have found too little."""
    nodes, entries, rows = (int(n) for n in state.used)
    if _is_narrow(rows, len(state.pairs)):
        state = state._replace(pairs=_larger(state.pairs), sums=_larger(state.sums))
    if _is_short(entries, len(state.entries)):
        state = state._replace(entries=_larger(state.entries))
    if _is_crowded(nodes, len(state.nodes)):
        table = np.zeros((2 * len(state.nodes), 4), np.uint32)
        _copy_nodes(state.nodes, table)
        state = state._replace(nodes=table)
    return state


def _larger(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.zeros_like(array)])


@compiled
def _is_narrow(rows: int, room: int) -> bool:
    """Whether there is no room for a row of two bytes that have not been met."""
    return rows == room and rows < 65536


@compiled
def _is_short(entries: int, room: int) -> bool:
    """Whether the lists may not have room for what one byte adds."""
    return entries + _ORDERS * 2 * _LONGEST_LIST > room


@compiled
def _is_crowded(nodes: int, slots: int) -> bool:
    """Whether the table is fuller than two thirds: looking up becomes slow."""
    return 3 * (nodes + _ORDERS) > 2 * slots


@compiled
def _slot_of(nodes: Any, low: Any, high: Any) -> Any:
    """The slot that holds the key, or the free one where it belongs."""
    mask = np.uint64(nodes.shape[0] - 1)
    mixed = ((np.uint64(high) << np.uint64(32)) | np.uint64(low)) * _MULTIPLIER
    slot = (mixed >> np.uint64(32)) & mask
    while nodes[slot, 1] != 0 and (nodes[slot, 0] != low or nodes[slot, 1] != high):
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _copy_nodes(nodes: Any, table: Any) -> None:
    for i in range(nodes.shape[0]):
        if nodes[i, 1] != 0:
            slot = _slot_of(table, nodes[i, 0], nodes[i, 1])
            for j in range(4):
                table[slot, j] = nodes[i, j]


@compiled
def _key(history: Any, order: int) -> Any:
    """The two words of the context of this order."""
    context = history & ((np.uint64(1) << np.uint64(8 * order)) - np.uint64(1))
    return np.uint32(context & np.uint64(0xFFFFFFFF)), np.uint32(
        context >> np.uint64(32)
    ) | np.uint32(order << 16)


@compiled
def _bucket(total: int, distinct: int) -> int:
    """Class of a context by how much it has seen, and how many different bytes followed it."""
    size = 0
    while total > 3:
        total >>= 1
        size += 1
    level = min(2 * size + total - 1, _LEVELS - 1)
    kind = 0
    while distinct > 1 and kind < _KINDS - 1:
        distinct >>= 1
        kind += 1
    return level * _KINDS + kind


@compiled
def _share(cell: Any) -> float:
    """The share that a bucket has earned; never all, so that every byte stays possible."""
    return min(cell[1] / cell[0], _MOST_SHARE)


@compiled
def _row_of(history: Any, state: State) -> Any:
    """The row of the last two bytes, made from the law by the last one where there is none."""
    pair = np.int64(history & np.uint64(65535))
    row = state.row[pair]
    if row < 0:
        row = np.int32(state.used[2])
        state.used[2] += 1
        state.row[pair] = row
        single = pair & 255
        scale = _PSEUDO * (1.0 - _EVEN) / state.single_sum[single]
        plogp = 0.0
        for octet in range(256):
            n = scale * state.single[single, octet] + _PSEUDO * _EVEN / 256
            state.pairs[row, octet] = n
            plogp += n * math.log(n)
        state.sums[row, 0] = _PSEUDO
        state.sums[row, 1] = plogp
    return row


@compiled
def _predict(history: Any, state: State, law: Any, touched: Any, slots: Any, buckets: Any) -> Any:
    """Entropy of the next byte's law, which is rest * (row of `pairs`) + `law`.

    `law` is zero but for the `touched` bytes. Returns also the row, the rest, how many bytes were
    touched and how many of the longer contexts are known.
    """
    known = 0
    for k in range(_ORDERS):
        low, high = _key(history, k + LOWEST)
        slots[k] = _slot_of(state.nodes, low, high)
        if state.nodes[slots[k], 1] == 0:
            break
        known += 1
    rest = 1.0
    count = 0
    for k in range(known - 1, -1, -1):
        seen = state.nodes[slots[k], 3]
        total = np.int64(seen >> 9)
        distinct = np.int64(seen & 511)
        buckets[k] = _bucket(total, distinct)
        share = _share(state.trust[k, buckets[k]])
        weight = rest * share / total
        rest *= 1.0 - share
        begin = np.int64(state.nodes[slots[k], 2])
        for entry in range(begin, begin + distinct):
            packed = state.entries[entry]
            octet = np.int64(packed & 255)
            if law[octet] == 0.0:
                touched[count] = octet
                count += 1
            law[octet] += weight * np.int64(packed >> 8)
    row = _row_of(history, state)
    # sum over all bytes of rest q log(rest q), then the touched ones corrected
    scale = rest / state.sums[row, 0]
    plogp = scale * state.sums[row, 1] + rest * math.log(scale)
    for j in range(count):
        below = scale * state.pairs[row, touched[j]]
        whole = below + law[touched[j]]
        plogp += whole * math.log(whole) - below * math.log(below)
    return -plogp, row, rest, count, known


@compiled
def _add(octet: Any, slot: Any, state: State) -> None:
    """Append a byte to the list of a node; a list whose length is a power of two is full."""
    seen = state.nodes[slot, 3]
    distinct = np.int64(seen & 511)
    begin = np.int64(state.nodes[slot, 2])
    if distinct & (distinct - 1) == 0:
        moved = state.used[1]
        state.used[1] += max(2 * distinct, 1)
        for j in range(distinct):
            state.entries[moved + j] = state.entries[begin + j]
        begin = moved
        state.nodes[slot, 2] = np.uint32(begin)
    state.entries[begin + distinct] = np.uint32(256) | np.uint32(octet)
    state.nodes[slot, 3] = seen + np.uint32(513)


@compiled
def _learn(
    octet: Any, history: Any, state: State, slots: Any, known: int, full: bool, shares: Any
) -> bool:
    """Count `octet` in the longest contexts, down to the first that knew it.

    Returns whether one did.

    Shorter contexts so count in how many longer ones a byte was new, as Kneser and Ney have it. A
    text becomes a context of one byte more when all shorter ones are known. Fills the `shares` that
    the contexts gave to `octet`.
    """
    counted = False
    if known < _ORDERS and not full:
        low, high = _key(history, known + LOWEST)
        slot = slots[known]
        state.nodes[slot, 0] = low
        state.nodes[slot, 1] = high
        state.used[0] += 1
        _add(octet, slot, state)
    for k in range(known - 1, -1, -1):
        seen = state.nodes[slots[k], 3]
        begin = np.int64(state.nodes[slots[k], 2])
        found = -1
        for entry in range(begin, begin + np.int64(seen & 511)):
            if np.int64(state.entries[entry] & 255) == np.int64(octet):
                found = entry
                break
        shares[k] = 0.0
        if found >= 0:
            shares[k] = np.float64(state.entries[found] >> 8) / np.float64(seen >> 9)
        if counted:
            continue
        if found >= 0:
            counted = True
            if (seen >> 9) < _MOST_TOTAL:
                state.entries[found] += np.uint32(256)
                state.nodes[slots[k], 3] = seen + np.uint32(512)
        elif not full:
            _add(octet, slots[k], state)
    return counted


@compiled
def _count(octet: Any, row: Any, history: Any, state: State) -> None:
    """Count `octet` after the last two bytes, and after the last one unless the two expected it."""
    n = state.pairs[row, octet]
    state.pairs[row, octet] = n + 1.0
    state.sums[row, 0] += 1.0
    state.sums[row, 1] += (n + 1.0) * math.log(n + 1.0) - n * math.log(n)
    if n < 1.0:
        single = np.int64(history & np.uint64(255))
        state.single[single, octet] += 1.0
        state.single_sum[single] += 1.0


@compiled
def _weigh(below: float, shares: Any, buckets: Any, known: int, trust: Any, posterior: Any) -> None:
    """Expectation step.

    To which order does the byte that came belong? `below` is its share by the last two bytes.
    """
    for k in range(known):
        share = _share(trust[k, buckets[k]])
        mine = share * shares[k]
        below = mine + (1.0 - share) * below
        posterior[k] = mine / below
    reached = 1.0
    for k in range(known - 1, -1, -1):
        cell = trust[k, buckets[k]]
        cell[0] += reached
        cell[1] += reached * posterior[k]
        reached *= 1.0 - posterior[k]
        if cell[0] > _ASKED:
            cell[0] *= 0.5
            cell[1] *= 0.5


@compiled
def advance(
    octets: Any, history: Any, state: State, most_entries: int, entropies: Any, costs: Any
) -> Any:
    """Read `octets` after `history` (the bytes before, the latest lowest).

    Fill `entropies` and `costs`, in nats.

    costs[i] is -log p of octets[i] before it was read, entropies[i] the entropy of the law of the
    byte after it. From `most_entries` on nothing new is taken up. Returns how many bytes were read,
    fewer than there are where `grown` has to make room first, and the history after them.
    """
    law = np.zeros(256)
    touched = np.zeros(256, np.int64)
    slots = np.zeros(_ORDERS, np.uint64)
    buckets = np.zeros(_ORDERS, np.int64)
    shares = np.zeros(_ORDERS)
    posterior = np.zeros(_ORDERS)
    if _is_narrow(state.used[2], state.pairs.shape[0]):
        return 0, history
    _, row, rest, count, known = _predict(history, state, law, touched, slots, buckets)
    for i in range(octets.shape[0]):
        full = state.used[1] >= most_entries
        if _is_narrow(state.used[2], state.pairs.shape[0]):
            return i, history
        if not full and _is_short(state.used[1], state.entries.shape[0]):
            return i, history
        if not full and _is_crowded(state.used[0], state.nodes.shape[0]):
            return i, history
        octet = octets[i]
        below = state.pairs[row, octet] / state.sums[row, 0]
        costs[i] = -math.log(law[octet] + rest * below)
        for j in range(count):
            law[touched[j]] = 0.0
        if not _learn(octet, history, state, slots, known, full, shares):
            _count(octet, row, history, state)
        _weigh(below, shares, buckets, known, state.trust, posterior)
        history = (history << np.uint64(8)) | np.uint64(octet)
        entropies[i], row, rest, count, known = _predict(
            history, state, law, touched, slots, buckets
        )
    return octets.shape[0], history
