"""`sphere-ebm label`, killed again and again, ends with the bytes of a run that nobody disturbed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Kills itself once the COUNT-th rename onto (or removal of) a file named *SUFFIX has begun and MORE audit events of any
# kind (opening, renaming, importing, compiling) have passed: a moment that depends on no clock.
CHILD = """
import os, signal, sys
suffix, count, more = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def watch(event, arguments):
    global count, more
    if count > 0 and event in ("os.rename", "os.remove"):
        count -= os.fspath(arguments[event == "os.rename"]).endswith(suffix)
    if not count:
        more -= 1
        if more < 0:
            count = -1  # os.kill is an event too
            os.kill(os.getpid(), signal.SIGKILL)
if suffix:
    sys.addaudithook(watch)
from sphere_ebm.cli import main
sys.exit(main(sys.argv[4:]))
"""
# In the order in which a run reaches them. Moments of one stage differ in the random number of events that follow.
STAGES = [
    (".sphere-journal.jsonl", 1),
    (".sphere-checkpoint.safetensors", 1),
    (".sphere-checkpoint.safetensors", 2),
    (".sphere-checkpoint.safetensors", 2),
    ("placement.safetensors", 1),
    (".sphere.safetensors", 1),
    (".sphere.safetensors", 1),
    (".sphere.safetensors", 1),
    ("energy.csv", 1),
    ("map.png", 1),
    ("map.json", 1),
    (".sphere-journal.jsonl", 2),
]
OPTIONS = ["--quiet", "--neighbours", "4", "--shells", "3", "--steps", "175", "--average", "5", "--tolerance", "0"]


@pytest.fixture
def label(tmp_path: Path, shard: Callable[..., Path]) -> Callable[..., int]:
    """`label(output, suffix="", count=0, more=0)`: exit code of a process that labels three shards."""
    for i, patches in enumerate((20, 17, 9)):
        shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)
    # Compiled programs are kept, so that a run takes 2 s and not 4.
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def run(output: str, suffix: str = "", count: int = 0, more: int = 0) -> int:
        command = ["label", str(tmp_path / "in"), "--output", str(tmp_path / output), *OPTIONS]
        arguments = [sys.executable, "-c", CHILD, suffix, str(count), str(more), *command]
        return subprocess.run(arguments, env=os.environ | kept, check=False).returncode

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_killed_a_dozen_times_ends_with_the_same_bytes(tmp_path: Path, label: Callable[..., int]) -> None:
    assert label("undisturbed") == 0
    inputs = contents(tmp_path / "in")
    rng = np.random.default_rng(2024)
    for suffix, count in STAGES:
        assert label("killed", suffix, count, int(rng.integers(3))) == -signal.SIGKILL, suffix
        left = {path.name for path in (tmp_path / "killed").glob("*.sphere.safetensors")}
        done = contents(tmp_path / "undisturbed")
        assert all((tmp_path / "killed" / name).read_bytes() == done[name] for name in left), "whole or not there"
    assert label("killed") == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    assert contents(tmp_path / "in") == inputs
