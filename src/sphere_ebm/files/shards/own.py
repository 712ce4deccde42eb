"""Columns of the user's own beside the embeddings: one number or one word for every row."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64, Shaped

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container

OwnColumn = Shaped[np.ndarray, " _"]
"""int64; float64, NaN where there is no value; or objects that are all `str`, empty where not."""

NORM = "norm"
"""A prominence: the norms of the embeddings, whatever a file has stored."""
DENSITY = "density"
"""A prominence: how near the nearest neighbours in the embedding are. The map finds it."""
LENGTH_CORRECTED = "length-corrected"
"""A prominence: what is stored, or the norm, less what lengths explain of it all over the map."""
KINDS = (NORM, LENGTH_CORRECTED, DENSITY)

OWN_METADATA = "own_columns"
_NUMBERS = "own."
_WORDS = "own_text."
_OFFSETS = "own_text_offset."
_INT64 = range(-(2**63), 2**63)
# A number with zeros in front, such as 007, is a name.
_NUMBER = re.compile(r"[+-]?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_MISSING = ("", "nan", "null", "none", "na", "n/a")


@final
@dataclass(frozen=True)
class TableColumns:
    """Which columns of a table (Parquet, CSV, JSON lines, npz) are read.

    Attributes:
        embedding: the embeddings; None: `embeddings` or `embedding`.
        text: what each row says, to read and search; None: nothing.
        id: what each row is called; None: rows are counted from 0.
        keep: carried through to label files, page and export.
        prominence: what the radii order: a column of numbers, or a kind of `KINDS`; None: the
            column `prominence` where there is one, else the norms.
        length_curve: what a map has found that lengths explain of the prominence, which is taken
            away; see `sphere_ebm.files.shards.lengths`.
    """

    embedding: str | None = None
    text: str | None = None
    id: str | None = None
    keep: tuple[str, ...] = ()
    prominence: str | None = None
    length_curve: tuple[float, ...] | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that are carried through, that of the ids first, each once."""
        return tuple(dict.fromkeys(name for name in (self.id, *self.keep) if name is not None))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns to read beside the embeddings, each once."""
        names = (self.text, self.ordering, *self.kept)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def ordering(self) -> str | None:
        """The column that the radii order, where one is named."""
        return None if self.prominence in KINDS else self.prominence

    @property
    def stored(self) -> bool:
        """Whether a prominence that a file has stored counts."""
        return self.prominence in (None, LENGTH_CORRECTED)

    def colouring(self, name: str | None) -> "TableColumns":
        """The same, and the column that points are coloured by is kept."""
        return self if name is None or name in self.kept else replace(self, keep=(*self.keep, name))

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, by the names of the attributes; JSON can hold it."""
        found = {
            "embedding": self.embedding,
            "text": self.text,
            "id": self.id,
            "prominence": self.prominence,
            "length_curve": None if self.length_curve is None else list(self.length_curve),
        }
        return {name: value for name, value in found.items() if value is not None} | (
            {"keep": list(self.keep)} if self.keep else {}
        )

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "TableColumns":
        """What `to_dict` has written."""
        curve = held.get("length_curve")
        whole = {"length_curve": None if curve is None else tuple(map(float, curve))}
        return cls(**{**held, **whole, "keep": tuple(held.get("keep", ()))})


ALL_FOUND = TableColumns()
"""Nothing is asked for: embeddings alone."""


@final
@dataclass(frozen=True, eq=False)
class OwnColumns:
    """The columns of P rows.

    Attributes:
        values: by name, in the order in which they were asked for.
        id: the column that names the rows, None for none.
        by_row: whether a point is a row of a table and no patch of a running text.
    """

    values: dict[str, OwnColumn] = field(default_factory=dict)
    id: str | None = None
    by_row: bool = False

    def repeated(self, counts: Int64[np.ndarray, " rows"]) -> "OwnColumns":
        """Each row as often as `counts` says."""
        values = {name: np.repeat(column, counts) for name, column in self.values.items()}
        return replace(self, values=values)

    def tensors(self) -> dict[str, np.ndarray]:
        """What a file holds of them."""
        found: dict[str, np.ndarray] = {}
        for name, column in self.values.items():
            if column.dtype != object:
                found[_NUMBERS + name] = column
                continue
            octets = [word.encode("utf-8") for word in column]
            found[_WORDS + name] = np.frombuffer(b"".join(octets), np.uint8)
            found[_OFFSETS + name] = np.cumsum([0, *map(len, octets)]).astype(np.int64)
        return found

    def metadata(self) -> dict[str, str]:
        """What a file says of them; nothing where there are none and points are no rows."""
        if not self.values and not self.by_row:
            return {}
        told = {"columns": list(self.values), "id": self.id, "by_row": self.by_row}
        return {OWN_METADATA: json.dumps(told, ensure_ascii=False)}

    @classmethod
    def of_file(cls, container: Container, rows: int) -> "OwnColumns":
        """Those of a file of ours.

        Raises ShardError where it lacks what it tells of, or has another number of rows.
        """
        if OWN_METADATA not in container.metadata:
            return cls()
        try:
            told = json.loads(container.metadata[OWN_METADATA])
            values = {str(name): _stored(container, str(name)) for name in told["columns"]}
            found = cls(values, told["id"], bool(told["by_row"]))
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, ShardError):
                raise
            problem = f"metadata {OWN_METADATA!r} cannot be read ({error!r})"
            raise ShardError(container.path, problem, cure="make the file again") from error
        for name, column in found.values.items():
            if column.shape != (rows,):
                problem = f"has {len(column)} rows and not {rows}"
                raise ShardError(container.path, problem, name, cure="make the file again")
        return found


