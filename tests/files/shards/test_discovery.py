import os

import numpy as np
import pytest

from builders import close_folder, usable
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.reader import read_item


@pytest.fixture
def shard():
    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ones((1, 2), np.float32))
        return path

    return make


def test_folders_are_searched_recursively_and_other_files_ignored(tmp_path, shard):
    wanted = [shard(tmp_path / name) for name in ("a.npy", "b/c.npy", "b/d/e.npy")]
    for name in ("notes.txt", ".hidden.npy", ".git/x.npy", "a.sphere.safetensors", "b/map.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.npy").mkdir()
    assert usable(discover([tmp_path])) == wanted


def test_items_are_sorted_by_path_with_numbers_by_value(tmp_path, shard):
    names = ["doc_2.npy", "doc_9.npy", "doc_10.npy", "x.npy"]
    for name in reversed(names):
        shard(tmp_path / name)
    assert [item.source.name for item in discover([tmp_path])] == names


def test_a_file_that_several_inputs_name_is_taken_once(tmp_path, shard, monkeypatch):
    path = shard(tmp_path / "a.npy")
    os.symlink(path, tmp_path / "b.npy")
    monkeypatch.chdir(tmp_path)
    assert len(discover([path, tmp_path, "a.npy", "*.npy", path])) == 1


@pytest.mark.parametrize("pattern", ["", "**/*.npy"])
def test_a_folder_that_cannot_be_searched_is_a_problem_and_stops_no_other(
    tmp_path, shard, monkeypatch, pattern
):
    good = shard(tmp_path / "z.npy")
    shard(tmp_path / "closed" / "a.npy")
    close_folder(monkeypatch, "closed")
    bad, found = discover([tmp_path / pattern])
    assert (found.source, found.problem) == (good, None)
    assert (bad.source, bad.parts) == (tmp_path / "closed", ())
    assert "closed: cannot be searched (Permission denied); check" in str(bad.problem)


@pytest.mark.parametrize(
    ("pattern", "linked"),
    [
        ("", []),
        ("**", ["link/d.npy"]),
        ("**/*.npy", ["link/d.npy"]),
        ("**/**/*.npy", ["link/d.npy"]),
    ],
)
def test_linked_folders_are_followed_by_two_stars_only_and_loops_end(
    tmp_path, shard, pattern, linked
):
    wanted = [shard(tmp_path / "folder" / "a.npy"), shard(tmp_path / "folder" / "b" / "c.npy")]
    elsewhere = shard(tmp_path / "elsewhere" / "d.npy").parent
    for name in ("loop", "loop2", "b/loop"):
        os.symlink(tmp_path / "folder", tmp_path / "folder" / name)
    os.symlink(elsewhere, tmp_path / "folder" / "link")
    wanted += [tmp_path / "folder" / name for name in linked]
    assert usable(discover([tmp_path / "folder" / pattern])) == wanted


@pytest.mark.parametrize("target", ["real", "in/real"])
def test_of_a_folder_and_a_link_to_it_the_first_by_name_is_taken(tmp_path, shard, target):
    shard(tmp_path / target / "a.npy")
    (tmp_path / "in").mkdir(exist_ok=True)
    os.symlink(tmp_path / target, tmp_path / "in" / "link")
    found = discover([tmp_path / "in" / "**" / "*.npy"])
    assert usable(found) == [tmp_path / "in" / "link" / "a.npy"]


def test_of_two_links_to_one_file_the_first_by_name_is_taken(tmp_path, shard):
    path = shard(tmp_path / "folder" / "z.npy")
    for name in ("c", "b", "a"):
        os.symlink(path, tmp_path / "folder" / f"{name}.npy")
    assert usable(discover([tmp_path / "folder"])) == [tmp_path / "folder" / "a.npy"]


