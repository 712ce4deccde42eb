"""What the `map.json` of a finished map's folder says, and which label files belong to it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphere_ebm.errors import LabelError
from sphere_ebm.files.formats import MAP, MAP_FORMAT

_MAP_FIELDS = {"id": str, "config": dict, "files": dict, "sources": list}


def read_map(folder: Path) -> dict[str, Any]:
    """The `map.json` of a folder. Raises LabelError when it is missing or not one of ours."""
    try:
        held = json.loads((folder / MAP).read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(
            f"{folder} has no readable {MAP}; make a map there first, from texts with"
            " `sphere-ebm map`, or from shards with `sphere-ebm label`"
        ) from error
    except ValueError:
        held = None
    ours = isinstance(held, dict) and held.get("format") == MAP_FORMAT
    if not ours or not all(isinstance(held.get(name), kind) for name, kind in _MAP_FIELDS.items()):
        raise LabelError(
            f"{folder / MAP} is not a {MAP_FORMAT} file; move it away, or choose another --output"
        )
    return held


def again(held: Mapping[str, Any]) -> str:
    """Advice to make a map again whose `map.json` is `held`, by the command that made it."""
    command = held.get("command")
    if not isinstance(command, str):
        return "run the command that made it again"
    return f"run the same `{command}` command again"


def label_files(folder: Path, held: Mapping[str, Any], *, fitted: bool = False) -> list[Path]:
    """The label files of a map whose `map.json` is `held`; with `fitted` without those that joined.

    Raises LabelError when it lists none.
    """
    try:
        files = [
            folder / source["labels"]
            for source in held["sources"]
            if not (fitted and source.get("joined"))
        ]
    except (KeyError, TypeError, AttributeError):
        files = []
    if not files:
        raise LabelError(f"{folder / MAP} is damaged (it lists no labels); {again(held)}")
    return files
