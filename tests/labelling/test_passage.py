"""What lies around a passage.

Its patch where a text holds it, its place as a newcomer where none does.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from builders import Letters, Spaces, hand_made
from sphere_ebm import (
    FrozenMap,
    LabelError,
    Placement,
    PlacementConfig,
    ShardError,
    label,
    read_labels,
)
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.labelling.passage import Surroundings, surroundings
from sphere_ebm.labelling.texts import Neighbour
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.ingest import ingest
from sphere_ebm.text.patching import Patching

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=20, average=5, seed=3, replicas=1)
TEXTS = {
    "one.txt": """\
The old clock in the hall struck seven,
and nobody in the house had slept (or so it seemed: 3 + 4 = 7?).
Über den Dächern zog
  ein Gewitter auf, und die Kinder zählten die Sekunden.
The old clock struck again.
""",
    "two.md": """\
# A second text

Rivers carry sand, gravel and the memory of mountains.
The old clock in the hall struck seven, once more. Nobody minded, and the tide went out.
""",
}
NEW = "zebras juggle quartz"
EQUAL = 1e-3
"""Angles (rad) between which float32 cosines need not tell; patches that embed alike join a map at
one place.
"""


def never() -> AbstractEmbedder:
    raise AssertionError("no embedder is needed for a passage that a text holds")


class World(NamedTuple):
    shards: list[Path]
    maps: dict[str, Path]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two maps of two texts: one fits all patches, the other a few landmarks."""
    folder = tmp_path_factory.mktemp("world")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    files = [folder / name for name in TEXTS]
    run = ingest(
        files,
        folder / "shards",
        patching=Patching("global", threshold=0.5),
        entropy=Spaces(),
        embedder=Letters(),
    )
    shards = list(run.files.values())
    label(shards, folder / "all", CONFIG)
    label(shards, folder / "landmarks", CONFIG, landmarks=20, sweeps=0)
    return World(shards, {"all": folder / "all", "landmarks": folder / "landmarks"})


KINDS = pytest.mark.parametrize("kind", ["all", "landmarks"])


def labels_of(folder: Path) -> list[Labels]:
    return [read_labels(folder / f"{Path(name).stem}.sphere.safetensors") for name in TEXTS]


class Row(NamedTuple):
    document: str
    start: int
    direction: np.ndarray


def rows_of(folder: Path) -> list[Row]:
    files = zip(TEXTS, labels_of(folder), strict=True)
    return [
        Row(name, int(start), direction.astype(np.float64))
        for name, labels in files
        for start, direction in zip(labels.patch_start, labels.direction, strict=True)
    ]


