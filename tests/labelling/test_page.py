"""The page of a map's folder: planned, hashed, resumed and removed as the figure is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import contents
from commands import run_command
from sphere_ebm import LabelError, PlacementConfig, label
from sphere_ebm.labelling.label import LabelRun, measure_map
from sphere_ebm.labelling.page import page_of_folder

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=10, replicas=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path_factory.mktemp("in") / "x.safetensors", 12)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, source: Path) -> LabelRun:
    return label(source, tmp_path_factory.mktemp("out") / "map", CONFIG)


@pytest.fixture
def copy(finished: LabelRun, tmp_path: Path) -> Path:
    return shutil.copytree(finished.output, tmp_path / "copy", copy_function=shutil.copy)


def test_a_map_without_its_page_gets_it_by_either_command(
    finished: LabelRun, copy: Path, source: Path, tmp_path: Path
) -> None:
    (copy / "map.html").unlink()
    assert page_of_folder(copy) == copy / "map.html"
    assert contents(copy) == contents(finished.output)
    bare = label(source, tmp_path / "bare", CONFIG, page=False)
    assert sorted({*contents(finished.output)} - {*contents(bare.output)}) == ["map.html"]
    assert bare.regions == finished.regions
    assert label(source, bare.output, CONFIG).kept == 1
    assert contents(bare.output) == contents(finished.output)
    measure_map(bare.output)


def test_a_page_that_is_there_stays_though_none_is_asked_for(
    finished: LabelRun, copy: Path, source: Path
) -> None:
    label(source, copy, CONFIG, page=False)
    assert contents(copy) == contents(finished.output)


def test_the_page_goes_with_its_map(copy: Path, source: Path) -> None:
    other = PlacementConfig(neighbours=4, shells=3, steps=20, average=10, seed=1, replicas=1)
    label(source, copy, other, page=False, overwrite=True)
    assert "map.html" not in contents(copy)


def test_a_page_of_the_users_own_is_never_replaced(copy: Path) -> None:
    (copy / "map.html").unlink()
    held = json.loads((copy / "map.json").read_text())
    del held["files"]["map.html"]
    (copy / "map.json").write_text(json.dumps(held))
    (copy / "map.html").write_bytes(b"mine")
    with pytest.raises(LabelError, match=r"map\.html is in the way"):
        page_of_folder(copy)
    assert (copy / "map.html").read_bytes() == b"mine"


@pytest.mark.usefixtures("unchecked")
def test_the_command_says_where_the_page_is(copy: Path) -> None:
    done = run_command("page", copy, "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told == {"page": str(copy / "map.html"), "bytes": (copy / "map.html").stat().st_size}
    assert "open it in a browser" in run_command("page", copy).out
    assert run_command("page", copy.parent / "none").code == 3


@pytest.mark.usefixtures("unchecked")
def test_no_page_is_an_option_of_label(source: Path, tmp_path: Path) -> None:
    options = ["--neighbours", 4, "--shells", 3, "--steps", 20, "--average", 10, "-q"]
    options += ["--replicas", 1]
    assert run_command("label", source, "-o", tmp_path / "o", "--no-page", *options).code == 0
    assert "map.html" not in contents(tmp_path / "o")
    held = json.loads((tmp_path / "o" / "map.json").read_text())
    assert [region["level"] for region in held["regions"]] == [1] * len(held["regions"])
