import sqlite3
from contextlib import closing

import numpy as np
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.sidecar import read_sidecar_edges

EDGES = "CREATE TABLE sphere_edges (id INTEGER PRIMARY KEY, src_patch, dst_patch, weight, label)"


def database(path, *statements, rows=()):
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        if rows:
            db.executemany("INSERT INTO sphere_edges VALUES (?, ?, ?, ?, ?)", rows)
        db.commit()
    return path


def test_edges_are_read_in_the_order_of_their_ids(tmp_path):
    rows = [(2, 1, 2, 0.5, "semantic"), (1, 0, 1, 1, "next")]
    edges = read_sidecar_edges(database(tmp_path / "x #1?.db", EDGES, rows=rows))
    np.testing.assert_array_equal(edges.src, [0, 1])
    np.testing.assert_array_equal(edges.dst, [1, 2])
    np.testing.assert_array_equal(edges.weight, np.array([1, 0.5], np.float32))
    assert edges.label == ("next", "semantic")


def test_no_edges_are_an_empty_answer_and_not_none(tmp_path):
    edges = read_sidecar_edges(database(tmp_path / "x.db", EDGES))
    assert (len(edges.src), edges.label) == (0, ())


def test_opaque_sidecars_are_ignored(tmp_path):
    assert (
        read_sidecar_edges(database(tmp_path / "x.db", "CREATE TABLE hyperedges (data BLOB)"))
        is None
    )
    (tmp_path / "y.db").write_bytes(b'{"json": 1}')
    assert read_sidecar_edges(tmp_path / "y.db") is None


def test_a_view_of_the_name_is_no_table(tmp_path):
    endless = (
        "CREATE VIEW sphere_edges AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)"
        " SELECT x FROM n"
    )
    assert read_sidecar_edges(database(tmp_path / "x.db", endless)) is None


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ((7, -1, 0, 1.0, "next"), "src_patch is -1"),
        ((7, 0, "two", 1.0, "next"), "dst_patch is 'two'"),
        ((7, 0, 2**40, 1.0, "next"), "dst_patch is 1099511627776"),
        ((7, 0, 1, float("inf"), "next"), "weight is inf"),
        ((7, 0, 1, -0.5, "next"), "weight is -0.5"),
        ((7, 0, 1, 1e300, "next"), r"weight is 1e\+300"),
        ((7, 0, 1, None, "next"), "weight is None"),
        ((7, 0, 1, 1.0, b"\xff"), "label is"),
    ],
)
def test_a_bad_row_is_refused_at_its_index(tmp_path, row, says):
    path = database(tmp_path / "x.db", EDGES, rows=[(1, 0, 1, 1.0, "next"), row])
    with pytest.raises(ShardError, match=says) as caught:
        read_sidecar_edges(path)
    assert (caught.value.tensor, caught.value.index) == ("sphere_edges", 1)


def test_missing_columns_are_named(tmp_path):
    path = database(tmp_path / "x.db", "CREATE TABLE sphere_edges (id, src_patch, dst_patch)")
    with pytest.raises(ShardError, match="columns label, weight are missing"):
        read_sidecar_edges(path)


def test_a_damaged_or_missing_database_is_refused(tmp_path):
    path = database(tmp_path / "x.db", EDGES, rows=[(i, 0, 1, 1.0, "next") for i in range(2000)])
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ShardError, match="damaged SQLite"):
        read_sidecar_edges(path)
    with pytest.raises(ShardError, match="cannot be read"):
        read_sidecar_edges(tmp_path / "gone.db")


def test_reading_changes_nothing_in_the_folder(tmp_path):
    path = database(
        tmp_path / "x.db", "PRAGMA journal_mode=WAL", EDGES, rows=[(1, 0, 1, 1.0, "next")]
    )
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(read_sidecar_edges(path).src) == 1
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
