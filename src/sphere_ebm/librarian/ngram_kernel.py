"""N-grams of bytes by a fixed hash, found and counted by compiled loops.

A text is cut into words as tokenizers cut it: runs of letters (bytes of other scripts count as
such), single digits, runs of other signs, runs of spaces. A word is one n-gram, and so is every
run of three to five bytes of it, with a mark for its beginning, which tells whether a space stands
before, and one for its end. Each n-gram stands where its first byte does, and belongs to the
windows in which it begins.

The hash is FNV-1a with a final mix, in 32 bits, the same in every process and on every machine;
n-grams fall into 2^22 buckets, of which a bag keeps the fullest.

Cost: about 70 n-grams for a patch of 32 bytes.
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
ROOM = 8  # n-grams that one byte begins, at most
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
def word_start(octets: np.ndarray, kinds: np.ndarray, low: int, at: int) -> int:
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
def word_end_after(octets: np.ndarray, kinds: np.ndarray, at: int, high: int) -> int:
    """On from `at` to where a word ends, as far as one can be long."""
    end = at
    while end < high and end - at < _WORD and kinds[octets[end]] == kinds[octets[end - 1]]:
        end += 1
    return end


@compiled
def known_ngrams(
    octets: np.ndarray,
    kinds: np.ndarray,
    begin: int,
    end: int,
    table: np.ndarray,
    row: np.ndarray,
    position: np.ndarray,
) -> int:
    """The n-grams of `octets[begin:end]` that have a row, by position; how many there are."""
    bucket = np.empty((end - begin) * ROOM, np.uint32)
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
def counted(octets: np.ndarray, kinds: np.ndarray, low: int, high: int, counts: np.ndarray) -> None:
    """Add the n-grams of `octets[low:high]` to the counts of the buckets."""
    bucket = np.empty((high - low) * ROOM, np.uint32)
    position = np.empty((high - low) * ROOM, np.int64)
    for k in range(_ngrams(octets, kinds, low, high, bucket, position)):
        counts[bucket[k]] += 1
