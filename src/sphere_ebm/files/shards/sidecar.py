"""Edges that the upstream writer stored beside a shard.

They are in `<stem>.hypergraph.db`, SQLite, schema 3.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import open_regular

_MAGIC = b"SQLite format 3\0"
_TABLE = "sphere_edges"
_COLUMNS = {"id", "src_patch", "dst_patch", "weight", "label"}
_INT32_MAX = 2**31 - 1
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_CURE = "write the sidecar again, or remove it: it is optional"


class SidecarEdges(NamedTuple):
    """Directed edges in the order of their ids.

    `src` and `dst` are patch numbers in the shard, `weight` is >= 0, `label` is `next`, `semantic`
    or the like. Patch numbers are checked to be >= 0; only the caller knows how many patches there
    are.
    """

    src: Int32[np.ndarray, " edges"]
    dst: Int32[np.ndarray, " edges"]
    weight: Float32[np.ndarray, " edges"]
    label: tuple[str, ...]


def read_sidecar_edges(path: Path | str) -> SidecarEdges | None:
    """Read the table `sphere_edges`.

    The file is opened read-only, and nothing is created beside it.

    Returns `None` if there is nothing to read for us: schema 2 (opaque blobs), or no SQLite
    database at all.

    Raises:
        ShardError: the file is missing or damaged, or at the first row with a bad value.
    """
    path = Path(path)
    with open_regular(path) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return None
    # A database in WAL mode gets a -shm file beside it even when opened read-only, unless it is
    # called immutable; that in turn would overlook what a -wal file, if there is one, still holds.
    immutable = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{immutable}", uri=True)
        ) as database:
            return _edges(path, database)
    except sqlite3.Error as error:
        raise ShardError(path, f"is a damaged SQLite database ({error})", cure=_CURE) from error


def _edges(path: Path, database: sqlite3.Connection) -> SidecarEdges | None:
    # Of type `table`: a view of that name could compute for ever.
    if not database.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (_TABLE,)
    ).fetchone():
        return None
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({_TABLE})")}
    if not columns >= _COLUMNS:
        problem = f"the columns {', '.join(sorted(_COLUMNS - columns))} are missing"
        raise ShardError(path, problem, _TABLE, cure=_CURE)
    rows = database.execute(
        f"SELECT src_patch, dst_patch, weight, label FROM {_TABLE} ORDER BY id"
    ).fetchall()
    for index, row in enumerate(rows):
        _check_row(path, index, row)
    src, dst, weight, label = zip(*rows, strict=True) if rows else ((), (), (), ())
    return SidecarEdges(
        np.array(src, np.int32),
        np.array(dst, np.int32),
        np.array(weight, np.float32),
        tuple(str(text) for text in label),
    )


def _check_row(path: Path, index: int, row: tuple[Any, ...]) -> None:
    """SQLite stores any type in any column, whatever the schema says."""
    src, dst, weight, label = row
    for name, value in (("src_patch", src), ("dst_patch", dst)):
        if not isinstance(value, int) or not 0 <= value <= _INT32_MAX:
            raise ShardError(
                path, f"{name} is {value!r:.40}, not a patch number", _TABLE, index, _CURE
            )
    if (
        not isinstance(weight, int | float) or not 0 <= weight <= _FLOAT32_MAX
    ):  # NaN fails the comparison too
        raise ShardError(
            path,
            f"weight is {weight!r:.40}, not a number >= 0 that float32 can hold",
            _TABLE,
            index,
            _CURE,
        )
    if not isinstance(label, str):
        raise ShardError(path, f"label is {label!r:.40}, not a text", _TABLE, index, _CURE)
