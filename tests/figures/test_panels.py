"""The small panels of a map's figure."""

import numpy as np

from drawings import inputs, panel, uniform_directions
from sphere_ebm.figures.map import plot_map


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
