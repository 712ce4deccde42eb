"""Maps that pages are made of, and the browser that opens them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from browsers import Opened, browser
from pages import HOSTILE, made_points, patched
from sphere_ebm.figures.page import PagePoints, write_page


@pytest.fixture(scope="session")
def points() -> PagePoints:
    """Six hundred patches of three texts, with accents, phrases over patches, and hostile ones."""
    sea = "The été was long. L'ÉTÉ, it said; Été!  And let\nthere be light over the quiet sea. "
    clock = "The old clock struck seven; let there be LIGHT, they said, and the clock struck. "
    documents = [
        [*HOSTILE, *patched((sea * 40).encode(), 292, 1)],
        patched((clock * 40).encode(), 250, 2),
        patched(("Æther Ünder İstanbul ΣΑΣ ﬁn. " * 30).encode(), 50, 3),
    ]
    return made_points(documents, ["sea", "</script><b>clock", "Ünder\u202e\u0000letters"])


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def opened_page(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """`opened_page(points, link="", **options)`: the page of these points in the browser."""
    folder = tmp_path_factory.mktemp("pages")
    written: dict[int, Path] = {}
    with ExitStack() as stack:

        def open_page(points: PagePoints, link: str = "", **options: Any) -> Opened:
            if id(points) not in written:
                written[id(points)] = folder / f"{len(written)}.html"
                write_page(written[id(points)], points, title="A </title><b>map")
            found = Opened(chromium, written[id(points)], link, **options)
            stack.callback(found.close)
            return found

        yield open_page


@pytest.fixture(scope="module")
def page(opened_page: Open, points: PagePoints) -> Opened:
    """One page that the tests of a module share."""
    return opened_page(points)
