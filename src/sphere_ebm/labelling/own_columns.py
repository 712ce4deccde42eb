"""Columns of the user's own on a map: where they come from, and what is coloured by them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.container import read_container
from sphere_ebm.files.formats import FIGURE, MAP, PAGE, RECIPE
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.files.shards.arrays import TABLE_SUFFIXES, npz_columns
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.files.shards.lines import read_columns
from sphere_ebm.files.shards.own import (
    OwnColumn,
    TableColumns,
    joined_columns,
    natural_words,
    tensors_kept,
)
from sphere_ebm.files.shards.parquet import parquet_columns

COLOUR = "colour_by"
"""In `map.json` and among options, the column that figure and page are coloured by."""

COLUMNS = "columns"
"""In `map.json`, the columns that a map was made with."""

INTERVALS = 5
"""Classes that the figure makes of a column of numbers: intervals with equally many points."""

_ENDINGS = (".parquet", *TABLE_SUFFIXES, ".npz", ".safetensors")


def joined_column(name: str, paths: Sequence[Path], points: int) -> OwnColumn:
    """The column `name` of files whose rows, one file after another, are the points of a map.

    Reads Parquet, CSV, TSV, JSON lines, `.npz` and `.safetensors`.

    Raises:
        ShardError: a file has no such column, it is not one number or word a row, or the rows of
            all files are not as many as the points.
    """
    parts = [{name: _column(path, name)} for path in paths]
    rows = [len(part[name]) for part in parts]
    if sum(rows) != points:
        raise ShardError(
            paths[-1],
            f"{name!r} has {sum(rows)} rows in {len(paths)} files, and the map {points} points",
            cure="give all files of the map, in its order",
        )
    return joined_columns(parts, rows)[name]


def _column(path: Path, name: str) -> OwnColumn:
    suffix = path.suffix.lower()
    if suffix not in _ENDINGS:
        cure = "name a file with one number or word for each point"
        raise ShardError(path, f"is none of {', '.join(_ENDINGS)}", cure=cure)
    if suffix == ".safetensors":
        return _of_tensors(path, name)
    if suffix == ".npz":
        return npz_columns(path, [name])[name]
    if suffix == ".parquet":
        return parquet_columns(path, [name])[name]
    return read_columns(path, [name])[name]


def _of_tensors(path: Path, name: str) -> OwnColumn:
    container = read_container(path)
    info = container.tensors.get(name)
    if info is None or len(info.shape) != 1:
        one_axis = [other for other, tensor in container.tensors.items() if len(tensor.shape) == 1]
        problem = f"no such tensor of one axis; there are {', '.join(one_axis) or 'none'}"
        raise ShardError(path, problem, name, cure="name one of these")
    return dict(tensors_kept(container, [name], info.shape[0]))[name]


def kept_in_map(columns: TableColumns) -> dict[str, Any]:
    """What `map.json` tells of the columns that were read; nothing where none was asked for."""
    told = columns.to_dict()
    return {COLUMNS: told} if told else {}


def columns_of_map(held: Mapping[str, Any]) -> TableColumns:
    """The columns that a map was made with, whose `map.json` is `held`."""
    try:
        return TableColumns.from_dict(held.get(COLUMNS, {}))
    except (TypeError, AttributeError) as error:
        raise LabelError(f"{MAP} is damaged ({COLUMNS!r}: {error})") from error


def columns_to_read(
    held: Mapping[str, Any], asked: TableColumns | None, colour_by: str | None
) -> TableColumns:
    """The columns of what is added to a map whose `map.json` is `held`.

    They are those that are `asked` for, else those that the map was made with. What the radii
    order is up to the map.
    """
    of_map = columns_of_map(held)
    if asked is None:
        return of_map.colouring(colour_by)
    read = replace(asked, prominence=of_map.prominence, length_curve=of_map.length_curve)
    return read.colouring(colour_by)


def not_kept(held: Mapping[str, Any], read: TableColumns) -> set[str]:
    """The columns that what is added must have, since the map has not kept them."""
    return set(read.kept) - set(columns_of_map(held).kept)


def colour_of_map(held: Mapping[str, Any]) -> str | None:
    """The column that the figure and the page of a map are coloured by."""
    found = held.get(COLOUR)
    return found if isinstance(found, str) else None


def told_colour(colour_by: str | None) -> dict[str, str]:
    """What `map.json` tells of the column that the figure and the page are coloured by."""
    return {} if colour_by is None else {COLOUR: colour_by}


def column_options(columns: TableColumns) -> dict[str, Any]:
    """The options of the command that ask for these columns, for `config.toml`."""
    return {
        "embedding_column": columns.embedding,
        "text_column": columns.text,
        "id_column": columns.id,
        "keep": list(columns.keep) or None,
    }


def forget_colours(journal: Journal, colour_by: str | None) -> None:
    """What an earlier run of this map has coloured by another column is made again."""
    folder = journal.folder
    before = colour_of_map(read_map(folder)) if (folder / MAP).exists() else None
    if before == colour_by:
        return
    for name in (FIGURE, PAGE, RECIPE):
        if journal.finished.pop(name, None) is not None:
            (folder / name).unlink(missing_ok=True)


def kept_columns(files: Sequence[Path]) -> dict[str, OwnColumn]:
    """The columns of label files, one file after the other."""
    labels = [read_labels(path) for path in files]
    return joined_columns([one.own.values for one in labels], [len(one) for one in labels])


def classes_of(column: OwnColumn) -> tuple[Int64[np.ndarray, " points"], list[str]]:
    """Which class each point is in, and the names of the classes, as the figure colours them.

    Words are classes as they are. Numbers are in `INTERVALS` intervals with equally many points,
    fewer where values repeat.
    """
    if column.dtype == object:
        words = sorted(set(column), key=natural_words)
        code = {word: i for i, word in enumerate(words)}
        index = np.array([code[word] for word in column], np.int64)
        return index, [word or "(none)" for word in words]
    known = column[~np.isnan(column)]
    values = np.unique(known)
    if len(values) <= INTERVALS:
        edges = values[1:]
    else:
        edges = np.unique(np.quantile(known, np.arange(1, INTERVALS) / INTERVALS))
    index = np.searchsorted(edges, column, side="right").astype(np.int64)
    index[np.isnan(column)] = len(edges) + 1
    names = []
    for number in range(len(edges) + 1):
        inside = known[np.searchsorted(edges, known, side="right") == number]
        low = f"{inside.min():.6g}" if len(inside) else ""
        high = f"{inside.max():.6g}" if len(inside) else ""
        names.append(low if low == high else f"{low} to {high}")
    return index, [*names, "(none)"]
