"""Shards that join a finished map beside it: labels to learn from, or to be tested on.

The map's own folder stays as it is. Their label files go into a folder of their own, with a journal
by which the same call continues one that died.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sphere_ebm.errors import LabelError
from sphere_ebm.files.atomic import clean_leftovers
from sphere_ebm.files.folders import made
from sphere_ebm.files.formats import PLACEMENT
from sphere_ebm.files.journal import Journal
from sphere_ebm.labelling.adding import joined_metadata
from sphere_ebm.labelling.engines import AbstractEngine, reached, ready
from sphere_ebm.labelling.join import JoinOptions, JoinTask, run_tasks
from sphere_ebm.labelling.older import OldMap, check_joinable, identity, read_old_map, unseen
from sphere_ebm.labelling.sources import Source, check_sources, nothing_usable, read_sources
from sphere_ebm.progress import StageProgress


def join_shards(
    folder: Path | str,
    shards: Sequence[Path | str],
    into: Path | str,
    *,
    engine: AbstractEngine | None = None,
    progress: StageProgress | None = None,
) -> tuple[Path, ...]:
    """Label shards by the finished map in `folder`, into another folder; returns the label files.

    Each patch comes to lie where `FrozenMap` puts it. Inputs that are on the map already, which is
    known by their hash, are passed over. Label files that an earlier call has finished are kept.

    Args:
        folder: of the map.
        shards: files, folders (searched recursively) and globs.
        into: folder for the labels, made when missing.
        engine: where shards join; None: in this process.
        progress: called as progress(stage, done, total), stages `"reading"` and `"writing"`.

    Raises:
        LabelError: there is no finished map in `folder`, a shard cannot be used, embeddings have
            another width than the map's, or the engine cannot work.
        ShardError: a file of the map is missing or has changed.
        OSError: `into` cannot be written.
    """
    options = JoinOptions("mean", reached(engine), progress)
    sources, refused = read_sources(list(shards), "mean", progress, lambda width: 0)
    if refused:
        raise LabelError(f"{refused[0].source} cannot join the map", refused)
    if not sources:
        raise nothing_usable(refused)
    check_sources(sources, refused)
    old = read_old_map(folder, whole=False)
    found, _ = unseen(old, sources)
    check_joinable(old, found)
    target = Path(into)
    with made(target):
        journal = _journal(old, found, target)
        metadata = joined_metadata(old)
        tasks = [_task(old, one, target, metadata) for one in found if not journal.holds(one.name)]
        with ready(options.engine, needed=bool(tasks)):
            if tasks:
                run_tasks(journal, tasks, len(found), options)
    return tuple(target / one.name for one in found)


def _journal(old: OldMap, new: Sequence[Source], into: Path) -> Journal:
    """The journal of this very call; it stays, so that the next call finds what is finished."""
    content = {
        "joined": old.map_id,
        "version": version("sphere-ebm"),
        "files": [[one.name, one.digest] for one in new],
    }
    journal = Journal(into, identity(content), [one.name for one in new])
    journal.resume()
    clean_leftovers(into)
    return journal


def _task(old: OldMap, source: Source, into: Path, metadata: dict[str, str]) -> JoinTask:
    nobody = np.zeros(0, np.int64)
    return JoinTask(
        item=source.item,
        digest=source.digest,
        pooling="mean",
        output=into / source.name,
        placement=old.folder / PLACEMENT,
        placement_digest=old.held["files"][PLACEMENT],
        rows=nobody,
        fitted=nobody,
        radius=None,
        metadata=metadata,
    )
