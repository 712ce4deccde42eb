"""A pyramid holds every point once on each level, knows the means of its nodes, and grows."""

from pathlib import Path

import numpy as np
import pytest

from builders import cloud, directions_at_random, still_placement, unit
from sphere_ebm import ShardError
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.geometry.cells import cell_keys
from sphere_ebm.retrieval.levels import PyramidLevel
from sphere_ebm.retrieval.pyramid import MapPyramid

POINTS = 600


def columns(points: int = POINTS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions that crowd around an axis, radii, and embeddings of any norm, one of them zero."""
    direction = unit(directions_at_random(points, seed) + np.array([0, 1.0, 0]))
    embeddings = cloud(points, 5, seed) * np.geomspace(0.1, 10, points)[:, None]
    embeddings[3] = 0
    radius = np.random.default_rng(seed).uniform(1, 9, points)
    return direction.astype(np.float32), radius.astype(np.float32), embeddings.astype(np.float32)


def means_of(level: PyramidLevel, order: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Plain means over each node's points."""
    return np.array(
        [rows[order[a:b]].mean(axis=0) for a, b in zip(level.first, level.first[1:], strict=False)]
    )


def assert_consistent(pyramid: MapPyramid, columns: tuple[np.ndarray, ...]) -> None:
    """Every level holds all points once, nested in the level above, with their plain means."""
    direction, radius, embeddings = columns
    norm = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    rows = np.divide(embeddings, norm, out=np.zeros(embeddings.shape), where=norm > 0)
    assert sorted(pyramid.order.tolist()) == list(range(len(direction)))
    for above, level in zip((None, *pyramid.levels), pyramid.levels, strict=False):
        if above is not None:
            np.testing.assert_array_equal(above.first, level.first[above.below])
            np.testing.assert_array_equal(
                np.repeat(above.key, np.diff(above.below)), level.key >> 2
            )
        mean = means_of(level, pyramid.order, rows)
        np.testing.assert_allclose(level.embedding, mean, atol=2e-6)
        spread = means_of(level, pyramid.order, np.sum(rows**2, axis=1)) - np.sum(mean**2, axis=1)
        np.testing.assert_allclose(level.variance, spread, atol=1e-5)
        np.testing.assert_allclose(
            level.direction, means_of(level, pyramid.order, unit(direction)), atol=1e-6
        )
        np.testing.assert_allclose(level.radius, means_of(level, pyramid.order, radius), rtol=1e-6)


def test_nodes_are_the_cells_with_their_plain_means():
    given = columns()
    pyramid = MapPyramid.of_points(*given)
    assert [level.level for level in pyramid.levels] == [0, 1, 2, 3, 4]
    assert_consistent(pyramid, given)
    for level in pyramid.levels:
        key = cell_keys(given[0], level.level)
        np.testing.assert_array_equal(level.key, np.unique(key))
        np.testing.assert_array_equal(np.repeat(level.key, level.count), key[pyramid.order])


def test_spread_is_what_angle_std_is():
    given = columns(40)
    top = MapPyramid.of_points(*given).levels[0]
    chords = np.linalg.norm(unit(given[0]) - top.direction[0], axis=1)
    assert top.spread[0] == pytest.approx(np.sqrt(np.mean(chords**2)))
    np.testing.assert_allclose(np.linalg.norm(top.centre, axis=1), 1)


def test_a_map_that_is_joined_is_as_one_built_of_all():
    given = columns(POINTS)
    whole = MapPyramid.of_points(*given, finest=4)
    half = MapPyramid.of_points(*(column[:350] for column in given), finest=4)
    grown = half.join(*(column[350:500] for column in given))
    grown = grown.join(*(column[500:] for column in given))
    np.testing.assert_array_equal(grown.order, whole.order)
    np.testing.assert_array_equal(grown.key, whole.key)
    assert_consistent(grown, given)
    for one, other in zip(grown.levels, whole.levels, strict=True):
        np.testing.assert_array_equal(one.key, other.key)
        np.testing.assert_array_equal(one.first, other.first)
        np.testing.assert_array_equal(one.below, other.below)


def test_windows_are_runs_of_patches_within_their_document():
    given = columns(100)
    document = np.repeat([4, 0, 9], [70, 1, 29])
    placement = still_placement(given[0], given[1], given[2])
    pyramid = MapPyramid.over_time(placement, document, shortest=3)
    assert_consistent(pyramid, given)
    assert pyramid.levels[0].first.tolist() == [0, 70, 71, 100]
    finest = pyramid.levels[-1]
    assert finest.count.max() == 3
    assert finest.first[:3].tolist() == [0, 3, 6]
    assert 70 in finest.first
    assert 71 in finest.first
    with pytest.raises(ValueError, match="windows of documents must be built anew"):
        pyramid.join(*given)


def labels_of(given: tuple[np.ndarray, ...], metadata: dict[str, str]) -> Labels:
    n = len(given[0])
    numbers = np.zeros(n, np.float32)
    return Labels(
        path=Path("some.sphere.safetensors"),
        direction=given[0],
        radius=given[1],
        theta=numbers,
        phi=numbers,
        shell=numbers.astype(np.int32),
        radius_std=numbers,
        angle_std=numbers,
        embeddings=given[2],
        prominence=numbers,
        patch_start=numbers.astype(np.int32),
        patch_length=numbers.astype(np.int32),
        bytes=None,
        bytes_offset=None,
        metadata=metadata,
    )


def test_labels_of_several_files_are_one_map_and_know_their_documents():
    given = columns(100)
    placement = still_placement(given[0], given[1], given[2])
    parts = [
        labels_of(tuple(column[:70] for column in given), {"source_file": "a.txt"}),
        labels_of(tuple(column[70:] for column in given), {"documents": '[["b", 1], ["c", 29]]'}),
    ]
    by_file = MapPyramid.over_time(parts, shortest=3)
    document = np.repeat([0, 1, 2], [70, 1, 29])
    np.testing.assert_array_equal(
        by_file.levels[0].embedding,
        MapPyramid.over_time(placement, document, shortest=3).levels[0].embedding,
    )
    np.testing.assert_array_equal(MapPyramid.build(parts).order, MapPyramid.build(placement).order)


def test_any_number_of_the_points_is_summarised_on_every_level():
    given = columns()
    pyramid = MapPyramid.of_points(*given)
    values = 1e4 + np.random.default_rng(1).standard_normal(POINTS)
    for level, (mean, variance) in zip(pyramid.levels, pyramid.summarise(values), strict=True):
        expected = means_of(level, pyramid.order, values)
        np.testing.assert_allclose(mean, expected, rtol=1e-12)
        square = means_of(level, pyramid.order, (values - 1e4) ** 2) - (expected - 1e4) ** 2
        np.testing.assert_allclose(variance, square, atol=1e-9)


def test_a_pyramid_comes_back_from_its_file(tmp_path):
    pyramid = MapPyramid.of_points(*columns(50))
    digest = pyramid.save(tmp_path / "one.safetensors")
    again = MapPyramid.load(tmp_path / "one.safetensors")
    assert again.save(tmp_path / "two.safetensors") == digest
    np.testing.assert_array_equal(again.order, pyramid.order)
    assert [len(level) for level in again.levels] == [len(level) for level in pyramid.levels]


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "damaged.safetensors"
    still_placement(columns(5)[0]).save(path)
    with pytest.raises(ShardError, match="not a sphere_pyramid_v1 file"):
        MapPyramid.load(path)
    pyramid = MapPyramid.of_points(*columns(50))
    broken = MapPyramid(
        axis="cells",
        order=pyramid.order[:-1],
        key=pyramid.key[:-1],
        levels=pyramid.levels,
        tags={},
    )
    broken.save(path)
    with pytest.raises(ShardError, match=r"do not hold all points\); build the pyramid again"):
        MapPyramid.load(path)


def test_what_is_no_map_is_refused():
    given = columns(20)
    with pytest.raises(ValueError, match="must hold its embeddings"):
        MapPyramid.build(still_placement(given[0]))
    with pytest.raises(ValueError, match="at least one point"):
        MapPyramid.build([])
    with pytest.raises(ValueError, match=r"`direction` must have shape \(20, 3\)"):
        MapPyramid.of_points(given[0][:-1], given[1], given[2])
    with pytest.raises(ValueError, match="`finest` must be an integer"):
        MapPyramid.of_points(*given, finest=17)
    pyramid = MapPyramid.of_points(*given)
    with pytest.raises(ValueError, match="the width of the map's, 5; got 4"):
        pyramid.join(given[0], given[1], cloud(20, 4))
    placement = still_placement(given[0], embeddings=given[2])
    with pytest.raises(ValueError, match="one that comes back"):
        MapPyramid.over_time(placement, [0] * 10 + [1] * 5 + [0] * 5)
    with pytest.raises(ValueError, match="A placement does not know them"):
        MapPyramid.over_time(placement)