def angle_between(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float(np.arctan2(np.linalg.norm(one - other), np.linalg.norm(one + other)))


def holding(name: str, passage: str) -> tuple[int, bytes]:
    """Start and bytes of the patch that holds the passage's middle byte.

    A patch starts behind each space.
    """
    data = TEXTS[name].encode()
    match = re.search(rb"\s+".join(re.escape(word.encode()) for word in passage.split()), data)
    assert match is not None
    middle = (match.start() + match.end() - 1) // 2
    starts = sorted({0, 1, *(at.end() for at in re.finditer(b" ", data[:-1]))})
    start = max(at for at in starts if at <= middle)
    end = min([at for at in starts if at > middle], default=len(data))
    return start, data[start:end]


FOUND = {
    "one.txt": [
        "The old clock in the hall struck seven, and nobody in",
        "nobody\n\tin   the house had slept (or so it seemed: 3 + 4 = 7?).",
        " Dächern zog ein Gewitter auf ",
        "Über",
    ],
    "two.md": ["A second text Rivers", "hall struck seven, once", "the tide went out."],
}


@KINDS
@pytest.mark.parametrize(
    ("name", "passage"), [(name, passage) for name, some in FOUND.items() for passage in some]
)
def test_a_passage_that_a_text_holds_lies_where_its_middle_lies(
    world: World, kind: str, name: str, passage: str
) -> None:
    around = surroundings(world.maps[kind], passage, never, context=10)
    start, patch = holding(name, passage)
    data = TEXTS[name].encode()
    before = data[max(start - 10, 0) : start]
    after = data[start + len(patch) :][:10]
    assert around.found == Neighbour(0.0, name, start, patch, before, after)
    (row,) = [
        row for row in rows_of(world.maps[kind]) if (row.document, row.start) == (name, start)
    ]
    np.testing.assert_array_equal(around.direction, row.direction)


def test_of_two_texts_that_hold_a_passage_the_first_counts(world: World) -> None:
    found = surroundings(world.maps["all"], "The old clock in the hall struck seven,", never).found
    assert found is not None
    assert (found.document, found.start) == (
        "one.txt",
        holding("one.txt", "The old clock in the hall struck seven,")[0],
    )


def check_neighbours(folder: Path, around: Surroundings, count: int) -> None:
    place = around.direction.astype(np.float64)
    angles = {
        (row.document, row.start): angle_between(row.direction, place) for row in rows_of(folder)
    }
    if around.found is not None:
        del angles[around.found.document, around.found.start]
    angles = {row: angle for row, angle in angles.items() if angle <= np.radians(60)}
    found = [angles.pop((one.document, one.start)) for one in around.neighbours]
    np.testing.assert_allclose([one.angle for one in around.neighbours], found, atol=1e-6)
    np.testing.assert_allclose(found, sorted([*found, *angles.values()])[:count], atol=EQUAL)
    data = {name: text.encode() for name, text in TEXTS.items()}
    for one in around.neighbours:
        end = one.start + len(one.patch)
        assert one.patch
        assert one.patch == data[one.document][one.start : end]
        assert one.before == data[one.document][max(one.start - 60, 0) : one.start]
        assert one.after == data[one.document][end : end + 60]


@KINDS
@pytest.mark.parametrize("passage", [*FOUND["one.txt"], *FOUND["two.md"]])
def test_neighbours_are_the_nearest_by_angle_without_the_passage_itself(
    world: World, kind: str, passage: str
) -> None:
    around = surroundings(world.maps[kind], passage, Letters, count=12)
    check_neighbours(world.maps[kind], around, 12)
    assert 0 < len(around.neighbours) <= 12


@KINDS
@pytest.mark.parametrize(("passage", "missing"), [("Rivers carry sand", 1), (NEW, 0)])
def test_more_neighbours_than_there_are_patches_are_all_of_them(
    world: World, kind: str, passage: str, missing: int
) -> None:
    around = surroundings(world.maps[kind], passage, Letters, count=10_000)
    check_neighbours(world.maps[kind], around, 10_000)
    everywhere = surroundings(world.maps[kind], passage, Letters, count=10_000, rank="cosine")
    assert len(everywhere.neighbours) == len(rows_of(world.maps[kind])) - missing


def embeddings_of(folder: Path) -> dict[tuple[str, int], np.ndarray]:
    found = {}
    for name, labels in zip(TEXTS, labels_of(folder), strict=True):
        rows = zip(labels.patch_start.tolist(), labels.embeddings, strict=True)
        found |= {(name, start): row / max(np.linalg.norm(row), 1e-9) for start, row in rows}
    return found


@pytest.mark.parametrize("passage", ["Rivers carry sand", NEW])
def test_cosines_are_those_of_the_embeddings_and_far_is_beyond_the_nearest_twentieth(
    world: World, passage: str
) -> None:
    around = surroundings(world.maps["all"], passage, Letters, count=10_000, rank="cosine")
    held = embeddings_of(world.maps["all"])
    if around.found is None:
        octets = np.frombuffer(passage.encode(), np.uint8)
        ((embedding, _),) = Letters().embed(octets, np.array([len(octets)]))
        asked = embedding[0] / np.linalg.norm(embedding[0])
    else:
        asked = held.pop((around.found.document, around.found.start))
    cosines = [one.cosine for one in around.neighbours]
    expected = [float(held[one.document, one.start] @ asked) for one in around.neighbours]
    np.testing.assert_allclose(cosines, expected, atol=1e-5)
    assert cosines == sorted(cosines, reverse=True)
    level = cosines[14]
    assert [one.far for one in around.neighbours] == [one < level for one in cosines]
    assert around.nearest == cosines[0]


def test_a_passage_that_fits_nowhere_is_told(world: World) -> None:
    folder = world.maps["all"]
    assert surroundings(folder, "Rivers carry sand", never).fits
    held = np.stack(list(embeddings_of(folder).values()))
    _, _, rows = np.linalg.svd(held)

    class Elsewhere(Letters):
        def embed(self, octets: Any, lengths: Any) -> Any:
            yield rows[-1:].astype(np.float32), np.ones(1, np.float32)

    around = surroundings(folder, NEW, Elsewhere)
    assert not around.fits
    assert around.nearest < around.usual <= 1


def test_no_neighbours_are_given_where_none_are_asked_for(world: World) -> None:
    around = surroundings(world.maps["all"], "Rivers carry sand", never, count=0)
    assert around.neighbours == ()
    assert around.found is not None


@pytest.mark.parametrize(
    ("kind", "passage"), [("all", NEW), ("all", "sevenand"), ("landmarks", f" {NEW}\n")]
)
def test_a_passage_that_no_text_holds_joins_the_map_as_a_newcomer(
    world: World, kind: str, passage: str
) -> None:
    around = surroundings(world.maps[kind], passage, Letters)
    assert around.found is None
    placement = Placement.load(world.maps[kind] / "placement.safetensors")
    embeddings = placement.embeddings
    if embeddings is None:
        embeddings = np.concatenate([labels.embeddings for labels in labels_of(world.maps[kind])])
    octets = np.frombuffer(passage.encode(), np.uint8)
    ((embedding, prominence),) = Letters().embed(octets, np.array([len(octets)]))
    direction = FrozenMap(placement, embeddings).place(embedding, prominence).direction[0]
    np.testing.assert_array_equal(around.direction, direction)


def test_the_map_stays_as_it_is(world: World) -> None:
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in world.maps["landmarks"].iterdir()
    }
    surroundings(world.maps["landmarks"], NEW, Letters)
    after = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in world.maps["landmarks"].iterdir()
    }
    assert after == before


