"""Label files of different inputs never get the same name."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sphere_ebm.files.shards.discovery import LABEL_SUFFIX, WorkItem
from sphere_ebm.files.shards.naming import label_names, unique_names


def item(path: str, *parts: str) -> WorkItem:
    """An item of one file, or of parts: then `path` is `folder/stem` and parts are file names."""
    source = Path(path).parent / parts[0] if parts else Path(path)
    stem = Path(path).name if parts else Path(path).stem
    return WorkItem(stem, source, tuple(source.parent / name for name in parts) or (source,))


def names(*items: WorkItem) -> list[str]:
    found = label_names(items)
    assert all(name.endswith(LABEL_SUFFIX) for name in found)
    return [name.removesuffix(LABEL_SUFFIX) for name in found]


def test_a_name_is_the_stem() -> None:
    assert names(item("/a/x.safetensors"), item("/b/y.npy")) == ["x", "y"]


def test_equal_stems_of_two_folders_get_their_folders() -> None:
    assert names(item("/in/a/x.npy"), item("/in/b/x.npy"), item("/in/b/y.npy")) == [
        "a__x",
        "b__x",
        "y",
    ]


def test_as_many_folders_as_are_needed() -> None:
    assert names(item("/a/s/x.npy"), item("/b/s/x.npy")) == ["a__s__x", "b__s__x"]


def test_equal_stems_of_one_folder_get_their_suffixes() -> None:
    assert names(item("/a/x.npy"), item("/a/x.safetensors")) == ["x.npy", "x.safetensors"]


def test_parts_and_whole_of_one_stem_differ() -> None:
    parts = item("/a/x", "x_part_0.safetensors", "x_part_1.safetensors")
    shards = item("/a/x", "x_shard_0_of_2.safetensors", "x_shard_1_of_2.safetensors")
    found = names(parts, shards, item("/a/x.safetensors"))
    assert found == ["x_part_0.safetensors", "x_shard_0_of_2.safetensors", "x.safetensors"]


def test_parts_of_one_document_are_named_after_it() -> None:
    assert names(item("/a/x", "x_part_0.safetensors", "x_part_1.safetensors")) == ["x"]


@pytest.mark.parametrize(
    "paths",
    [
        ("/a/b__c/x.npy", "/a__b/c/x.npy"),
        ("/a/x.npy", "/b/x.npy", "/c/a__x.npy"),
        ("/a/X.npy", "/b/x.npy"),
        ("/a/X.npy", "/a/x.npy"),
        ("/x.npy", "/a/x.npy"),
    ],
)
def test_names_differ_in_more_than_case(paths: tuple[str, ...]) -> None:
    found = names(*map(item, paths))
    assert len({name.casefold() for name in found}) == len(paths)


def test_no_name_is_too_long_for_a_file_system(tmp_path: Path) -> None:
    stem = "ä" * 120
    (found,) = label_names([item(f"/a/{stem}.npy")])
    (tmp_path / found).touch()
    assert found.startswith("ä" * 50)


pieces = st.sampled_from(["a", "b", "A", "a__b", "__", "x"])


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(
    st.sets(
        st.tuples(st.lists(pieces, max_size=3), pieces, st.sampled_from([".npy", ".npz"])).map(
            lambda parts: "/" + "/".join([*parts[0], parts[1] + parts[2]])
        ),
        max_size=12,
    )
)
def test_names_never_clash(paths: set[str]) -> None:
    found = names(*map(item, sorted(paths)))
    assert len({name.casefold() for name in found}) == len(paths)
    assert all("/" not in name for name in found)


def test_another_suffix_makes_the_same_names_with_that_suffix() -> None:
    items = [item(path) for path in ("/a/x.txt", "/b/x.txt", "/b/y.md", "/b/y.txt")]
    assert unique_names(items, ".out") == ["a__x.out", "b__x.out", "y.md.out", "y.txt.out"]
    labels = [name.removesuffix(LABEL_SUFFIX) for name in label_names(items)]
    assert unique_names(items, "") == labels


@pytest.mark.parametrize("suffix", [".s", ".safetensors", LABEL_SUFFIX])
@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f30d", "\udcff"])
def test_the_longest_names_fit_whatever_the_suffix_and_stay_apart(
    tmp_path: Path, suffix: str, letter: str
) -> None:
    size = len(os.fsencode(letter))
    room = (255 - len(suffix)) // size
    fits, over, other = (
        item(f"/a/{letter * count}{end}.t")
        for count, end in ((room, ""), (room, "yyyy"), (room, "zzzz"))
    )
    found = unique_names([fits, over, other], suffix)
    assert found[0] == letter * room + suffix
    for name in found:
        assert name.endswith(suffix)
        assert len(os.fsencode(name)) <= 255
        assert letter == "\udcff" or len(os.fsencode(name)) > 255 - 4, (
            "no more is cut away than needed"
        )
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == 3
    assert found[1:] == unique_names([over, other], suffix), (
        "a shortened name depends on its own path alone"
    )
