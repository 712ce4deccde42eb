"""Tables of delimited text, `.csv` and `.tsv`: the prose in their cells."""

import re
from collections.abc import Sequence
from pathlib import Path

from sphere_ebm.files.shards.lines import DELIMITERS
from sphere_ebm.text.tables import chosen_column, standard_column

_LETTERS = re.compile(r"[^\W\d_]{2}|[\u3040-\u9fff\uac00-\ud7af]")
_NO_WORDS = frozenset(["nan", "na", "n/a", "null", "none", "inf", "-inf", "true", "false"])


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
    cells = re.split(f"[{DELIMITERS}\n]", "\n".join(lines[1:] or lines))
    return any(is_prose(cell) for cell in cells)
