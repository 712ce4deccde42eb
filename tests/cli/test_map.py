"""`sphere-ebm map`: texts to a map in one command, and what lies around a passage on it."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Letters, Spaces, contents
from commands import TWO_TEXTS, Command, run_command
from sphere_ebm import read_labels
from sphere_ebm.cli import text as cli_text
from sphere_ebm.cli import text_options

SMALL = [
    "--mean-length",
    "8",
    "--neighbours",
    "4",
    "--shells",
    "3",
    "--steps",
    "20",
    "--average",
    "10",
    "--replicas",
    "1",
]


def but_warnings(text: str) -> list[str]:
    """Lines, but for those that tell of patches of equal prominence."""
    return [line for line in text.splitlines() if not line.startswith("warning: ")]


@pytest.fixture
def tiny(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same with models that need no package and no time."""
    monkeypatch.setattr(text_options, "make_models", lambda *_, **__: (Spaces(), Letters()))
    return command


def written(folder: Path) -> Path:
    folder.mkdir()
    for name, text in TWO_TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Texts and their map, made with the models of the package."""
    folder = tmp_path_factory.mktemp("finished")
    texts = written(folder / "in")
    done = run_command("map", texts, "-o", folder / "out", "-q", *SMALL)
    assert (done.code, done.out, but_warnings(done.err)) == (0, "", [])
    return texts, folder / "out"


def copied(source: Path, target: Path) -> Path:
    for name, raw in contents(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(raw)
    return target


def test_one_command_makes_shards_labels_and_a_figure(finished: tuple[Path, Path]) -> None:
    texts, output = finished
    own = ["map.json", "config.toml", "energy.csv", "map.png", "map.html"]
    own.append("placement.safetensors")
    shards = ["shards/ingest.json", "shards/one.safetensors", "shards/two.safetensors"]
    labels = ["one.sphere.safetensors", "two.sphere.safetensors"]
    assert sorted(contents(output)) == sorted([*own, *shards, *labels])
    for name, raw in contents(texts).items():
        found = read_labels(output / f"{Path(name).stem}.sphere.safetensors")
        assert found.bytes is not None
        assert found.bytes.tobytes() == raw
        assert found.embeddings.shape[1] == 256


def test_the_same_command_keeps_everything_and_tells_it_in_one_object(
    command: Command, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    texts, output = finished
    copy = copied(output, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}
    done = command("map", texts, "-o", copy, "--json", "--quiet", *SMALL)
    held = json.loads(done.out)
    assert (done.code, but_warnings(done.err)) == (0, [])
    assert (held["kept"], held["ingest"]["kept"]) == (2, 2)
    assert held["points"] == held["ingest"]["statistics"]["patches"]
    assert held["steps"] == 30
    assert set(held["labels"]) == set(held["ingest"]["shards"].values())
    assert set(held["ingest"]["shards"]) == {str(texts / name) for name in TWO_TEXTS}
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(copy) == contents(output)


def test_refused_texts_are_4_with_a_line_each_and_the_others_on_the_map(
    command: Command, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    texts, output = finished
    bad = [tmp_path / "gone.txt", tmp_path / "no*.txt"]
    copy = copied(output, tmp_path / "out")
    done = command("map", texts, *bad, "-o", copy, "--json", "--quiet", *SMALL)
    held = json.loads(done.out)
    assert (done.code, held["kept"], set(held["ingest"]["refused"])) == (
        4,
        2,
        {str(path) for path in bad},
    )
    assert [line.split(";")[0] for line in but_warnings(done.err)] == [
        f"refused: {bad[0]}: does not exist",
        f"refused: {bad[1]}: holds or matches no text",
    ]


def test_both_tables_are_printed(
    command: Command, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    texts, output = finished
    done = command("map", texts, "-o", copied(output, tmp_path / "out"), *SMALL)
    assert done.code == 0
    for text in (
        "patches",
        "mean length",
        "bits per byte",
        "points",
        "shells used",
        "(2 finished files kept)",
    ):
        assert text in done.out
    assert "ingest" in done.err, "progress is shown on standard error"


def test_a_run_that_was_interrupted_after_the_shards_is_continued_to_the_same_bytes(
    command: Command, finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    texts, output = finished
    arguments = ["map", texts, "-o", tmp_path / "out", "--json", *SMALL]
    with monkeypatch.context() as patched:
        patched.setattr(cli_text, "label", interrupted)
        assert command(*arguments).code == 130
    assert contents(tmp_path / "out") == {
        f"shards/{n}": raw for n, raw in contents(output / "shards").items()
    }
    held = json.loads(command(*arguments).out)
    assert (held["kept"], held["ingest"]["kept"]) == (0, 2)
    assert contents(tmp_path / "out") == contents(output)


def test_another_map_is_3_and_replaced_with_overwrite_but_for_equal_shards(
    command: Command, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    texts, output = finished
    copy = copied(output, tmp_path / "out")
    arguments = ["map", texts, "-o", copy, *SMALL, "--seed", "1"]
    done = command(*arguments, "-q")
    assert (done.code, len(done.err.splitlines()), "--overwrite" in done.err) == (3, 1, True)
    assert contents(copy) == contents(output)
    held = json.loads(command(*arguments, "--overwrite", "--json").out)
    assert (held["kept"], held["ingest"]["kept"]) == (0, 2)
    assert contents(copy)["one.sphere.safetensors"] != contents(output)["one.sphere.safetensors"]


# what lies around a passage


def no_models(*_: Any, **__: Any) -> None:
    raise AssertionError("no model is needed for a passage that a text holds")


@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_a_passage_of_a_text_is_answered_from_the_finished_map_without_a_model(
    command: Command, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, quiet: list[str]
) -> None:
    monkeypatch.setattr(text_options, "make_models", no_models)
    before = contents(finished[1])
    done = command(
        "map",
        "-o",
        finished[1],
        "--show-neighbours",
        "clock in the hall struck seven, and nobody",
        *quiet,
    )
    assert (done.code, done.err) == (0, "")
    head, *lines = done.out.splitlines()
    assert re.fullmatch(
        r"around 'clock in the hall struck seven, and nobody' \(one\.txt, byte \d+\):", head
    )
    lines = [line for line in lines if "°" in line]
    shape = r" *([\d.]+)°  ( *-?[\d.]+) (far|   )  (one\.txt|two\.md) +(\d+)  (.*\[.*\].*)"
    rows = [re.fullmatch(shape, line) for line in lines]
    degrees = [float(row[1]) for row in rows if row is not None]
    assert 0 < len(degrees) == len(lines) <= 15
    assert all(-1 <= float(row[2]) <= 1 for row in rows if row is not None)
    assert degrees == sorted(degrees)
    assert contents(finished[1]) == before


def test_neighbours_are_told_as_one_object(command: Command, finished: tuple[Path, Path]) -> None:
    done = command("map", "-o", finished[1], "--show-neighbours", "Rivers\ncarry", "--json")
    held = json.loads(done.out)
    assert list(held) == ["surroundings"]
    found = held["surroundings"]["found"]
    assert (found["document"], found["degrees"]) == ("two.md", 0)
    assert np.linalg.norm(held["surroundings"]["direction"]) == pytest.approx(1, abs=1e-6)
    data = {name: text.encode() for name, text in TWO_TEXTS.items()}
    for one in [found, *held["surroundings"]["neighbours"]]:
        assert (
            one["text"].encode()
            == data[one["document"]][one["start"] :][: len(one["text"].encode())]
        )


def test_a_new_passage_is_placed_as_a_newcomer_by_the_command_that_made_the_map(
    command: Command, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    texts, output = finished
    copy = copied(output, tmp_path / "out")
    done = command(
        "map", texts, "-o", copy, "-q", *SMALL, "--show-neighbours", "an ocean\n\x1b[31m of rock"
    )
    assert (done.code, but_warnings(done.err)) == (0, [])
    head, *lines = done.out.splitlines()
    assert head == r"around 'an ocean\n\x1b[31m of rock' (placed as a newcomer):"
    assert 0 < sum("°" in line for line in lines) <= 15


def test_so_many_are_printed_as_are_asked_for_in_the_order_that_is_asked_for(
    command: Command, finished: tuple[Path, Path]
) -> None:
    ask = ["map", "-o", finished[1], "--show-neighbours", "Rivers carry", "--count", "4", "--json"]
    held = json.loads(command(*ask, "--rank", "cosine").out)["surroundings"]
    cosines = [one["cosine"] for one in held["neighbours"]]
    assert len(cosines) == 4
    assert cosines == sorted(cosines, reverse=True)
    assert held["fits"]
    assert held["nearest_cosine"] == cosines[0]
    assert not any(one["far"] for one in held["neighbours"]), "the nearest are not far"
    assert command(*ask, "--rank", "weight").code == 2


def test_a_map_of_another_embedder_is_wrong_usage_for_a_new_passage(
    tiny: Command, finished: tuple[Path, Path]
) -> None:
    done = tiny("map", "-o", finished[1], "--show-neighbours", "an ocean of rock", "--json")
    assert (done.code, done.out) == (2, "")
    assert "`embedder` must be that of the map, wordllama" in done.err.splitlines()[0]


def test_a_changed_text_costs_a_finished_map_nothing_without_overwrite(
    command: Command, finished: tuple[Path, Path]
) -> None:
    texts, folder = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    text = sorted(texts.iterdir())[0]
    was = text.read_bytes()
    text.write_bytes(was + b"One more line.\n")
    try:
        done = command("map", texts, "-o", folder, *SMALL)
    finally:
        text.write_bytes(was)
    assert done.code == 3
    assert len([line for line in done.err.splitlines() if line.startswith("sphere-ebm:")]) == 1, (
        done.err
    )
    assert f"{text} has changed since the map was made; make it again with --overwrite" in done.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_another_configuration_is_refused_before_anything_is_read(
    command: Command, finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "sphere_ebm.cli.text.ingest", lambda *_, **__: pytest.fail("has read texts")
    )
    done = command("map", finished[0], "-o", finished[1], "--steps", "33")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "holds another map" in done.err


def test_an_empty_passage_is_wrong_usage(command: Command, finished: tuple[Path, Path]) -> None:
    done = command("map", "-o", finished[1], "--show-neighbours", " \n")
    assert (done.code, done.out) == (2, "")
    assert "--show-neighbours: give a passage to look for" in done.err.splitlines()[0]


def test_neighbours_on_no_map_are_3_and_one_line(command: Command, tmp_path: Path) -> None:
    done = command("map", "-o", tmp_path, "--show-neighbours", "text", "--json")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "has no readable map.json" in done.err
    assert "has no readable map.json" in json.loads(done.out)["error"]


def test_an_empty_passage_is_found_before_the_work_begins(tiny: Command, tmp_path: Path) -> None:
    texts = written(tmp_path / "in")
    assert (
        tiny("map", texts, "-o", tmp_path / "out", "--json", *SMALL, "--show-neighbours", "").code
        == 2
    )
    assert not (tmp_path / "out").exists()
