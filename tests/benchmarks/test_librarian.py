"""What the benchmark of students computes and fails on, by planted scores."""

import dataclasses
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders import table_after
from sphere_ebm.librarian.bootstrap import Interval
from sphere_ebm.librarian.report import ALONE, WITH_MAP, Report

PATCHES = 400
DOCUMENT = np.repeat(np.arange(20), PATCHES // 20)
GOOD = {
    "cosine": 0.83,
    "median_angle": 1.0,
    "mean_angle": 20.0,
    "near": 0.66,
    "nbr15": 0.5,
    "top": 0.65,
    "bits": 4.5,
    "same_document": 0.3,
    "shell_error": 2.9,
}


def planted(benchmark, figures, seed=0, seconds=600.0, stated=1.0, near=None):
    """A student with these figures, whose stated errors are right times `stated`."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.1, 1, PATCHES)
    angle = np.hypot(*(rng.standard_normal((2, PATCHES)) * spread / math.sqrt(2)))
    held = {name: Interval(value, value, value) for name, value in figures.items()}
    report = Report(
        student="static",
        context=19,
        map_id="m",
        patches=PATCHES,
        documents=20,
        unseen=True,
        chance_of_same_document=0.05,
        figures={ALONE: held, WITH_MAP: held},
        gains={},
        shell_rank={ALONE: 0.9, WITH_MAP: 0.9},
        calibration={},
        hits={},
        error_rank={},
        lengths={},
        patches_per_second={ALONE: 30_000.0, WITH_MAP: 4_000.0},
    )
    scores = {}
    for row in (ALONE, WITH_MAP):
        scores |= {f"{row}/{name}": np.full(PATCHES, value) for name, value in figures.items()}
        scores |= {f"{row}/median_angle": np.degrees(angle), f"{row}/spread": spread * stated}
        if near is not None:
            scores[f"{row}/near"] = near
    length = np.where(np.arange(PATCHES) % 2, 8, 40)
    certain = np.linspace(0.01, 0.5, PATCHES)
    runs = benchmark("librarian_runs")
    return runs.Judgement(report, scores, DOCUMENT, length, certain, seconds)


@pytest.fixture
def perfect(benchmark):
    """Every student that the targets ask for, two seeds each, as good as hoped for."""
    none = {**GOOD, "bits": 0.01, "top": 0.01}
    plain = {**GOOD, "bits": 4.2}
    flat = np.where(np.arange(PATCHES) % 2, 0.4, 0.66)
    return {
        "static more": [planted(benchmark, GOOD, s) for s in (0, 1)],
        "direct more": [planted(benchmark, GOOD, s) for s in (0, 1)],
        "direct": [planted(benchmark, GOOD, s) for s in (0, 1)],
        "direct context 0": [planted(benchmark, GOOD, s, near=flat) for s in (0, 1)],
        "direct unweighted": [planted(benchmark, plain, s) for s in (0, 1)],
        "direct random": [planted(benchmark, none, s) for s in (0, 1)],
    }


def failed(benchmark, found):
    return [check.target for check in benchmark("librarian").checks_of(found) if not check.passed]


def test_students_as_good_as_hoped_for_meet_every_target(benchmark, perfect):
    assert failed(benchmark, perfect) == []
    assert len(benchmark("librarian").checks_of(perfect)) == 25


@pytest.mark.parametrize(
    ("name", "change", "target"),
    [
        ("static more", {"nbr15": 0.42}, "static more, with map: nbr15"),
        ("static more", {"median_angle": 2.1}, "static more, with map: median angle"),
        ("direct more", {"bits": 3.5}, "direct more: bits"),
        ("direct random", {"bits": 0.03}, "random labels: bits"),
        ("direct random", {"top": 0.013}, "random labels: top 1 %"),
        ("direct unweighted", {"bits": 4.5}, None),
    ],
)
def test_a_figure_beyond_its_bound_misses_its_target_alone(
    benchmark, perfect, name, change, target
):
    base = perfect[name][0].report.figures[ALONE]
    figures = {key: one.value for key, one in base.items()} | change
    perfect[name] = [planted(benchmark, figures, s) for s in (0, 1)]
    missed = failed(benchmark, perfect)
    assert len(missed) == (1 if target else 0)
    assert all(one.startswith(str(target)) for one in missed)


def test_errors_stated_too_small_miss_the_target(benchmark, perfect):
    perfect["direct more"] = [planted(benchmark, GOOD, s, stated=0.5) for s in (0, 1)]
    assert failed(benchmark, perfect) == [
        "direct more, student: found over stated error of a tenth, largest"
    ]


def test_training_beyond_the_limit_is_told(benchmark, perfect):
    slow = dataclasses.replace(perfect["direct"][1], processor_seconds=1201.0)
    perfect["direct"] = [perfect["direct"][0], slow]
    assert failed(benchmark, perfect) == ["direct: training, processor seconds"]


def test_pairs_are_of_the_same_patches_and_tables_hold_every_student(benchmark, perfect):
    runs = benchmark("librarian_runs")
    short = perfect["direct"][0].length <= 12
    gain = runs.paired(perfect["direct"], perfect["direct context 0"], "near", where=short)
    assert gain.value == pytest.approx(0.26)
    tables = benchmark("librarian")
    text = "## Students\n\n" + tables.student_table(perfect)
    rows = {row[0]: row for row in table_after("## Students", text)}
    assert rows["direct, with the map"][1] == "1.00"
    worth = "## Worth\n\n" + tables.pair_table(perfect)
    assert {row[0] for row in table_after("## Worth", worth)} >= {"context 19 instead of 0"}


def test_documents_keep_genre_and_split_in_their_names(benchmark):
    sets = benchmark("librarian_sets")
    stem = sets.named("wordnet", "val", "noun--animal")
    assert sets.parts_of(stem) == ("wordnet", "val", "noun--animal")


def test_a_stage_is_made_once_unless_what_it_is_made_of_changes(benchmark, tmp_path):
    sets = benchmark("librarian_sets")
    calls = []
    for key in ({"texts": "a"}, {"texts": "a"}, {"texts": "b"}):
        made = sets.staged(tmp_path, "x", key, calls.append)
        assert made.folder == tmp_path / "x"
    assert len(calls) == 2


def test_missing_texts_are_wrong_usage(benchmark, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark("librarian").main(["--data", str(tmp_path), "--work", str(tmp_path / "w")])
    assert ended.value.code == 2
    assert "librarian-fit.parquet is missing" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_is_killed_once_it_has_worked_long_enough(benchmark):
    extras = benchmark("librarian_extras")
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    assert extras._killed_at(busy, 0.2) >= 0.2
    assert busy.returncode == -signal.SIGKILL
    brief = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    assert extras._killed_at(brief, 60.0) < 60.0
    assert brief.returncode == 0


@pytest.mark.parametrize(
    ("options", "killed"),
    [
        ([], ["static", "direct", "cone", "conv"]),
        (["--killed", "conv", "static"], ["conv", "static"]),
    ],
)
def test_those_students_are_killed_that_are_asked_for(
    benchmark, tmp_path, monkeypatch, options, killed
):
    module = benchmark("librarian")
    asked = []
    monkeypatch.setattr(module, "prepared", lambda cli, options: None)
    monkeypatch.setattr(module, "killed_runs", lambda work, names: asked.extend(names) or [])
    output = ["--output", str(tmp_path / "found.md")]
    module.main(["--data", str(tmp_path), "--parts", "kills", *options, *output])
    assert asked == killed


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (["--parts", "kills"], []),
        (["--parts", "students", "--students", "direct"], ["seed-labels"]),
        (["--parts", "students", "--students", "direct", "--rivals", "knn"], []),
        (["--parts", "students", "--students", "direct random"], ["random"]),
        (["--parts", "labels"], ["pca", "lateral_jit", "random"]),
        ([], ["seed-labels", "pca", "lateral_jit", "random"]),
    ],
)
def test_labels_are_made_where_they_are_needed(benchmark, monkeypatch, options, made):
    module = benchmark("librarian")
    asked = []
    monkeypatch.setattr(module, "prepare", lambda data, work, config: None)
    monkeypatch.setattr(module, "make_labels", lambda *given: asked.append(given[-1]))
    monkeypatch.setattr(module, "other_labels", lambda data, work, method, _: asked.append(method))
    cli = module.parser()
    module.prepared(cli, cli.parse_args(["--data", "d", *options]))
    assert asked == made


def test_students_of_other_epochs_are_kept_apart(benchmark, tmp_path):
    run = benchmark("librarian_runs").runs()["direct no shell"]
    fewer = run.of_epochs(6)
    assert (fewer.config.epochs, fewer.config.shell_weight) == (6, 0.0)
    assert fewer.folder(tmp_path, 0) == tmp_path / "student-direct-no-shell-6-epochs-0"
    assert run.of_epochs(None) == run.of_epochs(12) == run


TRAINING = """
import sys, time
from pathlib import Path
folder, seconds, torn, wrong = Path(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])
if wrong:
    sys.exit(1)
