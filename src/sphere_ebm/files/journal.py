"""The journal of an output folder: which files of which run are finished.

It gets a line for each file that is done. A run that dies leaves its journal behind; the same run
then keeps every file that still has the hash written down.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

from sphere_ebm.files.atomic import atomic_write, sha256_of

JOURNAL = ".sphere-journal.jsonl"


@final
class Journal:
    """Finished files of the run `map_id` in `folder`: name relative to the folder -> SHA-256.

    `planned` names every file that the run is going to write. They are written down before the
    first of them exists, so that whoever replaces the map can tell its files from a user's,
    finished or not.
    """

    def __init__(self, folder: Path, map_id: str, planned: Iterable[str] = ()):
        self.folder = folder
        self.map_id = map_id
        self.planned = tuple(planned)
        self.finished: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The journal's own file."""
        return self.folder / JOURNAL

    def resume(self, known: Mapping[str, str] | None = None) -> None:
        """Take over the entries of an interrupted run of the same id, and the `known` ones.

        The latter are those of its finished map.

        The file is written anew, at once: the dying run may have left its last line torn, and a run
        that dies here leaves either the old journal or the new one.
        """
        found = read_journal(self.folder)
        self.finished = dict(known or {})
        if found is not None and found.map_id == self.map_id:
            self.finished |= found.finished
        lines = [_line({"map": self.map_id, "planned": self.planned})]
        lines += [_line({"file": name, "sha256": digest}) for name, digest in self.finished.items()]
        atomic_write(self.path, lambda file: file.write("".join(lines).encode("utf-8")))

    def record(self, name: str, digest: str) -> None:
        """Write down that `name` is finished."""
        self.finished[name] = digest
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line({"file": name, "sha256": digest}))
            file.flush()
            os.fsync(file.fileno())

    def holds(self, name: str) -> bool:
        """Whether `name` is written down and still has the bytes that it was finished with."""
        path = self.folder / name
        return name in self.finished and path.is_file() and sha256_of(path) == self.finished[name]

    def whole(self) -> set[str]:
        """The finished files that still have their bytes."""
        return {name for name in self.finished if self.holds(name)}

    def close(self) -> None:
        """The run is complete: the map's own list takes over."""
        self.path.unlink(missing_ok=True)


def read_journal(folder: Path) -> Journal | None:
    """The journal that an interrupted run left in `folder`, or None. A torn last line is left out.

    The id is empty, which no run has, when the file is not a journal.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return None
    entries: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if isinstance(entry, dict):
            entries.append(entry)
    if not entries or not isinstance(entries[0].get("map"), str):
        return Journal(folder, "")
    planned = entries[0].get("planned")
    journal = Journal(
        folder, entries[0]["map"], map(str, planned if isinstance(planned, list) else [])
    )
    journal.finished = {
        str(e["file"]): str(e["sha256"]) for e in entries[1:] if {"file", "sha256"} <= set(e)
    }
    return journal


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
