"""Students that `benchmarks.librarian` trains, and their scores patch by patch."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmarks.librarian_sets import staged
from sphere_ebm import PlacementConfig
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
from sphere_ebm.librarian.bootstrap import Interval, interval, means
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.dataset import LabelDataset
from sphere_ebm.librarian.evaluate import answers_of, evaluate
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.measures import Tenth, calibration, score
from sphere_ebm.librarian.report import ALONE, FIGURES, WITH_MAP, Report, as_json, values_of
from sphere_ebm.librarian.rivals import NAMES
from sphere_ebm.librarian.split import Split
from sphere_ebm.librarian.train import train
from sphere_ebm.librarian.trial import Trial, judged_documents

VALIDATION = ("*--val--*",)
"""Documents that training stops and calibrates on, by the names that `librarian_sets` gives."""
NET_EPOCHS = 6
"""Those of nets that read bytes: ten minutes on two cores that do nothing else."""


@dataclass(frozen=True)
class Run:
    """A student to train: on which labels, with which further ones, and how."""

    name: str
    config: LibrarianConfig
    labels: str = "fit-labels"
    test: str = "test-labels"
    more: bool = False

    def folder(self, work: Path, seed: int) -> Path:
        """Where the student of a seed is kept."""
        return work / self.stage(seed)

    def stage(self, seed: int) -> str:
        """Name of the stage that trains it."""
        return f"student-{self.name.replace(' ', '-')}-{seed}"

    def of_epochs(self, epochs: int | None) -> "Run":
        """The same student with fewer or more epochs to learn in, kept apart; None: itself."""
        if epochs is None or epochs == self.config.epochs:
            return self
        name = f"{self.name} {epochs} epochs"
        return dataclasses.replace(
            self, name=name, config=dataclasses.replace(self.config, epochs=epochs)
        )


def _config(student: str, **changes: object) -> LibrarianConfig:
    return LibrarianConfig(student=student, **changes)  # type: ignore[arg-type]


def runs() -> dict[str, Run]:
    """Every student that can be asked for, by name."""
    static = _config("static")
    direct = _config("direct")
    found = [
        Run("static", static),
        Run("static more", static, more=True),
        Run("direct", direct),
        Run("direct more", direct, more=True),
        Run("direct context 0", _config("direct", context=0)),
        Run("direct unweighted", _config("direct", weigh_by_spread=False)),
        Run("direct random", direct, labels="random-labels", test="random-test"),
        Run("direct pca", direct, labels="pca-labels", test="pca-test"),
        Run("direct water-filling", direct, labels="lateral_jit-labels", test="lateral_jit-test"),
        Run("direct no embedding", _config("direct", embedding_weight=0.0)),
        Run("direct no shell", _config("direct", shell_weight=0.0)),
        Run("direct no prominence", _config("direct", prominence_weight=0.0)),
        Run("cone", _config("cone", epochs=NET_EPOCHS)),
        Run("conv", _config("conv", epochs=NET_EPOCHS)),
    ]
    return {one.name: one for one in found}


NEEDED = (
    "static more",
    "direct more",
    "direct",
    "direct context 0",
    "direct unweighted",
    "direct random",
)
"""The students that the targets ask for."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """A student of one seed: its report, its scores by patch, and the seconds it took to train."""

    report: Report
    scores: Mapping[str, Float[np.ndarray, " patches"]]
    document: Int[np.ndarray, " patches"]
    length: Int[np.ndarray, " patches"]
    angle_std: Float[np.ndarray, " patches"]
    processor_seconds: float

    def values(self, name: str, row: str) -> Float[np.ndarray, " patches"] | None:
        """A figure's numbers by patch."""
        return self.scores.get(f"{row}/{name}")


def trained(work: Path, run: Run, seed: int) -> float:
    """Train a student unless it is there; the processor seconds that it took."""
    config = dataclasses.replace(run.config, seed=seed)
    labels = work / run.labels
    key = {
        "config": json.loads(config.to_json()),
        "labels": json.loads((work / f"{run.labels}.json").read_text(encoding="utf-8"))["key"],
        "more": run.more,
    }

    def make(folder: Path) -> None:
        more = sorted((work / "more-labels").glob(f"*{LABEL_SUFFIX}")) if run.more else []
        train(labels, folder, config, more=more, held_out=VALIDATION, overwrite=True)

    return staged(work, run.stage(seed), key, make).processor_seconds


