"""Tables of delimited text, `.csv` and `.tsv`: the prose in their cells."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sphere_ebm.errors import ShardError
from sphere_ebm.text.tables import chosen_column, standard_column

DELIMITED_SUFFIXES = (".csv", ".tsv")

_DELIMITERS = ",;\t|"
_LETTERS = re.compile(r"[^\W\d_]{2}|[\u3040-\u9fff\uac00-\ud7af]")
_NO_WORDS = frozenset(["nan", "na", "n/a", "null", "none", "inf", "-inf", "true", "false"])


def delimited_rows(path: Path, text: str) -> Iterator[list[str]]:
    """The rows of a table, its heading first; blank lines are left out.

    `.tsv` has tabs between its cells, `.csv` what of `,;|` and tabs is most frequent in its first
    line.

    Raises:
        ShardError: a row that cannot be read.
    """
    first = text.partition("\n")[0]
    mark = max(_DELIMITERS, key=first.count) if path.suffix.lower() == ".csv" else "\t"
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=mark)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        problem = f"line {reader.line_num} cannot be read ({error})"
        raise ShardError(path, problem, index=reader.line_num, cure="repair the line") from error


def column_of_text(path: Path, heading: Sequence[str], column: str | None) -> int | None:
    """The number of the column of texts: `column`, else `text` or `content`; None if none is there.

    Raises:
        ShardError: `column` is not there.
    """
    if column is None:
        name = standard_column(heading)
        return None if name is None else heading.index(name)
    return heading.index(chosen_column(path, heading, column, "no column"))


def prose_of(row: Sequence[str]) -> str:
    """The cells of a row that hold words, with a comma and a space between two of them."""
    return ", ".join(cell.strip() for cell in row if is_prose(cell))


def is_prose(cell: str) -> bool:
    """Whether a cell holds words: no number, no date, no code, and nothing that stands for none."""
    return _LETTERS.search(cell) is not None and cell.strip().casefold() not in _NO_WORDS


def has_prose(head: bytes) -> bool:
    """Whether the beginning of a table holds words, below its first line where it has more."""
    lines = head.decode("utf-8", "ignore").splitlines()
    cells = re.split(f"[{_DELIMITERS}\n]", "\n".join(lines[1:] or lines))
    return any(is_prose(cell) for cell in cells)
