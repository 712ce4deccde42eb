"""The inputs of a map.

What could be read of them, what was refused, and what they say about themselves.
"""

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.errors import LabelError, Refused, ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import PAGE
from sphere_ebm.files.shards.discovery import WorkItem, discover
from sphere_ebm.files.shards.naming import label_names
from sphere_ebm.files.shards.own import ALL_FOUND, OwnColumns, TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.shards.reader import read_item
from sphere_ebm.files.shards.sidecar import read_sidecar_edges
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.labelling.folder import is_placement
from sphere_ebm.maps.checks import ExtraEdges
from sphere_ebm.progress import StageProgress

_NAMED = 2  # inputs spelled out in a warning that many share


@final
@dataclass(frozen=True)
class Source:
    """One input that could be read, the width of its embeddings, and the name of its label file.

    `whole` tells whether `table` has its embeddings and bytes; where it has not, `reread` brings
    them. `joined` tells that its points joined a finished map.
    """

    item: WorkItem
    table: PatchTable
    digest: str
    width: int
    name: str
    whole: bool = True
    joined: bool = False


def read_sources(
    inputs: Sequence[Path | str],
    pooling: Pooling,
    progress: StageProgress | None,
    most_points: Callable[[int], int] | None = None,
    columns: TableColumns = ALL_FOUND,
    needed: Collection[str] | None = None,
) -> tuple[list[Source], list[Refused]]:
    """Read everything that files, folders and globs stand for.

    Placements found in folders are passed over. Of tables, `columns` are read.

    Inputs that hold more than `most_points(width)` points in all keep neither embeddings nor bytes.

    Raises LabelError for a `needed` column that no input has; all that are kept are needed where
    nothing else is said.
    """
    named = {Path(given) for given in inputs}
    items = [
        item
        for item in discover(inputs, columns)
        if item.source in named or not is_placement(item.source)
    ]
    found: list[tuple[WorkItem, PatchTable, str, int]] = []
    refused: list[Refused] = []
    there = set[str]()
    points = 0
    width = 1
    whole = True
    for done, item in enumerate(items):
        if progress is not None:
            progress("reading", done, len(items))
        try:
            table = read_item(item, pooling=pooling)
            digest = sha256_of(*item.parts)
        except (ShardError, OSError) as problem:
            refused.append(Refused(item.source, str(problem)))
            continue
        there |= table.own.values.keys()
        table = _without(table, columns)
        points += len(table)
        width = max(width, table.dim) if len(table) else width
        if whole and most_points is not None and points > most_points(width):
            whole = False
            found = [(item, emptied(table), digest, dim) for item, table, digest, dim in found]
        found.append((item, table if whole else emptied(table), digest, table.dim))
    if progress is not None:
        progress("reading", len(items), len(items))
    if found:
        _check_columns(there, columns.kept if needed is None else needed, refused)
    names = label_names([item for item, *_ in found])
    return [Source(*parts, name, whole) for parts, name in zip(found, names, strict=True)], refused


def _without(table: PatchTable, columns: TableColumns) -> PatchTable:
    """The table, with a warning for each column that is asked for and that it lacks."""
    lacking = [name for name in columns.kept if name not in table.own.values]
    if not lacking:
        return table
    names = " and ".join(f"`{name}`" for name in lacking)
    said = f"has no column {names}: its points are without a value"
    return dataclasses.replace(table, warnings=(*table.warnings, said))


def _check_columns(
    there: Collection[str], needed: Collection[str], refused: Sequence[Refused]
) -> None:
    for name in sorted(needed):
        if name not in there:
            known = f"; of those that are kept there are {', '.join(sorted(there))}"
            raise LabelError(f"no input has a column {name!r}{known if there else ''}", refused)


def emptied(table: PatchTable) -> PatchTable:
    """A table without its large columns."""
    nothing = np.zeros((len(table), 0), np.float32)
    return dataclasses.replace(
        table,
        embeddings=nothing,
        bytes=None,
        bytes_offset=None,
        entropy=None,
        own=OwnColumns(by_row=table.own.by_row),
    )


def reread(item: WorkItem, digest: str, pooling: Pooling) -> PatchTable:
    """The table of an input that was read before.

    Raises ShardError when the file has changed since.
    """
    table = read_item(item, pooling=pooling)
    if sha256_of(*item.parts) != digest:
        raise ShardError(
            item.source,
            "has changed since it was first read",
            cure="repeat the command with --overwrite",
        )
    return table


def check_sources(sources: Sequence[Source], refused: Sequence[Refused]) -> None:
    """All embeddings live in one space. A shard without patches has no say. Raises LabelError."""
    filled = [s for s in sources if len(s.table)]
    for source in filled[1:]:
        first = filled[0]
        if source.width != first.width:
            raise LabelError(
                f"embeddings of different width cannot share a map: {first.table.source} has"
                f" {first.width}, {source.table.source} has {source.width}; label them in separate"
                " runs",
                refused,
            )


