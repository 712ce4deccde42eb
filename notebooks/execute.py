"""Run notebooks from a clean kernel: `python notebooks/execute.py` runs them all and keeps their
outputs.

`make notebooks` calls it; the tests call `executed` with smaller numbers and keep nothing.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
LONGEST_CELL = 300
"""Seconds after which a cell counts as hanging."""


def notebooks() -> list[Path]:
    """Every notebook of this folder, in order."""
    return sorted(FOLDER.glob("*.ipynb"))


def executed(path: Path, replaced: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """The notebook with fresh outputs.

    `replaced` are pieces of its code by what stands in their place in this run. Raises
    CellExecutionError, with the cell and its traceback, when one fails, and ValueError when a piece
    to replace is not there.

    It runs in this folder, as it does for a reader who opens it there. What depends on the run
    alone (times, ids of cells' executions, the version of Python) is left out.
    """
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for piece, other in (replaced or {}).items():
        if not any(piece in cell.source for cell in code):
            raise ValueError(f"{path.name} must hold the code to replace; it lacks {piece!r}.")
        for cell in code:
            cell.source = cell.source.replace(piece, other)
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(
        notebook, timeout=LONGEST_CELL, kernel_name="python3", record_timing=False, resources=where
    ).execute()
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    return notebook


def main() -> int:
    for path in notebooks():
        print(path.name, file=sys.stderr)
        nbformat.write(executed(path), path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
