"""Tables in text files: CSV, TSV and JSON lines with an embedding in every row."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import TensorInfo, open_regular
from sphere_ebm.files.shards.assemble import finite_float32
from sphere_ebm.files.shards.own import OwnColumn, absent, column_of, column_of_cells

LINE_SUFFIXES = (".jsonl", ".ndjson")
CELL_SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"
"""What may stand between the cells of a `.csv` file."""

EMBEDDING_NAMES = ("embeddings", "embedding")
PROMINENCE = "prominence"
_BRACKETS = str.maketrans("[](),;", "      ")


class TableRows(NamedTuple):
    """What was read of a table: embeddings, the prominence that it has, and other columns."""

    embeddings: np.ndarray
    prominence: np.ndarray | None
    columns: dict[str, OwnColumn]


def read_lines(path: Path, embedding: str | None, wanted: Sequence[str]) -> TableRows:
    """The embeddings and the `wanted` columns of a CSV, TSV or JSON lines file.

    An embedding is a list of numbers; in a cell of CSV or TSV the numbers stand in brackets or
    without, with commas or white space between them. Blank lines are passed over.

    Memory: the text of the file, once, beside the embeddings.

    Raises:
        ShardError: a column is not there, embeddings are no numbers or not equally many in all
            rows, or the file cannot be read.
    """
    names, rows = _rows(path)
    name = _embedding(path, names, embedding)
    weighed = PROMINENCE in names and PROMINENCE not in (name, *wanted)
    for one in wanted:
        if one not in names:
            raise absent(path, one, names)
    vectors: list[Float32[np.ndarray, " _"]] = []
    kept: dict[str, list[Any]] = {one: [] for one in (*wanted, *([PROMINENCE] if weighed else []))}
    for number, row in enumerate(rows):
        vectors.append(_vector(path, name, row.get(name), number))
        if len(vectors[-1]) != len(vectors[0]):
            problem = f"row has {len(vectors[-1])} values, the first has {len(vectors[0])}"
            raise ShardError(path, problem, name, number, "give every row the same number")
        for one, values in kept.items():
            values.append(row.get(one))
    matrix = np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
    column = column_of if path.suffix.lower() in LINE_SUFFIXES else column_of_cells
    prominence = column(path, PROMINENCE, kept.pop(PROMINENCE)) if weighed else None
    return TableRows(
        matrix, prominence, {one: column(path, one, values) for one, values in kept.items()}
    )


def read_columns(
    path: Path, wanted: Sequence[str], encoding: str = "utf-8"
) -> dict[str, OwnColumn]:
    """The `wanted` columns of such a file, without embeddings.

    Raises ShardError as `read_lines` does.
    """
    names, rows = _rows(path, encoding)
    for one in wanted:
        if one not in names:
            raise absent(path, one, names)
    cells: dict[str, list[Any]] = {one: [] for one in wanted}
    for row in rows:
        for one, values in cells.items():
            values.append(row.get(one))
    column = column_of if path.suffix.lower() in LINE_SUFFIXES else column_of_cells
    return {one: column(path, one, values) for one, values in cells.items()}


def list_lines(path: Path) -> tuple[TensorInfo, ...]:
    """Names of the columns, and how many rows there are."""
    names, rows = _rows(path)
    count = sum(1 for _ in rows)
    kind = "json" if path.suffix.lower() in LINE_SUFFIXES else "cell"
    return tuple(TensorInfo(name, kind, (count,)) for name in names)


def json_objects(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) for every line of JSON lines that is not blank, lines counted from 1.

    Raises ShardError for a line that is no JSON object.
    """
    with open_regular(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode(encoding).lstrip("\ufeff")
                if not line.strip():
                    continue
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                problem = f"line {number} is not JSON ({error})"
                cure = "give one JSON object per line"
                raise ShardError(path, problem, index=number, cure=cure) from error
            if not isinstance(value, dict):
                problem = f"line {number} is no JSON object"
                cure = "give one JSON object per line"
                raise ShardError(path, problem, index=number, cure=cure)
            yield number, value


def rows_of_cells(path: Path, text: str) -> list[list[str]]:
    """The rows of a table, its heading first; blank lines are left out.

    `.tsv` has tabs between its cells, `.csv` what of `,;|` and tabs is most frequent in its first
    line.
    """
    text = text.removeprefix("\ufeff")
    first = text.partition("\n")[0]
    mark = max(DELIMITERS, key=first.count) if path.suffix.lower() == ".csv" else "\t"
    with _long_cells():
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row]


def _rows(path: Path, encoding: str = "utf-8") -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Names of the columns, and the rows; the objects of JSON lines may differ in their fields."""
    if path.suffix.lower() in LINE_SUFFIXES:
        rows = [value for _, value in json_objects(path, encoding)]
        return list(dict.fromkeys(name for row in rows for name in row)), iter(rows)
    with open_regular(path) as file:
        try:
            text = file.read().decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeError as error:
            raise ShardError(
                path, f"is not {encoding} ({error})", cure="save it as UTF-8"
            ) from error
    lines = rows_of_cells(path, text)
    names = lines[0] if lines else []
    for number, line in enumerate(lines[1:]):
        if len(line) != len(names):
            problem = f"row {number} has {len(line)} cells, the first line {len(names)}"
            raise ShardError(path, problem, index=number, cure="repair the row")
    return names, (dict(zip(names, line, strict=True)) for line in lines[1:])


@contextmanager
def _long_cells() -> Iterator[None]:
    """A cell may hold a text or an embedding of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _embedding(path: Path, names: Sequence[str], asked: str | None) -> str:
    found = [name for name in ((asked,) if asked else EMBEDDING_NAMES) if name in names]
    if not found:
        if asked:
            raise absent(path, asked, names)
        problem = f"no column `embeddings` or `embedding`, only {', '.join(names) or 'none at all'}"
        raise ShardError(path, problem, cure="name that of the embeddings with --embedding-column")
    return found[0]


def _vector(path: Path, name: str, value: Any, number: int) -> Float32[np.ndarray, " _"]:
    """The embedding of a row."""
    try:
        numbers = value.translate(_BRACKETS).split() if isinstance(value, str) else value
        given = np.array(numbers, np.float64)
    except (TypeError, ValueError) as error:
        problem = f"is no list of numbers ({error})"
        raise ShardError(path, problem, name, number, "give one list of numbers per row") from error
    if given.ndim != 1:
        problem = f"is no list of numbers but {str(value)[:40]!r}"
        raise ShardError(path, problem, name, number, "give one list of numbers per row")
    return finite_float32(path, name, given[None], number)[0]
