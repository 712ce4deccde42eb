"""`sphere-ebm label`, killed again and again, ends with the bytes of an undisturbed run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import contents
from sphere_ebm.files.folders import LOCK
from sphere_ebm.files.formats import CHECKPOINT
from sphere_ebm.labelling.folder import NEXT

# Kills itself once the COUNT-th rename onto (or removal of) a file named *SUFFIX has begun and MORE
# audit events of any kind (opening, renaming, importing, compiling) have passed: a moment that
# depends on no clock.
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
from sphere_ebm.cli.main import main
sys.exit(main(sys.argv[4:]))
"""
# In the order in which a run reaches them. Moments of one stage differ in the random number of
# events that follow.
STAGES = [
    (".sphere-journal.jsonl", 1),
    (".sphere-checkpoint.safetensors", 1),
    (".sphere-checkpoint.safetensors", 2),
    ("placement.safetensors", 1),
    ("map.json", 1),  # the old map's, which goes when the new placement exists
    (".sphere.safetensors", 1),
    ("energy.csv", 1),
    ("map.png", 1),
    ("map.html", 1),
    ("map.json", 1),
    (".sphere-journal.jsonl", 2),
]
BEFORE_SAMPLING = 3  # stages after which the sampler is killed from outside
OPTIONS = [
    "--quiet",
    "--neighbours",
    "4",
    "--shells",
    "3",
    "--steps",
    "750",
    "--average",
    "5",
    "--tolerance",
    "0",
    "--replicas",
    "1",
]


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path, shard: Callable[..., Path]) -> Start:
    """`start(output, *options, kill=(suffix, count, more))`: a process that labels three shards."""
    for i, patches in enumerate((20, 17, 9)):
        shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)
    # Compiled programs are kept, so that a run takes 2 s and not 4.
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def run(
        output: str, *options: str, kill: tuple[str, int, int] = ("", 0, 0)
    ) -> subprocess.Popen[bytes]:
        command = [
            "label",
            str(tmp_path / "in"),
            "--output",
            str(tmp_path / output),
            *OPTIONS,
            *options,
        ]
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, *map(str, kill), *command], env=os.environ | kept
        )

    return run


def own_files(folder: Path) -> dict[str, bytes]:
    """The files of the folder itself, but for the lock that a killed run cannot take away."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found.pop(LOCK, None)
    return found


def kill_while_sampling(
    process: subprocess.Popen[bytes], checkpoint: Path, changes: int, polls: int
) -> None:
    """Kill from outside after so many changes of the checkpoint and then so many looks at it,
    wherever that may be.
    """
    seen = None
    while process.poll() is None and (changes or polls):
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        if not changes:
            polls -= 1
        elif now != seen:
            seen = now
            changes = changes - 1
    process.kill()
    process.wait()


def test_an_overwriting_run_killed_at_any_moment_ends_with_the_same_bytes(
    tmp_path: Path, start: Start
) -> None:
    killed = tmp_path / "killed"
    assert start("undisturbed").wait() == 0
    assert start("killed", "--seed", "1").wait() == 0
    old = contents(killed)
    done = contents(tmp_path / "undisturbed")
    inputs = contents(tmp_path / "in")
    rng = np.random.default_rng(2024)
    for number, (suffix, count) in enumerate(STAGES):
        kill = (suffix, count, int(rng.integers(3)))
        assert start("killed", "--overwrite", kill=kill).wait() == -signal.SIGKILL, suffix
        if number < BEFORE_SAMPLING:
            assert own_files(killed) == old, "the other map stands until there is a placement"
        for path in killed.glob("*.sphere.safetensors"):
            assert path.read_bytes() in (old[path.name], done[path.name]), "whole or not there"
        for _ in range(3 * (number == BEFORE_SAMPLING - 1)):
            checkpoint = killed / NEXT / CHECKPOINT
            kill_while_sampling(
                start("killed", "--overwrite"), checkpoint, *rng.integers([1, 0], [9, 100]).tolist()
            )
    assert start("killed", "--overwrite").wait() == 0
    assert contents(killed) == done
    assert not (killed / NEXT).exists()
    assert contents(tmp_path / "in") == inputs
