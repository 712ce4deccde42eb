"""The benchmark of the knobs: what it turns, and that strong and weak terms give stable maps."""

import numpy as np
import pytest

from builders import in_groups, table_after, unit


def test_every_change_is_a_row_and_strengths_are_stable(benchmark, write_set, capsys):
    knobs = benchmark("knobs")
    folder = write_set("tiny", in_groups(60, 0, groups=4, width=8))
    output = folder / "report.md"
    common = ["--data", str(folder), "--sets", "tiny", "--output", str(output)]
    changes = ["default", "lateral x 8", "osmotic x 1/4", "length x 2"]
    assert knobs.main([*common, "--changes", *changes]) == 0
    text = output.read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    header, *rows = table_after("## tiny", text)
    assert header[:3] == ["change", "tightness", "recall@15"]
    assert [row[0] for row in rows] == changes
    assert {row[-1] for row in rows[:3]} == {"yes"}


def test_a_map_is_unstable_by_its_dynamics_and_by_nothing_else(benchmark):
    knobs = benchmark("knobs")
    points = in_groups(60, 0, groups=4, width=8)
    data = knobs.Dataset("tiny", unit(points).astype(np.float32), np.zeros(60, np.int16))
    near = knobs.nearest_neighbours(data.embeddings, 20)
    assert knobs.turned(data, {}, near).stable, "norms that order no radii are no unrest"
    assert not knobs.turned(data, {"step_size": 1.2}, near).stable


def test_tightness_is_the_median_angle_to_the_middle_of_the_class(benchmark):
    knobs = benchmark("knobs")
    angle = np.radians([10.0, -10.0, 130.0, 150.0])
    direction = np.stack([np.cos(angle), np.sin(angle), np.zeros(4)], axis=1).astype(np.float32)
    assert knobs.tightness(direction, np.array([0, 0, 1, 1])) == pytest.approx(10, abs=1e-3)
