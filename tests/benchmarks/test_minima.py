"""The benchmark of lower minima: what it pairs, and what counts as a win."""

import dataclasses

import numpy as np
import pytest

from builders import in_groups, table_after


def test_variants_are_paired_with_the_default_and_written(benchmark, write_set, capsys):
    minima = benchmark("minima")
    folder = write_set("tiny", in_groups(60, 0, groups=4, width=8))
    output = folder / "report.md"
    common = ["--data", str(folder), "--sets", "tiny", "--seeds", "2", "--output", str(output)]
    assert minima.main([*common, "--variants", "T from .3"]) == 0
    text = output.read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    header, *rows = table_after("## tiny", text)
    assert header[:3] == ["variant", "energy per point", "change"]
    assert [row[0] for row in rows] == [minima.DEFAULT, "T from .3"]
    assert rows[0][2] == "0.0000"
    assert float(rows[0][-1]) == 1
    assert "wins on every set: " in text


@pytest.mark.parametrize(
    ("change", "wins"),
    [
        ({}, True),
        ({"energy": [-1.1, -0.9]}, False),
        ({"seconds": [2.2]}, False),
        ({"measures": {"recall@15": [0.4], "trustworthiness@15": [0.9], "occupied": [0.8]}}, False),
    ],
)
def test_a_win_is_lower_energy_for_every_seed_at_no_cost(benchmark, change, wins):
    minima = benchmark("minima")
    measures = {"recall@15": [0.5], "trustworthiness@15": [0.9], "occupied": [0.8]}
    base = minima.Runs([-1.0, -1.0], measures, [3.0], [2.0, 2.5])
    better = minima.Runs([-1.2, -1.1], measures, [3.0], [2.1])
    other = dataclasses.replace(better, **change)
    assert other.wins(base) == wins
    assert minima.winners({"a": {minima.DEFAULT: base, "v": other}}) == (["v"] if wins else [])
    worse = dataclasses.replace(better, energy=[0.0, 0.0])
    both = {"a": {minima.DEFAULT: base, "v": other}, "b": {minima.DEFAULT: base, "v": worse}}
    assert minima.winners(both) == []


def test_the_texts_that_ship_are_a_set(benchmark):
    data = benchmark("minima").texts()
    assert len(data) == len(data.labels) == 4855
    assert np.unique(data.labels).size == 9
