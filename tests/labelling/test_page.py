"""The page of a map's folder: planned, hashed, resumed and removed as the figure is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from builders import contents
from commands import run_command
from sphere_ebm import LabelError, PlacementConfig, ShardError, label
from sphere_ebm.labelling.label import LabelRun, measure_map
from sphere_ebm.labelling.own_columns import joined_column
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


def columned(folder: Path, values: np.ndarray) -> dict[str, Path]:
    """The column `year` in files of every kind."""
    paths = {kind: folder / f"own.{kind}" for kind in ("parquet", "csv", "npz", "safetensors")}
    pq.write_table(pa.table({"year": values}), paths["parquet"])
    paths["csv"].write_text("other,year\n" + "".join(f"x,{value}\n" for value in values))
    np.savez(paths["npz"], year=values)
    save_file({"year": values}, paths["safetensors"])
    return paths


def test_a_column_of_ones_own_is_read_from_files_of_every_kind(tmp_path: Path) -> None:
    values = np.array([1900, 1950, 2000], np.int32)
    for path in columned(tmp_path, values).values():
        np.testing.assert_array_equal(joined_column("year", [path, path], 6), [*values, *values])
        with pytest.raises(ShardError, match=r"'year' has 3 rows in 1 files, and the map 4 points"):
            joined_column("year", [path], 4)
        with pytest.raises(ShardError, match="has no column 'month' of numbers"):
            joined_column("month", [path], 3)
    with pytest.raises(ShardError, match="is none of"):
        joined_column("year", [tmp_path / "own.txt"], 3)
    (tmp_path / "own.csv").write_text("year\n1\nnan\n")
    with pytest.raises(ShardError, match="not one finite number a row"):
        joined_column("year", [tmp_path / "own.csv"], 2)


@pytest.mark.usefixtures("unchecked")
def test_points_are_coloured_by_a_column_of_ones_own(copy: Path) -> None:
    own = columned(copy.parent, np.linspace(1900, 2000, 12, dtype=np.float32))["parquet"]
    assert run_command("page", copy, "--colour-by", "year", own).code == 0
    text = (copy / "map.html").read_text(encoding="utf-8")
    assert '"label":"year","low":1900.0,"high":2000.0' in text
    measure_map(copy)
    assert run_command("page", copy, "--colour-by", "year").code == 2
    assert run_command("page", copy, "--colour-by", "month", own).code == 3
