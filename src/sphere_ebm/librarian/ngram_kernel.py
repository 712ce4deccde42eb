"""N-grams of bytes by a fixed hash, counted and summed by compiled loops.

A text is cut into words as tokenizers cut it: runs of letters (bytes of other scripts count as
such), single digits, runs of other signs, runs of spaces. A word is one n-gram, and so is every
run of three to five bytes of it, with a mark for its beginning, which tells whether a space stands
before, and one for its end. Each n-gram stands where its first byte does, and belongs to the
windows in which it begins.

The hash is FNV-1a with a final mix, in 32 bits, the same in every process and on every machine;
n-grams fall into 2^22 buckets, of which a bag keeps the fullest.

Cost: about 70 n-grams for a patch of 32 bytes. All that is done for one is done for each n-gram of
a text once, however many windows hold it: windows are differences of running sums. XLA's gather and
scatter take many times as long on a CPU.
"""

import functools

import numpy as np

from sphere_ebm.files.compiled import compiled as _compiled

compiled = functools.partial(_compiled, extra="librarian")

BUCKETS = 1 << 22
SHORTEST = 3
LONGEST = 5
"""Bytes of n-grams inside words, marks counted."""
_WORD = 48  # a longer run of letters is cut
_ROOM = 8  # n-grams that one byte begins, at most
_OTHER, _LETTER, _DIGIT, _SPACE, _BREAK = range(5)
KINDS = np.full(256, _OTHER, np.uint8)
KINDS[[*range(65, 91), *range(97, 123), *range(128, 256)]] = _LETTER
KINDS[48:58] = _DIGIT
KINDS[32] = _SPACE
KINDS[[9, 10, 11, 12, 13]] = _BREAK
_EMPTY = np.uint32(2166136261)
_PRIME = np.uint32(16777619)


@compiled
def _mixed(code: np.uint32) -> np.uint32:
    """The bucket of a hash: its bits stirred, so that all of them count."""
    code = code ^ (code >> np.uint32(15))
    code = np.uint32(code * np.uint32(0x2C1B3C6D))
    code = code ^ (code >> np.uint32(12))
    code = np.uint32(code * np.uint32(0x297A2D39))
    code = code ^ (code >> np.uint32(15))
    return np.uint32(code & np.uint32(BUCKETS - 1))


@compiled
def _fed(code: np.uint32, byte: int) -> np.uint32:
    return np.uint32(np.uint32(code ^ np.uint32(byte)) * _PRIME)


@compiled
def _word_end(octets: np.ndarray, kinds: np.ndarray, start: int, end: int) -> int:
    """Where the word that begins at `start` ends, at most at `end`."""
    kind = kinds[octets[start]]
    stop = start + 1
    if kind in (_DIGIT, _BREAK):
        return stop
    while stop < end and kinds[octets[stop]] == kind and stop - start < _WORD:
        stop += 1
    return stop


@compiled
def _ngrams(
    octets: np.ndarray,
    kinds: np.ndarray,
    begin: int,
    end: int,
    bucket: np.ndarray,
    position: np.ndarray,
) -> int:
    """Fill in the n-grams of `octets[begin:end]` by position; returns how many there are."""
    found = 0
    at = begin
    spaced = True  # a text begins like a word behind a space
    while at < end:
        stop = _word_end(octets, kinds, at, end)
        kind = kinds[octets[at]]
        length = stop - at
        if kind == _SPACE and length == 1:
            spaced = True
            at = stop
            continue
        mark = 1 if spaced else 2
        whole = _fed(_EMPTY, mark + 4 * kind)
        for i in range(at, stop):
            whole = _fed(whole, octets[i])
        whole = _fed(whole, 3)
        bucket[found] = _mixed(whole)
        position[found] = at
        found += 1
        if kind in (_LETTER, _OTHER):
            # of the word with its marks, number 0 and length + 1
            for first in range(length + 1):
                code = _EMPTY
                for i in range(first, min(first + LONGEST, length + 2)):
                    if i == 0:
                        code = _fed(code, mark)
                    elif i == length + 1:
                        code = _fed(code, 3)
                    else:
                        code = _fed(code, octets[at + i - 1])
                    if i - first + 1 >= SHORTEST and i - first < length + 1:
                        bucket[found] = _mixed(_fed(code, 200 + i - first))
                        position[found] = at + max(first - 1, 0)
                        found += 1
        spaced = kind in (_SPACE, _BREAK)
        at = stop
    return found


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


