"""Words of running texts and the patches that they begin in, for names of regions."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8, UInt64

SHORTEST = 3
LONGEST = 24
"""Bytes of a word: shorter ones say little, longer ones are no words."""
_BLOCK = 1 << 24


class Words(NamedTuple):
    """Every occurrence of a word.

    `vocabulary` names the words, `word` (n,) is which one it is, `begin` (n,) its first byte.
    """

    vocabulary: list[str]
    word: Int64[np.ndarray, " n"]
    begin: Int64[np.ndarray, " n"]


def words_of(text: UInt8[np.ndarray, " bytes"], borders: Int64[np.ndarray, " borders"]) -> Words:
    """The words of all documents; none reaches over a border between two.

    A word is a run of letters, digits left out: ASCII letters, and all of UTF-8 beyond but
    punctuation. Words that differ in case are one, and those that are no UTF-8 none. O(bytes).
    """
    letters = _letters(text)
    edges = np.zeros(len(text) + 1, bool)
    edges[1:-1] = letters[1:] != letters[:-1]
    edges[borders] = True
    edges[[0, -1]] = True
    cuts = np.flatnonzero(edges)
    begins = cuts[:-1]
    lengths = np.diff(cuts)
    taken = (lengths >= SHORTEST) & (lengths <= LONGEST)
    begins = begins[taken]
    lengths = lengths[taken]
    inside = letters[begins]
    begins = begins[inside]
    lengths = lengths[inside]
    _, first, number = np.unique(
        _hashes(text, begins, lengths), return_index=True, return_inverse=True
    )
    spelled = [
        _spelling(text[begins[i] : begins[i] + lengths[i]].tobytes()) for i in first.tolist()
    ]
    vocabulary = sorted({word for word in spelled if word})
    numbers = {word: i for i, word in enumerate(vocabulary)}
    merged = np.array([numbers.get(word, -1) for word in spelled], np.int64)
    word = merged[number] if len(merged) else np.zeros(0, np.int64)
    return Words(vocabulary, word[word >= 0], begins[word >= 0])


def _letters(text: UInt8[np.ndarray, " bytes"]) -> Bool[np.ndarray, " bytes"]:
    """Which bytes belong to words."""
    folded = text | 0x20
    letters = ((folded >= ord("a")) & (folded <= ord("z"))) | (text >= 0x80)
    # General punctuation (E2 80, E2 81), Latin-1 signs (C2) and those of CJK (E3 80) and of full
    # width (EF BC) are no letters, though they take the same bytes as letters do.
    for lead, second, length in (
        (0xC2, None, 2),
        (0xE2, 0x80, 3),
        (0xE2, 0x81, 3),
        (0xE3, 0x80, 3),
        (0xEF, 0xBC, 3),
    ):
        at = np.flatnonzero(text == lead)
        if second is not None:
            at = at[at + 1 < len(text)]
            at = at[text[at + 1] == second]
        for k in range(length):
            letters[np.minimum(at + k, len(text) - 1)] = False
    return letters


def _hashes(
    text: UInt8[np.ndarray, " bytes"],
    begins: Int64[np.ndarray, " n"],
    lengths: Int64[np.ndarray, " n"],
) -> UInt64[np.ndarray, " n"]:
    """A number of 64 bits for each word, by which equal ones are found (FNV-1a, ASCII folded)."""
    found = np.full(len(begins), 0xCBF29CE484222325, np.uint64)
    prime = np.uint64(0x100000001B3)
    for start in range(0, len(begins), _BLOCK):
        block = slice(start, start + _BLOCK)
        here = begins[block]
        value = found[block]
        left = np.arange(len(here))
        for k in range(LONGEST):
            left = left[lengths[block][left] > k]
            byte = text[here[left] + k]
            byte = np.where((byte >= ord("A")) & (byte <= ord("Z")), byte | 0x20, byte)
            value[left] = (value[left] ^ byte.astype(np.uint64)) * prime
    return found


def _spelling(octets: bytes) -> str:
    """A word as it is shown; empty where its bytes are no text."""
    try:
        return octets.decode().lower()
    except UnicodeDecodeError:
        return ""