def test_a_glob_passes_over_what_is_no_shard(tmp_path, shard):
    wanted = [shard(tmp_path / "a" / "x.npy"), shard(tmp_path / "b" / "x.npy")]
    (tmp_path / "readme.txt").touch()
    assert usable(discover([tmp_path / "*"])) == wanted
    assert usable(discover([tmp_path / "**" / "*.npy"])) == wanted


def test_a_file_with_glob_characters_in_its_name_is_that_file(tmp_path, shard):
    path = shard(tmp_path / "a[1].npy")
    assert usable(discover([path])) == [path]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.npy", "does not exist"),
        ("gone*.npy", "holds or matches no shard"),
        ("empty", "holds or matches no shard"),
        ("notes.txt", "is not a shard"),
        ("9" * 5000, "does not exist"),
    ],
)
def test_an_input_that_matches_nothing_is_an_error_and_stops_no_other(tmp_path, shard, name, says):
    good = shard(tmp_path / "good.npy")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    items = discover([tmp_path / name, good])
    assert [item.source for item in items if item.problem is None] == [good]
    (bad,) = [item for item in items if item.problem is not None]
    with pytest.raises(ShardError, match=says) as caught:
        read_item(bad)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_part_is_named_and_stops_no_other_document(tmp_path, write, tokens, shard):
    for part in (0, 1, 9, 10):
        write(tmp_path / f"doc_part_{part}.safetensors", tokens([0], 1))
    good = shard(tmp_path / "x.npy")
    broken, other = discover([tmp_path])
    assert (other.source, other.problem) == (good, None)
    with pytest.raises(
        ShardError, match=r"parts 2, 3, 4, 5, 6 and 2 more missing of the document's parts 0 to 10"
    ):
        read_item(broken)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["d_shard_0_of_3", "d_shard_1_of_3"], "part 2 missing"),
        (["d_shard_1_of_3", "d_shard_2_of_3"], "part 0 missing"),
        (["d_shard_4_of_3", "d_shard_0_of_3"], "number 4 among parts 0 to 2"),
        (["d_part_2"], "parts 0, 1 missing"),
        (["d_part_0", "d_part_00"], "is the same part as d_part_0"),
        ([f"d_part_{10**60}"], "and 9999"),
    ],
)
def test_incomplete_or_impossible_parts_are_refused(tmp_path, write, tokens, names, says):
    for name in names:
        write(tmp_path / f"{name}.safetensors", tokens([0], 1))
    (item,) = discover([tmp_path])
    assert says in str(item.problem)


@pytest.mark.parametrize("names", [["d_part_1", "d_part_2"], ["d_shard_1_of_2", "d_shard_2_of_2"]])
def test_parts_may_be_counted_from_one(tmp_path, write, tokens, cut, names):
    tensors = tokens([0, 2], 4)
    for i, name in enumerate(names):
        write(tmp_path / f"{name}.safetensors", cut(tensors, 2 * i, 2 * i + 2))
    (item,) = discover([tmp_path])
    assert len(read_item(item)) == 2


def test_parts_in_different_folders_are_different_documents(tmp_path, write, tokens):
    for folder in ("a", "b"):
        write(tmp_path / folder / "d_part_0.safetensors", tokens([0], 1))
    assert [len(item.parts) for item in discover([tmp_path])] == [1, 1]


def test_a_shard_of_a_per_patch_layout_is_a_document_whatever_its_name(tmp_path, write, patches):
    path = write(tmp_path / "novel_part_2.safetensors", patches([1, 2]))
    (item,) = discover([tmp_path])
    assert item.stem == "novel_part_2"
    assert read_item(item).source == path


def test_a_damaged_part_stands_alone_with_its_reason(tmp_path, write, tokens):
    write(tmp_path / "d_part_0.safetensors", tokens([0], 1))
    (tmp_path / "d_part_1.safetensors").write_bytes(b"damaged")
    _, damaged = discover([tmp_path])
    with pytest.raises(ShardError, match=r"d_part_1\.safetensors: 7 bytes are too few"):
        read_item(damaged)
