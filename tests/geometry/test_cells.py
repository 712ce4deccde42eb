"""Cells have equal areas, nest, cover the sphere once, and have the same keys in JavaScript."""

import json
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import directions_at_random, unit
from sphere_ebm.geometry import cells
from sphere_ebm.geometry.cells import (
    MAX_LEVEL,
    cell_area,
    cell_centres,
    cell_keys,
    children,
    fold,
    neighbours,
    parents,
    traced_centres,
    traced_keys,
    unfold,
)

SIGNS = np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, -1).T
SEAMS = np.concatenate(
    [
        *(np.array(vector) * SIGNS for vector in ([0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0])),
        *(np.array(vector) * SIGNS for vector in ([1, 1, 1], [1, 0, 2], [0, 3, 1], [1e-9, 0, 1])),
    ]
)
"""Poles, the equator, the meridians of the folds, and what is nearly a pole."""


def mixed_directions(count: int = 2000) -> np.ndarray:
    return np.concatenate([SEAMS, directions_at_random(count, 3).astype(np.float64)])


def test_every_cell_has_the_area_of_its_share():
    level = 3
    key = np.arange(4**level)
    side = 1 << level
    # Gauss-Legendre over each cell of the map's Jacobian, by central differences. Three nodes by
    # four, because none may lie on a diagonal: the map has folds there.
    across, up = (np.polynomial.legendre.leggauss(count) for count in (3, 4))
    column, row = np.meshgrid(across[0] / 2 + 0.5, up[0] / 2 + 0.5)
    weight = np.outer(up[1], across[1]).ravel() / 4
    corner = unfold(cell_centres(key, level)) - 0.5 / side
    place = corner[:, None] + np.stack([column.ravel(), row.ravel()], axis=-1) / side
    step = 1e-5
    across_u = np.array([step, 0])
    across_v = np.array([0, step])
    du = (fold(place + across_u) - fold(place - across_u)) / (2 * step)
    dv = (fold(place + across_v) - fold(place - across_v)) / (2 * step)
    density = np.linalg.norm(np.cross(du, dv), axis=-1)
    area = density @ weight / side**2
    np.testing.assert_allclose(area, cell_area(level), rtol=1e-6)
    assert cell_area(level) * 4**level == pytest.approx(4 * np.pi)


def test_a_point_is_in_one_cell_of_each_level_and_cells_nest():
    direction = mixed_directions()
    finest = cell_keys(direction)
    for level in range(MAX_LEVEL + 1):
        key = cell_keys(direction, level)
        assert key.min() >= 0
        assert key.max() < 4**level
        np.testing.assert_array_equal(key, parents(finest, MAX_LEVEL - level))


def test_cells_of_a_level_are_all_there_once_and_centres_come_back():
    for level in (0, 1, 2, 5):
        key = np.arange(4**level)
        np.testing.assert_array_equal(cell_keys(cell_centres(key, level), level), key)
    drawn = np.random.default_rng(0).integers(0, 4**MAX_LEVEL, 5000)
    np.testing.assert_array_equal(cell_keys(cell_centres(drawn, MAX_LEVEL)), drawn)


def test_children_partition_their_parent():
    key = np.array([0, 5, 63])
    below = children(key)
    np.testing.assert_array_equal(parents(below), np.repeat(key[:, None], 4, axis=1))
    inside = cell_centres(below.ravel(), 4)
    np.testing.assert_array_equal(cell_keys(inside, 3).reshape(3, 4), parents(below))


def test_folding_undoes_unfolding_at_seams_and_near_poles():
    direction = unit(mixed_directions())
    np.testing.assert_allclose(fold(unfold(direction)), direction, atol=4e-16)
    near = unit([[1e-5, 2e-5, 1], [-3e-6, 1e-6, -1]])
    np.testing.assert_allclose(fold(unfold(near))[:, :2], near[:, :2], rtol=1e-9)


