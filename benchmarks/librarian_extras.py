"""What `benchmarks.librarian` measures besides the table of students.

Labels of other placements, runs that are killed, and how soon a model is loaded.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.librarian_runs import Run, trained
from benchmarks.librarian_sets import staged
from benchmarks.report import Check, markdown_table, mean, say
from sphere_ebm import label
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.librarian.dataset import LabelDataset
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.measures import score
from sphere_ebm.librarian.report import ALONE, WITH_MAP
from sphere_ebm.librarian.rivals import from_neighbours
from sphere_ebm.librarian.trial import Trial
from sphere_ebm.librarian.windows import stacked

SETS = {
    "ours": ("fit-labels", "test-labels"),
    "water-filling": ("lateral_jit-labels", "lateral_jit-test"),
    "PCA": ("pca-labels", "pca-test"),
    "random": ("random-labels", "random-test"),
}
"""Folders of the labels to learn and to judge by."""
BETTER = 20.0
"""So many times the neighbours of the best other placement our labels' student must find."""
KILLS = ("static", "direct", "cone", "conv")
MOMENTS = 5
ATTEMPTS = 3
"""So often a training is begun that ends before it is killed."""
LOADED = 1.0
MEGABYTES = 30.0
_KILLED_DOCUMENTS = 12


def compare_labels(work: Path, run: Run, seeds: int) -> tuple[str, list[Check]]:
    """The embeddings that a static student gives, placed by the labels of several placements.

    Which place a patch gets is decided alike for all: where its 15 nearest gather. The student of
    the embedding does not depend on the labels, so that one is trained for all of them.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETS}
    for seed in range(seeds):
        trained(work, run, seed)
        for name, held in _placed_by(work, run, seed).items():
            found[name].append(held)
    names = ("median", "near", "nbr15", "oracle")
    means = {
        name: {key: mean([one[key] for one in held]) for key in names}
        for name, held in found.items()
    }
    rows = [[name, *(f"{held[key]:.4f}" for key in names)] for name, held in means.items()]
    header = ["labels", "median angle, °", "< 11.5°", "nbr15", "nbr15 of the true embedding"]
    others = max(means[name]["nbr15"] for name in ("water-filling", "PCA"))
    ratio = means["ours"]["nbr15"] / max(others, 1e-12)
    check = Check("labels of ours over water-filling and PCA, nbr15", ratio, ">=", BETTER, "x")
    return markdown_table(header, rows), [check]


def _placed_by(work: Path, run: Run, seed: int) -> Mapping[str, dict[str, float]]:
    student = json.loads((work / f"{run.stage(seed)}.json").read_text(encoding="utf-8"))["key"]
    sets = {
        name: [json.loads((work / f"{one}.json").read_text(encoding="utf-8"))["key"] for one in two]
        for name, two in SETS.items()
    }

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        librarian = Librarian.load(run.folder(work, seed))
        held = {name: _by_labels(work, librarian, *SETS[name]) for name in SETS}
        (folder / "placed.json").write_text(json.dumps(held, indent=1), encoding="utf-8")

    key = {"student": student, "sets": sets}
    folder = staged(work, f"placed-{run.stage(seed)}", key, make).folder
    held: dict[str, dict[str, float]] = json.loads(
        (folder / "placed.json").read_text(encoding="utf-8")
    )
    return held


def _by_labels(work: Path, librarian: Librarian, labels: str, test: str) -> dict[str, float]:
    asked = LabelDataset.open(work / test)
    names = [one.name for one in asked.documents if one.patches]
    trial = Trial.of(asked, LabelDataset.open(work / labels), names)
    ground = trial.ground(0)
    known = unit_rows(ground.embeddings.astype(np.float64)).astype(np.float32)
    told = librarian.predict_in(stacked(trial.passages)).embedding
    truth = unit_rows(trial.embeddings.astype(np.float64)).astype(np.float32)
    guessed, oracle = (
        score(from_neighbours(ground, known, vectors), trial.judged) for vectors in (told, truth)
    )
    return {
        "median": float(np.degrees(np.median(guessed.angle))),
        "near": float(guessed.near.mean()),
        "nbr15": float(guessed.nbr15.mean()),
        "oracle": float(oracle.nbr15.mean()),
    }


def killed_runs(work: Path, students: Sequence[str]) -> list[Check]:
    """Train each student on a few documents, killed at five moments; the same bytes must come."""
    labels = _few_labels(work)
    checks = []
    for student in students:
        folder = work / f"killed-{student}"
        shutil.rmtree(folder, ignore_errors=True)
        whole = folder / "whole"
        # the first run compiles what the others find in caches
        _command(student, labels, folder / "first").wait()
        seconds = _killed_at(_command(student, labels, whole), math.inf)
        wanted = _digests(whole)
        alike = 0
        for moment in range(MOMENTS):
            target = folder / f"killed-{moment}"
            share = (moment + 1) / (MOMENTS + 1)
            killed, seconds = _killed_midway(student, labels, target, seconds, share)
            _command(student, labels, target).wait()
            alike += bool(wanted) and killed and _digests(target) == wanted
        say(f"librarian: {student} killed {MOMENTS} times, {alike} alike")
        checks.append(Check(f"{student}: same bytes after kill -9", alike, "=", MOMENTS))
    return checks


def _killed_midway(
    student: str, labels: Path, target: Path, seconds: float, share: float
) -> tuple[bool, float]:
    """Kill a training after a share of its processor seconds; whether it was, and what a whole one
    works by the latest that is known.

    Threads that wait for one another work for nothing, the more so the busier the machine is. A
    training that ends sooner than the one before is begun anew and killed by its own seconds.
    """
    for _ in range(ATTEMPTS):
        shutil.rmtree(target, ignore_errors=True)
        process = _command(student, labels, target)
        worked = _killed_at(process, seconds * share)
        if process.returncode != 0:
            return process.returncode == -signal.SIGKILL, seconds
        seconds = min(seconds, worked)
    return False, seconds


def _killed_at(process: subprocess.Popen[bytes], most: float) -> float:
    """Kill a process once it has worked so many processor seconds; those that it worked.

    Seconds by the clock would tell little of how far a run has come on a machine that does other
    work too.
    """
    worked = 0.0
    while process.poll() is None:
        worked = max(worked, _processor_seconds(process.pid))
        if worked >= most:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.02)
    return worked


def _processor_seconds(pid: int) -> float:
    """What Linux says that all threads of a process have worked; 0 where it has ended."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # behind the name, which may hold spaces: fields 14 and 15 of proc(5), user and system
    fields = told.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _few_labels(work: Path) -> Path:
    """A small map of the first documents, made once."""
    shards = sorted((work / "fit-shards").glob("*.safetensors"))[:_KILLED_DOCUMENTS]

    def make(folder: Path) -> None:
        label(shards, folder, page=False, overwrite=True)

    return staged(work, "few-labels", {"shards": [sha256_of(one) for one in shards]}, make).folder


