"""Columns of the user's own beside texts in rows: kept with every patch of a row's text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sphere_ebm.errors import ShardError, one_line
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.shards.lines import (
    CELL_SUFFIXES,
    LINE_SUFFIXES,
    json_objects,
    read_columns,
)
from sphere_ebm.files.shards.own import (
    KINDS,
    OwnColumn,
    OwnColumns,
    TableColumns,
    absent,
    column_of,
    ordering_numbers,
    words_of,
)
from sphere_ebm.files.shards.parquet import list_columns, parquet_columns
from sphere_ebm.text.documents import PARQUET_SUFFIX, FileText
from sphere_ebm.text.prominence import PROMINENCES

_SHORTEST = 8
"""A list of fewer numbers is hardly an embedding."""


def with_columns(text: FileText, columns: TableColumns, encoding: str = "utf-8") -> FileText:
    """The texts of a file with the columns that are kept, and named by that of the ids.

    Files that are no rows have none. A column of embeddings that nobody has asked for is warned of.

    Raises:
        ShardError: a column is not there, holds lists, or the file was changed meanwhile; one that
            the radii are to order is no number in some row, or the file has no rows.
    """
    path = text.source
    suffix = path.suffix.lower()
    # a table without a column of texts is one document
    cells = suffix in CELL_SUFFIXES and text.documents != (text.name,)
    if suffix in (PARQUET_SUFFIX, *LINE_SUFFIXES):
        passed = _passed_over(path, encoding)
        text = replace(text, warnings=(*text.warnings, *passed))
    elif not cells:
        _refuse_ordering(path, columns.ordering)
        return text
    wanted = tuple(dict.fromkeys([*columns.kept, *filter(None, [columns.ordering])]))
    if not wanted:
        return text
    # Documents are called by the number of their line or row.
    numbers = [int(name.rpartition(" ")[2]) for name in text.documents]
    if suffix not in LINE_SUFFIXES:
        rows = np.array(numbers) - 1
        if suffix == PARQUET_SUFFIX:
            whole = parquet_columns(path, wanted)
        else:
            whole = read_columns(path, wanted, encoding)
        read = {name: column[rows] for name, column in whole.items()}
    else:
        read = _of_lines(path, wanted, numbers, encoding)
    if sha256_of(path) != text.digest:
        cure = "run again once it is complete"
        raise ShardError(path, "was changed while it was read", cure=cure)
    if columns.ordering is not None:
        ordering = ordering_numbers(path, columns.ordering, read[columns.ordering])
        text = replace(text, prominence=ordering)
    read = {name: read[name] for name in columns.kept}
    if columns.id is not None:
        read[columns.id] = words_of(read[columns.id].tolist())
        text = replace(text, documents=_named(text.documents, read[columns.id]))
    return replace(text, own=OwnColumns(read, columns.id))


def _refuse_ordering(path: Path, column: str | None) -> None:
    """Raises ShardError where a column is to order the radii of a text that has none."""
    if column is not None:
        problem = f"has no columns, and {column!r} is no kind of prominence"
        kinds = dict.fromkeys((*PROMINENCES, *KINDS))
        cure = f"choose {', '.join(kinds)}, or leave the file out"
        raise ShardError(path, problem, cure=cure)


def _named(documents: Sequence[str], ids: OwnColumn) -> tuple[str, ...]:
    """Names of documents by their ids; those that share one have their place behind it."""
    count = Counter(ids.tolist())
    return tuple(
        name if not own else one_line(own) if count[own] == 1 else one_line(f"{own} ({name})")
        for name, own in zip(documents, ids, strict=True)
    )


def _of_lines(
    path: Path, names: Sequence[str], lines: Sequence[int], encoding: str
) -> dict[str, OwnColumn]:
    """Columns of JSON lines, of these lines alone: the last one may be broken off."""
    wanted = set(lines)
    found: dict[int, dict[str, object]] = {}
    try:
        for number, value in json_objects(path, encoding):
            if number in wanted:
                found[number] = value
    except ShardError:
        if len(found) < len(wanted):
            raise
    for name in names:
        if not any(name in value for value in found.values()):
            raise absent(path, name, dict.fromkeys(key for row in found.values() for key in row))
    return {
        name: column_of(path, name, [found[line].get(name) for line in lines]) for name in names
    }


def _passed_over(path: Path, encoding: str) -> tuple[str, ...]:
    """What to say of columns of embeddings, which texts are mapped without."""
    if path.suffix.lower() == PARQUET_SUFFIX:
        lengths = list_columns(path)
    else:
        first = next(iter(json_objects(path, encoding)), (0, {}))[1]
        lengths = {name: len(value) for name, value in first.items() if _is_vector(value)}
    return tuple(
        f"its column `{name}` holds lists of {length} numbers, which are passed over; to place rows"
        f" by them, add --embedding-column {name}"
        for name, length in lengths.items()
        if length >= _SHORTEST
    )


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in value
    )
