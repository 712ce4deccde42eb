"""`map.html`: a map that one explores, in one file that needs no server, network or library.

The file holds the viewer (`viewer/`, joined as it stands), one JSON object of facts, and one block
of compressed, base64-coded bytes per column. A strict content policy names the viewer's own script
and style by their hashes, so that nothing else runs or is fetched, whatever a text holds.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sphere_ebm.figures.page.points import MOST_WITH_NEIGHBOURS, PagePoints
from sphere_ebm.figures.page.region_names import Region, named_regions
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.geometry.cells import cell_keys

PAGE_FORMAT = "sphere_page_v1"
TEXT_CHUNK = 1 << 18
"""Bytes of text that are unpacked together, when one of them is read."""
_LEVEL = 6

MODULES = (
    "sphere",
    "state",
    "decode",
    "levels",
    "colours",
    "search",
    "picking",
    "ground",
    "drawing",
    "canvas",
    "overlay",
    "names",
    "panel",
    "legend",
    "input",
    "scene",
    "actions",
    "viewer",
)
"""Modules of the viewer in the order in which they are joined; `start` or `widget` comes last."""


class Column(NamedTuple):
    """A block of the file: its name, what is told of it, and its bytes, compressed."""

    name: str
    facts: dict[str, Any]
    packed: bytes


def write_page(
    path: Path | str,
    points: PagePoints,
    *,
    title: str = "Map on the sphere",
    regions: Sequence[Region] | None = None,
) -> str:
    """Write the page of a map, atomically; returns its SHA-256.

    The bytes depend on the arguments, the viewer and zlib alone. `regions` are found here where
    they are not given. A million points with 32 bytes of text each take about 25 MB.

    Raises:
        OSError: the file cannot be written.
    """
    data = page_bytes(points, title=title, regions=regions)
    atomic_write(Path(path), lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest()


def page_bytes(
    points: PagePoints, *, title: str = "Map on the sphere", regions: Sequence[Region] | None = None
) -> bytes:
    """The page as one HTML document in UTF-8; see `write_page`."""
    script = viewer_script()
    style = viewer_style()
    columns = columns_of(points)
    facts = page_facts(
        points, columns, title, named_regions(points) if regions is None else regions
    )
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{html.escape(_printable(title))}</title>\n<style>{style}</style>\n</head>\n<body>\n",
        f'<div class="sphere-page" id="sphere-page">\n{viewer_markup()}</div>\n',
        f'<script type="application/json" id="facts">{json_block(facts)}</script>\n',
    ]
    blocks = [
        f'<script type="application/octet-stream" data-column="{column.name}">'.encode()
        + base64.b64encode(column.packed)
        + b"</script>\n"
        for column in columns
    ]
    end = f"<script>{script}</script>\n</body>\n</html>\n"
    return b"".join(["".join(parts).encode(), *blocks, end.encode()])


def page_facts(
    points: PagePoints, columns: Sequence[Column], title: str, regions: Sequence[Region]
) -> dict[str, Any]:
    """What the page is told beside its columns."""
    return {
        "format": PAGE_FORMAT,
        "title": _printable(title),
        "points": len(points),
        "documents": [[_printable(name), count] for name, count in points.documents],
        "columns": {column.name: column.facts for column in columns},
        "regions": [
            [r.level, r.key, _printable(r.name), *(round(c, 4) for c in r.direction)]
            for r in regions
        ],
    }


def json_block(value: Any) -> str:
    """JSON in ASCII that no HTML parser finds a tag or comment in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def columns_of(points: PagePoints) -> list[Column]:
    """All columns of the page, packed."""
    columns = [
        _planes("key", cell_keys(points.direction).astype(np.uint32)),
        _number("radius", "radius", points.radius, np.uint16),
    ]
    if points.shell is not None:
        shell = np.asarray(points.shell)
        columns.append(_planes("shell", np.clip(shell, 0, 65535).astype(np.uint16)))
    for i, (name, values) in enumerate(points.numbers.items()):
        columns.append(_number(f"number{i}", name, values, np.uint16))
    if points.neighbours is not None and points.neighbours.size:
        # An unsigned column has no -1: a point that lacks a neighbour lists itself.
        own = np.arange(len(points), dtype=np.int32)[:, None]
        index = np.where(points.neighbours < 0, own, points.neighbours)
        dtype = np.uint16 if len(points) <= 65536 else np.uint32
        facts = {"width": points.neighbours.shape[1]}
        columns.append(_planes("neighbours", index.astype(dtype).ravel(), facts))
    if (
        points.modes is not None
        and points.mode_weight is not None
        and 0 < len(points) <= MOST_WITH_NEIGHBOURS
    ):
        columns.append(_planes("modes", cell_keys(points.modes.reshape(-1, 3)).astype(np.uint32)))
        weight = np.clip(points.mode_weight, 0, 1).ravel()
        columns.append(_planes("mode_weight", np.round(weight * 255).astype(np.uint8)))
    if points.text is not None and points.text_offset is not None:
        columns += _text_columns(points.text, points.text_offset)
    return columns


