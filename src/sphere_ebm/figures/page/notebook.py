"""The page in a notebook: a frame without dependencies, or a widget that talks to Python."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Int64

from sphere_ebm.errors import require
from sphere_ebm.figures.page.packing import columns_of
from sphere_ebm.figures.page.page import (
    page_bytes,
    page_facts,
    viewer_markup,
    viewer_module,
    viewer_style,
)
from sphere_ebm.figures.page.points import MOST_WITH_NEIGHBOURS, PagePoints, neighbours_of
from sphere_ebm.figures.page.region_names import named_regions
from sphere_ebm.geometry.shells import radii_tell

MOST_SHOWN = 100_000
"""Points that a notebook is given: it keeps them in its file."""


@runtime_checkable
class Placed(Protocol):
    """What the page needs of a placement."""

    @property
    def direction(self) -> Float32[np.ndarray, "points 3"]:
        """Unit vectors."""
        ...

    @property
    def radius(self) -> Float32[np.ndarray, " points"]:
        """Radii in shell units."""
        ...

    @property
    def shell(self) -> Int32[np.ndarray, " points"]:
        """Shells, 0 innermost."""
        ...

    @property
    def prominence(self) -> Float32[np.ndarray, " points"]:
        """What the radii order."""
        ...

    @property
    def angle_std(self) -> Float32[np.ndarray, " points"]:
        """Spreads of the directions."""
        ...

    @property
    def embeddings(self) -> Float32[np.ndarray, "points width"] | None:
        """What was placed, where it is known."""
        ...


@final
@dataclass(frozen=True)
class PageView:
    """A page as a notebook shows it: in a frame of its own, which reaches nothing outside.

    `page` is the HTML document, `height` that of the frame in pixels.
    """

    page: bytes
    height: int

    def _repr_html_(self) -> str:
        """The frame (IPython asks for this name)."""
        source = html.escape(self.page.decode(), quote=True)
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{source}" title="Map on the sphere"'
            f' style="width:100%;height:{self.height}px;border:0"></iframe>'
        )


def show_points(
    placed: Placed,
    *,
    texts: Sequence[str] | None = None,
    documents: Sequence[object] | None = None,
    title: str = "Map on the sphere",
    height: int = 640,
    widget: bool = False,
) -> Any:
    """A placement to explore in a notebook: the last value of a cell is shown.

    Args:
        placed: the placement.
        texts: what each point says, to hover, read and search: patches of running texts, or texts
            that stand for themselves (none begins or ends with white space), read line by line.
        documents: what each point belongs to, to colour and filter by; points of one document keep
            their order, in which their texts are read on.
        title: stands over the controls.
        height: in pixels.
        widget: a widget whose `selected` (number of the chosen point, -1 for none), `query` and
            `matches` (numbers of the points found) go both ways between page and Python; needs the
            extra `widget`.

    Returns:
        a `PageView`, or the widget.

    Raises:
        ValueError: more than `MOST_SHOWN` points, or `texts` or `documents` of another number.
        MissingPackageError: anywidget is not installed.
    """
    count = len(placed.radius)
    if count > MOST_SHOWN:
        raise ValueError(
            f"a notebook shows up to {MOST_SHOWN} points; got {count}. Write a page instead:"
            " `sphere_ebm.figures.page.write_page`."
        )
    for name, given in (("texts", texts), ("documents", documents)):
        if given is not None and len(given) != count:
            raise ValueError(
                f"`{name}` must have one entry for each of the {count} points; got {len(given)}."
            )
    order, points = _in_documents(placed, texts, documents)
    if widget:
        return _widget(points, order, title, height)
    return PageView(page_bytes(points, title=title), height)


def _in_documents(
    placed: Placed, texts: Sequence[str] | None, documents: Sequence[object] | None
) -> tuple[Int64[np.ndarray, " points"], PagePoints]:
    """Which point comes at each place of the page, and what the page shows."""
    names = ["points"] * len(placed.radius) if documents is None else [str(d) for d in documents]
    first = {name: number for number, name in enumerate(dict.fromkeys(names))}
    number = np.array([first[name] for name in names], np.int64)
    order = np.argsort(number, kind="stable")
    counts = np.bincount(number, minlength=len(first))
    octets = [] if texts is None else _running([texts[i] for i in order])
    neighbours = None
    if placed.embeddings is not None and len(order) <= MOST_WITH_NEIGHBOURS:
        neighbours = neighbours_of(placed.embeddings[order])
    return order, PagePoints(
        direction=placed.direction[order],
        radius=placed.radius[order],
        shell=placed.shell[order],
        radius_tells=radii_tell(placed.prominence),
        documents=tuple(zip(first, counts.tolist(), strict=True)),
        text=None if texts is None else np.frombuffer(b"".join(octets), np.uint8),
        text_offset=None if texts is None else np.cumsum([0, *map(len, octets)]).astype(np.int64),
        numbers={"spread": placed.angle_std[order]},
        neighbours=neighbours,
    )


def _running(texts: Sequence[str]) -> list[bytes]:
    """Texts one after the other: patches as they are, others with a line for each.

    Patches of a running text begin or end with white space somewhere. Texts of which none does
    stand for themselves: without breaks, the last word of one and the first of the next were one.
    """
    apart = all(text == text.strip() for text in texts)
    return [(text + "\n" * apart).encode("utf-8", "replace") for text in texts]


def _widget(
    points: PagePoints, order: Int64[np.ndarray, " points"], title: str, height: int
) -> Any:
    """The viewer as a widget; its numbers of points are those of the placement."""
    anywidget = require("anywidget", "widget", "the widget")
    traitlets = require("traitlets", "widget", "the widget")

    @final
    class SphereWidget(anywidget.AnyWidget):  # type: ignore[name-defined]
        """The viewer in a cell."""

        _esm = viewer_module()
        _css = viewer_style()
        markup = traitlets.Unicode(viewer_markup()).tag(sync=True)
        facts = traitlets.Dict().tag(sync=True)
        columns = traitlets.Dict().tag(sync=True)
        order = traitlets.Bytes().tag(sync=True)
        height = traitlets.Int().tag(sync=True)
        selected = traitlets.Int(-1).tag(sync=True)
        query = traitlets.Unicode("").tag(sync=True)
        matches = traitlets.List(traitlets.Int()).tag(sync=True)

    columns = columns_of(points)
    return SphereWidget(
        facts=page_facts(points, columns, title, named_regions(points)),
        columns={column.name: column.packed for column in columns},
        order=order.astype("<u4").tobytes(),
        height=height,
    )
