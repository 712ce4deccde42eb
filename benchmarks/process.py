"""What this process used and compiled."""

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


def peak_mb() -> float:
    """Peak resident memory of this process in 10^6 bytes.

    VmHWM where there is one: Linux lets a child inherit `ru_maxrss` from the process that started
    it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            line
            for line in status.read_text(encoding="ascii").splitlines()
            if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def count_compilations() -> Counter[str]:
    """Programs that XLA compiles from now on, by name; the counter goes on counting."""
    compiled: Counter[str] = Counter()

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == COMPILED:
            compiled[str(details.get("fun_name"))] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    return compiled


def warm_milliseconds(run: Callable[[], Any], repeats: int) -> list[float]:
    """What each of `repeats` runs takes after a first one that is not counted."""
    jax.block_until_ready(run())
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def run_apart(module: str, *arguments: str) -> str:
    """Run a module of this folder in a process of its own; what it prints on stdout."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    root = Path(__file__).parents[1]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root).stdout
