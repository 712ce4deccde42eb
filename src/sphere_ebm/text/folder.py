"""The folder of shards: whose they are, and how an earlier run's are taken over or replaced."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.atomic import atomic_write, clean_leftovers
from sphere_ebm.files.container import read_container
from sphere_ebm.files.journal import Journal, read_journal

MANIFEST = "ingest.json"
MANIFEST_FORMAT = "sphere_ingest_v1"
SHARD_SUFFIX = ".safetensors"
SHARDS = "shards"
"""Folder of the shards that `map` makes, below that of the map."""
MADE_WITH = "made_with"
"""What a shard's metadata call the settings of its run, as JSON."""


def claim_shards(
    folder: Path, run_id: str, names: Sequence[str], overwrite: bool
) -> tuple[Journal, list[str]]:
    """Make `folder` ours, to write shards `names`.

    Returns the journal of what earlier runs have finished there, and with `overwrite` the shards
    that another run has left: they are for the caller to remove once this run has succeeded, but
    for those of planned names; whether these can be kept is told by what is in them. With
    `overwrite`, shards that lost their `ingest.json` count as another run's, too.

    Raises LabelError where another run's shards are, without `overwrite`, or files that no run has
    written.
    """
    held = read_manifest(folder)
    left = read_journal(folder)
    known = {**(held["files"] if held else {}), **(left.finished if left else {})}
    other = {held["id"] if held else run_id, left.map_id if left else run_id} != {run_id}
    if other and not overwrite:
        raise LabelError(
            f"{folder} holds the shards of another run (other inputs or configuration); choose"
            " another --output, or replace them with --overwrite"
        )
    ours = {*known, *(left.planned if left else ())}
    present = [name for name in names if name not in ours and os.path.lexists(folder / name)]
    foreign = [name for name in present if not (overwrite and _is_shard(folder / name))]
    if foreign:
        raise LabelError(
            f"{folder / foreign[0]} is in the way; move it away, or choose another --output"
        )
    stale = sorted(n for n in ours - {*names} if n.endswith(SHARD_SUFFIX) and Path(n).name == n)
    # stale ones are planned, too, so that they stay known as ours until they are gone
    journal = Journal(folder, run_id, [*names, *stale])
    journal.resume({name: digest for name, digest in known.items() if name in names})
    clean_leftovers(folder)
    return journal, stale


def _is_shard(path: Path) -> bool:
    """Whether a file was written by `ingest`."""
    try:
        return MADE_WITH in read_container(path).metadata
    except ShardError:
        return False


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The `ingest.json` of a folder, if there is one.

    Raises LabelError if it is not one of ours.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = None
    if not isinstance(held, dict) or held.get("format") != MANIFEST_FORMAT:
        raise LabelError(
            f"{path} is not a {MANIFEST_FORMAT} file; move it away, or choose another --output"
        )
    if not isinstance(held.get("id"), str) or not isinstance(held.get("files"), dict):
        raise LabelError(f"{path} is damaged; remove it and repeat the command with --overwrite")
    return held


def write_manifest(journal: Journal, content: Mapping[str, Any]) -> None:
    """Write `ingest.json`, and end the journal: the run is complete."""
    held = {"format": MANIFEST_FORMAT, "id": journal.map_id, **content, "files": journal.finished}
    text = json.dumps(held, indent=1, sort_keys=True, allow_nan=False) + "\n"
    atomic_write(journal.folder / MANIFEST, lambda file: file.write(text.encode()))
    journal.close()
