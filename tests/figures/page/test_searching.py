"""Search in the browser: as many matches as Python finds, and where they are."""

from collections.abc import Callable

import pytest

from browsers import Opened
from pages import made_points, matches
from sphere_ebm.figures.page import PagePoints

Open = Callable[..., Opened]


QUERIES = ["let there be light", "été", "ÉTÉ", "the", "STRUCK  seven;", "i̇", "σας", "İstanbul"]
QUERIES += ["nowhere", "light ov", "(", "<img", "\u202eright", "æther"]


@pytest.mark.parametrize("query", QUERIES)
def test_search_finds_what_python_finds(fresh: Opened, points: PagePoints, query: str) -> None:
    fresh.ask("query => { sphere.state.query = query; return sphere.searchBox.run(); }", query)
    expected = matches(points, query)
    assert fresh.ask("sphere.state.matchCount") == expected
    if query in ("été", "let there be light"):
        assert expected > 40
    assert (expected == 0) == (query in ("nowhere", "i̇", "("))


def test_matches_are_the_patches_that_hold_them_and_stay_in_their_document(
    opened_page: Open,
) -> None:
    made = made_points([[b"a gre", b"", b"at fla", b"me, a ", b"great"], [b" flame"]], ["x", "y"])
    opened = opened_page(made, "find=great%20flame")
    assert opened.ask("[sphere.state.matchCount, sphere.state.matches]") == [1, [0, 2, 3]]
    assert opened.text("count") == "1 match in 1 document"


def test_document_names_are_found_and_filtered_by(fresh: Opened, points: PagePoints) -> None:
    fresh.ask("(sphere.state.query = 'CLOCK', sphere.searchBox.run())")
    fresh.page.click('[data-part="named"] button')
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == points.documents[1][1]
    assert fresh.text("status").startswith("250 of 600 points shown")
