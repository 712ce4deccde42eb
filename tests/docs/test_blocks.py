"""Every Python and console block of the docs runs, page by page, in order.

Commands meet the first passages of each document and take few steps. Where a block needs a network,
a GPU, a cluster or much time, a comment before it says so; its commands must still be ones that
there are.
"""

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import FEW, run_command
from markdown_pages import PAGES, ROOT, Block, blocks, commands
from sphere_ebm.cli.main import _parser
from sphere_ebm.cli.parser import parse

RUN = [page for page in PAGES if page.parent != ROOT]
"""README.md has a test of its own, and CONTRIBUTING.md only commands of make."""

FEWER = {
    "label": list(FEW),
    "map": list(FEW),
    "update": ["--steps", "20"],
    "compare": ["--steps", "20", "--average", "5", "--methods", "pca,v1,langevin-pca"],
    "train": ["--epochs", "1", "--rows", "500", "--batch", "64"],
    "evaluate": ["--against", "chance"],
    "train-sequence": ["--epochs", "1", "--models", "amn", "--context", "2"],
}
"""What is added to commands that would take long."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT / "docs").as_posix())
def test_the_blocks_of_a_page_run_in_order(page: Path, folder_of: Callable[[str], Path]) -> None:
    folder_of(page.stem)
    names: dict[str, object] = {"__name__": "of_a_page"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            code = compile(block.code, page.name, "exec")
            if block.reason is None:
                exec(code, names)
        elif block.language == "console":
            for words in commands(block):
                _run(words, block)


def _run(words: list[str], block: Block) -> None:
    """Run a command of the package, or see that another one is one."""
    program, *rest = words
    if program == "sphere-ebm":
        if block.reason is not None:
            parse(*_parser(), rest)
            return
        brief = [re.sub(r"^data\b", "brief", word) for word in rest]
        done = run_command(*brief, *_fewer(rest))
        assert done.code == 0, (words, done.err)
    elif program == "make":
        assert set(rest) <= set(TARGETS), words
    elif program == "pip":
        assert unknown_extras(words) == set()
    elif program == "source":
        assert rest == [".venv/bin/activate"]
    else:
        assert block.reason is not None, f"{shlex.join(words)}: run it, or say why not"


def _fewer(rest: list[str]) -> list[str]:
    finished = rest[0] == "map" and rest[1] == "--output"  # a question to a map that is there
    return [] if finished or "--help" in rest else FEWER.get(rest[0], [])


def unknown_extras(words: list[str]) -> set[str]:
    """Extras that a line for pip names and the package has not."""
    of_ours = [word for word in words if word.startswith((".[", "/sphere_ebm["))]
    named = {extra for word in of_ours for extra in word.partition("[")[2].rstrip("]").split(",")}
    return named - set(PROJECT["optional-dependencies"])


def test_a_block_that_does_not_run_would_be_found(folder_of: Callable[[str], Path]) -> None:
    folder_of("none")
    bad = "$ sphere-ebm label nowhere --output labels"
    with pytest.raises(AssertionError, match="nowhere"):
        _run(shlex.split(bad.removeprefix("$ ")), Block("console", bad, None))
    with pytest.raises(SystemExit):
        _run(["sphere-ebm", "label", "x", "--no-such"], Block("console", "", "needs a network"))
    with pytest.raises(AssertionError, match="say why not"):
        _run(["docker", "build"], Block("console", "", None))
    with pytest.raises(AssertionError):
        _run(["make", "tea"], Block("console", "", None))
    assert unknown_extras(["pip", "install", ".[text,tea]"]) == {"tea"}


def test_few_blocks_are_not_run() -> None:
    found = [block for page in RUN for block in blocks(page.read_text(encoding="utf-8"))]
    told = [block for block in found if block.reason is not None]
    assert len(told) <= 8
    assert all(len(block.reason or "") > 10 for block in told)
    run = [block for block in found if block.reason is None]
    assert sum(block.language == "python" for block in run) > 35
    assert sum(block.language == "console" for block in run) > 25


def test_every_block_says_its_language() -> None:
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        opening = fences[::2]
        known = {"python", "console", "text", "toml", "dockerfile"}
        assert set(opening) <= known, (page, opening)
