"""The figure shows every method and measure of a comparison."""

import matplotlib
import numpy as np
import pytest

from sphere_ebm.figures.comparison import plot_comparison
from sphere_ebm.figures.map import save_figure
from sphere_ebm.heuristics.compare import Compared


def test_every_method_has_a_bar_in_every_panel(compared: dict[str, Compared]) -> None:
    figure = plot_comparison(list(compared.values()))
    panels = {
        axes.get_label(): axes
        for axes in figure.axes
        if not str(axes.get_label()).startswith("map of")
    }
    assert {
        "angular energy",
        "gravity",
        "recall@15",
        "shell deviation",
        "prominence rho",
        "seconds",
    } <= set(panels)
    for axes in panels.values():
        assert len(axes.patches) == len(compared)
    assert [tick.get_text() for tick in panels["angular energy"].get_yticklabels()] == list(
        compared
    )
    widths = [bar.get_width() for bar in panels["recall@15"].patches]
    np.testing.assert_allclose(widths, [one.quality.recall[15] for one in compared.values()])


def test_the_maps_are_those_of_four_methods(compared: dict[str, Compared]) -> None:
    maps = [str(axes.get_label()) for axes in plot_comparison(list(compared.values())).axes][:4]
    assert maps == [f"map of {name}" for name in ("random", "pca", "lateral_jit", "langevin-pca")]
    some = [compared[name] for name in ("osmotic", "langevin-water")]
    maps = [str(axes.get_label()) for axes in plot_comparison(some).axes][:2]
    assert maps == ["map of osmotic", "map of langevin-water"]


def test_documents_colour_the_maps(compared: dict[str, Compared]) -> None:
    one = compared["langevin-pca"]
    document = (np.arange(len(one.placement)) % 2).astype(np.int32)
    by_document = plot_comparison([one], document=document).axes[0].collections[0].get_facecolor()
    by_radius = plot_comparison([one]).axes[0].collections[0].get_facecolor()
    assert len(np.unique(np.asarray(by_document), axis=0)) == 2
    assert len(np.unique(np.asarray(by_radius), axis=0)) > 20


def test_the_figure_is_a_picture(compared: dict[str, Compared], tmp_path) -> None:
    path = save_figure(plot_comparison(list(compared.values())[:3]), tmp_path / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_settings_of_the_user_change_no_byte(compared: dict[str, Compared], tmp_path) -> None:
    def drawn() -> bytes:
        return save_figure(plot_comparison([compared["pca"]]), tmp_path / "figure.png").read_bytes()

    plain = drawn()
    with matplotlib.rc_context({"axes.grid": True, "savefig.dpi": 50, "xtick.direction": "in"}):
        assert drawn() == plain


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one method"):
        plot_comparison([])
