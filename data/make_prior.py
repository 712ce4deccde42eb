"""Make the text again that the byte model has read before any other.

`src/sphere_ebm/text/prior.txt.xz`.

    python data/make_prior.py --root /

Prose old and new, reference text, C and Python: none of it is in the shards or texts of this
folder. `--root` is the file system in which the Debian packages of README.md and `libsqlite3-dev`
are installed (or unpacked with `dpkg-deb -x`); the King James text is read through the program
`bible`, which must be on the PATH. The Python is this project's own (MIT), as it was when the file
was made; all else is in the public domain. Every part that is cut ends with a line.
"""

from __future__ import annotations

import argparse
import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path

from make_shards import _Prose, bible_verses

PROJECT = Path(__file__).parents[1]
PRIOR = PROJECT / "src/sphere_ebm/text/prior.txt.xz"
PAGES = ("whentouse.html", "isolation.html", "howtocorrupt.html")
MODULES = ("geometry/shells.py", "graph/graph.py")


def parts(root: Path) -> Iterator[str]:
    """The parts, each cut to its size."""
    yield cut("\n".join(bible_verses("Isaiah1:1-30:33")(root)), 24_000)
    jargon = gzip.decompress((root / "usr/share/dictd/jargon.dict.dz").read_bytes()).decode()
    yield cut(jargon[jargon.index("\nabbrev\n") :], 24_000)
    for name in PAGES:
        page = _Prose()
        page.feed((root / "usr/share/doc/sqlite3" / name).read_text(encoding="utf-8"))
        yield cut(
            "\n\n".join(" ".join(block.split()) for block in page.blocks if block.strip()), 9_000
        )
    yield cut((root / "usr/include/sqlite3.h").read_text(encoding="utf-8"), 16_000)
    for name in MODULES:
        yield cut((PROJECT / "src/sphere_ebm" / name).read_text(encoding="utf-8"), 10_000)


def cut(text: str, size: int) -> str:
    """The whole lines in the first `size` characters."""
    return text[:size].rpartition("\n")[0] + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the Debian packages are installed"
    )
    parser.add_argument("--output", type=Path, default=PRIOR, help="file to write")
    arguments = parser.parse_args()
    text = "\n".join(parts(arguments.root)).encode()
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    arguments.output.write_bytes(packed)
    print(f"{arguments.output.name}: {len(text):,} bytes of text in {len(packed):,}")


if __name__ == "__main__":
    main()
