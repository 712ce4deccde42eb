"""`Split`: which documents teach, and which tell when to stop."""

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from sphere_ebm.errors import LabelError
from sphere_ebm.files.atomic import atomic_write

SPLIT = "split.json"
_SPLIT_FORMAT = "sphere_split_v1"


@final
@dataclass(frozen=True)
class Split:
    """Which documents are learned from, and on which the student is judged while it learns."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int | None = None

    def save(self, folder: Path) -> None:
        """Write `split.json`, atomically."""
        held = {
            "format": _SPLIT_FORMAT,
            "seed": self.seed,
            "train": list(self.train),
            "validation": list(self.validation),
        }
        text = json.dumps(held, indent=1, ensure_ascii=False) + "\n"
        atomic_write(folder / SPLIT, lambda file: file.write(text.encode()))

    @classmethod
    def load(cls, folder: Path) -> "Split":
        """Read what `save` wrote. Raises LabelError where there is none, or it is damaged."""
        path = folder / SPLIT
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["format"] != _SPLIT_FORMAT:
                raise ValueError(f"format {held['format']!r}")
            return cls(tuple(held["train"]), tuple(held["validation"]), held["seed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabelError(
                f"{path} cannot be read as {_SPLIT_FORMAT} ({error}); train the student again"
            ) from error


def documents_named(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """The documents that patterns name; raises LabelError for one that names none."""
    chosen: set[str] = set()
    for pattern in patterns:
        found = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            known = ", ".join(names[:3])
            raise LabelError(f"no document is called {pattern!r}; there are {known}, ...")
        chosen.update(found)
    return chosen
