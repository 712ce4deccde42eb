"""What the page takes from label files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import directions_at_random, sorted_cosines
from sphere_ebm import read_labels, read_shard
from sphere_ebm.errors import ShardError
from sphere_ebm.figures.page import PagePoints, points_of_labels
from sphere_ebm.files.shards.labels import write_labels
from sphere_ebm.files.tensors import read_tensors, write_tensors


def labelled(path: Path, source: Path, **more: np.ndarray) -> Path:
    """Labels of a shard, with tensors that newer writers add."""
    table = read_shard(source)
    n = len(table)
    write_labels(
        path,
        table,
        {
            "direction": directions_at_random(n, n),
            "radius": np.linspace(1, 2, n, dtype=np.float32),
            "shell": np.arange(n, dtype=np.int32) % 3,
            "radius_std": np.zeros(n, np.float32),
            "angle_std": np.linspace(0, 0.1, n, dtype=np.float32),
        },
        metadata={},
    )
    if more:
        tensors, metadata = read_tensors(path)
        write_tensors(path, tensors | more, metadata)
    return path


@pytest.fixture
def two(tmp_path: Path, shard: Callable[..., Path]) -> list[Path]:
    paths = [
        shard(tmp_path / f"{name}.safetensors", n, seed=n) for name, n in (("a", 14), ("b", 9))
    ]
    rng = np.random.default_rng(0)
    return [
        labelled(
            tmp_path / f"{path.stem}.sphere.safetensors",
            path,
            kept=rng.random(n).astype(np.float32),
            modes=directions_at_random(2 * n, 3).reshape(n, 2, 3),
            mode_weight=np.full((n, 2), 0.5, np.float32),
        )
        for path, n in zip(paths, (14, 9), strict=True)
    ]


def test_columns_are_those_of_all_files_in_order(two: list[Path]) -> None:
    points = points_of_labels(two)
    labels = [read_labels(path) for path in two]
    for name in ("direction", "radius", "shell"):
        np.testing.assert_array_equal(
            getattr(points, name), np.concatenate([getattr(one, name) for one in labels])
        )
    assert points.documents == (("a", 14), ("b", 9))
    assert points.document.tolist() == [0] * 14 + [1] * 9
    assert points.text is not None
    assert points.text.tobytes() == b"".join(
        one.bytes.tobytes() for one in labels if one.bytes is not None
    )
    assert list(points.numbers) == ["spread", "neighbours kept"]
    assert points.modes is not None
    assert points.modes.shape == (23, 2, 3)
    embeddings = np.concatenate([one.embeddings for one in labels])
    nearest, _ = sorted_cosines(embeddings, embeddings, 10, itself=False)
    np.testing.assert_array_equal(points.neighbours, nearest)
    assert points_of_labels(two, neighbours=False).neighbours is None


def test_a_column_that_one_file_lacks_is_left_out(
    two: list[Path], tmp_path: Path, shard: Callable[..., Path]
) -> None:
    source = shard(tmp_path / "c.safetensors", 5)
    older = labelled(tmp_path / "c.sphere.safetensors", source)
    points = points_of_labels([*two, older])
    assert list(points.numbers) == ["spread"]
    assert points.modes is None
    assert points.mode_weight is None


def test_a_damaged_file_is_named(two: list[Path]) -> None:
    two[1].write_bytes(two[1].read_bytes()[:-9])
    with pytest.raises(ShardError, match=two[1].name):
        points_of_labels(two)


def test_documents_must_add_up() -> None:
    direction = directions_at_random(3, 0)
    radius = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="`documents` must add up to 3 points; got 2"):
        PagePoints(direction=direction, radius=radius, documents=(("x", 2),))
    with pytest.raises(ValueError, match="`text` and `text_offset` must be given together"):
        PagePoints(
            direction=direction,
            radius=radius,
            documents=(("x", 3),),
            text=np.zeros(3, np.uint8),
        )


def test_radii_of_one_prominence_tell_nothing(tmp_path: Path, shard: Callable[..., Path]) -> None:
    sources = [
        shard(tmp_path / f"{name}.safetensors", 5, prominence=np.full(5, weight, np.float32))
        for name, weight in (("a", 1), ("b", 1), ("c", 2))
    ]
    paths = [labelled(tmp_path / f"{path.stem}.sphere.safetensors", path) for path in sources]
    assert not points_of_labels(paths[:2], neighbours=False).radius_tells
    assert points_of_labels(paths, neighbours=False).radius_tells
