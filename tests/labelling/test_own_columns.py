"""Columns of the user's own, from tables through label files, figure, page and export."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from builders import contents
from commands import run_command
from sphere_ebm import LabelError, PlacementConfig, ShardError, label, read_labels
from sphere_ebm.files.shards.own import TableColumns, words_of
from sphere_ebm.labelling.export import export_map, map_table
from sphere_ebm.labelling.label import LabelRun, measure_map
from sphere_ebm.labelling.own_columns import classes_of, joined_column
from sphere_ebm.labelling.page import page_of_folder
from sphere_ebm.labelling.passage import surroundings
from sphere_ebm.labelling.updating import update_map

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=10, replicas=0)
OPTIONS = ["--neighbours", 4, "--shells", 3, "--steps", 20, "--average", 10, "--replicas", 0, "-q"]
COLUMNS = TableColumns("vector", "said", "key", ("year",))
ASKED = ["--embedding-column", "vector", "--text-column", "said", "--id-column", "key"]


def rows_of(first: int, count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(first)
    return [
        {
            "vector": rng.standard_normal(6).round(3).tolist(),
            "said": f"row {i} says so",
            "key": f"{i:03d}",
            "year": 1900 + i,
            "genre": f"genre {i % 12}",
        }
        for i in range(first, first + count)
    ]


def as_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tables")
    return [
        as_csv(folder / "a.csv", rows_of(0, 7)),
        as_parquet(folder / "b.parquet", rows_of(7, 5)),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, inputs: list[Path]) -> LabelRun:
    folder = tmp_path_factory.mktemp("out") / "map"
    return label(inputs, folder, CONFIG, columns=COLUMNS, colour_by="genre")


@pytest.fixture
def copy(finished: LabelRun, tmp_path: Path) -> Path:
    return shutil.copytree(finished.output, tmp_path / "copy", copy_function=shutil.copy)


def facts_of(folder: Path) -> dict[str, Any]:
    """What the page of a map is told."""
    held = (folder / "map.html").read_text(encoding="utf-8")
    found = re.search(r'id="facts">(.*?)</script>', held)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def labelled(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The column of this label, of several the last."""
    return [column for column in facts["columns"].values() if column.get("label") == name][-1]


def test_columns_are_in_label_files_page_map_and_export(finished: LabelRun, tmp_path: Path) -> None:
    folder = finished.output
    labels = read_labels(folder / "a.sphere.safetensors")
    assert list(labels.own.values) == ["key", "year", "genre"]
    assert labels.own.values["key"].tolist() == [f"{i:03d}" for i in range(7)]
    assert labels.own.values["year"].tolist() == list(range(1900, 1907))
    held = json.loads((folder / "map.json").read_text())
    assert held["colour_by"] == "genre"
    assert TableColumns.from_dict(held["columns"]) == COLUMNS.colouring("genre")
    facts = facts_of(folder)
    assert facts["columns"][facts["colour"]]["names"] == [f"genre {i}" for i in range(12)]
    assert facts["columns"][facts["ids"]]["label"] == "key"
    assert facts["rows"] == [0, 1]
    assert (labelled(facts, "year")["low"], labelled(facts, "year")["high"]) == (1900, 1911)
    table = map_table(folder)
    assert table["genre"] == [f"genre {i}" for i in range(12)]
    assert table["text"] == [f"row {i} says so" for i in range(12)]
    export_map(folder, tmp_path / "x.parquet", "embedding-atlas")
    stored = pq.read_table(tmp_path / "x.parquet")
    assert stored["year"].to_pylist() == list(range(1900, 1912))
    assert stored["key"].to_pylist() == [f"{i:03d}" for i in range(12)]


def test_rows_are_read_each_by_itself_and_go_by_their_ids(finished: LabelRun) -> None:
    found = surroundings(finished.output, "row 8 says so", count=3)
    assert found.found is not None
    assert (found.found.document, found.found.patch) == ("b 008", b"row 8 says so")
    assert found.found.before == b""

    def embedder() -> Any:
        raise LookupError("no row holds it")

    with pytest.raises(LookupError):
        surroundings(finished.output, "says so row 9", embedder)


def test_the_same_command_keeps_the_map_and_another_colour_its_points(
    copy: Path, inputs: list[Path]
) -> None:
    before = contents(copy)
    again = label(inputs, copy, CONFIG, columns=COLUMNS.colouring("genre"), colour_by="genre")
    assert again.kept == 2
    assert contents(copy) == before
    other = label(inputs, copy, CONFIG, columns=COLUMNS.colouring("genre"), colour_by="year")
    assert other.kept == 2
    changed = {name for name, raw in contents(copy).items() if raw != before[name]}
    assert changed == {"map.json", "map.html", "map.png", "config.toml"}
    measure_map(copy)
    assert facts_of(copy)["colour"].startswith("number")
    with pytest.raises(LabelError, match="holds another map"):
        label(inputs, copy, CONFIG, columns=TableColumns("vector"))


