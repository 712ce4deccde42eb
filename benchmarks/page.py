"""The page of large maps: size, time to write and to open, cost of a frame, hover and search.

python -m benchmarks.page [--points N ...] [--texts FOLDER] [--output FILE]

Points lie around a thousand places in four hundred documents; texts are those of `--texts`, round
and round, 32 bytes a patch. Pages are opened in Debian's Chromium with a software renderer. The
processor time of a frame is that of all of the browser's processes while the whole globe turns.
Exit code 0 when every target is met, 1 when one is missed.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.arguments import add_sizes, parser_of
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm.figures.page import PagePoints, write_page
from sphere_ebm.graph import nearest_neighbours

SIZES = (10_000, 100_000, 1_000_000)
PATCH = 32
DOCUMENTS = 400
FRAMES = 40
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
MEGABYTES = 35.0
WRITTEN = 60.0
READY = 15.0
FRAME = 2.0


@dataclass(frozen=True)
class Opened:
    """What was measured of one page; times in seconds, sizes in megabytes."""

    points: int
    megabytes: float
    written: float
    ready: float
    frame: float
    hover: float
    nearest: float
    first_search: float
    search: float
    heap: float
    drawn: int


def made(points: int, texts: Path) -> PagePoints:
    """A map of so many points."""
    rng = np.random.default_rng(points)
    places = rng.standard_normal((1000, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    place = np.sort(rng.integers(0, 1000, points))
    direction = places[place] + rng.standard_normal((points, 3)) * rng.choice(
        [0.06, 1], (points, 1)
    )
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    raw = b"".join(path.read_bytes() for path in sorted(texts.glob("*.txt")))
    text = np.resize(np.frombuffer(raw, np.uint8), points * PATCH)
    counts = np.full(DOCUMENTS, points // DOCUMENTS)
    counts[: points % DOCUMENTS] += 1
    few = points <= 200_000
    return PagePoints(
        direction=direction.astype(np.float32),
        radius=rng.uniform(15, 47, points).astype(np.float32),
        shell=rng.integers(0, 32, points).astype(np.int32),
        documents=tuple((f"document {i}", int(count)) for i, count in enumerate(counts)),
        text=text,
        text_offset=np.arange(points + 1, dtype=np.int64) * PATCH,
        numbers={"spread": rng.gamma(2, 0.01, points).astype(np.float32)},
        neighbours=nearest_neighbours(direction.astype(np.float32), 10).index if few else None,
    )


def processor_seconds() -> float:
    """Of all processes that descend from this one, and live."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        spent[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ours(process: int) -> bool:
        above = parents.get(process, 0)
        return above == os.getpid() or (above > 1 and ours(above))

    return sum(seconds for process, seconds in spent.items() if ours(process))


TURN = f"""async () => {{
  for (let k = 0; k < {FRAMES}; k++) {{
    const angle = k / 15;
    sphere.moving();
    sphere.lookAt([Math.cos(angle), Math.sin(angle), 0.2]);
    await new Promise(requestAnimationFrame);
  }}
  await new Promise(done => setTimeout(done, 400));
}}"""


def timed(page: Any, repeats: int, body: str) -> list[float]:
    """Seconds of each call of a function of JavaScript."""
    source = f"""async () => {{
      const call = {body};
      const times = [];
      for (let k = 0; k < {repeats}; k++) {{
        const begin = performance.now();
        await call(k);
        times.push((performance.now() - begin) / 1000);
      }}
      return times;
    }}"""
    found: list[float] = page.evaluate(source)
    return found


def measured(browser: Any, path: Path, points: int, written: float) -> Opened:
    """Open a page and use it."""
    page = browser.new_context(offline=True, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(180_000)
    begun = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("[data-ready=true]")
    ready = time.perf_counter() - begun
    page.wait_for_timeout(1500)
    before = processor_seconds()
    frames = page.evaluate("sphere.stats.frames")
    page.evaluate(TURN)
    spent = processor_seconds() - before
    frames = page.evaluate("sphere.stats.frames") - frames
    search = "w => (sphere.state.query = ['light', 'sea', 'lord'][w % 3], sphere.searchBox.run())"
    first, *later = timed(page, 4, search)
    hover = timed(page, 9, "k => sphere.pick(400 + 30 * k, 300 + 10 * k)")
    nearest = timed(page, 9, f"k => sphere.nearest((k * 7919) % {points}, 10)")
    heap = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    drawn = page.evaluate("sphere.stats.drawn")
    page.context.close()
    return Opened(
        points,
        path.stat().st_size / 1e6,
        written,
        ready,
        spent / frames,
        statistics.median(hover),
        statistics.median(nearest),
        first,
        statistics.median(later),
        heap,
        drawn,
    )


def checks(opened: Sequence[Opened]) -> list[Check]:
    """The targets, for the largest page beside the smallest."""
    small = opened[0]
    large = opened[-1]
    name = f"{large.points:,} points"
    times = large.frame / small.frame
    return [
        Check(f"{name}: size of the page", large.megabytes, "<=", MEGABYTES, "MB"),
        Check(f"{name}: written in", large.written, "<=", WRITTEN, "s"),
        Check(f"{name}: ready in", large.ready, "<=", READY, "s"),
        Check(f"{name}: time of a frame / that at {small.points:,}", times, "<=", FRAME),
    ]


def row(one: Opened) -> list[str]:
    """A line of the table."""
    return [
        f"{one.points:,}",
        f"{one.megabytes:.1f}",
        f"{one.written:.1f}",
        f"{one.ready:.1f}",
        f"{1000 * one.frame:.0f}",
        f"{one.drawn:,}",
        f"{1000 * one.hover:.1f}",
        f"{1000 * one.nearest:.1f}",
        f"{1000 * one.first_search:.0f}",
        f"{1000 * one.search:.0f}",
        f"{one.heap:.0f}",
    ]


HEADER = ["points", "MB", "s to write", "s until ready", "ms of processors a frame", "drawn"]
HEADER += ["ms hover", "ms ten nearest", "ms first search", "ms later ones", "MB of heap"]


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("page", __doc__)
    add_sizes(cli, SIZES)
    cli.add_argument("--texts", type=Path, default=Path("data/texts"), metavar="FOLDER")
    options = cli.parse_args(arguments)
    heading = machine(["numpy", "playwright"])
    opened = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        chromium = shutil.which("chromium")
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for points in sorted(options.points):
            say(f"{points:,} points")
            path = Path(folder) / f"{points}.html"
            data = made(points, options.texts)
            begun = time.perf_counter()
            write_page(path, data, title=f"{points:,} points")
            written = time.perf_counter() - begun
            del data
            opened.append(measured(browser, path, points, written))
        heading += f"; Chromium {browser.version}"
        browser.close()
    table = markdown_table(HEADER, [row(one) for one in opened])
    text = f"# The page\n\n{heading}\n\n{table}\n\n{check_table(checks(opened))}"
    return finish(text, options.output, checks(opened))


if __name__ == "__main__":
    sys.exit(main())
