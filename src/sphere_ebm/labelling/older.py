"""A finished map that others join, that grows, or that is turned: what its folder holds."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import MAP
from sphere_ebm.files.map_folder import again, label_files, read_map
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX, WorkItem
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.files.shards.layouts import TEXT_FILE
from sphere_ebm.files.shards.naming import label_names
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.hamiltonian.fields.evaluators import MAX_PYRAMID_ROWS, grid_rows
from sphere_ebm.labelling.sources import Source, emptied
from sphere_ebm.maps.config import PlacementConfig


@final
@dataclass(frozen=True, eq=False)
class OldMap:
    """A finished map: its folder, its `map.json`, and its sources in their order on the map.

    The sources' tables are read from the label files, so that nobody needs the shards they were
    made from. `labels` has one entry for each source, or none where only the sources were asked
    for; their tables are then without embeddings and bytes.
    """

    folder: Path
    held: dict[str, Any]
    config: PlacementConfig
    sources: tuple[Source, ...]
    labels: tuple[Labels, ...]

    @property
    def map_id(self) -> str:
        """The identity of the map."""
        return str(self.held["id"])

    @property
    def digests(self) -> set[str]:
        """SHA-256 of the sources on the map."""
        return {source.digest for source in self.sources}


def read_old_map(folder: Path | str, *, whole: bool = True) -> OldMap:
    """Read a finished map; `whole` with its labels, one file at a time else.

    Raises:
        LabelError: there is no finished map in `folder`, or its `map.json` is damaged.
        ShardError: a label file is missing, damaged, or not the one that `map.json` names.
    """
    folder = Path(folder)
    held = read_map(folder)
    sources = []
    kept = []
    for path, entry in zip(label_files(folder, held), held["sources"], strict=True):
        if not path.is_file() or sha256_of(path) != held["files"].get(path.name):
            cure = f"{again(held)} with --overwrite, and join what had joined the map"
            raise ShardError(path, "is missing or has changed", cure=cure)
        labels = read_labels(path)
        table = _table_of(labels)
        item = WorkItem(table.source.stem, table.source, table.parts)
        joined = bool(entry.get("joined"))
        digest = labels.metadata.get("source_sha256", "")
        if whole:
            kept.append(labels)
        held_table = table if whole else emptied(table)
        sources.append(Source(item, held_table, digest, table.dim, path.name, whole, joined))
    try:
        config = PlacementConfig.from_json(json.dumps(held["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{folder / MAP} is damaged ({error}); {again(held)}") from error
    return OldMap(folder, held, config, tuple(sources), tuple(kept))


def _table_of(labels: Labels) -> PatchTable:
    """The patches of a label file, as they were read from its shard."""
    documents = labels.documents
    counts = [count for _, count in documents]
    source = Path(labels.metadata.get("source_file", labels.path.name))
    parts = json.loads(labels.metadata.get("source_parts", "[]"))
    return PatchTable(
        source=source,
        layout="labels",
        embeddings=labels.embeddings,
        prominence=labels.prominence,
        documents=tuple(name for name, _ in documents),
        document=np.repeat(np.arange(len(documents)), counts).astype(np.int32),
        patch_start=labels.patch_start,
        patch_length=labels.patch_length,
        bytes=labels.bytes,
        bytes_offset=labels.bytes_offset,
        text_file=labels.metadata.get(TEXT_FILE),
        parts=tuple(Path(part) for part in parts) or (source,),
        own=labels.own,
    )


def unseen(old: OldMap, sources: Iterable[Source]) -> tuple[list[Source], list[Path]]:
    """The sources that are not on the map, each once, and the paths of those that are.

    They are known by their SHA-256, whatever they are called.
    """
    known = old.digests
    new = []
    present = []
    for source in sources:
        if source.digest in known:
            present.append(source.table.source)
        else:
            new.append(source)
        known.add(source.digest)
    return new, present


def renamed(new: Sequence[Source], taken: Collection[str]) -> list[Source]:
    """Sources whose label files have names that are not `taken`.

    They are named among themselves, whatever else was given. A name that is taken, upper and lower
    case aside, gets `~` and the start of the source's hash.
    """
    used = {name.casefold() for name in taken}
    named = []
    for source, own in zip(new, label_names([source.item for source in new]), strict=True):
        name = own
        if name.casefold() in used:
            name = f"{own.removesuffix(LABEL_SUFFIX)}~{source.digest[:16]}{LABEL_SUFFIX}"
        used.add(name.casefold())
        named.append(replace(source, name=name))
    return named


def check_joinable(old: OldMap, new: Sequence[Source]) -> None:
    """New points live in the space of the map, which has points and a field that can be tabulated.

    Raises LabelError where one of this is not so.
    """
    fitted = int(old.held.get("fitted", 0))
    rows = grid_rows(old.config.sharpness(max(fitted, 1)))
    if new and (fitted < 1 or rows > MAX_PYRAMID_ROWS):
        raise LabelError(
            f"no points can join the map in {old.folder}: it has {fitted} fitted ones, and its"
            f" field needs {rows} rows of a grid and may have {MAX_PYRAMID_ROWS}"
        )
    widths = [source.width for source in old.sources if len(source.table)]
    for source in new:
        if widths and len(source.table) and source.width != widths[0]:
            raise LabelError(
                f"{source.table.source} has embeddings of width {source.width}, and the map in"
                f" {old.folder} was made of width {widths[0]}; embed it as the map's shards were"
            )


def identity(content: dict[str, Any]) -> str:
    """The id of what `content` describes."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
