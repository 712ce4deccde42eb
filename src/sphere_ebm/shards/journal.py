"""The journal of an output folder: which files of which run are finished, line by line as they get done.

A run that dies leaves its journal behind; the same run then keeps every file that still has the hash written down.
"""

import json
import os
from pathlib import Path
from typing import final

from sphere_ebm.shards.files import sha256_of

JOURNAL = ".sphere-journal.jsonl"


@final
class Journal:
    """Finished files of the run `map_id` in `folder`: name relative to the folder -> SHA-256."""

    def __init__(self, folder: Path, map_id: str):
        self.folder, self.map_id = folder, map_id
        self.finished: dict[str, str] = {}

    @property
    def path(self) -> Path:
        return self.folder / JOURNAL

    def resume(self) -> None:
        """Take over the entries of an interrupted run of the same id; otherwise begin an empty journal."""
        found = read_journal(self.folder)
        if found is not None and found.map_id == self.map_id:
            self.finished = found.finished
            if self.path.read_bytes().endswith(b"\n"):
                return
        # also rewrites a journal whose last line a dying run left torn
        self.path.unlink(missing_ok=True)
        self._append({"map": self.map_id})
        for name, digest in self.finished.items():
            self._append({"file": name, "sha256": digest})

    def record(self, name: str, digest: str) -> None:
        """Write down that `name` is finished."""
        self.finished[name] = digest
        self._append({"file": name, "sha256": digest})

    def holds(self, name: str) -> bool:
        """Whether `name` is written down and still has the bytes that it was finished with."""
        path = self.folder / name
        return name in self.finished and path.is_file() and sha256_of(path) == self.finished[name]

    def close(self) -> None:
        """The run is complete: the map's own list takes over."""
        self.path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, str]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_journal(folder: Path) -> Journal | None:
    """The journal that an interrupted run left in `folder`, or None. A torn last line is left out."""
    path = folder / JOURNAL
    if not path.is_file():
        return None
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    if not entries or not isinstance(entries[0], dict) or "map" not in entries[0]:
        return Journal(folder, "")
    journal = Journal(folder, str(entries[0]["map"]))
    journal.finished = {
        e["file"]: e["sha256"] for e in entries[1:] if isinstance(e, dict) and {"file", "sha256"} <= set(e)
    }
    return journal
