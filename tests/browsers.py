"""A real browser for tests: Debian's Chromium through Playwright. Where there is none, they skip.

Playwright's own browsers are never downloaded: `apt-get install chromium` and the extra `dev` are
all that is needed. Pages are opened from the disk with the network off.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("SPHERE_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = Path(__file__).parents[1] / ".pytest_cache" / "page"
"""Where tests leave screenshots, for people to look at."""


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, or a skipped test that says what is missing."""
    if CHROMIUM is None:
        pytest.skip("no `chromium` on the path: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


class Opened:
    """A page of a map in the browser, what it asked for and what went wrong there."""

    def __init__(self, chromium: Any, path: Path, link: str = "", **options: Any) -> None:
        script = options.pop("script", None)
        settings = {
            "offline": True,
            "reduced_motion": "reduce",
            "viewport": {"width": 1100, "height": 720},
        }
        self.context = chromium.new_context(**settings | options)
        self.page = self.context.new_page()
        if script is not None:
            self.page.add_init_script(script)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.go(path, link)

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def go(self, path: Path, link: str = "") -> None:
        """Open another page, or the same one anew, in this tab."""
        self.page.goto("about:blank")
        self.requests.clear()
        self.page.goto(f"{path.as_uri()}{'#' if link else ''}{link}")
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        """Until the map is open, or at once when its script cannot be read."""
        for _ in range(600):
            if self.page.query_selector("[data-ready]"):
                return
            if self.errors:
                break
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the page does not open: {self.errors}")

    def ask(self, expression: str, argument: Any = None) -> Any:
        """What an expression of JavaScript is worth, awaited where it is a promise."""
        return self.page.evaluate(expression, argument)

    def wait(self, expression: str) -> None:
        """Until an expression is true. Playwright's own waiting would be forbidden by the page."""
        for _ in range(600):
            if self.ask(expression):
                return
            self.page.wait_for_timeout(15)
        raise AssertionError(f"never true: {expression}")

    def drawn(self) -> None:
        """Until what was asked for has been drawn."""
        self.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def text(self, part: str) -> str:
        """What is written in a part of the viewer."""
        found = self.page.text_content(f'[data-part="{part}"]')
        return str(found)

    def picture(self, name: str) -> Path:
        """A screenshot, left in `PICTURES`."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")
        return PICTURES / f"{name}.png"

    def close(self) -> None:
        self.context.close()
