"""The files in a student's folder, and `config.json`, which describes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphere_ebm.errors import LabelError
from sphere_ebm.files.atomic import atomic_write

MODEL = "model.safetensors"
"""The student as it was after the last step."""
BEST = "best.safetensors"
"""The student as it was when it did best on the validation documents: the one that predicts."""
GROUND = "map.safetensors"
"""What the map at hand needs beside its labels."""
CONFIG = "config.json"
METRICS = "metrics.jsonl"
FORMAT = "sphere_librarian_v1"


def read_description(folder: Path) -> dict[str, Any]:
    """The `config.json` of a finished model.

    Raises LabelError where there is none, or the training has not ended.
    """
    path = folder / CONFIG
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(
            f"{folder} has no readable {CONFIG}; train a student there with `sphere-ebm train`"
        ) from error
    except ValueError:
        held = None
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise LabelError(f"{path} is not a {FORMAT} file; name the folder of a student")
    if not isinstance(held.get("files"), dict):
        raise LabelError(
            f"the training in {folder} has not ended; repeat its `sphere-ebm train` command"
        )
    return held


def write_description(folder: Path, held: Mapping[str, Any]) -> None:
    """Write `config.json`, atomically."""
    text = json.dumps({"format": FORMAT, **held}, indent=1, sort_keys=True) + "\n"
    atomic_write(folder / CONFIG, lambda file: file.write(text.encode()))