def is_own(tensor: str) -> bool:
    """Whether a tensor of this name holds a column of the user's own."""
    return tensor.startswith((_NUMBERS, _WORDS, _OFFSETS))


def _stored(container: Container, name: str) -> OwnColumn:
    if _NUMBERS + name in container.tensors:
        if container.tensors[_NUMBERS + name].dtype == "F64":
            return container.doubles(_NUMBERS + name)
        return container.integers(_NUMBERS + name)
    raw = container.octets(_WORDS + name).tobytes()
    offset = container.integers(_OFFSETS + name).tolist()
    words = [raw[a:b].decode("utf-8") for a, b in itertools.pairwise(offset)]
    return words_of(words)


def words_of(values: Iterable[object]) -> OwnColumn:
    """A column of words, whatever the values are; empty where there is none."""
    words = [_word(value) for value in values]
    column = np.empty(len(words), object)
    column[:] = words
    return column


def _word(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value).encode("utf-8", "replace").decode()


def column_of(path: Path, name: str, values: Sequence[object]) -> OwnColumn:
    """A column of numbers where all values are, of words else; None is no value.

    Raises ShardError for lists and objects, and for infinite numbers.
    """
    present = [value for value in values if value is not None]
    for row, value in enumerate(values):
        if isinstance(value, (list, dict, tuple)):
            problem = f"is {'an object' if isinstance(value, dict) else 'a list'}, no single value"
            cure = "keep columns of numbers or words"
            raise ShardError(path, problem, name, row, cure)
        if isinstance(value, float) and math.isinf(value):
            raise ShardError(path, f"is {value}", name, row, "repair the value")
    numbers = all(_is_number(value) for value in present) and bool(present)
    if not numbers:
        return words_of(values)
    whole = len(present) == len(values) and all(type(value) is int for value in present)
    if whole and all(value in _INT64 for value in present):
        return np.array(values, np.int64)
    return np.array([math.nan if v is None else float(v) for v in values])  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def column_of_cells(path: Path, name: str, cells: Sequence[str]) -> OwnColumn:
    """The same from what is written in a text file: numbers only where all cells are."""
    known = [None if cell.strip().lower() in _MISSING else cell.strip() for cell in cells]
    said = [cell for cell in known if cell is not None]
    if said and all(_WHOLE.fullmatch(cell) for cell in said):
        return column_of(path, name, [None if cell is None else int(cell) for cell in known])
    if said and all(_NUMBER.fullmatch(cell) and any(map(str.isdigit, cell)) for cell in said):
        return column_of(path, name, [None if cell is None else float(cell) for cell in known])
    return words_of(cells)


def natural_words(text: str) -> list[tuple[int, str]]:
    """A key to sort words by: numbers in them by their value."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def joined_columns(
    parts: Sequence[Mapping[str, OwnColumn]], rows: Sequence[int]
) -> dict[str, OwnColumn]:
    """The columns of several files one below the other, in the order in which they are met.

    A file that lacks a column has no values in it. Where one file has words, all have.
    """
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _joined([part.get(name) for part in parts], rows) for name in names}


def _joined(parts: Sequence[OwnColumn | None], rows: Sequence[int]) -> OwnColumn:
    there = [part for part in parts if part is not None]
    if any(part.dtype == object for part in there):
        filled = [
            words_of([None] * count if part is None else part.tolist())
            for part, count in zip(parts, rows, strict=True)
        ]
        return np.concatenate(filled)
    return np.concatenate(
        [
            np.full(count, math.nan) if part is None else part
            for part, count in zip(parts, rows, strict=True)
        ]
    )


def ordering_numbers(path: Path, name: str, column: OwnColumn) -> Float32[np.ndarray, " rows"]:
    """A column that radii are to order, as numbers.

    Raises ShardError for words, and for a row without a finite number.
    """
    if column.dtype.kind not in "fiu":
        cure = "name a column of numbers, or repair the rows that hold words"
        raise ShardError(path, "holds words, which order no radii", name, cure=cure)
    with np.errstate(over="ignore"):
        numbers = column.astype(np.float32)
    finite = np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite))
        problem = f"{column[row]} is not a finite float32"
        raise ShardError(path, problem, name, row, "give every row a number, or drop the row")
    return numbers


def absent(path: Path, name: str, there: Iterable[str]) -> ShardError:
    """What to raise for a column that a table lacks."""
    names = ", ".join(f"`{one}`" for one in there) or "none"
    return ShardError(path, f"no such column; there are {names}", name, cure="name one of these")


def tensors_kept(
    container: Container, names: Sequence[str], rows: int
) -> Iterator[tuple[str, OwnColumn]]:
    """Tensors of a shard that are kept because they hold one number for each patch."""
    for name in names:
        info = container.tensors.get(name)
        if info is None or info.shape != (rows,):
            continue
        floating = info.dtype in ("F64", "F32", "F16", "BF16")
        yield name, container.doubles(name) if floating else container.integers(name)