def test_the_length_of_a_vector_does_not_matter_and_swapped_axes_swap_column_and_row():
    direction = mixed_directions(200)
    np.testing.assert_array_equal(cell_keys(4 * direction), cell_keys(direction))
    np.testing.assert_array_equal(unfold(direction[:, [1, 0, 2]]), unfold(direction)[:, ::-1])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_neighbours_are_the_cells_that_touch(level):
    key = np.arange(4**level)
    found = neighbours(key, level)
    # what lies around points of its border is in the cells that touch a cell
    edge = np.linspace(0, 1, 5)
    zero = np.zeros(5)
    sides = [(edge, zero), (edge, zero + 1), (zero, edge), (zero + 1, edge)]
    ring = np.concatenate([np.stack(side, axis=1) for side in sides])
    nudges = 1e-4 * directions_at_random(200, 5)
    start = unfold(cell_centres(key, level)) - 0.5 / (1 << level)
    border = fold(start[:, None] + ring / (1 << level))
    touched = cell_keys(border[:, :, None] + nudges, level).reshape(len(key), -1)
    for one, around, near in zip(key.tolist(), found.tolist(), touched.tolist(), strict=True):
        assert set(around) | {one} == set(near)
    for one, around in zip(key, found, strict=True):
        assert all(one in found[other] for other in around)


def test_compiled_keys_are_those_of_numpy_away_from_borders():
    direction = directions_at_random(4000, 1)
    made = np.asarray(jax.jit(traced_keys, static_argnums=1)(jnp.asarray(direction), 6))
    place = unfold(direction) * 64
    away = (np.abs(place - np.round(place)) > 1e-4).all(axis=1)
    assert away.mean() > 0.99
    np.testing.assert_array_equal(made[away], cell_keys(direction, 6)[away])
    key = np.arange(4**3)
    np.testing.assert_allclose(
        traced_centres(jnp.asarray(key, jnp.uint32), 3), cell_centres(key, 3), atol=1e-6
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run JavaScript")
def test_javascript_makes_the_same_keys_and_places(tmp_path):
    direction = mixed_directions(20_000)
    (tmp_path / "points.json").write_text(json.dumps(direction.tolist()))
    module = Path(cells.__file__).with_suffix(".mjs").as_uri()
    script = tmp_path / "keys.mjs"
    script.write_text(
        f"""import {{ cellKey, fold, unfold }} from "{module}";
        import {{ readFileSync }} from "node:fs";
        const points = JSON.parse(readFileSync("{(tmp_path / "points.json").as_posix()}", "utf8"));
        const squares = points.map((p) => unfold(...p));
        console.log(JSON.stringify({{
          keys: [3, 16].map((level) => points.map((p) => cellKey(...p, level))),
          squares, back: squares.slice(0, 500).map((s) => fold(...s)) }}));"""
    )
    run = subprocess.run(["node", script], capture_output=True, text=True, check=True)
    made = json.loads(run.stdout)
    for level, keys in zip((3, 16), made["keys"], strict=True):
        np.testing.assert_array_equal(keys, cell_keys(direction, level))
    np.testing.assert_array_equal(made["squares"], unfold(direction))
    np.testing.assert_allclose(made["back"], unit(direction[:500]), atol=4e-16)


def test_keys_stay_as_they_are_because_files_hold_them():
    direction = np.array([[0.48, -0.6, 0.64], [-0.36, 0.48, -0.8], [0, 0, -1], [1, 1, 1]])
    assert cell_keys(direction).tolist() == [1713397585, 2894188772, 4294967295, 3435381711]


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (np.zeros((2, 2)), "must have shape"),
        ([[1.0, 0, 0], [0, 0, 0]], r"not zero; got .* at index \(1\)"),
        ([np.nan, 0, 1], "must be finite"),
        ([["x", "y", "z"]], "real numbers"),
    ],
)
def test_directions_that_have_no_cell_are_refused(direction, message):
    with pytest.raises(ValueError, match=message):
        cell_keys(direction)


def test_levels_and_keys_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"`level` must be an integer in \[0, 16\]; got 17"):
        cell_keys([0.0, 0, 1], 17)
    with pytest.raises(ValueError, match=r"must lie in \[0, 16\) at level 2; got 16"):
        cell_centres([3, 16], 2)
    with pytest.raises(ValueError, match="must hold integers"):
        neighbours([0.5], 2)
