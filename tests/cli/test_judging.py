"""`evaluate` on the command line: what it prints, what it writes, and how it refuses."""

import json
from pathlib import Path

import pytest

from sphere_ebm.cli import judging
from sphere_ebm.cli.main import main
from sphere_ebm.librarian.bootstrap import Interval
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.report import ALONE, LengthClass, Report
from sphere_ebm.librarian.split import Split

FOUND = Report(
    student="static",
    context=19,
    map_id="0123456789abcdef",
    patches=1200,
    documents=12,
    unseen=True,
    chance_of_same_document=0.083,
    figures={
        ALONE: {"near": Interval(0.5, 0.4, 0.6), "bits": Interval(3.2, 3.0, 3.4)},
        "chance": {"near": Interval(0.01, 0.0, 0.02), "bits": Interval(0.0, 0.0, 0.0)},
    },
    gains={ALONE: {"chance": {"bits": Interval(3.2, 3.0, 3.4)}}},
    shell_rank={},
    calibration={},
    hits={},
    error_rank={},
    lengths={ALONE: {"1 to 12 bytes": LengthClass(1200, 3.0, 0.5)}},
    patches_per_second={ALONE: 20_000.0},
    notes=("a note",),
)


@pytest.fixture
def student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose student is planted, as is what an evaluation finds of it."""
    librarian = Librarian.__new__(Librarian)
    vars(librarian)["config"] = LibrarianConfig()
    monkeypatch.setattr(judging.Librarian, "load", lambda folder: librarian)

    def found(given, labels, **options):
        assert given is librarian
        assert options["split"].train == ("a",)
        assert (labels, options["of_map"], options["against"]) == (Path("new"), Path("m"), ["knn"])
        return FOUND

    monkeypatch.setattr(judging, "evaluate", found)
    Split(("a",), ("b",)).save(tmp_path)
    return tmp_path


def command(student: Path, *options: str) -> int:
    return main(["evaluate", str(student), "new", "--map", "m", "--against", "knn", *options])


def test_figures_are_printed_and_the_card_is_written(student, capsys):
    assert command(student) == 0
    printed = capsys.readouterr().out
    assert "1,200 patches, unseen documents" in printed
    assert "yes  its places are better than the prior" in printed
    assert "note: a note" in printed
    assert "its places are better than the prior" in (student / "README.md").read_text("utf-8")
    held = json.loads((student / "evaluation.json").read_text("utf-8"))
    assert Report.from_dict(held) == FOUND


def test_json_is_the_report_and_quiet_is_silent(student, capsys):
    assert command(student, "--json") == 0
    assert Report.from_dict(json.loads(capsys.readouterr().out)) == FOUND
    assert command(student, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_folder_without_a_split_is_refused_in_one_line(student, capsys):
    (student / "split.json").unlink()
    assert command(student) == 3
    assert "split.json cannot be read" in capsys.readouterr().err
    assert not (student / "README.md").exists()


def test_an_unknown_rival_is_wrong_usage(student, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(student), "new", "--against", "luck"])
    assert ended.value.code == 2
    assert "luck" in capsys.readouterr().err