def nothing_usable(refused: Sequence[Refused]) -> LabelError:
    """What to raise when no input is left."""
    problem = (
        f"none of the {len(refused)} inputs can be used"
        if refused
        else "no shards found in the given inputs"
    )
    return LabelError(problem, refused)


def planned_files(sources: Sequence[Source], page: bool) -> list[str]:
    """Names of the label files of `sources`, and of the page where it is wanted."""
    return [*(source.name for source in sources), *([PAGE] if page else [])]


def offsets(sources: Sequence[Source]) -> list[int]:
    """Where each source's patches begin on the map, and the total at the end."""
    return [int(x) for x in np.concatenate([[0], np.cumsum([len(s.table) for s in sources])])]


def stacked(
    sources: Sequence[Source],
) -> tuple[Float32[np.ndarray, "points width"], Float32[np.ndarray, " points"]]:
    """Embeddings and prominence of all patches in the order of the map."""
    filled = [s for s in sources if len(s.table)]
    width = filled[0].width if filled else 0
    embeddings = np.concatenate(
        [s.table.embeddings for s in filled] or [np.zeros((0, width), np.float32)]
    )
    return embeddings, prominences(sources)


def sharing(
    sources: Sequence[Source], embeddings: Float32[np.ndarray, "points width"]
) -> list[Source]:
    """The sources with their embeddings as views of the stacked ones, so that each is held once."""
    return [
        (
            dataclasses.replace(
                source, table=dataclasses.replace(source.table, embeddings=embeddings[begin:end])
            )
            if len(source.table)
            else source
        )
        for source, begin, end in zip(sources, offsets(sources), offsets(sources)[1:], strict=False)
    ]


def prominences(sources: Sequence[Source]) -> Float32[np.ndarray, " points"]:
    """Prominence of all patches in the order of the map."""
    return np.concatenate([s.table.prominence for s in sources] or [np.zeros(0, np.float32)])


def with_prominence(
    sources: Sequence[Source], prominence: Float32[np.ndarray, " points"]
) -> list[Source]:
    """The sources with these numbers, in the order of the map, for what the radii order."""
    return [
        dataclasses.replace(
            source, table=dataclasses.replace(source.table, prominence=prominence[begin:end])
        )
        for source, begin, end in zip(sources, offsets(sources), offsets(sources)[1:], strict=False)
    ]


def document_numbers(sources: Sequence[Source]) -> Int32[np.ndarray, " points"]:
    """The document of every patch, numbered through, in the order of the map."""
    firsts = np.cumsum([0, *(len(s.table.documents) for s in sources)])
    numbers = [s.table.document + first for s, first in zip(sources, firsts, strict=False)]
    return np.concatenate(numbers or [np.zeros(0)]).astype(np.int32)


def take_sidecar_edges(sources: list[Source], refused: list[Refused]) -> ExtraEdges | None:
    """Edges of all sidecars, as positions on the map.

    An input whose sidecar is damaged moves to `refused`.
    """
    found: dict[str, Any] = {}
    for source in list(sources):
        try:
            edges = (
                None if source.table.sidecar is None else read_sidecar_edges(source.table.sidecar)
            )
            if edges is not None and edges.src.size:
                last = int(max(edges.src.max(), edges.dst.max()))
                if last >= len(source.table):
                    problem = f"names patch {last}, but the shard has {len(source.table)}"
                    raise ShardError(
                        source.table.sidecar or "",
                        problem,
                        "sphere_edges",
                        cure="label without sidecars",
                    )
                found[source.name] = edges
        except ShardError as problem:
            sources.remove(source)
            refused.append(Refused(source.table.source, str(problem)))
    begins = dict(zip((s.name for s in sources), offsets(sources), strict=False))
    parts = [
        (edges.src + begins[name], edges.dst + begins[name], edges.weight)
        for name, edges in found.items()
    ]
    if not parts:
        return None
    src, dst, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    useful = (src != dst) & (weight > 0)
    return (src[useful], dst[useful], weight[useful]) if useful.any() else None


def collected_warnings(sources: Sequence[Source], notes: Sequence[str]) -> tuple[str, ...]:
    """What the inputs say about themselves, each text once, and the placement's notes.

    The note on zero vectors is left out when inputs have told of theirs.
    """
    by_text: dict[str, list[Path]] = {}
    for source in sources:
        for text in source.table.warnings:
            by_text.setdefault(text, []).append(source.table.source)
    told = any("zero vector" in text for text in by_text)
    lines = [f"{_who(paths)}: {text}" for text, paths in by_text.items()]
    return (*lines, *(note for note in notes if not (told and "zero vectors" in note)))


def _who(paths: Sequence[Path]) -> str:
    if len(paths) == 1:
        return os.fspath(paths[0])
    names = ", ".join(path.name for path in paths[:_NAMED])
    return f"{len(paths)} inputs ({names}{', ...' if len(paths) > _NAMED else ''})"
