"""Projections, and what is drawn on the map of a figure: dots or an image, and names of regions."""

import numpy as np
import pytest
from scipy import stats

from drawings import inputs, panel, uniform_directions
from sphere_ebm.figures import world
from sphere_ebm.figures.map import plot_map
from sphere_ebm.figures.world import hammer, lambert_pair

MAP_AREA = 4 * np.pi


def test_two_discs_hold_the_half_spheres_as_they_are_seen_from_outside():
    rng = np.random.default_rng(5)
    u = rng.standard_normal((20_000, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    drawn = lambert_pair(u)
    front = u[:, 0] >= 0
    middle = np.where(front, -1.5, 1.5)
    across = (drawn[:, 0] - middle) * np.where(front, 1, -1)
    radius = np.hypot(across, drawn[:, 1])
    assert radius.max() <= np.sqrt(2)
    # the inverse of Lambert's azimuthal projection
    np.testing.assert_allclose(np.abs(u[:, 0]), 1 - radius**2 / 2, atol=1e-12)
    np.testing.assert_allclose(u[:, 1], across * np.sqrt(1 - radius**2 / 4), atol=1e-12)
    np.testing.assert_allclose(u[:, 2], drawn[:, 1] * np.sqrt(1 - radius**2 / 4), atol=1e-12)
    # areas are equal where squares of radii are uniform
    assert stats.kstest(radius**2 / 2, "uniform").pvalue > 1e-3


def test_hammer_gives_equal_areas_to_equal_solid_angles():
    n = 200_000
    k = np.arange(n) + 0.5
    height = 1 - 2 * k / n
    turn = np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - height**2)
    xy = hammer(np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1))
    counts, _, _ = np.histogram2d(
        xy[:, 0], xy[:, 1], bins=[10, 5], range=[[-1.5, 1.5], [-0.7, 0.7]]
    )
    expected = n * (0.3 * 0.28) / MAP_AREA
    np.testing.assert_allclose(counts, expected, rtol=0.02)


def test_hammer_fills_its_ellipse_and_no_more():
    x, y = hammer(uniform_directions(20_000)).T
    reach = (x / (2 * np.sqrt(2))) ** 2 + (y / np.sqrt(2)) ** 2
    assert reach.max() <= 1 + 1e-6
    assert reach.max() > 0.995


@pytest.mark.parametrize(
    ("direction", "place"),
    [
        ((1, 0, 0), (0, 0)),
        ((0, 1, 0), (2 * np.sqrt(2 - np.sqrt(2)), 0)),
        ((0, -1, 0), (-2 * np.sqrt(2 - np.sqrt(2)), 0)),
        ((0, 0, 1), (0, np.sqrt(2))),
        ((0, 0, -1), (0, -np.sqrt(2))),
        ((-1, 1e-12, 0), (2 * np.sqrt(2), 0)),
    ],
)
def test_hammer_puts_the_axes_where_the_formula_says(direction, place):
    np.testing.assert_allclose(hammer(np.array([direction], np.float64))[0], place, atol=1e-9)


def test_regions_carry_the_names_of_their_documents():
    direction = np.repeat(np.array([[1, 0, 0], [-0.6, 0.8, 0]], np.float32), 20, axis=0)
    document = np.repeat([0, 1], 20)
    figure = plot_map(
        direction, np.ones(40, np.float32), document=document, document_names=["near", "far"]
    )
    places = {text.get_text(): text.get_position() for text in panel(figure, "map").texts}
    np.testing.assert_allclose(places["near"], (0, 0), atol=1e-6)
    np.testing.assert_allclose(places["far"], hammer(direction[20:21])[0], atol=1e-6)


def test_names_never_cover_each_other():
    direction = np.tile(np.array([[1, 0, 0]], np.float32), (40, 1))
    figure = plot_map(direction, np.ones(40, np.float32), document=np.arange(40) % 2)
    assert len(panel(figure, "map").texts) == 1


def test_many_points_become_an_image(monkeypatch):
    monkeypatch.setattr(world, "RASTER_ABOVE", 100)
    figure = plot_map(**inputs(500))
    axes = panel(figure, "map")
    assert not axes.collections
    image = np.asarray(axes.images[0].get_array())
    filled = image[..., 3] > 0
    assert 450 < filled.sum() <= 500
    row, column = np.argwhere(filled).mean(axis=0) / filled.shape
    assert abs(row - 0.5) < 0.1
    assert abs(column - 0.5) < 0.1


def test_image_and_dots_agree_on_places(monkeypatch):
    monkeypatch.setattr(world, "RASTER_ABOVE", 1)
    direction = np.tile(np.array([[0.6, 0.0, 0.8]], np.float32), (2, 1))
    image = np.asarray(
        panel(plot_map(direction, np.ones(2, np.float32)), "map").images[0].get_array()
    )
    ((row, column),) = np.argwhere(image[..., 3] > 0)
    x, y = hammer(direction)[0]
    assert abs((column + 0.5) / image.shape[1] * 2 - 1 - x / (2 * np.sqrt(2))) < 2 / image.shape[1]
    assert abs(1 - (row + 0.5) / image.shape[0] * 2 - y / np.sqrt(2)) < 2 / image.shape[0]
