"""CSV, TSV and JSON lines as shards: embeddings, texts, names of rows and what is kept."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sphere_ebm import ShardError, read_shard
from sphere_ebm.files.shards import discover
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.files.shards.summary import inspect_shard
from sphere_ebm.files.shards.table import PatchTable

ROWS = [
    {"vector": [1.0, 2.5, -3.0], "said": "Été, über", "key": "007", "year": 1999, "part": "a"},
    {"vector": [0.5, 0.0, 1e-3], "said": "", "key": "7", "year": None, "part": "b, c"},
    {"vector": [4.0, 5.0, 6.0], "said": 'line\nbreak "q"', "key": "x", "year": 2001, "part": "a"},
]
COLUMNS = TableColumns("vector", "said", "key", ("year", "part"))


def written(folder: Path, kind: str) -> Path:
    """The rows as a file of this kind."""
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in ROWS]
        path.write_text("\n\n".join(lines), encoding="utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "npz":
        years = np.array([np.nan if row["year"] is None else row["year"] for row in ROWS])
        columns = {name: np.array([row[name] for row in ROWS]) for name in ROWS[0]}
        np.savez(path, **columns | {"year": years})
    else:
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "npz"])
def test_tables_of_every_kind_hold_the_same_rows(tmp_path: Path, kind: str) -> None:
    table = read_shard(written(tmp_path, kind), columns=COLUMNS)
    np.testing.assert_array_equal(
        table.embeddings, np.array([row["vector"] for row in ROWS], np.float32)
    )
    assert table.layout == kind
    assert texts(table) == [row["said"] for row in ROWS]
    assert table.own.by_row
    assert table.own.id == "key"
    assert table.own.values["key"].tolist() == ["007", "7", "x"], "names are words"
    np.testing.assert_array_equal(table.own.values["year"], [1999, np.nan, 2001])
    assert table.own.values["part"].tolist() == ["a", "b, c", "a"]
    np.testing.assert_array_equal(table.patch_start, [0, 1, 2])
    with pytest.raises(ShardError, match=r"`month`: no such column; there are .*`year`"):
        read_shard(table.source, columns=TableColumns("vector", keep=("month",)))
    with pytest.raises(ShardError, match="`key`"):
        read_shard(table.source, columns=TableColumns("key"))


def texts(table: PatchTable) -> list[str]:
    assert table.bytes is not None
    assert table.bytes_offset is not None
    whole = table.bytes.tobytes()
    ends = table.bytes_offset.tolist()
    return [whole[a:b].decode() for a, b in itertools.pairwise(ends)]


def test_numbers_in_cells_are_read_however_they_are_put(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('embedding,prominence\n"[1.0, 2]",3\n1 2e0,4\n"(1;2.)",5\n')
    table = read_shard(path)
    np.testing.assert_array_equal(table.embeddings, np.tile(np.float32([1, 2]), (3, 1)))
    np.testing.assert_array_equal(table.prominence, [3, 4, 5])
    assert table.bytes is None
    assert [info.name for info in inspect_shard(path).tensors] == ["embedding", "prominence"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "embedding\n1 2\n1 2 3\n", "`embedding` at index 1: row has 3 values"),
        ("a.csv", "embedding,b\n1 2,3\n1 2\n", "row 1 has 1 cells, the first line 2"),
        ("a.csv", "embedding\n1 two\n", "`embedding` at index 0: is no list of numbers"),
        ("a.csv", "embedding\n1 inf\n", "is not a finite float32"),
        ("a.csv", "vec\n1 2\n", "name that of the embeddings with --embedding-column"),
        ("a.jsonl", '{"embedding": [1, 2]}\n{"embedding"\n', "line 2 is not JSON"),
        ("a.jsonl", "[1, 2]\n", "line 1 is no JSON object"),
        ("a.jsonl", '{"embedding": [1, 2]}\n{"other": 1}\n', "`embedding` at index 1"),
        ("a.jsonl", '{"embedding": [[1, 2]]}\n', "is no list of numbers"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ShardError) as caught:
        read_shard(tmp_path / name)
    assert said in str(caught.value)


def test_lists_are_kept_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"embedding": [1, 2], "tags": ["x"]}\n')
    with pytest.raises(ShardError, match="`tags` at index 0: is a list, no single value"):
        read_shard(path, columns=TableColumns(keep=("tags",)))


def test_tables_in_folders_are_shards_once_their_embeddings_are_named(tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "parquet"):
        written(tmp_path, kind)
    assert [item.source.suffix for item in discover([tmp_path])] == [".parquet"]
    named = discover([tmp_path], TableColumns("vector"))
    assert [item.source.suffix for item in named] == [".csv", ".jsonl", ".parquet"]
    assert [item.source.name for item in discover([tmp_path / "rows.csv"])] == ["rows.csv"]
