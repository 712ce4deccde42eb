"""The inputs of a map: what could be read of them, what was refused, and what they say about themselves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.fit import ExtraEdges, StageProgress
from sphere_ebm.map_folder import LabelError, Refused, is_placement
from sphere_ebm.shards import (
    PatchTable,
    Pooling,
    ShardError,
    WorkItem,
    discover,
    read_item,
    read_sidecar_edges,
    sha256_of,
)
from sphere_ebm.shards.naming import label_names

_NAMED = 2  # inputs spelled out in a warning that many share


@dataclass(frozen=True)
class Source:
    """One input that could be read, and the name of its label file."""

    item: WorkItem
    table: PatchTable
    digest: str
    name: str


def read_sources(
    inputs: Sequence[Path | str], pooling: Pooling, progress: StageProgress | None
) -> tuple[list[Source], list[Refused]]:
    """Read everything that files, folders and globs stand for; placements found in folders are passed over."""
    named = {Path(given) for given in inputs}
    items = [item for item in discover(inputs) if item.source in named or not is_placement(item.source)]
    found: list[tuple[WorkItem, PatchTable, str]] = []
    refused: list[Refused] = []
    for done, item in enumerate(items):
        if progress is not None:
            progress("reading", done, len(items))
        try:
            found.append((item, read_item(item, pooling=pooling), sha256_of(*item.parts)))
        except (ShardError, OSError) as problem:
            refused.append(Refused(item.source, str(problem)))
    if progress is not None:
        progress("reading", len(items), len(items))
    names = label_names([item for item, _, _ in found])
    return [Source(*parts, name) for parts, name in zip(found, names, strict=True)], refused


def check_sources(sources: Sequence[Source], refused: Sequence[Refused]) -> None:
    """All embeddings live in one space. A shard without patches has no say. Raises LabelError."""
    filled = [s for s in sources if len(s.table)]
    for source in filled[1:]:
        first, width = filled[0].table, source.table.embeddings.shape[1]
        if width != first.embeddings.shape[1]:
            raise LabelError(
                f"embeddings of different width cannot share a map: {first.source} has {first.embeddings.shape[1]}, "
                f"{source.table.source} has {width}; label them in separate runs",
                refused,
            )


def nothing_usable(refused: Sequence[Refused]) -> LabelError:
    """What to raise when no input is left."""
    problem = f"none of the {len(refused)} inputs can be used" if refused else "no shards found in the given inputs"
    return LabelError(problem, refused)


def offsets(sources: Sequence[Source]) -> list[int]:
    """Where each source's patches begin on the map, and the total at the end."""
    return [int(x) for x in np.concatenate([[0], np.cumsum([len(s.table) for s in sources])])]


def stacked(
    sources: Sequence[Source],
) -> tuple[Float32[np.ndarray, "points width"], Float32[np.ndarray, " points"], Int32[np.ndarray, " points"]]:
    """Embeddings, prominence and document (numbered through) of all patches in the order of the map."""
    filled = [s.table for s in sources if len(s.table)]
    width = filled[0].embeddings.shape[1] if filled else 0
    embeddings = np.concatenate([t.embeddings for t in filled] or [np.zeros((0, width), np.float32)])
    prominence = np.concatenate([t.prominence for t in filled] or [np.zeros(0, np.float32)])
    firsts = np.cumsum([0, *(len(s.table.documents) for s in sources)])
    documents = [s.table.document + first for s, first in zip(sources, firsts, strict=False)]
    return embeddings, prominence, np.concatenate(documents or [np.zeros(0)]).astype(np.int32)


def take_sidecar_edges(sources: list[Source], refused: list[Refused]) -> ExtraEdges | None:
    """Edges of all sidecars, as positions on the map; an input whose sidecar is damaged moves to `refused`."""
    found: dict[str, Any] = {}
    for source in list(sources):
        try:
            edges = None if source.table.sidecar is None else read_sidecar_edges(source.table.sidecar)
            if edges is not None and edges.src.size:
                last = int(max(edges.src.max(), edges.dst.max()))
                if last >= len(source.table):
                    problem = f"names patch {last}, but the shard has {len(source.table)}"
                    raise ShardError(source.table.sidecar or "", problem, "sphere_edges", cure="label without sidecars")
                found[source.name] = edges
        except ShardError as problem:
            sources.remove(source)
            refused.append(Refused(source.table.source, str(problem)))
    begins = dict(zip((s.name for s in sources), offsets(sources), strict=False))
    parts = [(edges.src + begins[name], edges.dst + begins[name], edges.weight) for name, edges in found.items()]
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
