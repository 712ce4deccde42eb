"""The figure of a placement: what its panels show, and how it is written."""

import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from sphere_ebm.figures import world
from sphere_ebm.figures.colours import PALETTE
from sphere_ebm.figures.map import plot_map, save_figure
from sphere_ebm.figures.world import hammer, lambert_pair

MAP_AREA = 4 * np.pi


@dataclass(frozen=True)
class SomeShells:
    radius: np.ndarray
    capacity: np.ndarray


SHELLS = SomeShells(radius=np.array([1.0, 2.0, 3.0]), capacity=np.array([1.0, 2.0, 3.0]))


def uniform_directions(n: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def inputs(n: int, documents: int = 3) -> dict[str, object]:
    rng = np.random.default_rng(1)
    shell = rng.integers(0, 3, n)
    return {
        "direction": uniform_directions(n),
        "radius": (SHELLS.radius[shell] + 0.1 * rng.random(n)).astype(np.float32),
        "document": np.arange(n) % documents,
        "document_names": [f"text {k}" for k in range(documents)],
        "shell": shell,
        "shells": SHELLS,
        "energy": {
            name: np.linspace(3.0, 1.0, 20) * n
            for name in ("gravity", "lateral", "osmotic", "total")
        },
        "steps": np.arange(0, 200, 10),
        "quality": {"recall@15": 0.41234},
    }


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def drawn_points(figure: Figure, label: str) -> np.ndarray:
    return np.concatenate([np.asarray(c.get_offsets()) for c in panel(figure, label).collections])


def all_text(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


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


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_every_point_is_on_the_map_and_on_one_globe(n, tmp_path):
    figure = plot_map(**inputs(n))
    assert len(drawn_points(figure, "map")) == n
    assert len(drawn_points(figure, "front")) + len(drawn_points(figure, "back")) == n
    assert save_figure(figure, tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_the_file_of_a_figure_is_for_those_that_the_umask_leaves(tmp_path):
    former = os.umask(0o027)
    try:
        save_figure(plot_map(**inputs(1)), tmp_path / "map.png")
    finally:
        os.umask(former)
    assert (tmp_path / "map.png").stat().st_mode & 0o777 == 0o640


def test_map_places_points_by_their_direction():
    given = inputs(40)
    drawn = drawn_points(plot_map(**given), "map")
    expected = hammer(given["direction"])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0), atol=1e-6)


def test_back_globe_is_seen_from_behind():
    direction = np.array([[-0.6, 0.8, 0.0]], np.float32)
    figure = plot_map(direction, np.ones(1, np.float32))
    np.testing.assert_allclose(drawn_points(figure, "back"), [[-0.8, 0.0]], atol=1e-6)


def test_colours_follow_documents():
    given = inputs(60)
    (dots,) = panel(plot_map(**given), "map").collections
    expected = hammer(given["direction"][given["document"] == 1])
    same = np.all(
        np.isclose(dots.get_facecolors()[:, :3], matplotlib.colors.to_rgb(PALETTE[1])),
        axis=1,
    )
    drawn = np.asarray(dots.get_offsets())[same]
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0), atol=1e-6)


@pytest.mark.parametrize("document", [None, np.zeros(50, np.int32)])
def test_one_document_is_coloured_by_radius(document):
    given = inputs(50) | {"document": document, "document_names": None}
    figure = plot_map(**given)
    (dots,) = panel(figure, "map").collections
    assert len(np.unique(dots.get_facecolors(), axis=0)) > 10
    assert not figure.legends
    assert panel(figure, "radius scale").get_title(loc="left") == "radius"


def test_small_documents_beyond_the_palette_share_one_colour():
    documents = len(PALETTE) + 3
    figure = plot_map(**inputs(60, documents))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(PALETTE) + 1
    assert labels[-1].startswith("3 more")


def rings(figure: Figure) -> list:
    return [c for c in panel(figure, "map").collections if not len(c.get_facecolors())]


@pytest.mark.parametrize("documents", [1, 3])
def test_points_kept_as_by_chance_have_a_ring_and_are_counted(monkeypatch, documents):
    given = inputs(60, documents)
    chance = np.arange(60) < 4
    figure = plot_map(**given, chance=chance)
    (drawn,) = rings(figure)
    np.testing.assert_allclose(drawn.get_offsets(), hammer(given["direction"][:4]))
    assert "as by chance  4" in all_text(figure)
    assert not rings(plot_map(**given, chance=chance & False))
    monkeypatch.setattr(sys.modules["sphere_ebm.figures.map"], "RASTER_ABOVE", 59)
    assert not rings(plot_map(**given, chance=chance))


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


