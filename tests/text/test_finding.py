import os

import pytest

from builders import close_folder, usable
from sphere_ebm.errors import ShardError
from sphere_ebm.text import finding
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import Patterns, TextItem, find_texts, search_texts
from text_files import refusal


def test_folders_are_searched_recursively_and_hidden_names_passed_over(tmp_path, write):
    wanted = [write(name) for name in ("a.md", "b/c.py", "b/d/LICENSE")]
    for name in (".hidden.txt", ".git/config", "b/.cache/x.txt"):
        write(name)
    assert usable(find_texts([tmp_path])) == wanted


@pytest.mark.parametrize("pattern", ["", "*", "**", "**/*"])
def test_what_is_evidently_no_text_is_passed_over_in_folders_and_globs(tmp_path, write, pattern):
    wanted = [write("a.txt"), write("wide.txt", "text".encode("utf-16"))]
    passed = [
        write("empty.txt", ""),
        write("numbers.csv", "id,price\n1,2.5\n2,1e5\n"),
        write("photo.JPG"),
        write("program", b"\x7fELF\0\0"),
        write("weights.safetensors"),
        write("white.txt", " \r\n\t\n"),
    ]
    write(".hidden.png")
    os.mkfifo(tmp_path / "pipe.txt")
    os.symlink(tmp_path / "gone", tmp_path / "broken.txt")
    assert usable(find_texts([tmp_path / pattern])) == wanted
    assert search_texts([tmp_path / pattern]).passed_over == passed
    assert search_texts([tmp_path / pattern, passed[1]]).passed_over == [passed[0], *passed[2:]], (
        "named"
    )


def test_items_are_sorted_by_path_with_numbers_by_value_whatever_the_order_of_the_inputs(write):
    paths = [write(name) for name in ("doc_2.txt", "doc_9.txt", "doc_10.txt", "x.txt")]
    assert usable(find_texts(paths)) == usable(find_texts(paths[::-1])) == paths


def test_a_file_that_several_inputs_name_is_taken_once(tmp_path, write, monkeypatch):
    path = write("a.txt")
    os.symlink(path, tmp_path / "b.txt")
    monkeypatch.chdir(tmp_path)
    given = [path, tmp_path, "a.txt", "*.txt", "**/*.txt", tmp_path / "b.txt"]
    assert find_texts(given) == find_texts(given[::-1]) == [TextItem("a", path, name="a.txt")]


@pytest.mark.parametrize("pattern", ["", "**", "**/*.txt", "**/**/*.txt"])
def test_linked_folders_are_not_followed_so_loops_end(tmp_path, write, pattern):
    wanted = [write("folder/a.txt"), write("folder/b/c.txt")]
    elsewhere = write("elsewhere/d.txt").parent
    for name in ("loop", "loop2", "b/loop"):
        os.symlink(tmp_path / "folder", tmp_path / "folder" / name)
    os.symlink(elsewhere, tmp_path / "folder" / "link")
    assert usable(find_texts([tmp_path / "folder" / pattern])) == wanted


def test_a_glob_that_starts_here_finds_the_files_of_this_folder(tmp_path, write, monkeypatch):
    write("a.txt")
    write("b/c.txt")
    monkeypatch.chdir(tmp_path)
    assert [str(item.source) for item in find_texts(["**/*.txt"])] == ["a.txt", "b/c.txt"]


def test_a_file_with_glob_characters_in_its_name_is_that_file(write):
    path = write("a[1].txt")
    write("a1.txt")
    assert usable(find_texts([path])) == [path]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.txt", "does not exist"),
        ("gone*.txt", "holds or matches no text"),
        ("gone**/*.txt", "holds or matches no text"),
        ("empty", "holds or matches no text"),
        ("broken.txt", "is a symbolic link that cannot be followed"),
        ("itself.txt", "is a symbolic link that cannot be followed"),
        ("9" * 5000, "does not exist"),
        ("a\0*", "does not exist"),
    ],
)
def test_an_input_that_holds_nothing_is_a_problem_and_stops_no_other(tmp_path, write, name, says):
    good = write("good.txt")
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path / "gone", tmp_path / "broken.txt")
    os.symlink(tmp_path / "itself.txt", tmp_path / "itself.txt")
    items = find_texts([str(tmp_path / name), good, str(tmp_path / name)])
    assert [item.source for item in items if item.problem is None] == [good]
    (bad,) = [item for item in items if item.problem is not None]
    with pytest.raises(ShardError, match=says):
        read_texts(bad)