def _text_columns(text: np.ndarray, offset: np.ndarray) -> list[Column]:
    chunks = [
        zlib.compress(text[start : start + TEXT_CHUNK].tobytes(), _LEVEL)
        for start in range(0, len(text), TEXT_CHUNK)
    ]
    facts = {"bytes": len(text), "chunk": TEXT_CHUNK, "sizes": [len(chunk) for chunk in chunks]}
    lengths = np.diff(offset).astype(np.uint32)
    return [_planes("length", lengths), Column("text", facts, b"".join(chunks))]


def _planes(name: str, values: np.ndarray, facts: dict[str, Any] | None = None) -> Column:
    """A column of unsigned integers: all lowest bytes, then all second ones, and so on.

    Bytes of one place resemble each other, which zlib makes use of.
    """
    width = values.dtype.itemsize
    octets = values.astype(values.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, width)
    packed = zlib.compress(np.ascontiguousarray(octets.T).tobytes(), _LEVEL)
    return Column(name, {"bytes": width, "values": values.size, **(facts or {})}, packed)


def _number(name: str, label: str, values: np.ndarray, dtype: Any) -> Column:
    """A column of numbers in equal steps between the least and the largest."""
    given = np.asarray(values, np.float64)
    low, high = (float(given.min()), float(given.max())) if given.size else (0.0, 0.0)
    steps = float(np.iinfo(dtype).max)
    share = (given - low) / (high - low) if high > low else np.zeros_like(given)
    facts = {"label": _printable(label), "low": low, "high": high}
    return _planes(name, np.round(share * steps).astype(dtype), facts)


def _printable(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _digest(text: str) -> str:
    """How a content policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _source(name: str) -> str:
    folder = files("sphere_ebm.figures.page") / "viewer"
    return (folder / name).read_text(encoding="utf-8")


@cache
def viewer_script() -> str:
    """All modules of the viewer as one script, which opens the map of its page."""
    return f'(() => {{\n"use strict";\n{_joined("start")}\n}})();\n'


@cache
def viewer_module() -> str:
    """The same as one module, which shows the model of a widget (anywidget's interface)."""
    return f"{_joined('widget')}\nexport default {{ render: of_widget.renderWidget }};\n"


def viewer_style() -> str:
    """The viewer's style, for elements of the class `sphere-page`."""
    return _source("page.css")


def viewer_markup() -> str:
    """What is in such an element."""
    return _source("markup.html")


def _joined(last: str) -> str:
    """All modules, each in a scope of its own."""
    cells = (files("sphere_ebm.geometry") / "cells.mjs").read_text(encoding="utf-8")
    parts = [_as_function(name, _source(f"{name}.js")) for name in (*MODULES, last)]
    return "\n".join([_as_function("cells", cells), *parts])


def _as_function(name: str, source: str) -> str:
    """A module as a function that is called at once and returns what the module exports.

    Modules themselves cannot be imported by a page that was opened from the disk.
    """
    exported = re.findall(r"^export (?:async )?(?:function|const) (\w+)", source, re.MULTILINE)
    body = re.sub(r"^export ", "", source, flags=re.MULTILINE)
    body = re.sub(
        r'^import (\{[^}]*\}) from "[./\w]*?(\w+)\.m?js";',
        r"const \1 = of_\2;",
        body,
        flags=re.MULTILINE,
    )
    return f"const of_{name} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();"
