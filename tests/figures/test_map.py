"""The figure of a placement: what its panels show, and how it is written."""

import os
import re
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.figure import Figure

from drawings import (
    SHELLS,
    SomePlacement,
    all_text,
    drawn_points,
    inputs,
    panel,
    uniform_directions,
)
from sphere_ebm.figures.colours import PALETTE
from sphere_ebm.figures.map import plot_map, save_figure
from sphere_ebm.figures.world import hammer


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


def test_heading_tells_size_and_quality():
    text = all_text(plot_map(**inputs(1234), title="A map"))
    for part in ("A map", "1\u202f234 points", "3 documents", "recall@15 0.412"):
        assert part in text


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