again = folder.exists()
folder.mkdir(parents=True, exist_ok=True)
while not again and time.process_time() < seconds:
    pass
for name in ("model.safetensors", "best.safetensors", "metrics.jsonl"):
    (folder / name).write_text("torn" if again and torn else "whole")
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("later", "torn", "wrong", "alike"),
    [(0.6, 0, 0, 5), (0.3, 0, 0, 5), (0.6, 1, 0, 0), (0.6, 0, 1, 0)],
    ids=["as long", "sooner done than the first", "other bytes", "failed by itself"],
)
def test_only_trainings_count_that_were_killed_and_end_with_the_same_bytes(
    benchmark, tmp_path, monkeypatch, later, torn, wrong, alike
):
    extras = benchmark("librarian_extras")

    def train(student, labels, output):
        seconds = {"first": 0.0, "whole": 0.6}.get(output.name, later)
        fails = wrong and output.name.startswith("killed")
        given = [str(output), str(seconds), str(torn), str(int(fails))]
        return subprocess.Popen([sys.executable, "-c", TRAINING, *given], start_new_session=True)

    monkeypatch.setattr(extras, "_few_labels", lambda work: work)
    monkeypatch.setattr(extras, "_command", train)
    (check,) = extras.killed_runs(tmp_path, ["static"])
    assert (check.measured, check.passed) == (alike, alike == 5)


def test_without_students_there_is_no_tenth(benchmark):
    assert benchmark("librarian_runs").tenths([], ALONE) == []