_GROUP = 256
_SPAN = 1 << 16


@compiled
def _word_start(octets: np.ndarray, kinds: np.ndarray, low: int, at: int) -> int:
    """Back from `at` to where a word begins, as far as one can be long."""
    back = at
    while (
        back > low
        and at - back < _WORD
        and kinds[octets[back]] == kinds[octets[back - 1]]
        and kinds[octets[back]] != _DIGIT
    ):
        back -= 1
    # the space before a word marks it
    return back - 1 if back > low and octets[back - 1] == 32 else back


@compiled
def _word_end_after(octets: np.ndarray, kinds: np.ndarray, at: int, high: int) -> int:
    """On from `at` to where a word ends, as far as one can be long."""
    end = at
    while end < high and end - at < _WORD and kinds[octets[end]] == kinds[octets[end - 1]]:
        end += 1
    return end


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
def _known(
    octets: np.ndarray,
    kinds: np.ndarray,
    begin: int,
    end: int,
    table: np.ndarray,
    row: np.ndarray,
    position: np.ndarray,
) -> int:
    """The n-grams of `octets[begin:end]` that have a row, by position; how many there are."""
    bucket = np.empty((end - begin) * _ROOM, np.uint32)
    count = _ngrams(octets, kinds, begin, end, bucket, position)
    kept = 0
    for i in range(count):
        found = table[bucket[i]]
        if found >= 0:
            row[kept] = found
            position[kept] = position[i]
            kept += 1
    return kept


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """N-grams of the text of a group, and where the windows of its patches begin and end."""
    reach = reaches[len(reaches) - 1]
    begin = _word_start(octets, kinds, low[0], max(low[0], first[0] - reach))
    end = _word_end_after(octets, kinds, min(high[0], last[len(last) - 1] + reach), high[0])
    room = (end - begin) * _ROOM + 1
    row = np.empty(room, np.int32)
    position = np.empty(room, np.int64)
    count = _known(octets, kinds, begin, end, table, row, position)
    cut = np.empty((len(first), len(reaches), 2), np.int64)
    part = np.empty(count + 1, np.int64)
    places = _cuts(position, count, first, last, reaches, cut, part)
    return row[:count], cut, part, places


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
        stop = _group_end(low, first, high, start)
        row, cut, part, places = _read_group(
            octets,
            kinds,
            table,
            low[start:stop],
            first[start:stop],
            last[start:stop],
            high[start:stop],
            reaches,
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
    width = gradient.shape[2]
    start = 0
    while start < len(first):
        stop = _group_end(low, first, high, start)
        row, cut, part, places = _read_group(
            octets,
            kinds,
            table,
            low[start:stop],
            first[start:stop],
            last[start:stop],
            high[start:stop],
            reaches,
        )
        change = np.zeros((places, width))
        for i in range(stop - start):
            for r in range(len(reaches)):
                for d in range(width):
                    change[cut[i, r, 0], d] += gradient[start + i, r, d]
                    change[cut[i, r, 1], d] -= gradient[start + i, r, d]
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


@compiled
def counted(octets: np.ndarray, kinds: np.ndarray, low: int, high: int, counts: np.ndarray) -> None:
    """Add the n-grams of `octets[low:high]` to the counts of the buckets."""
    bucket = np.empty((high - low) * _ROOM, np.uint32)
    position = np.empty((high - low) * _ROOM, np.int64)
    for k in range(_ngrams(octets, kinds, low, high, bucket, position)):
        counts[bucket[k]] += 1
