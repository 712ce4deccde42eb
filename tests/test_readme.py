"""The README's examples run as they stand, in order, in a folder with some of the repository's
data.
"""

import re
from pathlib import Path

import pytest

from markdown_pages import ROOT, blocks, commands, links
from sphere_ebm.cli.main import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return [block.code for block in blocks(README) if block.language == language]


def typed(program: str) -> list[list[str]]:
    of_console = [block for block in blocks(README) if block.language == "console"]
    lines = [words for block in of_console for words in commands(block)]
    return [words for words in lines if words[0] == program]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Of each kind what the examples name, and one more.
    for name in ("luke.safetensors", "matthew.safetensors", "texts/genesis.txt", "texts/luke.txt"):
        link = tmp_path / "data" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT / "data" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = examples("python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert float(capsys.readouterr().out) > 0.3, "the example prints the recall of its map"
    assert (folder / "luke.placement.safetensors").is_file()


@pytest.mark.usefixtures("drawn_in_full")
def test_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = typed("sphere-ebm")
    assert [command[1] for command in found] == ["map", "ask", "label", "train", "predict"]
    for command in found:
        assert main(command[1:]) == 0, command
    printed = capsys.readouterr().out
    assert "recall@15" in printed
    assert "Let there be light" in printed
    assert (folder / "map" / "map.png").is_file()
    assert (folder / "labels" / "map.png").is_file()
    assert (folder / "librarian" / "best.safetensors").is_file()


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 120


def test_the_command_is_made_available_before_it_is_used() -> None:
    lines = [line for block in examples("console") for line in block.splitlines()]
    activate = next(
        i for i, line in enumerate(lines) if line.startswith("$ source .venv/bin/activate")
    )
    first = next(i for i, line in enumerate(lines) if line.startswith("$ sphere-ebm"))
    assert lines.index(next(line for line in lines if line.startswith("$ make"))) < activate < first
    assert re.search(r"^VENV \?= \.venv$", MAKEFILE, flags=re.MULTILINE)


def test_cleaning_keeps_labels() -> None:
    recipe = MAKEFILE.partition("\nclean:\n")[2]
    assert "rm -rf" in recipe
    assert "labels" not in recipe
    assert "OUTPUT" not in recipe


def test_make_targets_exist() -> None:
    targets = re.findall(r"^([\w-]+):", MAKEFILE, flags=re.MULTILINE)
    assert {command[1] for command in typed("make")} == {"label", "test"} <= set(targets)


def test_linked_files_exist() -> None:
    found = links(README)
    assert len(found) > 30
    files = [link.partition("#")[0] for link in found if "://" not in link]
    assert [file for file in files if not (ROOT / file).exists()] == []
