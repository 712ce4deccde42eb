"""A whole map as one table: the labels bit for bit, under the names that other tools look for."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from builders import unit
from commands import run_command
from sphere_ebm import LabelError, PlacementConfig, label, read_labels
from sphere_ebm.errors import MissingPackageError
from sphere_ebm.figures.world import hammer, lambert_pair
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.labelling import export_map, map_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    """A map of two shards."""
    inputs = tmp_path_factory.mktemp("in")
    for name, patches in (("a", 12), ("b", 9)):
        shard(inputs / f"{name}.safetensors", patches, seed=patches)
    config = PlacementConfig(neighbours=4, shells=3, steps=20, average=10, replicas=1)
    return label(inputs, inputs / "map", config, page=False).output


@pytest.fixture(scope="module")
def labels(folder: Path) -> list[Labels]:
    return [read_labels(folder / f"{name}.sphere.safetensors") for name in "ab"]


def joined(labels: list[Labels], name: str) -> np.ndarray:
    return np.concatenate([getattr(one, name) for one in labels])


def test_parquet_holds_the_labels_bit_by_bit(
    folder: Path, labels: list[Labels], tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "map.parquet"
    assert export_map(folder, path, "parquet", embeddings=True) == 21
    table = pq.read_table(path)
    for column, name in {"r": "radius", "theta": "theta", "phi": "phi", "shell": "shell"}.items():
        found = table[column].to_numpy()
        assert found.dtype == joined(labels, name).dtype
        np.testing.assert_array_equal(found, joined(labels, name))
    for name in ("radius_std", "angle_std", "prominence", "patch_start", "patch_length"):
        np.testing.assert_array_equal(table[name].to_numpy(), joined(labels, name))
    for name in ("direction", "embeddings"):
        found = np.array(table[name].to_pylist(), np.float32)
        np.testing.assert_array_equal(found, joined(labels, name))
    octets = table["octets"].to_pylist()
    assert b"".join(octets) == b"".join(
        one.bytes.tobytes() for one in labels if one.bytes is not None
    )
    assert table["text"].to_pylist() == [patch.decode() for patch in octets]
    assert table["document"].to_pylist() == ["a"] * 12 + ["b"] * 9
    held = json.loads(table.schema.metadata[b"sphere_ebm"])
    assert held["map"] == json.loads((folder / "map.json").read_text())["id"]


def test_places_and_neighbours_are_what_they_say(folder: Path, labels: list[Labels]) -> None:
    table = map_table(folder)
    direction = joined(labels, "direction").astype(np.float64)
    east, north = np.radians(table["longitude"]), np.radians(table["latitude"])
    again = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], 1)
    np.testing.assert_allclose(again, unit(direction), atol=1e-7)
    np.testing.assert_allclose(np.stack([table["x"], table["y"]], 1), hammer(direction))
    discs = np.stack([table["lambert_x"], table["lambert_y"]], 1)
    np.testing.assert_allclose(discs, lambert_pair(direction))
    embeddings = unit(joined(labels, "embeddings").astype(np.float64))
    cosine = embeddings @ embeddings.T
    np.fill_diagonal(cosine, -np.inf)
    np.testing.assert_array_equal(table["neighbours"], np.argsort(-cosine, axis=1)[:, :10])
    np.testing.assert_allclose(table["similarity"], -np.sort(-cosine, axis=1)[:, :10], atol=1e-6)


def test_csv_reads_back_as_the_same_numbers(
    folder: Path, labels: list[Labels], tmp_path: Path
) -> None:
    export_map(folder, tmp_path / "map.csv", "csv")
    with open(tmp_path / "map.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal(
        np.array([row["r"] for row in rows], np.float32), joined(labels, "radius")
    )
    table = map_table(folder)
    assert [row["text"] for row in rows] == table["text"]
    assert [list(map(int, row["neighbours"].split())) for row in rows] == np.asarray(
        table["neighbours"]
    ).tolist()


def test_embedding_atlas_finds_its_names(folder: Path, tmp_path: Path) -> None:
    export_map(folder, tmp_path / "map.parquet", "embedding-atlas")
    table = pq.read_table(tmp_path / "map.parquet")
    whole = map_table(folder)
    np.testing.assert_array_equal(table["projection_x"].to_numpy(), whole["x"])
    near = table["neighbors"].to_pylist()
    assert [row["ids"] for row in near] == np.asarray(whole["neighbours"]).tolist()
    assert all(row["distances"] == sorted(row["distances"]) for row in near)


def test_healpix_is_sorted_by_cells_that_hold_their_points(folder: Path, tmp_path: Path) -> None:
    healpix = pytest.importorskip("astropy_healpix")
    export_map(folder, tmp_path / "map.parquet", "healpix")
    table = pq.read_table(tmp_path / "map.parquet")
    cell = table["_healpix_29"].to_numpy()
    assert (np.diff(cell) >= 0).all()
    east, north = healpix.healpix_to_lonlat(cell, 2**29, order="nested")
    np.testing.assert_allclose(east.to_value("deg"), table["ra"].to_numpy(), atol=1e-5)
    np.testing.assert_allclose(north.to_value("deg"), table["dec"].to_numpy(), atol=1e-6)
    assert sorted(table["text"].to_pylist()) == sorted(map_table(folder)["text"])


def test_nothing_is_replaced_and_a_missing_package_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(LabelError, match="is there already"):
        export_map(folder, tmp_path / "mine", "csv")
    monkeypatch.setitem(__import__("sys").modules, "astropy_healpix", None)
    with pytest.raises(MissingPackageError, match=r"pip install '.*healpix"):
        export_map(folder, tmp_path / "x.parquet", "healpix")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.usefixtures("unchecked")
def test_the_command_tells_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    done = run_command("export", folder, "--to", "csv", "-o", tmp_path / "map.csv", "--json")
    size = (tmp_path / "map.csv").stat().st_size
    told = {"file": str(tmp_path / "map.csv"), "points": 21, "bytes": size}
    assert (done.code, json.loads(done.out)) == (0, told)
    assert run_command("export", folder, "-o", tmp_path / "map.csv").code == 3
    wrong = run_command("export", folder, "-o", tmp_path / "o", "--to", "csv", "--embeddings")
    assert wrong.code == 2
