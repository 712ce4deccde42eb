"""`config.toml`: planned, hashed and removed as the figure is, and read back as options."""

import errno
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import contents
from commands import Command, run_command
from sphere_ebm import LabelError, PlacementConfig, label
from sphere_ebm.cli.main import _parser
from sphere_ebm.cli.options import config_of
from sphere_ebm.cli.parser import parse
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import RECIPE
from sphere_ebm.files.journal import Journal
from sphere_ebm.labelling import label as label_module
from sphere_ebm.labelling.compare import compare_shards
from sphere_ebm.labelling.older import read_old_map
from sphere_ebm.labelling.recipe import with_config, write_recipe
from sphere_ebm.text.ingest import ingest

CONFIG = PlacementConfig(
    neighbours=4, shells=3, steps=25, average=5, replicas=0, step_size=0.1, interaction_length=0.3
)


@pytest.fixture
def command(unchecked: None) -> Command:
    return run_command


@pytest.fixture
def source(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path / "in" / "x.safetensors", 12)


def test_a_map_is_made_again_from_its_own_options(
    command: Command, source: Path, tmp_path: Path
) -> None:
    first = label(source, tmp_path / "out", CONFIG, pooling="max", landmarks=8, sweeps=0).output
    told = tomllib.loads((first / RECIPE).read_text(encoding="utf-8"))
    assert (told["command"], told["pooling"], told["landmarks"]) == ("label", "max", 8)
    held = json.loads((first / "map.json").read_text())
    assert (held["command"], held["files"][RECIPE]) == ("label", sha256_of(first / RECIPE))
    again = ["label", source, "--config", first / RECIPE, "-o", tmp_path / "again", "-q"]
    assert command(*again).code == 0
    assert contents(tmp_path / "again") == contents(first)


def test_options_of_the_user_are_never_replaced(source: Path, tmp_path: Path) -> None:
    made = label(source, tmp_path / "out", CONFIG).output
    # as a version left it that wrote no such file, with one of the user's own beside it
    held = json.loads((made / "map.json").read_text())
    del held["files"][RECIPE]
    (made / "map.json").write_text(json.dumps(held))
    (made / RECIPE).write_text("mine = 1")
    before = contents(made)
    for overwrite in (False, True):
        with pytest.raises(LabelError, match=r"config\.toml is in the way; move it away"):
            label(source, made, CONFIG, overwrite=overwrite)
    assert contents(made) == before
    (made / RECIPE).unlink()
    assert label(source, made, CONFIG).kept == 1
    assert (made / RECIPE).read_text().startswith("# Options of sphere-ebm")
    (made / "map.json").unlink()
    with pytest.raises(LabelError, match="--overwrite"):
        label(source, made, CONFIG)
    label(source, made, CONFIG, overwrite=True)
    assert contents(made) == contents(label(source, tmp_path / "fresh", CONFIG).output)


def test_advice_names_the_command_that_made_the_folder(source: Path, tmp_path: Path) -> None:
    made = label(source, tmp_path / "out", CONFIG, made_by={"command": "map"}).output
    (made / "x.sphere.safetensors").unlink()
    with pytest.raises(ValueError, match="run the same `map` command again"):
        read_old_map(made)
    held = json.loads((made / "map.json").read_text())
    del held["command"]
    (made / "map.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match="run the command that made it again"):
        read_old_map(made)


def test_runs_that_fail_leave_no_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    text = tmp_path / "in.txt"
    text.write_text("Some words to be read.")
    monkeypatch.setattr(label_module, "place", refuse)
    monkeypatch.setattr("sphere_ebm.labelling.compare.compare", refuse)
    monkeypatch.setattr("sphere_ebm.text.shard_work.write_shard", refuse)
    for fails in (
        lambda: label(source, tmp_path / "a" / "out", CONFIG),
        lambda: compare_shards(source, tmp_path / "a" / "out", methods=["random"]),
        lambda: ingest(text, tmp_path / "a" / "out"),
    ):
        with pytest.raises(OSError, match="No space left"):
            fails()
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["label", "map"])
def test_every_option_that_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    options = {"command": name}
    if name == "map":
        options["column"] = 'a "b" \\ \x7f é \U0001f600 \n'
    journal = Journal(tmp_path, "id")
    write_recipe(journal, with_config(options, CONFIG))
    assert journal.holds(RECIPE)
    taken = parse(*_parser(), [name, "x", "-o", "y", "--config", str(tmp_path / RECIPE)])
    assert config_of(taken) == CONFIG
    assert vars(taken).get("column") == options.get("column")
