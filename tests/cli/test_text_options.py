"""Options of `sphere-ebm ingest` and `sphere-ebm map`: that they reach the run, and wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import Letters, Spaces, texts_in
from commands import TWO_TEXTS, Command
from sphere_ebm import read_shard
from sphere_ebm.cli import text as cli_text
from sphere_ebm.cli import text_options
from sphere_ebm.files.container import read_container


@pytest.fixture
def quick(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`quick("ingest", path, ...)`, with models that need no package and no time."""
    monkeypatch.setattr(
        text_options, "make_models", lambda *_, **__: (Spaces(noise=True), Letters())
    )
    return command


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return texts_in(tmp_path / "in", TWO_TEXTS)


OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {"rule": "monotonic", "rise": None, "max_patch_length": 384, "utf8_safe": True}),
    (["--rule", "global"], {"rule": "global"}),
    (["--rule", "upstream", "--threshold", "0.25"], {"rule": "upstream", "threshold": 0.25}),
    (["--rule", "both", "--threshold", "1"], {"rule": "both", "rise": 0.0}),
    (["--rule", "both", "--rise", "0.5"], {"rule": "both", "rise": 0.5}),
    (["--threshold", "-1.5"], {"threshold": -1.5}),
    (["--max-patch-length", "7"], {"max_patch_length": 7}),
    (["--max-patch-length", "0"], {"max_patch_length": None}),
    (["--cut-characters", "--max-patch-length", "3"], {"utf8_safe": False, "max_patch_length": 3}),
]


@pytest.mark.parametrize(("options", "expected"), OPTIONS)
def test_options_of_patches_reach_the_run(
    quick: Command, texts: Path, tmp_path: Path, options: list[str], expected: dict[str, Any]
) -> None:
    assert quick("ingest", texts / "one.txt", "-o", tmp_path / "out", "-q", *options).code == 0
    held = json.loads((tmp_path / "out" / "ingest.json").read_text())
    stored = json.loads(read_container(tmp_path / "out" / "one.safetensors").metadata["patching"])
    assert {name: held["patching"][name] for name in expected} == expected
    assert {name: stored[name] for name in expected} == expected
    assert isinstance(stored["threshold"], float)
    assert held["mean_length"] == (None if "--threshold" in options else 32.0)


def test_the_mean_length_reaches_the_run(quick: Command, texts: Path, tmp_path: Path) -> None:
    patches = []
    for mean in (6, 12):
        done = quick(
            "ingest", texts / "two.md", "-o", tmp_path / str(mean), "--mean-length", mean, "--json"
        )
        patches.append(json.loads(done.out)["statistics"]["mean"])
        assert json.loads((tmp_path / str(mean) / "ingest.json").read_text())["mean_length"] == mean
    assert patches == pytest.approx([6, 12], rel=0.2)


def test_options_of_texts_reach_the_run(quick: Command, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes('{"body": "für alle", "text": "no"}\n'.encode("cp1252"))
    options = ["--column", "body", "--encoding", "cp1252", "--max-bytes", "99"]
    assert (
        quick("ingest", tmp_path / "rows.jsonl", "-o", tmp_path / "out", "-q", *options).code == 0
    )
    octets = read_shard(tmp_path / "out" / "rows.safetensors").bytes
    assert octets is not None
    assert octets.tobytes().decode() == "für alle"
    options[-1] = "9"
    done = quick("ingest", tmp_path / "rows.jsonl", "-o", tmp_path / "other", "-q", *options)
    assert (done.code, "line 1 is longer than 9 bytes" in done.err) == (3, True)


@pytest.mark.parametrize(
    ("given", "of_shard", "of_map"),
    [
        ([], "norm", "length-corrected"),
        (["--prominence", "norm"], "norm", None),
        (["--prominence", "rarity"], "rarity", None),
        (["--prominence", "density"], "norm", "density"),
    ],
)
def test_prominence_is_of_the_shards_or_of_the_map(
    quick: Command,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    of_shard: str,
    of_map: str | None,
) -> None:
    asked: list[Any] = []

    def label(*_: Any, columns: Any, **__: Any) -> None:
        asked.append(columns.prominence)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_text, "label", label)
    assert quick("map", texts, "-o", tmp_path / "out", "-q", *given).code == 130
    made_with = json.loads((tmp_path / "out" / "shards" / "ingest.json").read_text())
    assert (made_with.get("prominence", "norm"), asked) == (of_shard, [of_map])


WRONG: list[tuple[list[str], str]] = [
    (["--rule", "none"], "--rule"),
    (
        ["--rise", "1"],
        "`rise` must be a number with the rule both and None with others; got 1.0 with monotonic",
    ),
    (["--rule", "both", "--rise", "inf"], "`rise`"),
    (["--threshold", "nan"], "`threshold` must be a number"),
    (["--threshold", "1e39"], "`threshold` must be a number that float32 can hold"),
    (["--threshold", "x"], "--threshold"),
    (["--mean-length", "0.5"], "`mean_length` must be a finite number of bytes >= 1; got 0.5"),
    (["--mean-length", "inf"], "`mean_length` must be a finite number"),
    (["--max-patch-length", "2"], "`max_patch_length` must be None or an integer >= 4"),
    (["--max-patch-length", "-1"], "`max_patch_length`"),
    (["--encoding", "utf-9"], "`encoding` must be a text encoding that Python knows"),
    (["--max-bytes", "0"], "`max_bytes` must be at least 1; got 0"),
    (["--entropy", "blt"], "`blt_model` must name the model to load"),
    (["--embedder", "blt"], "`blt_model` must name the model to load"),
    (["--embedder", "sentences"], "`sentence_model` must name the model to load"),
    (["--blt-model", "x"], "`blt_model` must be left out: no such model is asked for"),
    (["--entropy", "gpt"], "--entropy"),
    (["--no-such-option"], "--no-such-option"),
    (["--prominence", ""], "`prominence` must be one of norm, rarity, entropy, or a column"),
]


@pytest.mark.parametrize("name", ["ingest", "map"])
@pytest.mark.parametrize(("options", "says"), WRONG)
def test_wrong_usage_is_2_and_says_why_in_its_first_line(
    command: Command, texts: Path, tmp_path: Path, name: str, options: list[str], says: str
) -> None:
    done = command(name, texts, "-o", tmp_path / "out", "--json", *options)
    assert (done.code, done.out) == (2, "")
    first, second = [line for line in done.err.splitlines() if "warning" not in line]
    assert first.startswith(f"sphere-ebm {name}: ")
    assert says in first
    assert second == f"see sphere-ebm {name} --help"
    assert not list(tmp_path.rglob("*.safetensors"))
