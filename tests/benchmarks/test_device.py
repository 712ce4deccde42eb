"""The benchmark of a device: right on the CPU, within its time, and what it leaves out is said."""

import json

import pytest

from sphere_ebm.hamiltonian.fields.costs import Cost


@pytest.fixture
def parts(benchmark):
    return benchmark("device_parts")


@pytest.fixture
def plan(benchmark):
    return benchmark("device_plan")


@pytest.fixture
def device(benchmark):
    return benchmark("device")


class Watch:
    """A clock that goes on by what `spend` is told."""

    def __init__(self):
        self.second = 0.0

    def __call__(self):
        return self.second

    def spend(self, seconds):
        self.second += seconds


def test_everything_is_measured_at_small_sizes_and_the_cpu_is_right(device, tmp_path, capsys):
    report = tmp_path / "device.md"
    arguments = ["--small", "--budget", "300", "--output", str(report)]
    assert device.main(arguments) == 0
    found = json.loads((tmp_path / "device.json").read_text())
    assert found["machine"]["platform"] == "cpu"
    assert list(found["parts"]) == list(device.PARTS)
    assert all(part["rows"] and not part["left_out"] for part in found["parts"].values())
    assert [check["target"] for check in found["checks"] if not check["passed"]] == []
    assert {row["what"] for row in found["parts"]["correctness"]["rows"]} == {"direct", "law: pair"}
    # on the device that it is compared with, not a bit differs
    assert all(row.get("force", 0) == 0 for row in found["parts"]["correctness"]["rows"])
    assert found["machine"]["device"] in report.read_text()
    assert "## Joining" in capsys.readouterr().out


def test_without_time_everything_is_left_out_and_said(device, parts, plan, monkeypatch):
    monkeypatch.setattr(device, "Clock", lambda seconds: plan.Clock(seconds, Watch()))
    monkeypatch.setattr(parts, "bandwidth", lambda megabytes, repeats: 1.0)
    for part in device.run(2, plan.SMALL):
        assert not part.rows
        assert all("s expected, " in each for each in part.skipped)
        assert "Left out: " in device.section(part)


def test_a_case_is_begun_where_the_one_before_it_leaves_time(plan):
    watch = Watch()
    clock = plan.Clock(100, watch)
    part = plan.Part("steps")

    def measure(case):
        watch.spend(case)
        return {"case": case}

    part.each(clock, [1, 10, 40, 60], measure, first=5, growth=lambda a, b: b / a)
    assert [row["case"] for row in part.rows] == [1, 10, 40]
    assert part.skipped == ["60: 60 s expected, 49 s left"]


def test_too_little_memory_ends_a_case_and_not_the_part(plan):
    part = plan.Part("steps")

    def measure(case):
        if case == 2:
            raise MemoryError
        return {"case": case}

    part.each(plan.Clock(100), [1, 2, 3], measure, first=0)
    assert [row["case"] for row in part.rows] == [1, 3]
    assert part.skipped == ["2: out of memory"]


def test_costs_are_found_again_from_the_times_that_they_make(parts):
    own = {
        "direct": Cost(fixed=0.1, pairs=1e-9),
        "harmonic": Cost(fixed=0.2, points=1e-6, products=1e-9),
        "pyramid": Cost(fixed=0.3, points=2e-6, rows=0.02, cells=1e-6),
    }
    rows = [
        {"points": n, "rows": rows, **{name: each.of(n, rows) for name, each in own.items()}}
        for n, rows in ((1000, 32), (3000, 56), (10_000, 96), (100_000, 288), (1_000_000, 904))
    ]
    found = parts.fitted_costs(rows)
    for name, cost in own.items():
        assert found[name] == pytest.approx(cost, rel=1e-3, abs=1e-12)
    assert parts.fitted_costs(rows[:2]).keys() == {"direct"}
    assert "fixed=0.1" in parts.table_row(found)
