"""The Ray engine (extra `ray`).

The bytes of the local engine, also when a worker is killed in the middle.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import contents
from sphere_ebm import PlacementConfig, label
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
from sphere_ebm.labelling.engines import RayEngine, make_engine

pytest.importorskip("ray", reason="the extra `ray` is not installed")
CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=5, tolerance=0.0, replicas=1)
SHARDS = 64
LANDMARKS = 200


def workers_at_work() -> list[int]:
    """Ray's worker processes that are labelling a shard just now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::join_shard" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


def kill_a_worker(output: Path, after: int, killed: list[int]) -> None:
    """Once some labels are there, and not all, kill one worker as the kernel would for lack of
    memory.
    """
    for _ in range(6000):
        done = len(list(output.glob(f"*{LABEL_SUFFIX}")))
        workers = workers_at_work() if done >= after else []
        if workers and done < SHARDS:
            os.kill(workers[0], signal.SIGKILL)
            killed.append(done)
            return
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for workers in /proc")
def test_a_lost_worker_loses_nothing(tmp_path: Path, shard: Callable[..., Path]) -> None:
    for i in range(SHARDS):
        shard(tmp_path / "in" / f"s{i:02d}.safetensors", 10 + i % 5, seed=i)
    local = tmp_path / "local"
    output = tmp_path / "ray"
    label([tmp_path / "in"], local, CONFIG, landmarks=LANDMARKS, sweeps=0)
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(output, 5, killed))
    killer.start()
    engine = make_engine("ray", jobs=2)
    assert isinstance(engine, RayEngine)
    run = label([tmp_path / "in"], output, CONFIG, landmarks=LANDMARKS, sweeps=0, engine=engine)
    killer.join()
    assert killed
    assert 5 <= killed[0] < SHARDS
    assert len(run.files) == SHARDS
    assert contents(output) == contents(local)
    # and the same command keeps all of it
    assert (
        label([tmp_path / "in"], output, CONFIG, landmarks=LANDMARKS, sweeps=0, engine=engine).kept
        == SHARDS
    )