def judged(work: Path, run: Run, seed: int, draws: int, rivals: Sequence[str] = NAMES) -> Judgement:
    """Train a student and judge it by the test documents, unless that was done.

    Beside it stand those of `rivals` that its labels have: of other placements there is one seed.
    """
    seconds = trained(work, run, seed)
    student = run.folder(work, seed)
    model = json.loads((work / f"{run.stage(seed)}.json").read_text(encoding="utf-8"))["key"]
    tested = json.loads((work / f"{run.test}.json").read_text(encoding="utf-8"))["key"]

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _judge(work, run, student, folder, draws, against)

    other = run.labels == "fit-labels"
    against = [name for name in rivals if other or name != "seed"]
    key = {"student": model, "test": tested, "draws": draws, "rivals": against}
    folder = staged(work, f"judged-{run.stage(seed)}", key, make).folder
    held = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    with np.load(folder / "scores.npz") as file:
        arrays = {name: file[name] for name in file.files}
    facts = [arrays.pop(name) for name in ("document", "length", "angle_std")]
    return Judgement(Report.from_dict(held), arrays, *facts, seconds)


def _judge(
    work: Path, run: Run, student: Path, folder: Path, draws: int, against: Sequence[str]
) -> None:
    librarian = Librarian.load(student)
    home = work / run.labels
    split = Split.load(student)
    report = evaluate(
        librarian,
        work / run.test,
        against=against,
        split=split,
        of_map=home,
        other=work / "seed-labels" if "seed" in against else None,
        draws=draws,
    )
    (folder / "report.json").write_text(as_json(report), encoding="utf-8")
    asked = LabelDataset.open(work / run.test)
    trial = Trial.of(asked, LabelDataset.open(home), judged_documents(asked, split)[0])
    held: dict[str, np.ndarray] = {
        "document": trial.judged.document,
        "length": trial.judged.length,
        "angle_std": trial.judged.angle_std,
    }
    for row, one in {ALONE: librarian, WITH_MAP: librarian.with_map(home)}.items():
        answers = answers_of(one, trial).answers
        scores = score(answers, trial.judged)
        for name in FIGURES:
            values = values_of(scores, name)
            if values is not None:
                held[f"{row}/{name}"] = values
        if answers.spread is not None:
            held[f"{row}/spread"] = answers.spread.astype(np.float64)
    np.savez(folder / "scores.npz", **held)


def figure(found: Sequence[Judgement], row: str, name: str) -> float:
    """The mean of a figure over the seeds; nan where a student says nothing of it."""
    held = [one.report.figures.get(row, {}).get(name) for one in found]
    known = [one.value for one in held if one is not None]
    return float(np.mean(known)) if len(known) == len(found) and known else float("nan")


def shell_rank(found: Sequence[Judgement], row: str) -> float:
    """The mean rank correlation of the shells."""
    return float(np.mean([one.report.shell_rank.get(row, float("nan")) for one in found]))


def paired(
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    name: str,
    row: str = ALONE,
    where: Bool[np.ndarray, " patches"] | None = None,
) -> Interval:
    """By how much a figure of one student exceeds that of another, seed by seed and patch by patch.

    Differences of the seeds are averaged for every patch before documents are drawn.
    """
    gains = []
    for one, other in zip(first, second, strict=True):
        mine = one.values(name, row)
        theirs = other.values(name, row)
        if mine is None or theirs is None:
            return Interval(float("nan"), float("nan"), float("nan"))
        gains.append(mine - theirs)
    rows = np.ones(len(gains[0]), bool) if where is None else where
    return interval(np.mean(gains, axis=0)[rows], first[0].document[rows], means)


def tenths(found: Sequence[Judgement], row: str) -> list[Tenth]:
    """Stated and found errors by tenth of the stated ones, of all seeds together."""
    spreads = [one.values("spread", row) for one in found]
    angles = [one.values("median_angle", row) for one in found]
    if not found or any(one is None for one in (*spreads, *angles)):
        return []
    return calibration(
        np.concatenate([one for one in spreads if one is not None]),
        np.radians(np.concatenate([one for one in angles if one is not None])),
    )


def default_map() -> PlacementConfig:
    """The configuration of the map whose labels are learned."""
    return PlacementConfig()
