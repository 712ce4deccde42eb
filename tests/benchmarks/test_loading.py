"""What the benchmark of loading times is there, and targets are those of a million points."""

import json

import pytest

from sphere_ebm.files.formats import PLACEMENT


@pytest.fixture
def loading(benchmark):
    return benchmark("loading")


def test_a_map_is_loaded_asked_and_joined(loading, tmp_path, capsys):
    placement = loading.made_up(200)
    placement.save(tmp_path / PLACEMENT, embeddings=True)
    loading.asked_here(tmp_path, 20)
    found = json.loads(capsys.readouterr().out)
    assert found["load"] == pytest.approx(found["hash"] + found["placement"] + found["index"])
    row = found | {"points": 200, "frozen": 0.0, "kept_mb": 0.0, "new": 20}
    assert len(loading.cells(row)) == len(loading.HEADER)
    assert loading.checks([row]) == []
    million = row | {"points": 1_000_000, "load": 1.9, "query": 0.3}
    assert [check.passed for check in loading.checks([million])] == [True, False]
