import io
import json
import sys

import pytest

from builders import Letters, Spaces
from commands import run_command
from sphere_ebm import PlacementConfig, label
from sphere_ebm.text.ingest import ingest

SMALL = ("--epochs", 1, "--batch", 64, "--rows", 200, "--validation", 0.4)
TEXT = "the sea and the river carry light to the old house in the garden "


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("librarian")
    for number in range(4):
        (folder / f"t{number}.txt").write_text(TEXT[number:] * 2)
    ingest(folder, folder / "shards", entropy=Spaces(), embedder=Letters(), mean_length=8.0)
    config = PlacementConfig(steps=6, average=2, replicas=0)
    label(folder / "shards", folder / "map", config, page=False)
    return folder / "map"


@pytest.fixture(scope="module")
def student(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "s"
    done = run_command("train", labels, "--output", folder, *SMALL)
    assert done.code == 0, done.err
    assert "cosine of embeddings" in done.out
    assert "training: " in done.err
    return folder


def test_a_text_gets_a_place_and_an_error(student):
    done = run_command("predict", student, "the sea", "the river")
    assert done.code == 0
    assert [line.endswith(("the sea", "the river")) for line in done.out.splitlines()[1:]] == [
        True,
        True,
    ]


def test_json_tells_all_of_files_and_standard_input(student, labels, tmp_path, monkeypatch):
    (tmp_path / "new.txt").write_text(TEXT * 4)
    given = io.TextIOWrapper(io.BytesIO(TEXT.encode()))
    monkeypatch.setattr(sys, "stdin", given)
    options = ("--map", labels, "--neighbours", 2, "--json")
    done = run_command("predict", student, tmp_path / "new.txt", "-", *options)
    assert done.code == 0
    rows = json.loads(done.out)["passages"]
    assert {row["document"] for row in rows} == {"new.txt", "standard input"}
    assert "".join(row["text"] for row in rows if row["document"] == "new.txt") == TEXT * 4
    assert {"theta", "phi", "radius", "shell", "spread", "confidence"} < set(rows[0])
    assert [len(row["neighbours"]) for row in rows] == [2] * len(rows)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--neighbours", 3), "--neighbours: needs the map"),
        (("--neighbours", -1), "must be at least 0"),
        (("-", "-"), "can be read once"),
    ],
)
def test_wrong_usage_is_told(student, options, told):
    done = run_command("predict", student, "x", *options)
    assert done.code == 2
    assert told in done.err


def test_a_wrong_configuration_is_wrong_usage(labels, tmp_path):
    done = run_command("train", labels, "--output", tmp_path / "s", "--epochs", 0)
    assert done.code == 2
    assert "`epochs` must be an integer >= 1; got 0" in done.err


def test_where_there_is_nothing_one_line_says_so(tmp_path):
    done = run_command("predict", tmp_path, "x")
    assert done.code == 3
    assert done.err.startswith("sphere-ebm: ")
    assert "sphere-ebm train" in done.err
    done = run_command("train", tmp_path, "--output", tmp_path / "s")
    assert done.code == 3
    assert "no label files" in done.err
    assert not (tmp_path / "s").exists()


def test_the_same_command_again_keeps_the_student(student, labels):
    done = run_command("train", labels, "--output", student, *SMALL, "--json")
    assert done.code == 0
    assert json.loads(done.out)["kept"]
