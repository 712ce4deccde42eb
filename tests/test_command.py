"""The command as a process: its entry points, and Ctrl-C at any moment."""

import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sphere_ebm.cli import main
from sphere_ebm.shards.journal import JOURNAL

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]


@pytest.fixture
def source(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path / "in" / "x.safetensors", 12)


@pytest.mark.parametrize("start", [["-m", "sphere_ebm"], ["-c", "from sphere_ebm_command import run; run()"]])
def test_the_module_is_the_command(tmp_path: Path, start: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *start, "inspect", str(tmp_path / "absent.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"sphere-ebm: {tmp_path / 'absent.npy'}: ")


def test_the_entry_point_is_what_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"sphere-ebm": "sphere_ebm_command:run"}
    assert "src/sphere_ebm_command.py" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


# Interrupts itself when the module of that name is imported, like a Ctrl-C while the command is still starting.
STARTING = """
import os, signal, sys
def watch(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(watch)
from sphere_ebm_command import run
run()
"""
LINE = "sphere-ebm: interrupted; the same command continues where it stopped\n"


@pytest.mark.parametrize("module", ["sphere_ebm", "numpy", "jax", "sphere_ebm.plotting"])
def test_an_interruption_while_the_command_starts_is_one_line(module: str) -> None:
    program = STARTING.format(module=module)
    done = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", LINE)


@pytest.mark.parametrize("start", [["-m", "sphere_ebm"], ["-c", "from sphere_ebm_command import run; run()"]])
def test_an_interruption_while_xla_compiles_is_one_line(
    source: Path, tmp_path: Path, unchecked: None, start: list[str]
) -> None:
    arguments = [*start, "label", str(source), "-o", str(tmp_path / "out"), "--quiet", *SMALL]
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The journal appears before the graph is built and the sampler compiled, which take seconds.
    while process.poll() is None and not (tmp_path / "out" / JOURNAL).exists():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", LINE)
    assert main([*map(str, ["label", source, "-o", tmp_path / "out", "--quiet", *SMALL])]) == 0
