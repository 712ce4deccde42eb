"""The benchmark of the heuristics measures what it says, on maps small enough for a test."""

import dataclasses
from pathlib import Path

import pytest


def test_a_filling_is_measured_with_its_compilations_and_what_it_reached(benchmark) -> None:
    filling = benchmark("filling")
    found = filling.measure_here("production", 3000, 8, 2)
    assert len(found.seconds) == 2
    assert found.programs == 1, "three calls with other points and seeds share one program"
    assert found.deviation < found.start_deviation
    sort = filling.measure_here("capacity_sort", 3000, 8, 1)
    assert (sort.off <= 1, sort.converged, sort.start_deviation) == (True, True, None)


def test_the_filling_section_has_a_row_per_method_and_names_a_missed_target(
    benchmark, monkeypatch
) -> None:
    filling = benchmark("filling")
    real = filling.measure_here("production", 3000, 8, 1)

    def pretended(method: str, *_: int) -> object:
        programs = 2 if method == "lateral_jit" else 1
        worse = {"deviation": 2.0, "start_deviation": 1.0} if method == "hybrid" else {}
        return dataclasses.replace(
            real, method=method, programs=programs, off=0.5, peak_mb=100.0, **worse
        )

    monkeypatch.setattr(filling, "_in_a_process", pretended)
    text, checks = filling.filling_section(10**9, 8, 1)
    assert [line.split("|")[1].strip() for line in text.splitlines()[6:]] == [
        "capacity_sort",
        *filling.PRESETS,
    ]
    failed = [check.target for check in checks if not check.passed]
    assert failed == [
        "lateral_jit: compilations of the engine in 2 calls",
        "hybrid: deviation from capacity, end / start",
    ]


def test_the_targets_are_those_of_the_issue(benchmark) -> None:
    filling = benchmark("filling")
    transforms = benchmark("transforms")
    navigator = benchmark("navigator")
    assert (filling.POINTS, filling.SHELLS) == (5_000_000, 512)
    assert (filling.SORT_RATE, filling.FILL_RATE, filling.MEMORY_GB) == (3e6, 5e5, 3.0)
    assert (
        transforms.MILLISECONDS,
        transforms.SETUP_64,
        transforms.SETUP_256,
        transforms.ERROR,
    ) == (10, 2, 20, 1e-5)
    assert transforms.EXACT_TO == 101
    assert (navigator.ORACLE_TARGET, navigator.MILLISECONDS_TARGET, navigator.SETUP_TARGET) == (
        0.6,
        5.0,
        2.0,
    )
    assert (navigator.SET, navigator.HELD_OUT) == ("wordnet-10k", 500)
    assert {0.01, 0.02, 0.05, 0.1} == set(navigator.SHARES)


def test_transforms_are_exact_where_the_benchmark_looks(benchmark) -> None:
    transforms = benchmark("transforms")
    assert transforms.worst_harmonic(9) < 1e-6
    found = transforms.measure_transform(12, repeats=2)
    assert found.round_trip < 1e-6
    assert found.milliseconds > 0


def test_the_navigator_needs_its_data(benchmark, tmp_path: Path, capsys) -> None:
    heuristics = benchmark("heuristics")
    for arguments in ([], ["--data", str(tmp_path)]):
        with pytest.raises(SystemExit) as stopped:
            heuristics.main(arguments)
        assert stopped.value.code == 2
        assert "wordnet-10k.npz" in capsys.readouterr().err


def test_the_command_publishes_the_parts_that_were_asked_for(
    benchmark, tmp_path: Path, monkeypatch
) -> None:
    heuristics = benchmark("heuristics")
    report = benchmark("report")
    passed, missed = (
        report.Check(name, 1.0, "<=", bound) for name, bound in (("met", 2.0), ("missed", 0.5))
    )
    monkeypatch.setattr(heuristics, "transform_section", lambda: ("about transforms", [passed]))
    monkeypatch.setattr(heuristics, "filling_section", lambda *_: ("about filling", [missed]))
    output = tmp_path / "report.md"
    assert heuristics.main(["--parts", "transforms", "--output", str(output)]) == 0
    assert "## Targets: 1 of 1 met" in output.read_text()
    assert heuristics.main(["--parts", "filling", "transforms", "--output", str(output)]) == 1
    text = output.read_text()
    assert "about filling" in text
    assert "about transforms" in text
    assert "## Navigator" not in text
