"""What the benchmark of error bars computes, prints and fails on."""

import numpy as np
import pytest

from builders import still_placement, table_after
from sphere_ebm.geometry.sphere import unit_rows


def compared(benchmark, stated, found):
    """A comparison of a still map with one further run that is `found` radians off."""
    certainty = benchmark("certainty")
    rng = np.random.default_rng(0)
    direction = unit_rows(rng.standard_normal((len(stated), 3)))
    across = unit_rows(np.cross(direction, [0.1, 0.2, 0.9]))
    there = np.cos(found)[:, None] * direction + np.sin(found)[:, None] * across
    fields = vars(still_placement(direction)) | {
        "angle_std": stated.astype(np.float32),
        "thermal_std": np.full(len(stated), 0.01, np.float32),
        "modes": np.stack([direction, there], axis=1).astype(np.float32),
        "mode_weight": np.full((len(stated), 2), 0.4, np.float32),
    }
    placed = type(still_placement(direction))(**fields)
    return certainty, certainty.compared("made up", "fitted", placed, [there])


def test_error_bars_that_are_right_meet_every_target(benchmark):
    angles = np.random.default_rng(1).uniform(0.02, 1, 500)
    certainty, found = compared(benchmark, angles, angles)
    assert found.rank == pytest.approx(1)
    assert found.ratio == pytest.approx(1, rel=1e-5)
    assert (found.two, found.hit_found) == (1, 1)
    assert found.hit_stated == pytest.approx(0.8)
    assert all(check.passed for check in found.checks())
    rows = table_after("## By tenth", "## By tenth\n\n" + certainty.tenth_table([found]))
    assert rows[1] == ["made up", "fitted", *["1.00"] * 10]


@pytest.mark.parametrize("wrong", ["small", "shuffled", "flat"])
def test_error_bars_that_are_wrong_miss_targets(benchmark, wrong):
    rng = np.random.default_rng(1)
    angles = rng.uniform(0.02, 1, 500)
    said = {
        "small": angles / 2,
        "shuffled": rng.permutation(angles),
        "flat": 0.58 + 0.01 * rng.random(500),
    }
    _, found = compared(benchmark, said[wrong], angles)
    assert not all(check.passed for check in found.checks())


def test_the_report_names_every_set_and_draws_the_figure(benchmark, write_set):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    embeddings = np.eye(4, 12)[labels] + 0.2 * rng.standard_normal((80, 12))
    folder = write_set("tiny", embeddings.astype(np.float16), labels.astype(np.int16))
    output = folder / "certainty.md"
    common = ["--data", str(folder), "--sets", "tiny", "--seeds", "1", "--costs"]
    assert benchmark("certainty").main([*common, "--output", str(output)]) in (0, 1)
    text = output.read_text(encoding="utf-8")
    assert [row[:2] for row in table_after("## Stated", text)[1:]] == [
        ["tiny", "fitted"],
        ["tiny", "joined"],
    ]
    assert (folder / "certainty.png").stat().st_size > 10_000
