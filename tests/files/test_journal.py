"""A journal survives the death of its writer at any byte."""

import hashlib
import json
from pathlib import Path

import pytest

from sphere_ebm.files.journal import JOURNAL, Journal, read_journal


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def finish(journal: Journal, name: str) -> None:
    (journal.folder / name).write_text(name)
    journal.record(name, digest(name))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Two files done of three."""
    journal = Journal(tmp_path, "map", ("a", "b", "c"))
    journal.resume()
    finish(journal, "a")
    finish(journal, "b")
    return journal


def resumed(folder: Path, map_id: str = "map") -> Journal:
    again = Journal(folder, map_id, ("a", "b", "c"))
    again.resume()
    return again


def test_a_new_journal_holds_nothing_but_says_whose_it_is(tmp_path: Path) -> None:
    Journal(tmp_path, "map", ["a"]).resume()
    found = read_journal(tmp_path)
    assert found is not None
    assert (found.map_id, found.planned, found.finished) == ("map", ("a",), {})


def test_a_folder_without_a_journal_has_none(tmp_path: Path) -> None:
    assert read_journal(tmp_path) is None


def test_finished_files_are_taken_over_by_the_same_run(journal: Journal) -> None:
    again = resumed(journal.folder)
    assert again.finished == {"a": digest("a"), "b": digest("b")}
    assert again.holds("a")
    assert not again.holds("c")


def test_another_run_begins_anew(journal: Journal) -> None:
    assert not resumed(journal.folder, "other").finished
    assert not resumed(journal.folder, "map").finished


def test_files_of_a_finished_map_are_known(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "map", ["a"])
    journal.resume({"a": digest("a")})
    (tmp_path / "a").write_text("a")
    assert journal.holds("a")
    assert resumed(tmp_path).finished == {"a": digest("a")}


def test_what_an_interrupted_run_wrote_counts_more_than_the_map_before(journal: Journal) -> None:
    again = Journal(journal.folder, "map", ["a"])
    again.resume({"a": "old", "c": "old"})
    assert again.finished == {"a": digest("a"), "b": digest("b"), "c": "old"}


def test_a_file_that_changed_or_went_is_not_held(journal: Journal) -> None:
    (journal.folder / "a").write_text("A")
    (journal.folder / "b").unlink()
    assert not journal.holds("a")
    assert not journal.holds("b")


def test_a_folder_in_the_place_of_a_file_is_not_held(journal: Journal) -> None:
    (journal.folder / "a").unlink()
    (journal.folder / "a").mkdir()
    assert not journal.holds("a")


def test_a_journal_cut_at_any_byte_loses_its_last_entry_at_most(journal: Journal) -> None:
    raw = journal.path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(raw) if byte == ord("\n")]
    for cut in range(ends[0], len(raw) + 1):
        journal.path.write_bytes(raw[:cut])
        again = resumed(journal.folder)
        whole = [name for name, end in zip("ab", ends[1:], strict=True) if cut >= end - 1]
        assert list(again.finished) == whole, f"cut at {cut}"
        finish(again, "c")
        assert list(resumed(journal.folder).finished) == [*whole, "c"]


def test_taking_over_leaves_either_journal_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = journal.path.read_bytes()
    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        resumed(journal.folder)
    assert journal.path.read_bytes() == before


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "text", ["", "\n", "garbage\n", "[]\n", '{"map": 3}\n', '{"file": "a"}\n', "\xff\x00"]
)
def test_a_file_that_is_no_journal_belongs_to_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / JOURNAL).write_text(text, encoding="latin-1")
    found = read_journal(tmp_path)
    assert found is not None
    assert found.map_id == ""
    assert not found.finished


@pytest.mark.parametrize(
    "line", ['{"file": "c"}', "[1]", "7", '{"file": [], "sha256": {}}', "null"]
)
def test_a_strange_line_breaks_nothing(journal: Journal, line: str) -> None:
    with journal.path.open("a") as file:
        file.write(line + "\n")
    assert {"a", "b"} <= set(resumed(journal.folder).finished)


def test_names_of_every_kind_survive(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "map")
    journal.resume()
    names = ["ünï", "line\nbreak", 'quote"', "\udcff"]
    for name in names:
        journal.record(name, "0")
    assert list(resumed(tmp_path).finished) == names


def test_a_closed_journal_is_gone(journal: Journal) -> None:
    journal.close()
    assert read_journal(journal.folder) is None
    journal.close()


def test_each_entry_is_one_line_of_json(journal: Journal) -> None:
    lines = journal.path.read_text().splitlines()
    assert [json.loads(line).get("file") for line in lines] == [None, "a", "b"]
