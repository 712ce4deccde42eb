"""Standard output that cannot take what is printed: another encoding, full, or closed."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import run_command
from sphere_ebm.cli.main import main

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]
SMALL += ["--replicas", "1"]
FULL = "sphere-ebm: standard output cannot be written (No space left on device), files can\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_names_that_the_terminal_has_no_letters_for_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    np.save(tmp_path / "日本.npy", np.eye(3))
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["inspect", str(tmp_path / "日本.npy")]) == 0
    printed = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "\\u65e5\\u672c.npy: layout npy" in printed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_full_output_is_not_the_fault_of_the_folder(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
    unchecked: None,
    options: list[str],
) -> None:
    arguments = ["label", source, "-o", tmp_path / "out", *SMALL]
    assert run_command(*arguments, "--quiet").code == 0
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([*map(str, arguments), *options]) == 1
    assert capfd.readouterr().err.endswith(FULL)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")
@pytest.mark.parametrize("command", ["inspect", "quality", "ingest", "compare"])
def test_a_failure_that_cannot_be_printed_is_one_line_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, command: str
) -> None:
    output = ["-o", str(tmp_path / "out")] if command in ("ingest", "compare") else []
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([command, str(tmp_path / "absent"), *output, "--json"]) == 1
    assert capfd.readouterr().err.endswith(FULL)


def test_a_closed_output_gets_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.eye(3))
    program = (
        "import os, sys; os.close(1); sys.stdout = None;"
        " from sphere_ebm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", program, "inspect", str(tmp_path / "x.npy")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