def test_what_joins_and_what_is_added_is_read_as_the_map_was(copy: Path, tmp_path: Path) -> None:
    more = as_csv(tmp_path / "c.csv", rows_of(12, 4))
    assert run_command("join", copy, more, "-q").code == 0
    assert read_labels(copy / "c.sphere.safetensors").own.values["year"].tolist() == [
        1912,
        1913,
        1914,
        1915,
    ]
    facts = facts_of(copy)
    assert facts["columns"][facts["colour"]]["label"] == "genre"
    assert facts["points"] == 16
    measure_map(copy)
    grown = update_map(copy, [], tmp_path / "grown", colour_by="year")
    held = json.loads((grown.run.output / "map.json").read_text())
    assert held["colour_by"] == "year"
    assert held["columns"]["text"] == "said"
    assert map_table(grown.run.output)["year"].tolist() == list(range(1900, 1916))
    assert 'colour_by = "year"' in (grown.run.output / "config.toml").read_text()


def test_a_column_that_some_lack_is_told_of_and_one_that_all_lack_refused(
    inputs: list[Path], tmp_path: Path
) -> None:
    bare = as_parquet(tmp_path / "c.parquet", [{"vector": row["vector"]} for row in rows_of(20, 4)])
    with pytest.raises(LabelError) as caught:
        label([bare], tmp_path / "o", CONFIG, columns=COLUMNS)
    assert "no such column" in str(caught.value.refused[0].reason)
    shard = tmp_path / "d.npy"
    np.save(shard, np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32))
    with pytest.raises(LabelError, match="no input has a column 'year'"):
        label([shard], tmp_path / "o", CONFIG, columns=TableColumns(keep=("year",)))
    assert not (tmp_path / "o").exists()
    mixed = label([inputs[0], shard], tmp_path / "o", CONFIG, columns=COLUMNS)
    assert any("has no column `key` and `year`" in line for line in mixed.warnings)
    year = map_table(mixed.output)["year"]
    np.testing.assert_array_equal(year, [*range(1900, 1907), *[np.nan] * 4])
    assert labelled(facts_of(mixed.output), "year")["missing"]


@pytest.mark.usefixtures("unchecked")
def test_map_places_rows_by_the_column_it_is_told(inputs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "o"
    asked = [*ASKED, "--keep", "year", "--colour-by", "genre"]
    done = run_command("map", *inputs, "-o", folder, *asked, *OPTIONS)
    assert (done.code, done.err.count("refused")) == (0, 0)
    assert map_table(folder)["key"] == [f"{i:03d}" for i in range(12)]
    assert not (folder / "shards").exists()
    repeated = run_command("map", *inputs, "--config", folder / "config.toml", "-o", tmp_path / "p")
    assert repeated.code == 0
    assert contents(tmp_path / "p") == contents(folder)


def columned(folder: Path, values: np.ndarray) -> dict[str, Path]:
    """The column `year` in files of every kind."""
    kinds = ("parquet", "csv", "tsv", "jsonl", "npz", "safetensors")
    paths = {kind: folder / f"own.{kind}" for kind in kinds}
    pq.write_table(pa.table({"year": values}), paths["parquet"])
    paths["csv"].write_text("other,year\n" + "".join(f"x,{value}\n" for value in values))
    paths["tsv"].write_text("other\tyear\n" + "".join(f"x\t{value}\n" for value in values))
    paths["jsonl"].write_text("".join(f'{{"year": {value}}}\n' for value in values))
    np.savez(paths["npz"], year=values)
    save_file({"year": values}, paths["safetensors"])
    return paths


def test_a_column_of_ones_own_is_read_from_files_of_every_kind(tmp_path: Path) -> None:
    values = np.array([1900, 1950, 2000], np.int32)
    for path in columned(tmp_path, values).values():
        np.testing.assert_array_equal(joined_column("year", [path, path], 6), [*values, *values])
        with pytest.raises(ShardError, match=r"'year' has 3 rows in 1 files, and the map 4 points"):
            joined_column("year", [path], 4)
        with pytest.raises(ShardError, match="`month`: no such"):
            joined_column("month", [path], 3)
    with pytest.raises(ShardError, match="is none of"):
        joined_column("year", [tmp_path / "own.txt"], 3)


@pytest.mark.usefixtures("unchecked")
def test_a_page_is_coloured_by_a_column_that_was_kept_or_that_files_hold(copy: Path) -> None:
    own = columned(copy.parent, np.linspace(0, 5, 12, dtype=np.float32))["parquet"]
    assert run_command("page", copy, "--colour-by", "year").code == 0
    assert facts_of(copy)["columns"][facts_of(copy)["colour"]]["high"] == 1911
    assert run_command("page", copy, "--colour-by", "year", own).code == 0
    assert facts_of(copy)["columns"][facts_of(copy)["colour"]]["high"] == 5
    measure_map(copy)
    assert run_command("page", copy, "--colour-by", "month", own).code == 3
    with pytest.raises(LabelError, match="it has kept key, year, genre"):
        page_of_folder(copy, {"month": []})


def test_the_figure_makes_classes_of_words_and_of_numbers() -> None:
    index, names = classes_of(words_of(["b 10", "", "b 9", "b 10"]))
    assert names == ["(none)", "b 9", "b 10"]
    assert index.tolist() == [2, 0, 1, 2]
    values = np.array([*np.arange(100.0), np.nan])
    index, names = classes_of(values)
    assert names == ["0 to 19", "20 to 39", "40 to 59", "60 to 79", "80 to 99", "(none)"]
    assert np.bincount(index).tolist() == [20, 20, 20, 20, 20, 1]
    assert classes_of(np.array([3, 1, 3]))[1][:2] == ["1", "3"]
