"""The columns of the page: what each point is told to it, packed into blocks of bytes."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sphere_ebm.figures.page.points import MOST_WITH_NEIGHBOURS, PagePoints
from sphere_ebm.files.shards.own import OwnColumn, natural_words
from sphere_ebm.geometry.cells import cell_keys

TEXT_CHUNK = 1 << 18
"""Bytes of text that are unpacked together, when one of them is read."""
MOST_CLASSES = 1000
"""Classes that a column of words is coloured by; the rarest of more are one class together."""
_LEVEL = 6
_FEW = 20
"""So many different words are classes, however few points there are."""


class Column(NamedTuple):
    """A block of the file: its name, what is told of it, and its bytes, compressed."""

    name: str
    facts: dict[str, Any]
    packed: bytes


def columns_of(points: PagePoints) -> list[Column]:
    """All columns of the page, packed."""
    columns = [
        _planes("key", cell_keys(points.direction).astype(np.uint32)),
        _number("radius", "radius", points.radius, np.uint16),
    ]
    if points.shell is not None:
        shell = np.asarray(points.shell)
        columns.append(_planes("shell", np.clip(shell, 0, 65535).astype(np.uint16)))
    for i, (name, values) in enumerate(points.numbers.items()):
        columns.append(_number(f"number{i}", name, values, np.uint16))
    columns += _own_columns(points)
    if points.neighbours is not None and points.neighbours.size:
        # An unsigned column has no -1: a point that lacks a neighbour lists itself.
        own = np.arange(len(points), dtype=np.int32)[:, None]
        index = np.where(points.neighbours < 0, own, points.neighbours)
        dtype = np.uint16 if len(points) <= 65536 else np.uint32
        facts = {"width": points.neighbours.shape[1]}
        columns.append(_planes("neighbours", index.astype(dtype).ravel(), facts))
    if (
        points.modes is not None
        and points.mode_weight is not None
        and 0 < len(points) <= MOST_WITH_NEIGHBOURS
    ):
        columns.append(_planes("modes", cell_keys(points.modes.reshape(-1, 3)).astype(np.uint32)))
        weight = np.clip(points.mode_weight, 0, 1).ravel()
        columns.append(_planes("mode_weight", np.round(weight * 255).astype(np.uint8)))
    if points.text is not None and points.text_offset is not None:
        columns += _text_columns(points.text, points.text_offset)
    return columns


def _text_columns(text: np.ndarray, offset: np.ndarray) -> list[Column]:
    lengths = np.diff(offset).astype(np.uint32)
    return [_planes("length", lengths), _text_block("text", text, {})]


def _text_block(name: str, text: np.ndarray, told: dict[str, Any]) -> Column:
    chunks = [
        zlib.compress(text[start : start + TEXT_CHUNK].tobytes(), _LEVEL)
        for start in range(0, len(text), TEXT_CHUNK)
    ]
    facts = {"bytes": len(text), "chunk": TEXT_CHUNK, "sizes": [len(chunk) for chunk in chunks]}
    return Column(name, facts | told, b"".join(chunks))


def _planes(name: str, values: np.ndarray, facts: dict[str, Any] | None = None) -> Column:
    """A column of unsigned integers: all lowest bytes, then all second ones, and so on.

    Bytes of one place resemble each other, which zlib makes use of.
    """
    width = values.dtype.itemsize
    octets = values.astype(values.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, width)
    packed = zlib.compress(np.ascontiguousarray(octets.T).tobytes(), _LEVEL)
    return Column(name, {"bytes": width, "values": values.size, **(facts or {})}, packed)


def _number(name: str, label: str, values: np.ndarray, dtype: Any) -> Column:
    """A column of numbers in equal steps between the least and the largest.

    Where some are NaN, the highest code is theirs and no step.
    """
    given = np.asarray(values, np.float64)
    there = ~np.isnan(given)
    known = given[there]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    most = np.iinfo(dtype).max
    missing = not there.all()
    steps = float(most - 1 if missing else most)
    share = (given - low) / (high - low) if high > low else np.zeros_like(given)
    coded = np.full(given.shape, most, dtype)
    coded[there] = np.round(share[there] * steps)
    facts = {"label": printable(label), "low": low, "high": high}
    return _planes(name, coded, facts | ({"missing": True} if missing else {}))


def _own_columns(points: PagePoints) -> Iterator[Column]:
    """Columns of the user's own: numbers, classes to colour by, and words to read."""
    first = len(points.numbers)
    for i, (name, values) in enumerate(points.own.items()):
        if values.dtype != object:
            column = _number(f"number{first + i}", name, values, np.uint16)
            yield column._replace(facts=column.facts | {"own": True})
            continue
        counts = _counted(values)
        if name == points.colour_by or _are_classes(len(counts), len(values)):
            yield _classes(f"class{i}", name, values, counts)
        if name == points.names or not _are_classes(len(counts), len(values)):
            told = {"label": printable(name)} | ({"ids": True} if name == points.names else {})
            yield from _words(f"words{i}", told, (word.encode("utf-8") for word in values))


def _are_classes(different: int, points: int) -> bool:
    return different <= MOST_CLASSES and (different <= _FEW or different <= points // 2)


def _counted(values: OwnColumn) -> dict[str, int]:
    """How often each word is there, the most frequent first, equal ones in natural order."""
    counts = Counter(values.tolist())
    order = sorted(counts, key=lambda word: (-counts[word], natural_words(word)))
    return {word: counts[word] for word in order}


def _classes(name: str, label: str, values: OwnColumn, counts: dict[str, int]) -> Column:
    """Numbers of classes; the names of the classes are among the facts."""
    words = list(counts)[:MOST_CLASSES]
    rest = len(counts) - len(words)
    number = {word: i for i, word in enumerate(words)}
    codes = np.array([number.get(word, len(words)) for word in values], np.uint16)
    names = [printable(word) if word else "(none)" for word in words]
    names += [f"{rest} rarer ones"] if rest else []
    codes = codes.astype(np.uint8) if len(names) <= 256 else codes
    return _planes(name, codes, {"label": printable(label), "names": names})


def _words(name: str, told: dict[str, Any], words: Iterable[bytes]) -> Iterator[Column]:
    """Texts that are read where a point is chosen."""
    octets = list(words)
    text = np.frombuffer(b"".join(octets), np.uint8)
    yield _planes(f"{name}_length", np.array([len(word) for word in octets], np.uint32))
    yield _text_block(name, text, told)


def coloured_at_first(points: PagePoints, columns: Sequence[Column]) -> str | None:
    """The name of the column that points are coloured by when the page opens."""
    if points.colour_by is None:
        return None
    label = printable(points.colour_by)
    own = [
        column.name
        for column in columns
        if column.facts.get("label") == label and column.name.startswith(("number", "class"))
    ]
    return own[-1]


def printable(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
