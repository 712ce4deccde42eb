"""The folder of a comparison: whose it is, which files are in it, and how it is replaced."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphere_ebm.errors import LabelError
from sphere_ebm.files.atomic import clean_leftovers
from sphere_ebm.files.journal import Journal, read_journal
from sphere_ebm.librarian.sequence.config import SequenceConfig
from sphere_ebm.librarian.sequence.report import CARD, CURVES, SPREADSHEET, TABLE
from sphere_ebm.librarian.sequence.training import BEST, CHECKPOINT, FINAL, HISTORY

MEASURED = "measured.safetensors"
MODEL_FILES = (BEST, FINAL, HISTORY, MEASURED)
"""Files in the folder of each model."""
_TOLD = (SPREADSHEET, CARD, CURVES, TABLE)


def _planned(config: SequenceConfig) -> list[str]:
    return [
        f"{model}-{context}/{file}"
        for context in config.contexts
        for model in config.models
        for file in MODEL_FILES
    ]


def claim(folder: Path, run_id: str, config: SequenceConfig, overwrite: bool) -> Journal:
    """Make `folder` ours, or refuse one with another comparison unless `overwrite`.

    The journal that is returned knows the finished files of this very comparison, of which
    `run_id` is the name.

    Raises:
        LabelError: the folder holds another comparison.
        OSError: the folder cannot be written.
    """
    left = read_journal(folder)
    held = _held(folder)
    finished: dict[str, str] = {} if held is None else held.get("files", {})
    other = (held is not None and held.get("id") != run_id) or (
        left is not None and left.map_id != run_id
    )
    if other and not overwrite:
        raise LabelError(
            f"{folder} holds another comparison (other inputs or options); choose another"
            " --output, or replace it with --overwrite"
        )
    if other:
        planned = set(finished) | set(() if left is None else left.planned)
        _remove(folder, planned)
        finished = {}
    clean_leftovers(folder)
    journal = Journal(folder, run_id, _planned(config))
    journal.resume(finished)
    return journal


def _held(folder: Path) -> dict[str, Any] | None:
    """What `comparison.json` says; an empty object where it cannot be understood."""
    path = folder / TABLE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove the files of another comparison, and folders that this leaves empty."""
    for name in (*names, *_TOLD):
        path = folder / name
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and Path(name).name in (*MODEL_FILES, *_TOLD):
            path.unlink(missing_ok=True)
            (path.parent / CHECKPOINT).unlink(missing_ok=True)
            if path.parent != folder and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
