"""Shards in, a table and a figure out.

What cannot be read is refused in one line and the rest is compared.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sphere_ebm import LabelError, PlacementConfig
from sphere_ebm.cli.main import main
from sphere_ebm.cli.output import NOTHING, OK, PARTLY
from sphere_ebm.labelling.compare import COMPARISON_FIGURE, COMPARISON_TABLE, compare_shards

QUICK = ["--steps", "20", "--average", "10", "--neighbours", "5", "--shells", "4"]
QUICK += ["--replicas", "1"]
Shard = Callable[..., Path]


def compared(shards: Path, output: Path, *options: str) -> int:
    """Exit code of the command on a folder of shards, with quick dynamics."""
    return main(["compare", str(shards), "-o", str(output), *options, *QUICK])


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / COMPARISON_TABLE).read_text().splitlines()))


@pytest.fixture
def shards(shard: Shard, tmp_path: Path) -> Path:
    shard(tmp_path / "in" / "one.safetensors", 30, seed=1)
    shard(tmp_path / "in" / "two.safetensors", 25, seed=2)
    return tmp_path / "in"


def test_the_command_writes_a_table_and_a_figure(shards: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    methods = "pca, capacity-sort,langevin-pca"
    assert compared(shards, out, "--methods", methods) == OK
    rows = table(out)
    assert [row["method"] for row in rows] == ["pca", "capacity-sort", "langevin-pca"]
    assert float(rows[2]["energy"]) < float(rows[0]["energy"])
    assert (out / COMPARISON_FIGURE).stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "langevin-pca" in printed
    assert "55 points" in printed
    assert max(len(line) for line in printed.splitlines()[1:5]) <= 80
    assert sorted(path.name for path in out.iterdir()) == [COMPARISON_TABLE, COMPARISON_FIGURE]


def test_json_holds_the_same_numbers_as_the_table(shards: Path, tmp_path: Path, capsys) -> None:
    assert compared(shards, tmp_path / "out", "--methods", "random", "--json") == OK
    told = json.loads(capsys.readouterr().out)["methods"]["random"]
    (row,) = table(tmp_path / "out")
    assert {name: float(value) for name, value in row.items() if name != "method"} == told


def test_a_damaged_input_is_refused_and_the_rest_is_compared(
    shards: Path, tmp_path: Path, capsys
) -> None:
    (shards / "broken.safetensors").write_bytes(b"no shard")
    assert compared(shards, tmp_path / "out", "--methods", "pca", "-q") == PARTLY
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "broken.safetensors" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_nothing_to_compare_says_why(tmp_path: Path, shard: Shard, capsys) -> None:
    shard(tmp_path / "single.safetensors", 1)
    assert (
        main(["compare", str(tmp_path / "single.safetensors"), "-o", str(tmp_path / "out")])
        == NOTHING
    )
    assert "at least 2 patches; the inputs hold 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(LabelError, match="none of the 1 inputs can be used"):
        compare_shards(tmp_path / "nowhere" / "*.safetensors", tmp_path / "out")


def test_wrong_options_are_usage_errors(shards: Path, tmp_path: Path, capsys) -> None:
    for wrong in (["--methods", "umap"], ["--shells", "0"], ["--start", "pca"]):
        with pytest.raises(SystemExit) as stopped:
            main(["compare", str(shards), "-o", str(tmp_path / "out"), *wrong])
        assert stopped.value.code == 2
    assert "choose of random, pca" in capsys.readouterr().err


def test_documents_of_all_shards_are_numbered_through(shards: Path, tmp_path: Path) -> None:
    config = PlacementConfig(steps=20, average=10, neighbours=5, shells=4)
    done = compare_shards(shards, tmp_path / "out", config, methods=["pca"])
    assert done.points == 55
    assert len(done.compared) == 1
    np.testing.assert_allclose(
        np.linalg.norm(done.compared[0].placement.direction, axis=1), 1, atol=1e-6
    )
