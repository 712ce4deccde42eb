"""Columns of the user's own in the browser: colours, classes as filters, rows by their names."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from browsers import Opened
from pages import GENRES, made_points
from sphere_ebm.figures.page import PagePoints
from sphere_ebm.files.shards.own import words_of

Open = Callable[..., Opened]
ROWS = 30


@pytest.fixture(scope="module")
def rows() -> PagePoints:
    """A table of rows with ids, a year that some lack, and a title of each, coloured by year."""
    texts = [f"row number {i} says so".encode() for i in range(ROWS)]
    made = made_points([texts], ["table"])
    year = np.array([np.nan if i % 10 == 0 else 1900.0 + i for i in range(ROWS)])
    own = {
        "key": words_of([f"{i:03d}" for i in range(ROWS)]),
        "year": year,
        "title": words_of([f"Title <b>{i}</b>" for i in range(ROWS)]),
    }
    held = {name: vars(made)[name] for name in ("direction", "radius", "documents", "neighbours")}
    texts_of = {"text": made.text, "text_offset": made.text_offset}
    return PagePoints(**held, **texts_of, own=own, names="key", by_row=(0,), colour_by="year")


@pytest.fixture(scope="module")
def table(open_map: Open, rows: PagePoints) -> Iterator[Opened]:
    opened = open_map(rows)
    yield opened
    assert opened.errors == []
    opened.close()


def test_more_than_ten_classes_have_colours_a_legend_and_filter(
    fresh: Opened, points: PagePoints
) -> None:
    genre = points.own["genre"].tolist()
    fresh.page.select_option("[data-part=colour]", label="genre")
    fresh.drawn()
    rows = fresh.page.locator("[data-part=class-list] li")
    assert rows.count() == GENRES
    shown = rows.locator(".title").all_text_contents()
    assert sorted(shown) == sorted(set(genre))
    counts = rows.locator(".count").all_text_contents()
    assert [int(count) for count in counts] == [genre.count(name) for name in shown]
    colours = fresh.ask(
        "points => points.map(i => [...sphere.rgb.subarray(3*i, 3*i+3)].join())", list(range(600))
    )
    by_class = {name: {colours[i] for i in range(600) if genre[i] == name} for name in shown}
    assert all(len(found) == 1 for found in by_class.values())
    assert len(set.union(*by_class.values())) == GENRES
    rows.nth(2).locator("input").click()
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == 600 - genre.count(shown[2])
    assert fresh.text("live") == f"1 of {GENRES} classes hidden"
    rows.nth(4).locator(".only").click(force=True)
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == genre.count(shown[4])
    hidden = next(i for i in range(600) if genre[i] != shown[4])
    assert not fresh.ask("i => sphere.isShown(i)", hidden)
    link = fresh.ask("new Promise(done => setTimeout(() => done(location.hash.slice(1)), 400))")
    fresh.ask("sphere.follow('')")
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == 600
    fresh.ask("link => sphere.follow(link)", link)
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == genre.count(shown[4])
    fresh.page.select_option("[data-part=colour]", label="document")
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == 600, "what is no longer listed is shown again"
    assert fresh.page.locator("[data-part=classes]").is_hidden()


def test_a_map_opens_in_the_colours_it_was_made_with(table: Opened, rows: PagePoints) -> None:
    table.ask("sphere.follow('')")
    table.drawn()
    assert table.ask("sphere.facts.columns[sphere.state.colour].label") == "year"
    assert table.ask("location.hash") == ""
    assert table.text("high").endswith("1929")
    assert table.page.locator("[data-part=unknown]").is_visible()
    rgb = table.ask("[0, 10, 20].map(i => [...sphere.rgb.subarray(3*i, 3*i+3)])")
    assert rgb == [[176, 172, 166]] * 3, "points without a year are grey"
    year = rows.own["year"]
    for i in (1, 17, 29):
        told = table.ask("i => { sphere.select(i); return sphere.selection.redraw(); }", i)
        assert told is None
        own = table.page.locator("[data-part=chosen-own] li").all_text_contents()
        assert own == [f"key: {i:03d}", f"year: {year[i]:.0f}", f"title: Title <b>{i}</b>"]
        assert table.text("chosen-place").startswith(f"row {i} of {ROWS}")
    table.ask("sphere.select(10)")
    table.wait("document.querySelector('[data-part=chosen-own]').textContent.includes('unknown')")


def test_rows_are_texts_of_their_own(table: Opened) -> None:
    table.ask("(sphere.state.query = 'says so row', sphere.searchBox.run())")
    assert table.ask("sphere.state.matchCount") == 0
    table.ask("(sphere.state.query = 'number 7 says', sphere.searchBox.run())")
    assert table.ask("sphere.state.matches") == [7]
    table.ask("sphere.select(7)")
    table.wait(
        "document.querySelector('[data-part=chosen-place]').textContent.startsWith('row 7 ')"
    )
    assert table.text("passage") == "row number 7 says so"
    table.ask("sphere.hover(7, 10, 10)")
    assert table.text("tip-document") == "table · 007"
    heads = table.page.locator("[data-part=near-map] .from").all_text_contents()
    assert all(head.startswith("table · 0") for head in heads)


def test_nothing_is_coloured_or_filtered_by_radii_that_order_nothing(
    opened_page: Open, points: PagePoints
) -> None:
    flat = opened_page(dataclasses.replace(points, radius_tells=False), "colour=radius")
    assert flat.ask("sphere.state.colour") == "document"
    offered = flat.page.locator("[data-part=colour] option").all_text_contents()
    assert offered == ["document", "spread", "genre"]
    assert flat.page.locator("[data-part=shells]").is_hidden()
    flat.ask("sphere.select(3)")
    flat.wait("document.querySelector('[data-part=chosen-place]').textContent.includes('spread')")
    assert "radius" not in flat.text("chosen-place")
    assert flat.errors == []
