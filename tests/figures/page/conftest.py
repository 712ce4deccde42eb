"""Maps that pages are made of, and the browser that opens them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers import Opened, browser
from pages import HOSTILE, made_points, patched
from sphere_ebm.figures.page import PagePoints, write_page
from sphere_ebm.geometry.cells import cell_centres, cell_keys


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


@pytest.fixture(scope="session")
def open_map(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Open:
    """`open_map(points, link="", **options)`: these points in a tab of the browser, to be closed.

    With `tab` it is that tab which goes there.
    """
    folder = tmp_path_factory.mktemp("pages")
    # The points are kept: another map could have the id of one that is gone.
    written: dict[int, tuple[PagePoints, Path]] = {}

    def opened(
        points: PagePoints, link: str = "", *, tab: Opened | None = None, **options: Any
    ) -> Opened:
        if id(points) not in written:
            written[id(points)] = (points, folder / f"{len(written)}.html")
            write_page(written[id(points)][1], points, title="A </title><b>map")
        path = written[id(points)][1]
        if tab is None:
            return Opened(chromium, path, link, **options)
        tab.go(path, link)
        return tab

    return opened


@pytest.fixture
def opened_page(open_map: Open) -> Iterator[Open]:
    """The same for one test, which closes what it has opened."""
    with ExitStack() as stack:

        def open_page(points: PagePoints, link: str = "", **options: Any) -> Opened:
            found = open_map(points, link, **options)
            if "tab" not in options:
                stack.callback(found.close)
            return found

        yield open_page


@pytest.fixture(scope="session")
def page(open_map: Open, points: PagePoints) -> Iterator[Opened]:
    """One page that all tests share."""
    opened = open_map(points)
    yield opened
    opened.close()


@pytest.fixture
def fresh(page: Opened) -> Iterator[Opened]:
    """The shared page as it begins, which no test may leave with an error."""
    page.ask("sphere.follow('')")
    page.drawn()
    yield page
    assert page.errors == []


@pytest.fixture(scope="session")
def placed(points: PagePoints) -> np.ndarray:
    """Directions as the page has them: of four bytes, in float32."""
    return cell_centres(cell_keys(points.direction), 16).astype(np.float32)
