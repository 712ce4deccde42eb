"""What the benchmark of steps counts and when it fails.

The numbers themselves are measured by hand.
"""

import pytest


@pytest.fixture
def steps(benchmark):
    return benchmark("steps")


def row(steps, n_points, step, program=0.0, padding=0.1, least=1.0):
    stages = steps.Stages(0.0, 0.0, program, 0.0)
    return steps.Measured(
        n_points, 15.0, padding, stages, step, dict.fromkeys(steps.PARTS, 0.0), 1, least
    )


def test_a_point_and_a_slot_move_the_bytes_that_are_stated(steps):
    assert steps.traffic(1, 0) == 64 + 384
    assert steps.traffic(1, 1) - steps.traffic(1, 0) == 20


def test_only_targets_that_were_measured_are_judged(steps):
    assert [check.target for check in steps.checks([row(steps, 500, 1.0)])] == [
        "padding at 500 points"
    ]


@pytest.mark.parametrize(
    ("steps_taken", "program", "passes"),
    [((1.0, 2.0, 199.0), 0.9, True), ((1.0, 2.1, 201.0), 1.1, False)],
)
def test_targets_are_two_rooflines_twice_the_time_a_point_and_a_program_in_a_second(
    steps, steps_taken, program, passes
):
    rows = [row(steps, n, step, program) for n, step in zip(steps.POINTS, steps_taken, strict=True)]
    outcomes = {check.target.split()[0]: check.passed for check in steps.checks(rows)}
    assert outcomes == {"padding": True, "step": passes, "program": passes, "time": passes}


def test_a_small_map_is_measured_whole(steps, tmp_path, capsys):
    report = tmp_path / "steps.md"
    assert steps.main(["--points", "1500", "--repeats", "1", "--output", str(report)]) == 0
    assert "| 1500 " in report.read_text()
    assert "padding at 1500 points" in capsys.readouterr().out
