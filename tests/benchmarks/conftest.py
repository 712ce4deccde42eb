"""What tests of the benchmarks share: their modules, and made-up sets."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of `benchmarks`, which is not installed.

    It runs from the root of the repository.
    """
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def write_set(tmp_path: Path) -> Callable[..., Path]:
    """`write_set(name, embeddings, labels)`: a set that `benchmarks.datasets` loads; its folder."""

    def write(name: str, embeddings: np.ndarray, labels: np.ndarray | None = None) -> Path:
        topics = np.zeros(len(embeddings), np.int16) if labels is None else labels
        np.savez(tmp_path / f"{name}.npz", embeddings=embeddings, labels=topics)
        return tmp_path

    return write
