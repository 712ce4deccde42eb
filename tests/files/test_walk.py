"""One search for shards and texts: what it takes, what it passes over, what it reports."""

import os
from pathlib import Path

import pytest

from builders import close_folder
from sphere_ebm.files.walk import Search, natural_order


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def search(**options) -> Search:
    return Search(lambda path: path.endswith(".x"), "X", "name an X", **options)


def test_files_of_a_folder_are_those_that_are_wanted_without_hidden_ones(tmp_path):
    wanted = [touched(tmp_path / name) for name in ("a.x", "b/c.x", "b/d/e.x")]
    for name in ("a.y", ".a.x", ".git/a.x", "b/.cache/a.x"):
        touched(tmp_path / name)
    (tmp_path / "folder.x").mkdir()
    here = search()
    assert sorted(here.files(str(tmp_path))) == wanted
    assert here.problems == []


def test_hidden_folders_that_are_named_are_searched(tmp_path):
    path = touched(tmp_path / ".hidden" / "a.x")
    assert search().files(str(path.parent)) == [path]
    assert search().files(str(path.parent / "**" / "*.x")) == [path]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.x", ["a.x"]),
        ("*", ["a.x", "b/c.x", "b/d/e.x"]),
        ("**", ["a.x", "b/c.x", "b/d/e.x"]),
        ("**/*.x", ["a.x", "b/c.x", "b/d/e.x"]),
        ("b/**/e.x", ["b/d/e.x"]),
        ("**/d/**", ["b/d/e.x"]),
        ("?/[c].x", ["b/c.x"]),
    ],
)
def test_a_pattern_is_that_of_the_shell_with_two_stars_for_any_depth(tmp_path, pattern, found):
    for name in ("a.x", "a.y", "b/c.x", "b/d/e.x", ".hidden/f.x"):
        touched(tmp_path / name)
    assert sorted({*search().files(str(tmp_path / pattern))}) == [tmp_path / n for n in found]


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("pattern", ["", "**", "**/*.x", "**/**/*.x"])
def test_links_that_lead_back_end(tmp_path, pattern, follows):
    path = touched(tmp_path / "a" / "b.x")
    for name in ("loop", "loop2", "loop3"):
        os.symlink(tmp_path, tmp_path / "a" / name)
    assert search(follows=follows).files(str(tmp_path / pattern)) == [path]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("", []),
        ("*", ["link/1.x", "link/2/3.x"]),
        ("**", ["link/1.x", "link/2/3.x"]),
        ("**/*.x", ["link/1.x", "link/2/3.x"]),
        ("**/2/*.x", ["link/2/3.x"]),
    ],
)
def test_two_stars_follow_links_where_they_are_told_to(tmp_path, pattern, found):
    for name in ("elsewhere/1.x", "elsewhere/2/3.x"):
        touched(tmp_path / name)
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "link")
    here = search(follows=True).files(str(tmp_path / "in" / pattern))
    assert sorted(here) == [tmp_path / "in" / name for name in found]


def test_folders_that_link_to_one_another_are_searched_once_each(tmp_path):
    names = [f"{i}" for i in range(12)]
    for name in names:
        touched(tmp_path / name / "a.x")
        for other in names:
            os.symlink(tmp_path / other, tmp_path / name / f"to {other}")
    assert len(search(follows=True).files(str(tmp_path / "**" / "*.x"))) == len(names)


@pytest.mark.parametrize("pattern", ["", "**/*.x", "*/*.x", "[acz]*/?.x"])
def test_a_folder_without_permission_is_reported_and_loses_no_other(tmp_path, monkeypatch, pattern):
    for name in ("a/1.x", "closed/2.x", "z/3.x"):
        touched(tmp_path / name)
    close_folder(monkeypatch, "closed")
    here = search()
    assert sorted(here.files(str(tmp_path / pattern))) == [
        tmp_path / "a/1.x",
        tmp_path / "z/3.x",
    ]
    (problem,) = here.problems
    assert problem.file == tmp_path / "closed"
    assert "cannot be searched (Permission denied); check its permissions" in str(problem)


def test_a_folder_without_permission_is_not_said_to_be_empty_as_well(tmp_path, monkeypatch):
    touched(tmp_path / "closed" / "1.x")
    close_folder(monkeypatch, "closed")
    here = search()
    assert here.files(str(tmp_path)) == []
    assert ["cannot be searched" in str(problem) for problem in here.problems] == [True]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("empty", "empty: holds or matches no X; name an X"),
        ("*.z", "holds or matches no X"),
        ("gone", "gone: does not exist; check the path"),
        ("a\0*", "does not exist"),
    ],
)
def test_an_input_without_files_is_a_problem(tmp_path, given, says):
    (tmp_path / "empty").mkdir()
    here = search()
    assert here.files(str(tmp_path / given)) == []
    assert [says in str(problem) for problem in here.problems] == [True]


def test_a_folder_that_is_passed_over_is_not_searched_nor_any_below_it(tmp_path):
    path = touched(tmp_path / "a.x")
    for name in ("other/list", "other/b.x", "other/below/c.x"):
        touched(tmp_path / name)
    here = search(passes_over=lambda folder, names: "list" in names)
    assert here.files(str(tmp_path)) == [path]
    assert here.files(str(tmp_path / "**" / "*.x")) == [path]


def test_numbers_in_names_are_in_order_of_their_value():
    names = ["a2", "a10", "a10b", "a010b", "b1"]
    assert [path.name for path in sorted(map(Path, names), key=natural_order)] == [
        "a2",
        "a10",
        "a010b",
        "a10b",
        "b1",
    ]
