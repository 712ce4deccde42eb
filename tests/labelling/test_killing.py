"""`sphere-ebm label`, killed again and again, ends with the bytes of an undisturbed run."""

import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from builders import contents
from processes import ready_made, run_command
from sphere_ebm.files.folders import LOCK
from sphere_ebm.files.formats import CHECKPOINT
from sphere_ebm.labelling.folder import NEXT

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


Start = Callable[..., BaseProcess]


@pytest.fixture
def start(tmp_path: Path, shard: Callable[..., Path]) -> Start:
    """`start(output, *options, kill=(suffix, count, more))`: a process that labels three shards."""
    for i, patches in enumerate((20, 17, 9)):
        shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)

    def run(output: str, *options: str, kill: tuple[str, int, int] = ("", 0, 0)) -> BaseProcess:
        command = [
            "label",
            str(tmp_path / "in"),
            "--output",
            str(tmp_path / output),
            *OPTIONS,
            *options,
        ]
        # Compiled programs are kept, so that a run takes 1 s and not 3.
        process = ready_made().Process(
            target=run_command, args=(command, str(tmp_path / "compiled"), *kill)
        )
        process.start()
        return process

    return run


def own_files(folder: Path) -> dict[str, bytes]:
    """The files of the folder itself, but for the lock that a killed run cannot take away."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found.pop(LOCK, None)
    return found


def ended(process: BaseProcess) -> int | None:
    """Its exit code, or less the signal that it was killed with, when it has ended."""
    process.join()
    return process.exitcode


def kill_while_sampling(process: BaseProcess, checkpoint: Path, changes: int, polls: int) -> None:
    """Kill from outside after so many changes of the checkpoint and then so many looks at it,
    wherever that may be.
    """
    seen = None
    while process.is_alive() and (changes or polls):
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        if not changes:
            polls -= 1
        elif now != seen:
            seen = now
            changes = changes - 1
    process.kill()
    process.join()


def test_an_overwriting_run_killed_at_any_moment_ends_with_the_same_bytes(
    tmp_path: Path, start: Start
) -> None:
    killed = tmp_path / "killed"
    assert ended(start("undisturbed")) == 0
    assert ended(start("killed", "--seed", "1")) == 0
    old = contents(killed)
    done = contents(tmp_path / "undisturbed")
    inputs = contents(tmp_path / "in")
    rng = np.random.default_rng(2024)
    for number, (suffix, count) in enumerate(STAGES):
        kill = (suffix, count, int(rng.integers(3)))
        assert ended(start("killed", "--overwrite", kill=kill)) == -signal.SIGKILL, suffix
        if number < BEFORE_SAMPLING:
            assert own_files(killed) == old, "the other map stands until there is a placement"
        for path in killed.glob("*.sphere.safetensors"):
            assert path.read_bytes() in (old[path.name], done[path.name]), "whole or not there"
        for _ in range(3 * (number == BEFORE_SAMPLING - 1)):
            checkpoint = killed / NEXT / CHECKPOINT
            kill_while_sampling(
                start("killed", "--overwrite"), checkpoint, *rng.integers([1, 0], [9, 100]).tolist()
            )
    assert ended(start("killed", "--overwrite")) == 0
    assert contents(killed) == done
    assert not (killed / NEXT).exists()
    assert contents(tmp_path / "in") == inputs
