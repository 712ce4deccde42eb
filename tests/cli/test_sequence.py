import json

import numpy as np
import pytest

from sequences import turning


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, rows in enumerate(turning(6, 9).vectors.reshape(6, 9, -1)):
        np.save(folder / f"{number}.npy", rows)
    return folder


def test_it_trains_compares_and_prints_the_verdict(command, shards, tmp_path):
    given = ["train-sequence", shards, "--output", tmp_path / "out", "--models", "amn"]
    given += ["--context", "2", "--epochs", "1", "--batch", "20"]
    done = command(*given)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["model,", "context", "cosine", "over", "MRR", "over", "rank"]
    names = ["mean", "last", "ridge", "weighted_means", "amn"]
    assert [line.split()[0] for line in lines[1:6]] == [f"{name}-2" for name in names]
    assert all(len(line) <= 80 for line in lines[:6])
    assert "of 1 trained models" in lines[7]
    told = json.loads(command(*given, "--json").out)
    assert told["kept"] == 1
    assert told["targets"] == 7
    assert told["verdict"] == [lines[7]]


def test_wrong_usage_names_the_option_and_the_rule(command, shards, tmp_path):
    done = command("train-sequence", shards, "-o", tmp_path / "out", "--context", "0")
    assert done.code == 2
    assert "`contexts` must be integers >= 1; got 0" in done.err
    done = command("train-sequence", shards, "-o", tmp_path / "out", "--models", "vgg")
    assert done.code == 2
    assert "invalid choice: 'vgg'" in done.err


def test_what_cannot_be_compared_is_one_line(command, shards, tmp_path):
    done = command("train-sequence", shards, "-o", tmp_path / "out", "--context", "40")
    assert done.code == 3
    assert done.err.count("\n") >= 1
    assert "no train document has more than 40 vectors" in done.err
