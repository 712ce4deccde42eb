"""Columns beside texts in rows: kept with every patch, and what is passed over."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sphere_ebm import ShardError, read_shard
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.text.documents import TextItem, read_texts
from sphere_ebm.text.ingest import ingest
from sphere_ebm.text.own import with_columns

LONG = "One sentence follows another, and then there is a third of them. " * 4
ROWS: list[dict[str, Any]] = [
    {"text": LONG, "key": "a", "year": 1},
    {"text": "", "key": "none", "year": 2},
    {"text": LONG[:90], "key": "b", "year": 3, "vector": [0.5] * 8},
    {"text": LONG[:99], "key": "b", "year": None},
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        whole = [{"vector": [0.25] * 8, **row} for row in ROWS]
        pq.write_table(pa.Table.from_pylist(whole), path)
    else:
        lines = "".join(json.dumps({"vector": [0.25] * 8, **row}) + "\n" for row in ROWS)
        path.write_text(lines + '{"text": "broken o')
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_patches_carry_the_columns_of_their_row(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    run = ingest(path, tmp_path / "o", id_column="key", keep=["year"])
    unit = "line" if kind == "jsonl" else "row"
    table = read_shard(run.files[path])
    assert table.documents == ("a", f"b ({unit} 3)", f"b ({unit} 4)")
    year = np.array([1, 3, np.nan])[table.document]
    np.testing.assert_array_equal(table.own.values["year"], year)
    assert table.own.values["key"].tolist() == ["abb"[d] for d in table.document]
    assert not table.own.by_row
    said = "its column `vector` holds lists of 8 numbers, which are passed over"
    assert any(said in line and "--embedding-column vector" in line for line in run.warnings)
    kept = ingest(path, tmp_path / "o", id_column="key", keep=["year"])
    assert kept.kept == 1
    with pytest.raises(ValueError, match="another run"):
        ingest(path, tmp_path / "o")


def test_rows_of_delimited_tables_carry_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"key;year;text\na;1;{LONG}\nnone;2;\nb;;{LONG[:90]}\n")
    table = read_shard(ingest(path, tmp_path / "o", id_column="key", keep=["year"]).files[path])
    assert table.documents == ("a", "b")
    year = np.array([1, np.nan])[table.document]
    np.testing.assert_array_equal(table.own.values["year"], year)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl")
    text = read_texts(TextItem("rows", path))
    with pytest.raises(ShardError, match=r"`month`: no such column; there are .*`year`"):
        with_columns(text, TableColumns(keep=("month",)))
    with pytest.raises(ShardError, match="`vector` at index 0: is a list"):
        with_columns(text, TableColumns(keep=("vector",)))
    path.write_text(path.read_text() + "x")
    with pytest.raises(ShardError, match="was changed while it was read"):
        with_columns(text, TableColumns(keep=("year",)))


def test_files_that_are_no_rows_have_no_columns(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(LONG)
    text = read_texts(TextItem("x", tmp_path / "x.txt"))
    assert with_columns(text, TableColumns(keep=("year",))) is text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_orders_the_radii_of_all_patches_of_a_row(tmp_path: Path, kind: str) -> None:
    ROWS[3]["year"], before = 7, ROWS[3]["year"]
    try:
        path = written(tmp_path, kind)
    finally:
        ROWS[3]["year"] = before
    table = read_shard(ingest(path, tmp_path / "o", prominence="year").files[path])
    assert len(table) > 3
    np.testing.assert_array_equal(table.prominence, np.array([1, 3, 7])[table.document])
    assert not table.own.values


def test_texts_without_the_column_that_orders_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl")
    text = read_texts(TextItem("rows", path))
    with pytest.raises(ShardError, match="`year` at index 2: nan is not a finite float32; give"):
        with_columns(text, TableColumns(prominence="year"))
    with pytest.raises(ShardError, match="`key`: holds words"):
        with_columns(text, TableColumns(prominence="key"))
    (tmp_path / "x.txt").write_text(LONG)
    plain = read_texts(TextItem("x", tmp_path / "x.txt"))
    says = (
        "has no columns, and 'rarty' is no kind of prominence; choose norm, rarity, entropy, length"
    )
    with pytest.raises(ShardError, match=says):
        with_columns(plain, TableColumns(prominence="rarty"))