def test_awkward_names_are_text_and_not_mathematics(tmp_path):
    given = inputs(40) | {"document_names": ["price $5 and $6_a", "聖書", "x" * 200]}
    save_figure(plot_map(**given), tmp_path / "map.png")


@pytest.mark.parametrize("name", ["W" * 60, "聖書" * 30, "one_word", "i" * 60])
def test_the_legend_is_never_cut_at_the_edge_of_the_page(name, tmp_path):
    figure = plot_map(**inputs(4000, 12) | {"document_names": [f"{name}{k}" for k in range(12)]})
    save_figure(figure, tmp_path / "map.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert figure.legends[0].get_window_extent().x1 < figure.bbox.width
    assert len(figure.legends) == 1


def legend_names(names: list[str]) -> list[str]:
    figure = plot_map(**inputs(60, len(names)) | {"document_names": names})
    return [text.get_text().rsplit("  ", 1)[0] for text in figure.legends[0].get_texts()]


def test_long_names_that_begin_alike_are_told_apart():
    assert legend_names([f"collected-works-of-a-prolific-author_{k:03}" for k in range(3)]) == [
        "…000",
        "…001",
        "…002",
    ]
    assert legend_names(["text 1", "text 2"]) == ["text 1", "text 2"], "short names are shown whole"
    assert legend_names(["a long beginning of a name", "a long beginning of a name"])[0].startswith(
        "a long"
    )


def test_long_names_keep_their_ends():
    first, second = legend_names(["genesis" + "-" * 40 + "one", "exodus" + "-" * 40 + "two"])
    assert re.fullmatch("genesis.*….*one", first)
    assert re.fullmatch("exodus.*….*two", second)


def test_undefined_measures_are_left_out_of_the_heading():
    text = all_text(
        plot_map(**inputs(5) | {"quality": {"recall@15": float("nan"), "trustworthiness@15": 0.5}})
    )
    assert "trustworthiness@15 0.5" in text
    assert "recall" not in text
    assert "nan" not in text


def test_shell_bars_count_points_and_the_line_is_the_capacity():
    given = inputs(60)
    axes = panel(plot_map(**given), "shells")
    assert [bar.get_height() for bar in axes.patches] == np.bincount(
        given["shell"], minlength=3
    ).tolist()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [10, 20, 30])


def test_without_shells_the_radii_are_a_histogram():
    figure = plot_map(uniform_directions(50), np.linspace(1, 2, 50).astype(np.float32))
    assert sum(bar.get_height() for bar in panel(figure, "shells").patches) == 50


def test_energies_are_per_point_against_the_given_steps():
    axes = panel(plot_map(**inputs(50)), "energy")
    assert {line.get_label() for line in axes.lines} == {"gravity", "lateral", "osmotic", "total"}
    for line in axes.lines:
        np.testing.assert_allclose(line.get_ydata(), np.linspace(3.0, 1.0, 20))
        np.testing.assert_array_equal(line.get_xdata(), np.arange(0, 200, 10))


def test_without_energies_there_is_no_energy_panel():
    labels = [
        axes.get_label() for axes in plot_map(uniform_directions(5), np.ones(5, np.float32)).axes
    ]
    assert "energy" not in labels
    assert {"map", "front", "back", "shells"} <= set(labels)


def test_heading_tells_size_and_quality():
    text = all_text(plot_map(**inputs(1234), title="A map"))
    for part in ("A map", "1\u202f234 points", "3 documents", "recall@15 0.412"):
        assert part in text


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


def test_points_that_are_not_finite_are_left_out():
    given = inputs(20)
    given["direction"][3] = np.nan
    given["radius"][5] = np.inf
    assert len(drawn_points(plot_map(**given), "map")) == 19


def test_jax_arrays_are_accepted():
    given = inputs(20)
    figure = plot_map(
        jnp.asarray(given["direction"]),
        jnp.asarray(given["radius"]),
        shell=jnp.asarray(given["shell"]),
    )
    assert len(drawn_points(figure, "map")) == 20


@pytest.mark.usefixtures("unchecked")
def test_documents_that_are_missing_are_refused_with_the_cure():
    given = inputs(3) | {"document": np.array([0, 1, np.nan])}
    with pytest.raises(ValueError, match=r"`document` must hold an integer.*got dtype float64"):
        plot_map(**given)


def test_same_input_gives_the_same_bytes(tmp_path):
    first = save_figure(plot_map(**inputs(50)), tmp_path / "a.png").read_bytes()
    assert save_figure(plot_map(**inputs(50)), tmp_path / "b.png").read_bytes() == first
    assert b"Software" not in first


