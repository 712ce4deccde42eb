"""The command as its tests call it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command, run_command


@pytest.fixture
def command(unchecked: None) -> Command:
    """`command("label", path, ...)`.

    Exit code and what was printed, as a user without type checks gets it.
    """
    return run_command


@pytest.fixture
def source(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path / "in" / "x.safetensors", 12)
