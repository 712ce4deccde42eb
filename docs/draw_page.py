"""Make the live page of the docs: `python docs/draw_page.py`.

It maps `data/texts` as the README's first command does and keeps the page, `docs/texts.html`. A
test fails when the viewer in it is older than the code.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIVE = ROOT / "docs" / "texts.html"


def main() -> None:
    """Write the page anew."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sphere_ebm", "map", str(ROOT / "data" / "texts")]
        subprocess.run([*command, "--output", folder, "--quiet"], check=True)
        shutil.copyfile(Path(folder) / "map.html", LIVE)


if __name__ == "__main__":
    main()
