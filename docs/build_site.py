"""Build the documentation site: `make docs`, or `python docs/build_site.py` with the extra `docs`.

Pages stay where they are read in the repository, and their links lead from one to another there.
So they are copied as they lie into `build/pages`, where a reference is added of what each room of
the package exports, and `build/site` is built of them. Whatever zensical, mkdocstrings or griffe
warn of is an error.
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "sphere_ebm"
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "build" / "site"
COPIED = (
    "*.md",
    "docs/**/*.md",
    "docs/**/*.png",
    "docs/*.html",
    "benchmarks/README.md",
    "CITATION.cff",
    "data/README.md",
    "notebooks/*.ipynb",
)
"""What the site is made of, in the repository."""

FURTHER = {
    "sphere_ebm": (
        "errors.ConvergenceWarning",
        "errors.MapWarning",
        "errors.MissingPackageError",
        "errors.NonFiniteEnergyError",
    ),
    "sphere_ebm.librarian": (
        "config.LibrarianConfig",
        "dataset.LabelDataset",
        "dataset.Split",
        "evaluate.evaluate",
        "joined.join_shards",
        "librarian.Librarian",
        "report.Report",
        "train.train",
    ),
    "sphere_ebm.labelling": ("label.label", "ask.ask"),
    "sphere_ebm.text": ("ingest.ingest",),
}
"""What the docs import from modules of a room that the room itself does not export."""

WARNINGS = ("griffe:", "mkdocstrings:")
"""How lines begin in which the build tells what is wrong with docstrings, and goes on."""


def copy_pages() -> None:
    """Collect the pages and what they show, each at its own path."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for pattern in COPIED:
        for file in ROOT.glob(pattern):
            target = PAGES / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def exported(package: Path) -> list[str]:
    """The names that the `__init__.py` of a room offers, in order."""
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(name for name in ast.literal_eval(node.value) if name != "__version__")
    return sorted(
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    )


def reference() -> dict[str, str]:
    """The pages of the reference by their names: one for the package, one for each of its rooms."""
    packages: dict[str, list[Path]] = {"sphere_ebm": [SOURCE]}
    for file in sorted(SOURCE.glob("*/**/__init__.py")):
        if exported(file.parent):
            packages.setdefault(file.relative_to(SOURCE).parts[0], []).append(file.parent)
    for dotted in FURTHER:
        packages.setdefault(dotted.rpartition(".")[2], [])
    return {room: _page(room, packages[room]) for room in packages}


def _page(room: str, packages: list[Path]) -> str:
    title = room if room == "sphere_ebm" else f"sphere_ebm.{room}"
    blocks = [f"# {title}\n"]
    for package in packages:
        dotted = ".".join(package.relative_to(SOURCE.parent).parts)
        if dotted != title:
            blocks.append(f"## {dotted}\n")
        names = ", ".join(exported(package))
        blocks.append(f"::: {dotted}\n    options:\n      members: [{names}]\n")
    for name in FURTHER.get(title, ()):
        blocks.append(f"::: {title}.{name}\n    options:\n      show_root_heading: true\n")
    return "\n".join(blocks)


def write_reference() -> None:
    """Add the pages of the reference to those that were copied."""
    folder = PAGES / "docs" / "reference"
    folder.mkdir(parents=True)
    for room, page in reference().items():
        (folder / f"{room}.md").write_text(page, encoding="utf-8")


def build() -> int:
    """Build the site and return the exit code, which is not 0 where anything was warned of."""
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    print(done.stdout, end="")
    warned = [line for line in done.stdout.splitlines() if line.startswith(WARNINGS)]
    if warned and done.returncode == 0:
        print(f"{len(warned)} warnings of docstrings, the first: {warned[0]}")
        return 1
    return done.returncode


def main() -> int:
    """Collect the pages, make the reference, build the site."""
    copy_pages()
    write_reference()
    code = build()
    if code == 0:
        print(f"open {(SITE / 'index.html').relative_to(ROOT)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
