"""The types of the package agree."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="the extra `dev` is not installed")
ROOT = Path(__file__).parents[1]


def test_mypy_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
