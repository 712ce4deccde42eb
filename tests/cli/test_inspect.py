"""What `sphere-ebm` tells: of a map, of a file, and of itself."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from commands import Command
from sphere_ebm import PlacementConfig, __version__
from sphere_ebm.cli import main as cli_main
from sphere_ebm.cli import options as cli_options

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]
SMALL += ["--replicas", "1"]


def test_quality_measures_a_map_again(command: Command, source: Path, tmp_path: Path) -> None:
    first = json.loads(command("label", source, "-o", tmp_path / "out", "--json", *SMALL).out)
    assert json.loads(command("quality", tmp_path / "out", "--json").out) == first["quality"]
    assert "recall@15" in command("quality", tmp_path / "out").out
    (tmp_path / "out" / "map.png").write_bytes(b"")
    done = command("quality", tmp_path / "out")
    assert (done.code, done.out) == (3, "")
    assert "map.png: is missing or has changed" in done.err
    assert command("quality", tmp_path / "in").code == 3


def test_inspect_tells_what_is_in_a_file(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("inspect", source)
    assert done.code == 0
    for text in (
        f"{source}: layout F",
        "12 patches, width 5",
        "patch_lengths",
        "format: blt_patches_v3",
    ):
        assert text in done.out
    held = json.loads(command("inspect", source, "--json").out)
    assert (held["layout"], held["patches"], held["width"], held["problem"]) == ("F", 12, 5, None)
    assert held["tensors"]["embeddings"] == {"dtype": "F32", "shape": [12, 5]}
    assert command("label", source, "-o", tmp_path / "out", "-q", *SMALL).code == 0
    assert (
        "labels, format sphere_labels_v1"
        in command("inspect", tmp_path / "out" / "x.sphere.safetensors").out
    )


def test_inspect_of_what_cannot_be_used_is_3(
    command: Command, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    bad = shard(tmp_path / "nan.safetensors", 3, prominence=np.full(3, np.nan, np.float32))
    done = command("inspect", bad)
    assert done.code == 3
    assert "cannot be used: " in done.out
    assert "`prominence` at index 0" in json.loads(command("inspect", bad, "--json").out)["problem"]
    absent = command("inspect", tmp_path / "absent.safetensors")
    assert (absent.code, absent.out, len(absent.err.splitlines())) == (3, "", 1)


def test_the_version_is_printed(command: Command) -> None:
    assert command("--version") == (0, f"sphere-ebm {__version__}\n", "")


def test_help_fits_80_columns_and_explains_every_parameter(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ([], *([name] for name in cli_main._parser()[1])):
        done = command(*arguments, "--help")
        assert done.code == 0
        assert max(map(len, done.out.splitlines())) <= 80
    text = " ".join(command("label", "--help").out.split())
    sections = cli_options._field_texts(PlacementConfig.__doc__ or "")
    texts = {name: text for section in sections.values() for name, text in section.items()}
    for field in dataclasses.fields(PlacementConfig):
        assert f"--{field.name.replace('_', '-')} " in text
        assert texts[field.name].split()[0] in text
    assert "exit codes: 0 all done" in text


def test_inspect_names_the_source_of_labels_and_knows_a_placement(
    command: Command, source: Path, tmp_path: Path
) -> None:
    assert command("label", source, "-o", tmp_path / "out", "-q", *SMALL).code == 0
    labels = command("inspect", tmp_path / "out" / "x.sphere.safetensors")
    assert "12 patches, width 5, documents: x.safetensors" in labels.out
    held = json.loads(command("inspect", tmp_path / "out" / "x.sphere.safetensors", "--json").out)
    energy = held["columns"]["point_energy"]
    assert energy["least"] <= energy["median"] <= energy["greatest"]
    assert set(held["columns"]) > {"radii", "shell", "kept", "kept_p_value"}
    assert f"points no better than chance: {held['chance_share']:.1%}" in labels.out
    assert f"{energy['least']:.4g}, {energy['median']:.4g}" in labels.out
    placement = command("inspect", tmp_path / "out" / "placement.safetensors")
    assert placement.code == 0
    assert "a placement, format sphere_placement_v1\n12 patches\n" in placement.out
