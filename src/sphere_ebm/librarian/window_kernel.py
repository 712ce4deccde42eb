"""Sums of n-gram vectors over windows of a text, and their gradients, by compiled loops.

All that is done for an n-gram is done once in a text, however many windows hold it: windows are
differences of running sums. XLA's gather and scatter take many times as long on a CPU.
"""

import functools

import numpy as np

from sphere_ebm.files.compiled import compiled as _compiled
from sphere_ebm.librarian.ngram_kernel import ROOM, known_ngrams, word_end_after, word_start

compiled = functools.partial(_compiled, extra="librarian")

_GROUP = 256  # patches that are read at a time, at most
_SPAN = 1 << 16  # bytes between the first and the last of them


@compiled
def _group_end(low: np.ndarray, first: np.ndarray, high: np.ndarray, start: int) -> int:
    """The end of the patches that share the text of patch `start`, few enough to be held."""
    stop = start + 1
    while (
        stop < len(low)
        and low[stop] == low[start]
        and high[stop] == high[start]
        and first[stop] >= first[stop - 1]
        and stop - start < _GROUP
        and first[stop] - first[start] < _SPAN
    ):
        stop += 1
    return stop


@compiled
def _lower(position: np.ndarray, count: int, at: int) -> int:
    """How many of the first `count` positions are below `at`."""
    left = 0
    right = count
    while left < right:
        middle = (left + right) // 2
        if position[middle] < at:
            left = middle + 1
        else:
            right = middle
    return left


@compiled
def _cuts(
    position: np.ndarray,
    count: int,
    first: np.ndarray,
    last: np.ndarray,
    reaches: np.ndarray,
    cut: np.ndarray,
    part: np.ndarray,
) -> int:
    """Between which n-grams each window begins and ends; returns how many places that are.

    `cut[i, r]` are numbers of places; `part[k]` is the number of the place before n-gram k, or -1.
    """
    part[: count + 1] = -1
    for i in range(len(first)):
        for r in range(len(reaches)):
            cut[i, r, 0] = _lower(position, count, first[i] - reaches[r])
            cut[i, r, 1] = _lower(position, count, last[i] + reaches[r])
            part[cut[i, r, 0]] = 0
            part[cut[i, r, 1]] = 0
    places = 0
    for k in range(count + 1):
        if part[k] == 0:
            part[k] = places
            places += 1
    for i in range(len(first)):
        for r in range(len(reaches)):
            cut[i, r, 0] = part[cut[i, r, 0]]
            cut[i, r, 1] = part[cut[i, r, 1]]
    return places


@compiled
def _read_group(
    octets: np.ndarray,
    kinds: np.ndarray,
    table: np.ndarray,
    low: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    high: np.ndarray,
    reaches: np.ndarray,
    start: int,
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int]:
    """The group that begins with patch `start`: its end, the n-grams of its text, its windows."""
    stop = _group_end(low, first, high, start)
    reach = reaches[len(reaches) - 1]
    least = low[start]
    most = high[start]
    begin = word_start(octets, kinds, least, max(least, first[start] - reach))
    end = word_end_after(octets, kinds, min(most, last[stop - 1] + reach), most)
    room = (end - begin) * ROOM + 1
    row = np.empty(room, np.int32)
    position = np.empty(room, np.int64)
    count = known_ngrams(octets, kinds, begin, end, table, row, position)
    cut = np.empty((stop - start, len(reaches), 2), np.int64)
    part = np.empty(count + 1, np.int64)
    places = _cuts(position, count, first[start:stop], last[start:stop], reaches, cut, part)
    return stop, row[:count], cut, part, places


@compiled
def sums(
    octets: np.ndarray,
    kinds: np.ndarray,
    table: np.ndarray,
    vectors: np.ndarray,
    low: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    high: np.ndarray,
    reaches: np.ndarray,
    out: np.ndarray,
) -> None:
    """`out[i, r]`: the sum of the vectors in the window of patch i that reaches so far."""
    width = vectors.shape[1]
    start = 0
    while start < len(first):
        stop, row, cut, part, places = _read_group(
            octets, kinds, table, low, first, last, high, reaches, start
        )
        # running sums in float64: their differences are small
        running = np.zeros((places, width))
        total = np.zeros(width)
        piece = np.zeros(width, np.float32)
        for k in range(len(row) + 1):
            if part[k] >= 0:
                for d in range(width):
                    total[d] += piece[d]
                    piece[d] = 0
                    running[part[k], d] = total[d]
            if k < len(row):
                vector = vectors[row[k]]
                for d in range(width):
                    piece[d] += vector[d]
        for i in range(stop - start):
            for r in range(len(reaches)):
                for d in range(width):
                    out[start + i, r, d] = running[cut[i, r, 1], d] - running[cut[i, r, 0], d]
        start = stop


@compiled
def _changes(gradient: np.ndarray, cut: np.ndarray, places: int) -> np.ndarray:
    """By how much the gradient of an n-gram changes at each place where windows begin or end."""
    change = np.zeros((places, gradient.shape[2]))
    for i in range(gradient.shape[0]):
        for r in range(gradient.shape[1]):
            for d in range(gradient.shape[2]):
                change[cut[i, r, 0], d] += gradient[i, r, d]
                change[cut[i, r, 1], d] -= gradient[i, r, d]
    return change


@compiled
def _handed_on(
    change: np.ndarray,
    row: np.ndarray,
    part: np.ndarray,
    slot: np.ndarray,
    touched: np.ndarray,
    met: int,
    out: np.ndarray,
) -> int:
    """Add to each n-gram's vector the running sum of changes where it stands; see `gradients`."""
    width = change.shape[1]
    total = np.zeros(width)
    here = np.zeros(width, np.float32)
    for k in range(len(row)):
        if part[k] >= 0:
            for d in range(width):
                total[d] += change[part[k], d]
                here[d] = total[d]
        place = slot[row[k]]
        if place < 0:
            place = met
            slot[row[k]] = met
            touched[met] = row[k]
            out[met] = 0
            met += 1
        into = out[place]
        for d in range(width):
            into[d] += here[d]
    return met


@compiled
def gradients(
    octets: np.ndarray,
    kinds: np.ndarray,
    table: np.ndarray,
    low: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    high: np.ndarray,
    reaches: np.ndarray,
    gradient: np.ndarray,
    slot: np.ndarray,
    touched: np.ndarray,
    met: int,
    out: np.ndarray,
) -> int:
    """Add the gradients of the vectors from those of the sums; returns how many vectors have one.

    Vector `touched[j]` has the gradient `out[j]`, in the order in which rows are met, and `slot` of
    it is j; `met` of them were there before. `slot` is -1 for every other row.
    """
    start = 0
    while start < len(first):
        stop, row, cut, part, places = _read_group(
            octets, kinds, table, low, first, last, high, reaches, start
        )
        change = _changes(gradient[start:stop], cut, places)
        met = _handed_on(change, row, part, slot, touched, met, out)
        start = stop
    return met


@compiled
def adagrad(
    vectors: np.ndarray,
    squares: np.ndarray,
    slot: np.ndarray,
    touched: np.ndarray,
    met: int,
    gradient: np.ndarray,
    rate: float,
) -> None:
    """A step of each touched vector against its gradient, over the root of all its squares."""
    width = vectors.shape[1]
    for j in range(met):
        row = touched[j]
        slot[row] = -1
        square = 0.0
        for d in range(width):
            square += gradient[j, d] * gradient[j, d]
        squares[row] += square / width
        step = np.float32(rate / np.sqrt(squares[row] + 1e-20))
        for d in range(width):
            vectors[row, d] -= step * gradient[j, d]
