"""The folder of a map: which files are in it, whose map it is, and how it is taken over or replaced."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from sphere_ebm.shards import LABEL_SUFFIX, clean_leftovers
from sphere_ebm.shards.journal import JOURNAL, Journal, read_journal

MAP_FORMAT = "sphere_map_v1"
MAP, PLACEMENT, ENERGY, FIGURE = "map.json", "placement.safetensors", "energy.csv", "map.png"
CHECKPOINT = ".sphere-checkpoint.safetensors"
_MAP_FIELDS = {"id": str, "config": dict, "files": dict, "sources": list}


@dataclass(frozen=True)
class Refused:
    """An input that could not be labelled, and the reason in one line."""

    source: Path
    reason: str


class LabelError(ValueError):
    """Nothing was labelled, and why: one line. `refused` are the inputs that could not be read."""

    def __init__(self, problem: str, refused: Iterable[Refused] = ()) -> None:
        super().__init__(problem)
        self.refused = tuple(refused)
        for one in self.refused:
            self.add_note(f"refused: {one.reason}")


def is_placement(path: Path) -> bool:
    """Whether a file found in a folder is the placement of a map, finished or not, and no shard."""
    return path.name == PLACEMENT and any((path.parent / name).is_file() for name in (MAP, JOURNAL))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made when missing, for one run; the lock goes with the process, however it ends.

    Raises LabelError while another run holds it. Where folders cannot be locked (Windows, some network file systems)
    nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LabelError(f"another run is working in {folder}; wait for it, or choose another --output") from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def claim(folder: Path, map_id: str, names: Sequence[str], overwrite: bool) -> Journal:
    """Make `folder` ours: refuse one with another map, or clear that map's own files when `overwrite` says so.

    The journal that comes back knows the finished files of this very map, interrupted or complete.
    """
    planned = (*names, PLACEMENT, ENERGY, FIGURE, MAP)
    held = read_map(folder) if (folder / MAP).exists() else None
    left = read_journal(folder)
    ids = {held["id"] if held else map_id, left.map_id if left else map_id}
    if ids != {map_id}:
        if not overwrite:
            raise LabelError(
                f"{folder} holds another map (other inputs or configuration); choose another --output, or replace it "
                "with --overwrite"
            )
        _remove_map(folder, {*(held["files"] if held else ()), *((*left.planned, *left.finished) if left else ())})
        held = left = None
    if held is None and left is None:
        foreign = [name for name in planned if os.path.lexists(folder / name)]
        if foreign:
            raise LabelError(f"{folder / foreign[0]} is in the way; move it away, or choose another --output")
    journal = Journal(folder, map_id, planned)
    journal.resume(held["files"] if held else None)
    clean_leftovers(folder)
    return journal


def _remove_map(folder: Path, names: set[str]) -> None:
    """Remove the files of a map, those that tell of it last: whatever happens, the rest is never left unexplained.

    A name counts only if it is one that we give: a list may have been tampered with.
    """
    labels = sorted(name for name in names if name.endswith(LABEL_SUFFIX) and Path(name).name == name)
    for name in (*labels, PLACEMENT, ENERGY, FIGURE, CHECKPOINT, MAP, JOURNAL):
        (folder / name).unlink(missing_ok=True)


def read_map(folder: Path) -> dict[str, Any]:
    """The `map.json` of a folder. Raises LabelError when it is missing or not one of ours."""
    try:
        held = json.loads((folder / MAP).read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(f"{folder} has no readable {MAP}; label something into it first") from error
    except ValueError:
        held = None
    ours = isinstance(held, dict) and held.get("format") == MAP_FORMAT
    if not ours or not all(isinstance(held.get(name), kind) for name, kind in _MAP_FIELDS.items()):
        raise LabelError(f"{folder / MAP} is not a {MAP_FORMAT} file; move it away, or choose another --output")
    return held
