"""Make the pictures of docs/start.md: `python docs/draw_start.py`.

It maps `data/texts` as that page does, keeps the figure, and takes a picture of the page `map.html`
in Chromium, through Playwright, which the extra `dev` brings (`apt-get install chromium`).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
CHROMIUM = os.environ.get("SPHERE_CHROMIUM") or shutil.which("chromium")
COLOURS = 255
"""Of the pictures: both are drawings, and look the same as with all of theirs."""


def draw(folder: Path) -> None:
    """Map the texts and keep both pictures."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "sphere_ebm", "map", str(ROOT / "data" / "texts")]
    subprocess.run([*command, "--output", str(folder), "--quiet"], check=True)
    keep(folder / "map.png", "start-figure.png")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 640}, reduced_motion="reduce")
        page.goto(f"{(folder / 'map.html').as_uri()}#find=let%20there%20be%20light")
        page.wait_for_selector("[data-ready]")
        page.press('[data-part="search"]', "Enter")
        page.wait_for_timeout(2000)
        page.screenshot(path=folder / "page.png")
        browser.close()
    keep(folder / "page.png", "start-page.png")


def keep(picture: Path, name: str) -> None:
    """Write a picture into docs/images, small."""
    with Image.open(picture) as drawn:
        width = min(1100, drawn.width)
        smaller = drawn.convert("RGB").resize((width, round(drawn.height * width / drawn.width)))
        smaller.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(IMAGES / name, optimize=True)


def main() -> None:
    """Draw both pictures anew."""
    if CHROMIUM is None:
        sys.exit("no `chromium` on the path: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))


if __name__ == "__main__":
    main()
