"""Every cell of every notebook runs in a clean kernel, with fewer points, chains and steps than
what is committed, which shows its outputs and stays small.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 500_000
"""Bytes that a code host still renders without complaint."""
SMALLER = {
    "1-energy-and-convergence": {
        "len(shard), 200": "len(shard), 100",
        "[0, 1], 200": "[0, 1], 100",
        "steps=3000": "steps=100",
        "average=800": "average=40",
        "[0.005, 0.01, 0.02, 0.05, 0.1, 0.2]": "[0.005, 0.2]",
        "[0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]": "[0.5, 1.5]",
        "seed in (0, 1)]": "seed in (0,)]",
        "(200, 400, 1000, 4000)": "(200, 400)",
        "range(5)": "range(2)",
    },
    "2-laws-and-order": {
        "CHAINS = 1000": "CHAINS = 200",
        "256": "32",
        "128": "16",
        '"warmup": 300': '"warmup": 100',
        "warmup=100, draws=100, thin=8": "warmup=100, draws=100",
        "modes=32": "modes=16",
    },
    "3-phase-diagram": {
        "adapt_steps=1000": "adapt_steps=50",
        "warmup=1500": "warmup=50",
        "draws=400": "draws=100",
        "thin=5": "thin=1",
    },
    "7-from-labels-to-a-librarian": {
        'NAMES = ["austen", "constitution", "elements", "genesis", "jargon", "luke", "matthew"]': (
            'NAMES = ["genesis", "luke"]'
        ),
        'UNSEEN = ["psalms", "sqlite"]': 'UNSEEN = ["matthew"]',
        "steps=60, average=20": "steps=10, average=5",
        "rows=8000, epochs=6": "rows=500, epochs=1",
        'against=["chance", "ridge", "knn"]': 'against=["chance"]',
        "draws=100": "draws=10",
    },
    "4-labels-and-uncertainty": {
        "folder, PlacementConfig())": "folder, PlacementConfig(steps=60, average=20, replicas=2))",
        "PlacementConfig(seed=seed, replicas=0)": (
            "PlacementConfig(seed=seed, steps=60, average=20, replicas=0)"
        ),
        "PlacementConfig(seed=seed, **changes)": (
            "PlacementConfig(seed=seed, steps=60, average=20, **({'replicas': 2} | changes))"
        ),
        "range(1, 11)": "range(1, 3)",
    },
    "5-what-the-physics-buys": {
        'NAMES = [\n    "austen",': 'NAMES = ["sqlite", "luke"]\n_ = [',
        "PlacementConfig(seed=0, replicas=0)": (
            "PlacementConfig(seed=0, steps=60, average=20, replicas=0)"
        ),
    },
    "6-finding-ones-way": {"trials=200": "trials=20", "[:400]": "[:40]"},
}
"""What the tests put into a notebook's code instead of its numbers, so that it takes seconds."""


def _execute() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _streams(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        output.text
        for output in outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]


def test_there_are_seven_notebooks() -> None:
    assert len(NOTEBOOKS) == 7


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_kernel_without_a_warning(path: Path) -> None:
    fresh = _execute().executed(path, SMALLER.get(path.stem))
    assert _streams(fresh) == []
    assert any(
        "image/png" in output.get("data", {})
        for cell in fresh.cells
        for output in cell.get("outputs", [])
    )


def test_a_notebook_without_the_code_to_replace_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1-energy.*ipynb must hold .* it lacks 'no such code'"):
        _execute().executed(NOTEBOOKS[0], {"no such code": ""})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_its_outputs_in_order_and_is_small(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert _streams(notebook) == []
    assert path.stat().st_size < LARGEST
