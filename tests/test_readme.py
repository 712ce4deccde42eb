"""The README's examples run as they stand, in order, in a folder with some of the repository's
data.
"""

import re
import shlex
from pathlib import Path

import pytest

from sphere_ebm.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = [
        line
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith(f"$ {program} ")
    ]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]


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
    examples = blocks("python")
    assert len(examples) == 4
    names: dict[str, object] = {}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    of_the_map, of_the_filled = capsys.readouterr().out.splitlines()
    assert float(of_the_map) > 0.3, "the example prints the recall of its map"
    deviation, recall = map(float, of_the_filled.split())
    assert deviation < 0.1
    assert recall < 0.3
    assert (folder / "luke.placement.safetensors").is_file()


@pytest.mark.usefixtures("drawn_in_full")
def test_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands("sphere-ebm")
    assert [command[1] for command in found] == [
        "map",
        "map",
        "ask",
        "train",
        "predict",
        "label",
        "inspect",
        "quality",
        "compare",
    ]
    for command in found:
        assert main(command[1:]) == 0, command
    printed = capsys.readouterr().out
    assert "recall@15" in printed
    assert "around 'let there be light'" in printed
    assert (folder / "map" / "map.png").is_file()
    assert (folder / "labels" / "map.png").is_file()
    assert (folder / "librarian" / "best.safetensors").is_file()
    assert (folder / "comparison" / "comparison.png").is_file()


def test_the_command_is_made_available_before_it_is_used() -> None:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    activate = next(
        i for i, line in enumerate(lines) if line.startswith("$ source .venv/bin/activate")
    )
    first = next(i for i, line in enumerate(lines) if line.startswith("$ sphere-ebm"))
    assert lines.index(next(line for line in lines if line.startswith("$ make"))) < activate < first
    assert re.search(
        r"^VENV \?= \.venv$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )


def test_cleaning_keeps_labels() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nclean:\n")[2]
    assert "rm -rf" in recipe
    assert "labels" not in recipe
    assert "OUTPUT" not in recipe


def test_make_targets_exist() -> None:
    targets = re.findall(
        r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert {command[1] for command in commands("make")} == {"label", "test"} <= set(targets)


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
