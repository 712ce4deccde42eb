"""Texts in rows: JSON Lines, one value per line, and Parquet, one column of strings.

Both are streamed.

Lines and rows are counted from 1, as editors count them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, final

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.parquet import parquet_library

TEXT_COLUMNS = ("text", "content")
"""Names of the text column that are looked for where none is given, in this order."""

_BATCH = 64  # rows of Parquet in memory at a time
_BUFFER = 1 << 20  # bytes of Parquet read ahead
_KINDS = {
    dict: "an object",
    list: "a list",
    float: "a number",
    bool: "a truth value",
    type(None): "null",
}


def json_texts(
    path: Path, blocks: Iterable[bytes], column: str | None, max_bytes: int
) -> Iterator[tuple[int, str | None]]:
    """(line, text) for every line of a JSON Lines file that is not blank.

    None where the text is null.

    `blocks` are the file's bytes in UTF-8, cut anywhere. A line is a string, or an object whose
    field `column` is one; without `column`, the first object decides: `text` where it has that,
    else `content`. An object after the first that lacks the field counts as null, and so does a
    last line that breaks off in the middle of its JSON and has no end. Of a character that is cut
    there, `blocks` hold U+FFFD.

    Raises:
        ShardError: a line is no JSON, no object or string, has no such field or no string in it,
            or is longer than `max_bytes` bytes; of a long line no more than that is kept.
    """
    decided = False
    for number, line, ended in _lines(path, blocks, max_bytes):
        try:
            value = _parsed(path, number, line)
        except _BrokenOffError as error:
            if ended or number == 1:
                raise error.refusal from error
            yield number, None
            return
        if isinstance(value, dict):
            if column is None or not decided:
                column = chosen_column(path, list(value), column, f"line {number} has no field")
                decided = True
            value = value.get(column)
            place = f"`{_short(column)}` in line {number}"
            if value is not None and not isinstance(value, str):
                problem = f"{place} is {_KINDS[type(value)]}, not a string"
                raise ShardError(
                    path, problem, index=number, cure="name the field of the text with --column"
                )
        elif not isinstance(value, str):
            problem = f"line {number} is {_KINDS[type(value)]}, not an object or a string"
            raise ShardError(path, problem, index=number, cure="give one JSON object per line")
        yield number, value


def parquet_texts(
    path: Path, file: BinaryIO, column: str | None
) -> Iterator[tuple[int, str | None]]:
    """(row, text) for every row of an open Parquet file; None where the text is null.

    The column is `column`, or `text`, or `content`; plain, large and dictionary-encoded strings are
    read. In memory are the page being decoded and a few rows.

    Raises:
        ShardError: a column that is not there or holds no strings, a row that is no UTF-8, a
            damaged file, and without pyarrow, naming the extra to install.
    """
    arrow, parquet = parquet_library(path)
    try:
        # Both are needed: by default the whole column of a row group is read at once.
        with parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as table:
            fields = {field.name: field.type for field in table.schema_arrow}
            column = chosen_column(path, list(fields), column, "no column")
            _check_strings(path, arrow, column, fields[column])
            yield from _rows(path, table, column)
    except (ShardError, MemoryError):
        raise
    # pyarrow raises many kinds of exceptions for damaged files, OSError among them.
    except Exception as error:
        problem = f"cannot be read as parquet ({type(error).__name__}: {error})"
        raise ShardError(
            path, problem, cure="the file is damaged or of another format: write it again"
        ) from error


@final
class _BrokenOffError(Exception):
    """A line ends in the middle of its JSON; `refusal` is what is said where that matters."""

    def __init__(self, refusal: ShardError) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def _lines(
    path: Path, blocks: Iterable[bytes], max_bytes: int
) -> Iterator[tuple[int, bytes, bool]]:
    """(number, line, whether it is ended) of the lines that are not blank.

    Raises:
        ShardError: at a line of more than `max_bytes`.
    """
    number = 1
    line = bytearray()
    for block in blocks:
        for i, piece in enumerate(block.split(b"\n")):
            if i:
                yield from _unless_blank(number, line, True)
                number = number + 1
                line = bytearray()
            line += piece
            if len(line) > max_bytes:
                problem = f"line {number} is longer than {max_bytes} bytes"
                raise ShardError(
                    path, problem, index=number, cure="shorten the line, or raise --max-bytes"
                )
    yield from _unless_blank(number, line, False)


def _unless_blank(number: int, line: bytearray, ended: bool) -> Iterator[tuple[int, bytes, bool]]:
    content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    if content.strip(b" \t\r"):
        yield number, bytes(content), ended


def _parsed(path: Path, number: int, line: bytes) -> Any:
    try:
        # Numbers do not matter here; as floats they may have any number of digits.
        return json.loads(line.decode("utf-8"), parse_int=float)
    except json.JSONDecodeError as error:
        problem = f"line {number} is not JSON ({error.msg}, column {error.colno})"
        refusal = ShardError(path, problem, index=number, cure="give one JSON object per line")
        broken = error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())
        raise (_BrokenOffError(refusal) if broken else refusal) from error
    except RecursionError as error:
        problem = f"line {number} is nested too deeply"
        raise ShardError(path, problem, index=number, cure="repair the line") from error


def standard_column(names: Sequence[str]) -> str | None:
    """The first of `TEXT_COLUMNS` among names; None where none is."""
    return next((name for name in TEXT_COLUMNS if name in names), None)


def chosen_column(path: Path, names: Sequence[str], column: str | None, missing: str) -> str:
    """The column to read of a file that has `names`: `column`, else the standard one.

    Raises ShardError where it is not there; `missing` begins the message.
    """
    found = standard_column(names) if column is None else column
    if found is None or found not in names:
        wanted = TEXT_COLUMNS if column is None else (column,)
        sought = " or ".join(f"`{_short(name)}`" for name in wanted)
        problem = f"{missing} {sought}, only {', '.join(names) or 'none at all'}"
        raise ShardError(path, problem, cure="name the one that holds the text with --column")
    return found


def _check_strings(path: Path, arrow: Any, column: str, kind: Any) -> None:
    inner = kind.value_type if arrow.types.is_dictionary(kind) else kind
    tests = (arrow.types.is_string, arrow.types.is_large_string, arrow.types.is_string_view)
    if not any(test(inner) for test in tests):
        problem = f"type {kind} is not text"
        raise ShardError(path, problem, column, cure="name a column of strings with --column")


def _rows(path: Path, table: Any, column: str) -> Iterator[tuple[int, str | None]]:
    number = 0
    for batch in table.iter_batches(batch_size=_BATCH, columns=[column], use_threads=False):
        for value in batch.column(column):
            number += 1
            try:
                text = value.as_py()
            except UnicodeDecodeError as error:
                problem = f"row {number} is not UTF-8"
                raise ShardError(
                    path, problem, column, cure="repair the row where the file is made"
                ) from error
            yield number, text


def _short(name: str) -> str:
    """A name typed by mistake can be a whole text."""
    return name if len(name) <= 80 else f"{name[:80]}..."
