"""The command line: exit codes, what is printed where, and never a traceback."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import contents
from commands import Command
from sphere_ebm import PlacementConfig, read_labels

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]
SMALL += ["--replicas", "1"]


def test_all_labelled_is_0_with_a_table(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("label", source, "-o", tmp_path / "out", *SMALL)
    assert done.code == 0
    for text in (
        "points",
        "12 in 1 files",
        "shells used",
        "energy per point, osmotic",
        "recall@15",
        "seconds",
    ):
        assert text in done.out
    assert str(tmp_path / "out") in done.out
    assert "steps" in done.err, "progress is told on standard error"


def test_quiet_prints_nothing(command: Command, source: Path, tmp_path: Path) -> None:
    assert command("label", source, "-o", tmp_path / "out", "--quiet", *SMALL) == (0, "", "")


def test_json_is_one_object(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("label", source, tmp_path / "absent", "-o", tmp_path / "out", "--json", *SMALL)
    held = json.loads(done.out)
    assert done.code == 4
    assert held["points"] == 12
    assert held["labels"] == {str(source): str(tmp_path / "out" / "x.sphere.safetensors")}
    assert list(held["refused"]) == [str(tmp_path / "absent")]
    assert held["energy"].keys() == {"gravity", "lateral", "osmotic"}
    assert held["steps"] == 30
    again = command("label", source, "-o", tmp_path / "out", "--json", *SMALL)
    assert (again.code, json.loads(again.out)["kept"]) == (0, 1)


def test_landmarks_and_jobs_reach_the_run(command: Command, source: Path, tmp_path: Path) -> None:
    few = ["--landmarks", "8", "--sweeps", "2", *SMALL]
    done = command("label", source, "-o", tmp_path / "out", "--jobs", "2", *few)
    assert done.code == 0
    assert "8 landmarks" in done.out
    assert json.loads((tmp_path / "out" / "map.json").read_text())["sweeps"] == 2
    held = json.loads(command("label", source, "-o", tmp_path / "out", "--json", *few).out)
    assert (held["points"], held["fitted"], held["kept"]) == (12, 8, 1)


def test_options_reach_the_configuration(command: Command, source: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "seed": 5,
        "kernel": "gaussian",
        "inner_radius": 2.0,
        "outer_radius": 5.0,
        "temperature_end": 0.02,
    }
    options = [
        part for name, value in values.items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    assert command("label", source, "-o", tmp_path / "out", "-q", *SMALL, *options).code == 0
    metadata = read_labels(tmp_path / "out" / "x.sphere.safetensors").metadata
    expected = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, replicas=1, **values)
    assert PlacementConfig.from_json(metadata["config"]) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "-1"], "seed"),
        (["--seed", "x"], "--seed"),
        (["--steps", "1.5"], "--steps"),
        (["--step-size", "nan"], "step_size"),
        (["--kernel", "square"], "--kernel"),
        (["--pooling", "median"], "--pooling"),
        (["--inner-radius", "9", "--outer-radius", "8"], "inner_radius"),
        (["--affinity", "perplexity", "--perplexity", "99"], "perplexity"),
        (["--landmarks", "0"], "landmarks"),
        (["--sweeps", "-1"], "sweeps"),
        (["--jobs", "0"], "jobs"),
        (["--engine", "slurm"], "--engine"),
        (["--ray-address", "auto"], "ray_address"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_usage_is_2_and_names_the_option(
    command: Command, source: Path, tmp_path: Path, options: list[str], named: str
) -> None:
    done = command("label", source, "-o", tmp_path / "out", *options)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("sphere-ebm label: ")
    assert named in first
    assert second == "see sphere-ebm label --help"
    assert not (tmp_path / "out").exists()


def test_ray_that_is_not_installed_is_wrong_usage(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = command("label", source, "-o", tmp_path / "out", "--engine", "ray")
    assert (done.code, done.out) == (2, "")
    assert (
        "the engine `ray` needs the package `ray`: pip install 'ray[client]>="
        in done.err.splitlines()[0]
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [[], ["label"], ["label", "x"], ["polish"], ["inspect"], ["quality", "a", "b"]]
)
def test_an_incomplete_command_is_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments).code == 2


def damage(path: Path, kind: int, rng: np.random.Generator, shard: Callable[..., Path]) -> None:
    """A shard of layout F that is wrong in one way of eight, at a random place."""
    patches = int(rng.integers(2, 9))
    place = int(rng.integers(patches))
    spoilt = np.ones(patches, np.float32)
    spoilt[place] = [np.nan, np.inf, -np.inf][place % 3]
    replaced: list[dict[str, np.ndarray]] = [
        {"embeddings": spoilt[:, None] * np.ones((1, 5), np.float32)},
        {"prominence": spoilt},
        {"embeddings": np.ones((patches, 5), np.bool_)},
        {"patch_lengths": np.where(np.isfinite(spoilt), 1, -1).astype(np.int32)},
        {"prominence": np.ones(patches + 1, np.float32)},
    ]
    shard(path, patches, **(replaced[kind] if kind < len(replaced) else {}))
    raw = path.read_bytes()
    if kind == 5:
        path.write_bytes(raw[: int(rng.integers(len(raw)))])
    if kind == 6:
        path.write_bytes(int(rng.integers(2**40, 2**62)).to_bytes(8, "little") + raw[8:])
    if kind == 7:
        path.write_bytes(raw[:8] + raw[8:].replace(b"embeddings", b"embodiment", 1))


def test_200_damaged_shards_are_one_line_each_and_the_good_one_is_labelled(
    command: Command, source: Path, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(200):
        damage(tmp_path / "in" / f"bad{i:03}.safetensors", i % 8, rng, shard)
    before = contents(tmp_path / "in")
    done = command("label", tmp_path / "in", "-o", tmp_path / "out", "--quiet", *SMALL)
    assert (done.code, done.out) == (4, "")
    lines = done.err.splitlines()
    assert len(lines) == 200
    assert [line.split(": ")[:2] for line in lines] == [
        ["refused", str(tmp_path / "in" / f"bad{i:03}.safetensors")] for i in range(200)
    ]
    alone = command("label", source, "-o", tmp_path / "alone", "--quiet", *SMALL)
    assert alone.code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    assert contents(tmp_path / "in") == before


def test_nothing_but_damaged_shards_is_3_and_writes_nothing(
    command: Command, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(1)
    for i in range(16):
        damage(tmp_path / "in" / f"bad{i:02}.safetensors", i % 8, rng, shard)
    done = command("label", tmp_path / "in", "-o", tmp_path / "out", *SMALL, "--quiet")
    assert (done.code, done.out) == (3, "")
    *refused, last = done.err.splitlines()
    assert [line.split(": ")[1] for line in refused] == sorted(
        map(str, (tmp_path / "in").iterdir())
    )
    assert last == "sphere-ebm: none of the 16 inputs can be used"
    assert not (tmp_path / "out").exists()


def test_a_failure_is_one_object_with_json(
    command: Command, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    bad = shard(tmp_path / "bad.safetensors", 3, prominence=np.full(3, np.nan, np.float32))
    done = command("label", bad, "-o", tmp_path / "out", *SMALL, "--json")
    held = json.loads(done.out)
    assert (done.code, held["error"], list(held["refused"])) == (
        3,
        "none of the 1 inputs can be used",
        [str(bad)],
    )
    assert "`prominence` at index 0" in held["refused"][str(bad)]
    for arguments in (["quality", tmp_path], ["inspect", tmp_path / "absent.npy"]):
        done = command(*arguments, "--json")
        assert (done.code, json.loads(done.out)["refused"]) == (3, {})


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "make room and repeat the command: what is finished is kept"),
        (errno.EROFS, "make it writable, or choose another --output"),
        (errno.EIO, "check the folder and repeat the command"),
    ],
)
def test_an_output_that_cannot_be_written_is_named_with_the_cure(
    command: Command,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    cure: str,
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("sphere_ebm.labelling.columns.write_labels", refuse)
        done = command("label", source, "-o", tmp_path / "out", "--quiet", *SMALL)
    text = f"sphere-ebm: cannot write into {tmp_path / 'out'} ({os.strerror(number)}); {cure}\n"
    assert done == (3, "", text)
    assert command("label", source, "-o", tmp_path / "out", "--quiet", *SMALL).code == 0


@pytest.mark.parametrize("options", [["--json"], []])
def test_an_output_that_nobody_reads_is_no_noise(source: Path, options: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "sphere_ebm", "inspect", str(source), *options]
    done = subprocess.run(arguments, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_map_of_no_points_prints_no_undefined_numbers(
    command: Command, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    for points in (0, 1):
        source = shard(tmp_path / f"{points}.safetensors", points)
        done = command("label", source, "-o", tmp_path / str(points), *SMALL)
        assert done.code == 0
        assert f"{points} in 1 files" in done.out
        assert "nan" not in done.out
        assert "nan" not in command("quality", tmp_path / str(points)).out


def test_every_stage_has_its_lines_without_a_terminal_and_in_a_log(
    command: Command, source: Path, tmp_path: Path
) -> None:
    arguments = ["label", source, tmp_path / "absent", "-o", tmp_path / "out", *SMALL]
    told = command(*arguments, "--json", "--log", tmp_path / "log").err.splitlines()
    stages = ("reading", "neighbours", "steps", "replicas", "quality", "writing", "figure", "page")
    ends = [line for line in told if re.fullmatch(r"\w+: (\d+) of \1, [\d.]+ s", line)]
    assert [line.split(":")[0] for line in ends] == list(stages)
    assert all(any(line.startswith(f"{stage}: begins") for line in told) for stage in stages)
    logged = (tmp_path / "log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", line) for line in logged)
    first, *middle, last = [line[21:] for line in logged]
    assert first.startswith("sphere-ebm label ")
    assert middle == told, "the refused input, too"
    assert last == "ended with exit code 4"
    again = command(*arguments, "--quiet", "--log", tmp_path / "log").err.splitlines()
    assert [line.split(":")[0] for line in again] == ["refused"]
    added = (tmp_path / "log").read_text().splitlines()[len(logged) :]
    assert any("quality: 1 of 1" in line for line in added), "a log is told in any case"


def test_names_that_look_like_markup_or_code_are_printed_as_they_are(
    command: Command, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    odd = ["[red]x[/]", ":smile:", "two\nlines", "escape\x1b[31m", os.fsdecode(b"latin\xe9")]
    nan = np.full((3, 5), np.nan, np.float32)
    for name in odd:
        shard(tmp_path / "in" / f"{name}.safetensors", 3, embeddings=nan)
    done = command("label", tmp_path / "in", "-o", tmp_path / "out")
    lines = [line for line in done.err.splitlines() if line.startswith("refused: ")]
    assert len(lines) == len(odd)
    for shown in ("[red]x[/]", ":smile:", r"two\nlines", r"escape\x1b[31m", r"latin\udce9"):
        assert sum(f"{shown}.safetensors" in line for line in lines) == 1
    assert [command("inspect", path).code for path in (tmp_path / "in").iterdir()] == [3] * len(odd)


@pytest.mark.parametrize("kind", ["a file", "below a file", "another map", "a foreign file"])
def test_an_output_that_cannot_be_used_is_3_in_one_line(
    command: Command, source: Path, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "out"
    if kind == "another map":
        assert command("label", source, "-o", output, "-q", *SMALL, "--seed", 1).code == 0
    elif kind == "a foreign file":
        output.mkdir()
        (output / "map.png").write_text("mine")
    else:
        output.write_text("mine")
        output = output / "sub" if kind == "below a file" else output
    done = command("label", source, "-o", output, "--quiet", *SMALL)
    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("sphere-ebm: ")
    assert str(tmp_path / "out") in done.err


def test_an_output_inside_an_input_folder_can_be_labelled_again(
    command: Command, source: Path
) -> None:
    for _ in range(2):
        done = command("label", source.parent, "-o", source.parent / "labels", "--quiet", *SMALL)
        assert done == (0, "", "")


def test_a_divergence_is_3_in_one_line(command: Command, source: Path, tmp_path: Path) -> None:
    options = ["--steps", 3000, "--scheme", "euler-maruyama", "--step-size", 50]
    done = command("label", source, "-o", tmp_path / "out", "--quiet", *options)
    assert (done.code, done.out) == (3, "")
    assert len(done.err.splitlines()) == 1
    assert "not finite" in done.err


def test_an_interruption_is_130_and_can_be_continued(
    command: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sphere_ebm.labelling.columns.write_labels", interrupt)
        done = command("label", source, "-o", tmp_path / "out", "--quiet", *SMALL)
    assert (done.code, done.out) == (130, "")
    assert done.err == "sphere-ebm: interrupted; the same command continues where it stopped\n"
    assert command("label", source, "-o", tmp_path / "out", "--quiet", *SMALL).code == 0


def test_warnings_go_to_standard_error(command: Command, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.eye(12, 5, dtype=np.float32))
    done = command("label", tmp_path / "plain.npy", "-o", tmp_path / "out", "-q", *SMALL)
    assert (done.code, done.out) == (0, "")
    assert all(line.startswith("warning: ") for line in done.err.splitlines())
    assert "no stored prominence" in done.err
    assert "zero vectors" in done.err