# what cannot be answered


@pytest.mark.parametrize("passage", ["", " \n\t"])
def test_an_empty_passage_is_a_value_error(world: World, passage: str) -> None:
    with pytest.raises(ValueError, match="`passage` must hold something to look for"):
        surroundings(world.maps["all"], passage, never)


def test_an_embedder_of_another_width_is_a_value_error(world: World) -> None:
    with pytest.raises(ValueError, match=r"\b9\b") as caught:
        surroundings(world.maps["all"], NEW, lambda: Letters(9))
    assert not isinstance(caught.value, (LabelError, ShardError))
    assert "8" in str(caught.value)


def test_a_folder_without_a_map_is_a_label_error(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"has no readable map\.json"):
        surroundings(tmp_path, NEW, never)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_label_file_that_cannot_be_read_is_a_shard_error_that_names_it(
    world: World, tmp_path: Path, damage: str
) -> None:
    path = hand_made(tmp_path / "map", *world.shards) / "one.sphere.safetensors"
    raw = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(raw[:-1])
    with pytest.raises(ShardError, match=r"one\.sphere\.safetensors"):
        surroundings(path.parent, "The old clock", never)


def test_a_shard_without_patches_is_passed_over(world: World, tmp_path: Path, shard: Any) -> None:
    empty = shard(tmp_path / "empty.safetensors", 0, width=8)
    folder = hand_made(tmp_path / "map", empty, world.shards[1])
    found = surroundings(folder, "Rivers carry sand", never).found
    assert found is not None
    assert (found.document, found.patch) == ("two.md", b"carry ")


def test_a_map_of_one_patch_has_nothing_around_that_patch(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    run = ingest(tmp_path / "x.txt", tmp_path / "shards", entropy=Spaces(), embedder=Letters())
    around = surroundings(hand_made(tmp_path / "map", *run.files.values()), "x", never)
    assert around.found == Neighbour(0.0, "x.txt", 0, b"x", b"", b"")
    assert around.neighbours == ()


def test_a_newcomer_on_a_map_without_its_placement_is_a_shard_error(
    world: World, tmp_path: Path
) -> None:
    with pytest.raises(ShardError, match=r"placement\.safetensors"):
        surroundings(hand_made(tmp_path / "map", *world.shards), NEW, Letters)


@pytest.mark.parametrize("sources", [[], [{}], [3], [{"labels": 3}]])
def test_a_list_of_label_files_that_is_damaged_is_a_label_error(
    world: World, tmp_path: Path, sources: Any
) -> None:
    path = hand_made(tmp_path / "map", *world.shards) / "map.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": sources}))
    with pytest.raises(LabelError) as caught:
        surroundings(path.parent, "Rivers carry sand", never)
    assert len(str(caught.value).splitlines()) == 1


def test_fewer_neighbours_than_none_are_a_value_error(world: World) -> None:
    with pytest.raises(ValueError, match="count"):
        surroundings(world.maps["all"], "Rivers carry sand", never, count=-1)


def test_a_passage_that_utf8_cannot_hold_is_a_value_error(world: World) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        surroundings(world.maps["all"], "x\udcff", never)
