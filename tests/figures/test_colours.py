"""What the colours of a figure mean: classes, values, and radii where they order something."""

import numpy as np

from drawings import panel, texts_of, uniform_directions
from sphere_ebm.figures.colours import PLAIN, point_colours
from sphere_ebm.figures.map import plot_map


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


def test_without_documents_radii_that_order_nothing_give_one_colour() -> None:
    radius = np.linspace(1, 2, 9)
    assert len(np.unique(point_colours(radius, None, True), axis=0)) == 9
    ((red, green, blue),) = np.unique(point_colours(radius, None, False), axis=0)
    assert [round(255 * x) for x in (red, green, blue)] == list(bytes.fromhex(PLAIN[1:]))
    by_document = point_colours(radius, np.arange(9) % 3, False)
    assert len(np.unique(by_document, axis=0)) == 3
