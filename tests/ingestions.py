"""Texts, and runs of `ingest` that make their shards with models that need no package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from builders import Letters, Spaces, texts_in
from sphere_ebm.text.ingest import IngestRun, ingest
from sphere_ebm.text.patching import Patching

PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds.\n" * 3
TEXTS = {
    "a.txt": PROSE,
    "b.md": "# Grüße\n\nVom Rand der Welt, wo Äpfel blühen.\n" * 4,
    "c.jsonl": (
        '{"text": "one short line"}\n{"text": null}\n{"text": "and one more that is longer"}\n'
    ),
    "d/a.txt": "Another file of the same name. " * 5,
}
NAMES = [f"{name}.safetensors" for name in ("{}__a", "b", "c", "d__a")]


def letters(last: int = -1, dies: Callable[[], object] = print) -> Letters:
    """Five patches at a time; calls `dies` after the first of them in document `last`."""

    def told(octets: np.ndarray, done: int) -> None:
        if done and embedder.documents == last:
            dies()

    embedder = Letters(block=5, told=told)
    return embedder


def made(inputs: Any, output: Path, **options: Any) -> IngestRun:
    given = {
        "patching": Patching("monotonic"),
        "mean_length": 6.0,
        "entropy": Spaces(noise=True),
        "embedder": letters(),
    }
    return ingest(inputs, output, **given | options)


def written(folder: Path) -> Path:
    return texts_in(folder, TEXTS)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