@pytest.mark.parametrize("pattern", ["", "**/*.txt"])
def test_a_folder_that_cannot_be_searched_is_a_problem_and_stops_no_other(
    tmp_path, write, monkeypatch, pattern
):
    good = write("good.txt")
    closed = write("closed/a.txt").parent
    close_folder(monkeypatch, "closed")
    bad, found = find_texts([tmp_path / pattern])
    assert found == TextItem("good", good)
    assert (
        str(bad.problem)
        == f"{closed}: cannot be searched (Permission denied); check its permissions"
    )


def test_a_file_that_may_not_be_read_is_found_and_refused_when_read(write, monkeypatch):
    path = write("a.txt")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert usable(find_texts([path.parent])) == [path]
    assert "cannot be read (Permission denied)" in refusal(path)


# names


def named(*inputs):
    return [item.name for item in find_texts(inputs)]


def test_a_text_is_called_by_its_path_below_the_input(tmp_path, write):
    first = write("notes/README.md")
    write("notes/a/README.md")
    assert named(tmp_path / "notes") == ["README.md", "a/README.md"]
    assert named(tmp_path) == ["notes/README.md", "notes/a/README.md"]
    assert named(tmp_path / "notes" / "**" / "*.md") == ["README.md", "a/README.md"]
    assert named(first) == ["README.md"]


def test_texts_of_one_name_get_as_many_folders_as_tell_them_apart(tmp_path, write):
    write("x/a/README.md")
    write("y/a/README.md")
    write("y/b.md")
    folders = [tmp_path / "x" / "a", tmp_path / "y" / "a", tmp_path / "y" / "b.md"]
    assert named(*folders) == named(*folders[::-1]) == ["x/a/README.md", "y/a/README.md", "b.md"]


def test_of_two_inputs_that_hold_a_file_the_one_further_up_names_it(tmp_path, write):
    write("a/b/c.txt")
    inputs = [tmp_path, tmp_path / "a" / "b", tmp_path / "a"]
    assert named(*inputs) == named(*inputs[::-1]) == ["a/b/c.txt"]


# patterns


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        (Patterns(), {"a.md", "b.txt", "drafts/c.md", "drafts/deep/d.md"}),
        (Patterns(include=("*.md",)), {"a.md", "drafts/c.md", "drafts/deep/d.md"}),
        (Patterns(exclude=("drafts",)), {"a.md", "b.txt"}),
        (Patterns(include=("drafts/*.md",), exclude=("deep",)), {"drafts/c.md"}),
        (Patterns(include=("*.MD",), exclude=()), set()),
    ],
)
def test_patterns_choose_among_the_files_of_folders_and_are_counted(
    tmp_path, write, patterns, taken
):
    every = [write(name) for name in ("a.md", "b.txt", "drafts/c.md", "drafts/deep/d.md")]
    found = search_texts([tmp_path], patterns=patterns)
    assert {item.name for item in found.items if item.problem is None} == taken
    left = [path for path in every if path.relative_to(tmp_path).as_posix() not in taken]
    assert (found.excluded, found.passed_over) == (left, [])
    assert search_texts([every[1]], patterns=patterns).excluded == [], "what is named is taken"


def test_pdf_is_found_where_it_can_be_read(tmp_path, write, monkeypatch):
    path = write("a.pdf", b"%PDF-1.4")
    text = write("b.txt")
    assert usable(find_texts([tmp_path])) == [path, text]
    monkeypatch.setattr(finding, "find_spec", lambda name: None)
    assert search_texts([tmp_path]).passed_over == [path]
