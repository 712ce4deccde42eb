"""What a map is asked for: which points are fitted, and what their radii order."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from builders import cloud, unit
from commands import run_command
from sphere_ebm import LabelError, PlacementConfig, label, read_labels
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.labelling.adding import join_map
from sphere_ebm.labelling.updating import update_map
from sphere_ebm.maps import local_density

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=10, replicas=0)
BY_DENSITY = TableColumns(prominence="density")


def written(folder: Path, name: str, points: np.ndarray) -> Path:
    np.save(folder / name, points)
    return folder / name


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("parts")
    points = unit(cloud(30, 6)).astype(np.float32)
    return [
        written(folder, name, points[rows])
        for name, rows in (("a.npy", slice(14)), ("b.npy", slice(14, 24)), ("c.npy", slice(24, 30)))
    ]


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory, parts: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "map"
    label(parts[:2], folder, CONFIG, columns=BY_DENSITY)
    return folder


def prominence_on(folder: Path, *names: str) -> np.ndarray:
    return np.concatenate(
        [read_labels(folder / f"{name}.sphere.safetensors").prominence for name in names]
    )


def test_radii_order_the_density_among_all_points_of_the_map(
    dense: Path, parts: list[Path]
) -> None:
    points = np.concatenate([np.load(path) for path in parts[:2]])
    held = prominence_on(dense, "a", "b")
    np.testing.assert_array_equal(held, local_density(points, CONFIG))
    files = [read_labels(dense / f"{name}.sphere.safetensors") for name in "ab"]
    radius = np.concatenate([one.radius for one in files])
    assert np.corrcoef(np.argsort(np.argsort(held)), radius)[0, 1] > 0.8
    assert 'prominence = "density"' in (dense / "config.toml").read_text()


def test_what_joins_or_is_added_has_its_density_among_the_points_that_are_there(
    dense: Path, parts: list[Path], tmp_path: Path
) -> None:
    points = np.concatenate([np.load(path) for path in parts[:2]])
    new = np.load(parts[2])
    cosines = np.sort(new.astype(np.float64) @ points.T, axis=1)[:, -4:]
    grown = update_map(dense, [parts[2]], tmp_path / "grown").run.output
    np.testing.assert_allclose(prominence_on(grown, "c"), cosines.mean(axis=1), atol=1e-5)
    np.testing.assert_array_equal(prominence_on(grown, "a"), prominence_on(dense, "a"))
    label(parts[:2], tmp_path / "map", CONFIG, columns=BY_DENSITY)
    join_map(tmp_path / "map", [parts[2]])
    joined = read_labels(tmp_path / "map" / "c.sphere.safetensors")
    np.testing.assert_allclose(joined.prominence, cosines.mean(axis=1), atol=1e-5)
    assert joined.prominence.argmax() == joined.radius.argmax()


def test_density_needs_all_points_at_once(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="--prominence density needs a map that fits all of its"):
        label(parts, tmp_path / "o", CONFIG, columns=BY_DENSITY, landmarks=20)
    assert not (tmp_path / "o").exists()


@pytest.mark.usefixtures("unchecked")
def test_the_command_orders_radii_as_it_is_told(parts: list[Path], tmp_path: Path) -> None:
    options = ["--neighbours", 4, "--shells", 3, "--steps", 20, "--average", 10, "--replicas", 0]
    done = run_command("label", *parts[:2], "-o", tmp_path / "o", "-q", *options)
    assert "of 24 points share their prominence" in done.err
    done = run_command(
        "label", *parts[:2], "-o", tmp_path / "p", "-q", *options, "--prominence", "density"
    )
    assert (done.code, done.err) == (0, "")
    np.testing.assert_array_equal(
        prominence_on(tmp_path / "p", "a", "b"),
        local_density(np.concatenate([np.load(path) for path in parts[:2]]), CONFIG),
    )
    done = run_command(
        "label", parts[0], "-o", tmp_path / "q", "-q", *options, "--prominence", "size"
    )
    assert done.code == 3
    assert "`size`: no such column; there are none" in done.err


def spoken(folder: Path, name: str, first: int, count: int) -> Path:
    """A table of rows with a text of another length each, whose norms tell the length."""
    rng = np.random.default_rng(first)
    lengths = rng.integers(3, 90, count)
    rows = (
        unit(rng.standard_normal((count, 6))) * (9 - np.log(lengths) + rng.random(count))[:, None]
    )
    np.savez(folder / name, embeddings=rows, said=["x" * n for n in lengths])
    return folder / name


LESS_LENGTH = TableColumns(text="said", prominence="length-corrected")


def correlation(files: Sequence[Labels]) -> float:
    lengths = np.concatenate([np.diff(one.bytes_offset) for one in files])
    return float(
        np.corrcoef(np.concatenate([one.prominence for one in files]), np.log(lengths))[0, 1]
    )


def test_one_curve_takes_the_length_from_all_points_and_from_those_that_join(
    tmp_path: Path,
) -> None:
    inputs = [spoken(tmp_path, "a.npz", 1, 20), spoken(tmp_path, "b.npz", 2, 10)]
    label(inputs, tmp_path / "plain", CONFIG, columns=TableColumns(text="said"))
    label(inputs, tmp_path / "map", CONFIG, columns=LESS_LENGTH)

    def files(folder: str, names: str) -> list[Labels]:
        return [read_labels(tmp_path / folder / f"{name}.sphere.safetensors") for name in names]

    assert correlation(files("plain", "ab")) < -0.8
    assert abs(correlation(files("map", "ab"))) < 1e-3
    for one, other in zip(files("plain", "ab"), files("map", "ab"), strict=True):
        np.testing.assert_array_equal(one.direction, other.direction)
    held = json.loads((tmp_path / "map" / "map.json").read_text())["columns"]
    assert (held["prominence"], len(held["length_curve"])) == ("length-corrected", 3)
    assert "length_curve" not in (tmp_path / "map" / "config.toml").read_text()
    more = spoken(tmp_path, "c.npz", 3, 12)
    grown = update_map(tmp_path / "map", [more], tmp_path / "grown").run.output
    assert json.loads((grown / "map.json").read_text())["columns"] == held
    join_map(tmp_path / "map", [more])
    for folder in ("map", "grown"):
        (joined,) = files(folder, "c")
        lengths = np.diff(joined.bytes_offset)
        left = np.linalg.norm(joined.embeddings, axis=1) - np.vander(np.log(lengths), 3) @ np.array(
            held["length_curve"]
        )
        np.testing.assert_allclose(joined.prominence, left, atol=1e-4)


def test_a_map_of_landmarks_has_one_curve_for_all_its_points(
    tmp_path: Path, shard: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    inputs = []
    for name, patches in (("a", 30), ("b", 25)):
        lengths = rng.integers(2, 90, patches)
        norm = (9 - np.log(lengths) + rng.random(patches)).astype(np.float32)
        more = {
            "patch_lengths": lengths.astype(np.int32),
            "prominence": norm,
            "bytes": np.zeros(lengths.sum(), np.uint8),
            "entropies": np.zeros(lengths.sum(), np.float32),
        }
        inputs.append(shard(tmp_path / f"{name}.safetensors", patches, **more))
    for sweeps in (0, 2):
        folder = tmp_path / f"swept-{sweeps}"
        columns = TableColumns(prominence="length-corrected")
        label(inputs, folder, CONFIG, columns=columns, landmarks=25, sweeps=sweeps)
        files = [read_labels(folder / f"{name}.sphere.safetensors") for name in "ab"]
        assert abs(correlation(files)) < 1e-3
        order = np.argsort(np.concatenate([one.prominence for one in files]))
        assert (np.diff(np.concatenate([one.radius for one in files])[order]) >= 0).all()


def test_rows_on_landmarks_have_no_lengths(tmp_path: Path) -> None:
    inputs = [spoken(tmp_path, "a.npz", 1, 20), spoken(tmp_path, "b.npz", 2, 10)]
    with pytest.raises(LabelError, match="length-corrected of rows needs a map that fits all"):
        label(inputs, tmp_path / "o", CONFIG, columns=LESS_LENGTH, landmarks=20)
