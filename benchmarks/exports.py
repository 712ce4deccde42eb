"""What other tools make of a map's exports: embedding-atlas and datamapplot.

python -m benchmarks.exports MAP [--output FILE]

Both are in the extra `atlas`. embedding-atlas reads its file and packs its own application around
it, as it does for a static site; datamapplot draws the Parquet file, on Hammer's map and on two
Lambert discs. The application is opened in Chromium from a server on this machine, where there is a
Chromium. Pictures lie beside the table, to be looked at. A tool that is not installed is skipped.
Exit code 0 when every target is met, 1 when one is missed.
"""

import functools
import http.server
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
from playwright.sync_api import TimeoutError, sync_playwright

from benchmarks.arguments import parser_of
from benchmarks.page import FLAGS
from benchmarks.report import Check, check_table, finish, machine, say
from sphere_ebm.labelling.export import export_map, map_table

PIXELS = 20_000
"""Bytes of a picture with something on it."""
WORDS = 100
"""Words of an application that has opened the map's texts; its own controls have fewer."""
READS = """words => {
  const text = document.body.innerText;
  return !text.includes("Loading") && text.split(/\\s+/).length >= words;
}"""
PATIENCE = 120_000
"""Milliseconds for them to come; then the picture is of what there is, and the check fails."""


def installed(module: str) -> bool:
    """Whether a tool is there; one line says so where it is not."""
    there = importlib.util.find_spec(module) is not None
    say(module if there else f"{module} is not installed (extra `atlas`): skipped")
    return there


def packed_by_atlas(map_folder: Path, work: Path) -> Path:
    """The folder of the application that embedding-atlas makes of its export."""
    table = work / "atlas.parquet"
    export_map(map_folder, table, "embedding-atlas")
    site = work / "site"
    asked = ["--x", "projection_x", "--y", "projection_y", "--neighbors", "neighbors"]
    asked += ["--text", "text", "--disable-projection", "--export-application", str(site)]
    command = [sys.executable, "-m", "embedding_atlas.cli", str(table), *asked]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return site


def checks_of_atlas(map_folder: Path, site: Path) -> list[Check]:
    """What embedding-atlas holds of the map."""
    held = pq.read_table(next(site.rglob("dataset.parquet")))
    whole = map_table(map_folder)
    same = np.array_equal(held["projection_x"].to_numpy(), whole["x"])
    texts = held["text"].to_pylist() == whole["text"]
    near = [row["ids"] for row in held["neighbors"].to_pylist()]
    kept = near == np.asarray(whole["neighbours"]).tolist()
    return [
        Check("embedding-atlas: coordinates as they were", float(same), ">=", 1),
        Check("embedding-atlas: texts as they were", float(texts), ">=", 1),
        Check("embedding-atlas: neighbours as they were", float(kept), ">=", 1),
    ]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, from a server of this process."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


def pictured(site: Path, picture: Path) -> list[str]:
    """A picture of the application in Chromium; returns the words that it shows."""
    with served(site) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        with suppress(TimeoutError):
            page.wait_for_function(READS, arg=WORDS, timeout=PATIENCE)
        page.screenshot(path=picture)
        words = page.inner_text("body").split()
        browser.close()
    return words


def drawn(map_folder: Path, work: Path, folder: Path) -> list[Check]:
    """Two pictures by datamapplot of the Parquet file."""
    import datamapplot

    table = work / "points.parquet"
    export_map(map_folder, table, "parquet")
    held = pq.read_table(table)
    documents = np.array(held["document"].to_pylist())
    found = []
    for name, x, y in (("hammer", "x", "y"), ("lambert", "lambert_x", "lambert_y")):
        places = np.stack([held[x].to_numpy(), held[y].to_numpy()], axis=1)
        # Its medoids are compiled for float32 alone, and its fonts come from the network.
        with patch("datamapplot.plot_rendering.get_google_font"):
            figure, _ = datamapplot.create_plot(
                places.astype(np.float32), documents, use_medoids=True
            )
        picture = folder / f"datamapplot-{name}.png"
        figure.savefig(picture, dpi=80)
        found.append(
            Check(f"datamapplot: bytes of {picture.name}", picture.stat().st_size, ">=", PIXELS)
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("exports", __doc__)
    cli.add_argument("map", type=Path, metavar="MAP", help="folder of a finished map with texts")
    options = cli.parse_args(arguments)
    pictures = options.output.parent
    pictures.mkdir(parents=True, exist_ok=True)
    heading = machine(["embedding-atlas", "datamapplot", "numpy"])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if installed("embedding_atlas"):
            site = packed_by_atlas(options.map, work)
            found += checks_of_atlas(options.map, site)
            if shutil.which("chromium") is not None:
                words = pictured(site, pictures / "embedding-atlas.png")
                heading += f"; shown: {' '.join(words[:60])}"
                found.append(Check("embedding-atlas: words on the screen", len(words), ">=", WORDS))
        if installed("datamapplot"):
            found += drawn(options.map, work, pictures)
    text = f"# Exports\n\n{heading}\n\n{check_table(found)}"
    return finish(text, options.output, found)


if __name__ == "__main__":
    sys.exit(main())
