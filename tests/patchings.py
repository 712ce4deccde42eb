"""Patches computed slowly, and documents and rules to compare with."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from sphere_ebm.text.patching import (
    RULES,
    Patching,
    patch_lengths,
)

KNOWN = [0.5, 2.0, 0.2, 1.9, 1.8, 0.1, 3.0]
quick = settings(max_examples=250, derandomize=True, deadline=None, database=None)


def entropies_of(values) -> np.ndarray:
    return np.array(values, np.float32)


def lengths_of(values, patching: Patching, octets: bytes | None = None) -> list[int]:
    octets = b"a" * len(values) if octets is None else octets
    return patch_lengths(np.frombuffer(octets, np.uint8), entropies_of(values), patching).tolist()


def starts_of(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths) - lengths


def character_starts(octets: bytes) -> list[int]:
    """For each byte the first byte of its character, found by walking from left to right."""
    firsts: list[int] = []
    while len(firsts) < len(octets):
        first = len(firsts)
        lead = octets[first]
        announced = (
            1
            if 0xC2 <= lead < 0xE0
            else 2
            if 0xE0 <= lead < 0xF0
            else 3
            if 0xF0 <= lead < 0xF5
            else 0
        )
        firsts.append(first)
        while (
            len(firsts) < len(octets)
            and len(firsts) - first <= announced
            and octets[len(firsts)] & 0xC0 == 0x80
        ):
            firsts.append(first)
    return firsts


def is_start(entropies: np.ndarray, position: int, patching: Patching) -> bool:
    rule = patching.rule
    level = np.float32(patching.threshold)
    if rule == "upstream":
        return position == 0 or bool(entropies[position] - entropies[position - 1] > level)
    if position < (2 if rule == "global" else 3):
        return True
    last = entropies[position - 1]
    rise = entropies[position - 1] - entropies[position - 2]
    if rule == "global":
        return bool(last > level)
    if rule == "monotonic":
        return bool(rise > level)
    return position > 3 and bool(last > level and rise > np.float32(patching.rise))


def slow_lengths(octets: bytes, entropies: np.ndarray, patching: Patching) -> list[int]:
    """The contract, one byte after the other."""
    if not octets:
        return []
    firsts = character_starts(octets) if patching.utf8_safe else list(range(len(octets)))
    starts = sorted({firsts[i] for i in range(len(octets)) if is_start(entropies, i, patching)})
    longest = patching.max_patch_length or len(octets) + 1
    lengths = []
    for start, stop in zip(starts, [*starts[1:], len(octets)], strict=True):
        while stop - start > longest:
            cut = firsts[start + longest]
            lengths.append(cut - start)
            start = cut
        lengths.append(stop - start)
    return lengths


PIECES = [
    b"a",
    b" ",
    "é".encode(),
    "€".encode(),
    "😀".encode(),
    b"\x80",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f",
    b"\xc0",
    b"\xff",
]


@st.composite
def documents(draw):
    octets = b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=20)))
    step = st.integers(0, 8).map(lambda quarter: quarter / 4)
    values = draw(st.lists(step, min_size=len(octets), max_size=len(octets)))
    return octets, entropies_of(values)


@st.composite
def patchings(draw):
    rule = draw(st.sampled_from(RULES))
    safe = draw(st.booleans())
    return Patching(
        rule,
        draw(st.integers(-2, 6)) / 4,
        draw(st.integers(-2, 4)) / 4 if rule == "both" else None,
        draw(st.none() | st.integers(4 if safe else 1, 9)),
        safe,
    )
