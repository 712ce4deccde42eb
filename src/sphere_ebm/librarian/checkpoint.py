"""Checkpoints of a training: all that it carries, in one file that is whole or not there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from sphere_ebm.errors import ShardError
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.librarian.students.base import Arrays

CHECKPOINT = ".sphere-training.safetensors"
_FORMAT = "sphere_training_v1"


class Saved(NamedTuple):
    """Where a training is.

    - `state`: of the trainer; the order of batches follows from its number of steps.
    - `best`: arrays of the student that did best, empty before the first evaluation.
    - `best_step`: when that was; `best_score`: how well any student has done.
    - `stale`: evaluations without a gain since.
    - `metrics`: the lines of `metrics.jsonl`.
    - `sums`: losses since the last line, added up by name, with their number as `"batches"`.
    """

    state: Arrays
    best: Arrays
    best_step: int
    best_score: float
    stale: int
    metrics: tuple[dict[str, Any], ...]
    sums: dict[str, float]


def save_checkpoint(folder: Path, run_id: str, saved: Saved) -> None:
    """Write `saved` atomically; `run_id` names the training that it belongs to."""
    tensors = {f"state.{name}": array for name, array in saved.state.items()}
    tensors |= {f"best.{name}": array for name, array in saved.best.items()}
    told = {
        "best_step": saved.best_step,
        "best_score": saved.best_score,
        "stale": saved.stale,
        "metrics": list(saved.metrics),
        "sums": saved.sums,
    }
    metadata = {"format": _FORMAT, "run": run_id, "told": json.dumps(told)}
    write_tensors(folder / CHECKPOINT, tensors, metadata)


def load_checkpoint(folder: Path, run_id: str) -> Saved | None:
    """Where this very training was, or None.

    None as well for the file of another one, or one that cannot be read: the training then starts
    again, with the same result.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != _FORMAT or metadata.get("run") != run_id:
            return None
        told = json.loads(metadata["told"])
        return Saved(
            _part(tensors, "state."),
            _part(tensors, "best."),
            int(told["best_step"]),
            float(told["best_score"]),
            int(told["stale"]),
            tuple(told["metrics"]),
            {name: float(value) for name, value in told["sums"].items()},
        )
    except (ShardError, KeyError, ValueError, TypeError):
        return None


def _part(tensors: Arrays, prefix: str) -> Arrays:
    return {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
