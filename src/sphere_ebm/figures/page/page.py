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
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sphere_ebm.figures.page.packing import Column, coloured_at_first, columns_of, printable
from sphere_ebm.figures.page.points import PagePoints
from sphere_ebm.figures.page.region_names import Region, named_regions
from sphere_ebm.files.atomic import atomic_write

PAGE_FORMAT = "sphere_page_v1"

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
        f"<title>{html.escape(printable(title))}</title>\n<style>{style}</style>\n",
        "</head>\n<body>\n",
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
    told = {
        "colour": coloured_at_first(points, columns),
        "ids": next((c.name for c in columns if c.facts.get("ids")), None),
        "rows": list(points.by_row),
        "noise": [] if points.radius_tells else ["radius", "shell"],
    }
    return {
        "format": PAGE_FORMAT,
        "title": printable(title),
        "points": len(points),
        "documents": [[printable(name), count] for name, count in points.documents],
        "columns": {column.name: column.facts for column in columns},
        "regions": [
            [r.level, r.key, printable(r.name), *(round(c, 4) for c in r.direction)]
            for r in regions
        ],
        **{name: value for name, value in told.items() if value},
    }


def json_block(value: Any) -> str:
    """JSON in ASCII that no HTML parser finds a tag or comment in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


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