def _command(student: str, labels: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sphere_ebm", "train", str(labels), "--output", str(output)]
    quiet = ["--student", student, "--epochs", "2", "--quiet"]
    return subprocess.Popen([*command, *quiet], start_new_session=True)


def _digests(folder: Path) -> dict[str, str]:
    names = ("model.safetensors", "best.safetensors", "metrics.jsonl")
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}


def loading(folder: Path, seconds: float, megabytes: float) -> list[Check]:
    """How soon a model is loaded in a process of its own, and how large its folder is."""
    code = (
        "import sys, time\nfrom sphere_ebm.librarian.librarian import Librarian\n"
        "begun = time.perf_counter()\nLibrarian.load(sys.argv[1])\n"
        "print(time.perf_counter() - begun, 'jax' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    ).stdout.split()

    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [
        Check("static: seconds to load", float(told[0]), "<=", seconds),
        Check("static: folder of the model, MB", size / 1e6, "<=", megabytes),
        Check("loading a student imports JAX", float(told[1] == "True"), "=", 0.0),
    ]


def speeds(work: Path, folder: Path) -> list[Check]:
    """Patches that a student places a second, by its folder alone and with the map at hand."""
    asked = LabelDataset.open(work / "test-labels")
    names = [one.name for one in asked.documents if one.patches]
    trial = Trial.of(asked, LabelDataset.open(work / "fit-labels"), names)
    passages = stacked(trial.passages)
    alone = Librarian.load(folder)
    checks = []
    for row, student, bound in (
        (ALONE, alone, 20_000),
        (WITH_MAP, alone.with_map(work / "fit-labels"), 3_000),
    ):
        student.predict_in(passages)  # what compiles, does so here
        begun = time.perf_counter()
        student.predict_in(passages)
        speed = len(passages) / (time.perf_counter() - begun)
        checks.append(Check(f"static more: patches a second, {row}", speed, ">=", bound))
    return checks


def next_vectors(work: Path) -> tuple[str, list[Check]]:
    """Every model of the next vector beside the weighted means, on the same targets."""
    from sphere_ebm.librarian.sequence.compare import compare_sequences

    run = compare_sequences(
        work / "fit-shards", work / "sequence", test=[work / "test-shards"], overwrite=True
    )
    rows = []
    for row in run.rows:
        own = row.over[row.measured.context]
        gains = [
            f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
            for one in (own["cosine"], own["mrr"])
        ]
        told = [row.measured.model, str(row.measured.context), f"{row.cosine.mean:.3f}"]
        rows.append([*told, f"{row.mrr.mean:.3f}", *gains])
    header = ["model", "context", "centred cosine", "MRR", "cosine over means", "MRR over means"]
    best = max(
        (
            min(one.low for one in row.over[row.measured.context].values())
            for row in run.rows
            if row.measured.trained
        ),
        default=float("nan"),
    )
    name = "next vectors: the best model over the weighted means, lower end of both intervals"
    table = markdown_table(header, rows) + "\n\n" + "\n".join(run.said)
    return table, [Check(name, best, ">=", 0.0)]
