"""`sphere-ebm ingest` and `sphere-ebm map`.

Exit codes, what is printed where, and never a traceback.
"""

import json
import math
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import Letters, Spaces, texts_in
from commands import TWO_TEXTS, Command, run_command
from sphere_ebm import read_shard
from sphere_ebm.cli import text_options
from sphere_ebm.files.container import read_container
from sphere_ebm.files.journal import JOURNAL
from sphere_ebm.text import byte_model


def stop(octets: np.ndarray, done: int) -> None:
    if octets.tobytes().startswith(b"STOP"):
        raise KeyboardInterrupt


def letters() -> Letters:
    """Prominence is the length and a little more; an interruption at a text that says `STOP`."""
    return Letters(prominence=lambda patch: len(patch) + int(patch[-1]) / 1024, told=stop)


@pytest.fixture
def real(unchecked: None) -> Command:
    """`real("map", path, ...)`: exit code and what was printed, with the models of the package."""
    return run_command


@pytest.fixture
def command(real: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The same with models that need no package and no time."""
    monkeypatch.setattr(
        text_options, "make_models", lambda *_, **__: (Spaces(noise=True), letters())
    )
    return real


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return texts_in(tmp_path / "in", TWO_TEXTS)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


# ingest


def test_all_ingested_is_0_with_a_table(command: Command, texts: Path, tmp_path: Path) -> None:
    done = command("ingest", texts, "-o", tmp_path / "out")
    assert done.code == 0
    size = sum(len(text.encode()) for text in TWO_TEXTS.values())
    # three nats for a space and one for any other byte: see `Spaces`
    nats = 1 + 2 * sum(text.count(" ") for text in TWO_TEXTS.values()) / size
    for text in (
        "patches",
        f"of {size} bytes in 2 files",
        "mean length",
        "myelination ratio",
        "bits per byte",
        f"{nats / math.log(2):.2f}",
    ):
        assert text in done.out
    assert done.out.splitlines()[-1] == f"shards and ingest.json are in {tmp_path / 'out'}"
    assert "ingest" in done.err, "progress is shown on standard error"


def test_quiet_prints_nothing(command: Command, texts: Path, tmp_path: Path) -> None:
    assert command("ingest", texts, "-o", tmp_path / "out", "--quiet") == (0, "", "")


def test_what_is_passed_over_is_counted_and_listed_by_ending(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    for number in range(21):
        (texts / f"{number}.PNG").write_bytes(b"pixels")
    for name in ("b.gif", "c.gif", "nothing"):
        (texts / name).write_bytes(b"\0" if "gif" in name else b"")
    arguments = ["ingest", texts, "-o", tmp_path / "out"]
    assert re.search(r"24 files: .png 21, .gif 2, no ending 1 ", command(*arguments).out)
    told = json.loads(command(*arguments, "--json").out)["passed_over"]
    assert told == json.loads((tmp_path / "out" / "ingest.json").read_text())["passed_over"]
    assert told[".png"] == {"count": 21, "first": [f"{number}.PNG" for number in range(20)]}
    assert (told[".gif"]["first"], told[""]["count"]) == (["b.gif", "c.gif"], 1)


def test_patterns_choose_the_texts_and_what_they_leave_out_is_counted(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    (texts / "drafts").mkdir()
    (texts / "drafts" / "later.md").write_text("Not yet.")
    done = command("ingest", texts, "-o", tmp_path / "out", "--exclude", "drafts", "--json")
    held = json.loads(done.out)
    assert (held["excluded"], sorted(held["shards"])) == (
        1,
        [str(texts / one) for one in TWO_TEXTS],
    )
    assert json.loads((tmp_path / "out" / "ingest.json").read_text())["excluded"] == 1


def test_json_is_one_object(command: Command, texts: Path, tmp_path: Path) -> None:
    done = command("ingest", texts, tmp_path / "gone", "-o", tmp_path / "out", "--json")
    held = json.loads(done.out)
    assert [line.split(":")[0] for line in done.err.splitlines()] == ["ingest", "ingest", "refused"]
    assert done.code == 4
    assert held["shards"] == {
        str(texts / f"{n}.{s}"): str(tmp_path / "out" / f"{n}.safetensors") for n, s in PAIRS
    }
    assert held["output"] == str(tmp_path / "out")
    assert (
        held["statistics"]
        == json.loads((tmp_path / "out" / "ingest.json").read_text())["statistics"]
    )
    assert held["bits_per_byte"].keys() == {"model", "bzip2", "xz"}
    assert list(held["refused"]) == [str(tmp_path / "gone")]
    assert (held["kept"], held["warnings"]) == (0, [])
    assert json.loads(command("ingest", texts, "-o", tmp_path / "out", "--json").out)["kept"] == 2


PAIRS = (("one", "txt"), ("two", "md"))


def malformed(folder: Path) -> dict[str, str]:
    """Inputs that are wrong, each in one way, and what is said of them."""
    table = folder / "rows.parquet"
    pq.write_table(pa.table({"text": ["some text"] * 100}), table)
    files = {
        "binary.txt": (b"\x7fELF\0\0\1", "is binary, not text"),
        "wide.txt": ("text".encode("utf-16"), "is UTF-16 by its first bytes"),
        "broken.txt": (b"text\xff", "is not utf-8: 0xff at byte 4"),
        "empty.txt": (b"", "is empty"),
        "column.jsonl": (
            b'{"body": "text"}\n',
            "line 1 has no field `text` or `content`, only body",
        ),
        "line.jsonl": (b'{"text": "good"}\n{"text": \n', "line 2 is not JSON"),
        "surrogate.jsonl": (
            b'{"text": "\\ud800"}\n',
            "line 1 holds half a surrogate pair (U+D800)",
        ),
        "rows.parquet": (table.read_bytes()[:-9] + b"?" * 9, "cannot be read as parquet"),
        "large.txt": (b"x" * 1001, "holds more than 1000 bytes of text"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "link.txt").symlink_to("gone")
    others = {
        "no*.txt": "holds or matches no text",
        "folder": "holds or matches no text",
        "link.txt": "is a symbolic link that cannot be followed",
        "gone.txt": "does not exist",
    }
    return {name: says for name, (_, says) in files.items()} | others


def test_malformed_inputs_get_a_line_each_and_the_good_ones_are_done(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    expected = malformed(bad)
    (texts / "byte.txt").write_text("x")
    inputs = [*(bad / one for one in expected), texts]
    done = command("ingest", *inputs, "-o", tmp_path / "out", "-q", "--max-bytes", "1000")
    assert (done.code, done.out) == (4, "")
    lines = done.err.splitlines()
    assert len(lines) == len(expected) == 13
    for one, says in expected.items():
        (line,) = [line for line in lines if f"{bad / one}: " in line]
        assert line.startswith("refused: ")
        assert says in line
    tables = {path.stem: read_shard(path) for path in (tmp_path / "out").glob("*.safetensors")}
    assert tables.keys() == {"one", "two", "byte"}
    assert tables["byte"].patch_length.tolist() == [1]


def test_nothing_but_malformed_inputs_is_3_with_a_line_each(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad").mkdir()
    expected = malformed(tmp_path / "bad")
    inputs = [tmp_path / "bad" / one for one in expected]
    done = command("ingest", *inputs, "-o", tmp_path / "out", "--max-bytes", "1000", "--json")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "sphere-ebm: no input could be used"
    assert sum(line.startswith("refused: ") for line in done.err.splitlines()) == len(expected)
    held = json.loads(done.out)
    assert held["error"] == "no input could be used"
    assert set(held["refused"]) == {str(path) for path in inputs}
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_names_that_no_terminal_takes_are_one_line_each(command: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in ((b"good\xff\n.txt", b"some text"), (b"bad\xff\n.txt", b"\xff")):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(content)
    done = command("ingest", tmp_path / "in", "-o", tmp_path / "out", "-q")
    assert (done.code, len(done.err.splitlines())) == (4, 1)
    assert r"bad\udcff\n.txt: is not utf-8" in done.err
    (shard,) = (tmp_path / "out").glob("*.safetensors")
    assert read_container(shard).metadata["source_file"] == r"good\udcff\n.txt"


@pytest.mark.parametrize(
    "arguments", [["ingest"], ["ingest", "x"], ["ingest", "-o", "x"], ["map"], ["map", "x"]]
)
def test_an_incomplete_command_is_2(real: Command, arguments: list[str]) -> None:
    assert real(*arguments).code == 2


@pytest.mark.parametrize("options", [[], ["--seed", "-1"], ["--steps", "1.5"]])
def test_a_map_of_nothing_or_of_no_configuration_is_wrong_usage(
    real: Command, texts: Path, tmp_path: Path, options: list[str]
) -> None:
    done = real("map", *([texts] if options else []), "-o", tmp_path / "out", *options)
    assert (done.code, done.out) == (2, "")
    assert (
        options[0].strip("-") if options else "name the texts, or ask"
    ) in done.err.splitlines()[0]
    assert not (tmp_path / "out").exists()


MISSING = {
    "wordllama": ([], "numba"),
    "numba": ([], "numba"),
    "sentence_transformers": (
        ["--embedder", "sentences", "--sentence-model", "x"],
        "sentence-transformers",
    ),
    "torch": (["--entropy", "blt", "--blt-model", "x"], "torch"),
}


@pytest.mark.parametrize("package", MISSING)
def test_a_missing_package_is_3_and_one_line_that_says_what_to_install(
    real: Command, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    options, first = MISSING[package]
    byte_model._learned_state.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    done = real("ingest", texts, "-o", tmp_path / "out", *options)
    assert (done.code, done.out, len(done.err.splitlines())) == (3, "", 1)
    assert f"pip install '{first}>=" in done.err
    assert not (tmp_path / "out").exists()


def no_such_model(*_: Any, **__: Any) -> None:
    raise OSError("models/none is no folder of a model")


def test_a_model_that_is_not_there_is_3_and_named(
    real: Command, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=no_such_model)
    )
    options = ["--embedder", "sentences", "--sentence-model", "models/none"]
    done = real("ingest", texts, "-o", tmp_path / "out", *options)
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert "models/none" in done.err
    assert "cannot write" not in done.err


# what is there already


def test_an_output_that_is_a_file_is_3_and_one_line(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("mine")
    done = command("ingest", texts, "-o", tmp_path / "out", "-q")
    assert (done.code, len(done.err.splitlines())) == (3, 1)
    assert f"cannot write into {tmp_path / 'out'}" in done.err
    assert (tmp_path / "out").read_text() == "mine"


def test_another_run_is_3_and_replaced_with_overwrite(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    arguments = ["ingest", texts, "-o", tmp_path / "out", "-q"]
    command(*arguments)
    done = command(*arguments, "--rule", "global")
    assert (done.code, len(done.err.splitlines()), "--overwrite" in done.err) == (3, 1, True)
    assert command(*arguments, "--rule", "global", "--overwrite").code == 0
    assert (
        json.loads((tmp_path / "out" / "ingest.json").read_text())["patching"]["rule"] == "global"
    )


def test_an_interrupted_run_is_130_and_continued(
    command: Command, texts: Path, tmp_path: Path
) -> None:
    (texts / "two.md").write_text("STOP here")
    arguments = ["ingest", texts, "-o", tmp_path / "out", "--json"]
    done = command(*arguments, "--quiet")
    assert (done.code, done.out) == (130, "")
    assert done.err == "sphere-ebm: interrupted; the same command continues where it stopped\n"
    assert sorted(os.listdir(tmp_path / "out")) == [JOURNAL, "one.safetensors"]
    (texts / "two.md").write_text("Go on here")
    assert json.loads(command(*arguments).out)["kept"] == 1