def test_the_settings_of_the_user_change_no_byte_and_stay_theirs(tmp_path):
    theirs = {"axes.grid": True, "savefig.dpi": 50, "axes.facecolor": "red", "font.weight": "bold"}
    plain = save_figure(plot_map(**inputs(50)), tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context(theirs):
        assert save_figure(plot_map(**inputs(50)), tmp_path / "b.png").read_bytes() == plain
        assert {name: matplotlib.rcParams[name] for name in theirs} == theirs


def test_a_figure_saved_twice_gives_the_same_bytes(tmp_path):
    figure = plot_map(**inputs(50))
    assert (
        save_figure(figure, tmp_path / "a.png").read_bytes()
        == save_figure(figure, tmp_path / "b.png").read_bytes()
    )


def test_drawing_leaves_no_global_state_behind():
    before = dict(matplotlib.rcParams)
    plot_map(**inputs(50))
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.pyplot.get_fignums() == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    target = tmp_path / "map.png"
    target.write_bytes(b"old")

    def refuse(source: object, destination: object) -> None:
        raise OSError("disk is gone")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        save_figure(plot_map(**inputs(5)), target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_saving_replaces_an_older_file(tmp_path: Path):
    target = tmp_path / "map.png"
    target.write_bytes(b"old")
    assert save_figure(plot_map(**inputs(5)), str(target)) == target
    assert target.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


# labels and values


def texts_of(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_labels_may_be_strings_and_more_than_ten_and_are_called_what_they_are() -> None:
    rng = np.random.default_rng(3)
    given = [f"kind {k}" for k in rng.integers(0, 14, 200)]
    figure = plot_map(uniform_directions(200), np.ones(200), labels=given, name="kinds")
    shown = texts_of(figure)
    assert any("14 kinds" in text for text in shown)
    assert not any("document" in text for text in shown)
    for k in range(14):
        assert any(text.startswith(f"kind {k}  ") for text in shown)


def test_of_many_classes_the_largest_twenty_have_colours_and_missing_ones_are_told() -> None:
    given = [*range(30), *range(20), *([None, float("nan")] * 5)]
    figure = plot_map(uniform_directions(60), np.ones(60), labels=given)
    shown = texts_of(figure)
    assert any("30 classes" in text for text in shown)
    assert any(text.startswith("10 more  10") for text in shown)
    assert any(text.startswith("without  10") for text in shown)


def test_values_are_a_continuous_scale_and_what_is_no_number_is_grey() -> None:
    values = np.linspace(2.0, 5.0, 50)
    values[7] = np.nan
    figure = plot_map(uniform_directions(50), np.ones(50), values=values, name="year")
    scale = panel(figure, "year scale")
    assert scale.get_title(loc="left") == "year"
    assert scale.get_ylim() == (2.0, 5.0)
    assert any("1 without year" in text for text in texts_of(figure))
    assert panel(figure, "radius scale").get_title(loc="left") == "radius", "of the globes"


@dataclass(frozen=True)
class SomePlacement:
    direction: np.ndarray
    radius: np.ndarray
    shell: np.ndarray
    shells: SomeShells
    energy: dict[str, np.ndarray]
    step: np.ndarray
    prominence: np.ndarray


def test_a_placement_brings_its_radii_shells_and_energies() -> None:
    given = inputs(30)
    placed = SomePlacement(
        given["direction"],
        given["radius"],
        given["shell"],
        SHELLS,
        given["energy"],
        given["steps"],
        np.arange(30),
    )
    figure = plot_map(placed, labels=["a", "b", "c"] * 10)
    assert panel(figure, "energy").get_title(loc="left") == "Energy per point"
    assert panel(figure, "shells").get_title(loc="left") == "Points per shell"


def test_radii_that_order_nothing_colour_nothing() -> None:
    u = uniform_directions(40)
    radius = np.linspace(1, 2, 40)
    shown = [axes.get_label() for axes in plot_map(u, radius).axes]
    assert "radius scale" in shown
    figure = plot_map(u, radius, radius_tells=False)
    assert "radius scale" not in [axes.get_label() for axes in figure.axes]
    flat = SomePlacement(u, radius, np.zeros(40, int), SHELLS, {}, np.zeros(0), np.ones(40))
    assert "radius scale" not in [axes.get_label() for axes in plot_map(flat).axes]


@pytest.mark.usefixtures("unchecked")
def test_a_map_is_coloured_by_one_thing_of_the_right_length() -> None:
    u = uniform_directions(5)
    with pytest.raises(ValueError, match="coloured by one thing; got `labels` and `values`"):
        plot_map(u, np.ones(5), labels=list("abcde"), values=np.ones(5))
    with pytest.raises(ValueError, match="`labels` must have one entry for each of 5 points"):
        plot_map(u, np.ones(5), labels=list("abcd"))
    with pytest.raises(ValueError, match=r"`values` must have shape \(5,\); got \(4,\)"):
        plot_map(u, np.ones(5), values=np.ones(4))
