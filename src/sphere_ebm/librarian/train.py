"""`train`: a student of labels, from their folder to a folder of its own.

Resumable: the same command continues what a dead run began, to the same bytes. What a run needs
beyond its configuration it can make again: the order of batches follows from the seed and the
number of steps, and a checkpoint holds everything else.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np

from sphere_ebm.errors import LabelError, require
from sphere_ebm.files.atomic import atomic_write, clean_leftovers, sha256_of
from sphere_ebm.files.folders import locked
from sphere_ebm.labelling.older import identity
from sphere_ebm.librarian.checkpoint import (
    CHECKPOINT,
    Saved,
    load_checkpoint,
    save_checkpoint,
)
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.dataset import LabelDataset, Run
from sphere_ebm.librarian.description import (
    BEST,
    CONFIG,
    FORMAT,
    GROUND,
    METRICS,
    MODEL,
    write_description,
)
from sphere_ebm.librarian.finishing import finished_students, judged
from sphere_ebm.librarian.joined import join_shards
from sphere_ebm.librarian.split import SPLIT, Split
from sphere_ebm.librarian.students.base import (
    AbstractTrainer,
    Batch,
    trainer_class,
)
from sphere_ebm.progress import StageProgress, stage

MORE = "more"
"""Folder of the labels of shards that joined, below that of the student."""
_OWN = (CONFIG, SPLIT, METRICS, MODEL, BEST, GROUND, CHECKPOINT)


@final
@dataclass(frozen=True)
class TrainRun:
    """What `train` did.

    `steps`: batches that were learned from; `best_step`: those of the best student. `metrics`: a
    dictionary for each line of `metrics.jsonl`. `train` and `validation`: patches that were learned
    from and judged on. `kept`: whether the folder held this very run, finished.
    """

    output: Path
    steps: int
    best_step: int
    metrics: tuple[dict[str, Any], ...]
    train: int
    validation: int
    kept: bool


def train(
    labels: Path | str,
    output: Path | str,
    config: LibrarianConfig | None = None,
    *,
    more: Sequence[Path | str] = (),
    held_out: Sequence[str] = (),
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> TrainRun:
    """Teach a student the labels in a folder.

    Args:
        labels: folder of a finished map, or of label files of one map.
        output: folder for the student, made when missing.
        config: see `LibrarianConfig`.
        more: shards that join the map first, and are learned from then; label files of the same map
            are taken as they are.
        held_out: documents to validate on, by names or patterns; else a share of them is drawn.
        overwrite: replace another student in `output`.
        progress: called as progress(stage, done, total), stages `"reading"`, `"writing"` (of what
            joins), `"training"` and `"calibrating"`.

    Raises:
        LabelError: no labels, or labels that cannot be learned from; `output` holds another student
            or another run works there.
        ShardError: a label file or shard is damaged.
        MissingPackageError: without the extra `librarian`.
        OSError: the output cannot be written.
    """
    for package in ("numba", "optax"):
        require(package, "librarian", "training a student")
    config = LibrarianConfig() if config is None else config
    folder = Path(output)
    with locked(folder):
        finished = _finished(folder)
        _refuse_foreign(folder, finished, overwrite)
        extra = _joined(Path(labels), more, folder, progress)
        dataset = LabelDataset.open(labels, more=extra, memory=config.memory)
        split = dataset.split(config.seed, config.validation, held_out)
        run_id = _run_id(dataset, split, config)
        if finished.get("id", run_id) != run_id and not overwrite:
            raise LabelError(
                f"{folder} holds another student (other labels or configuration); choose another"
                " --output, or replace it with --overwrite"
            )
        clean_leftovers(folder)
        if _is_whole(folder, finished, run_id):
            return _told(folder, finished, _metrics(folder), dataset, split, kept=True)
        write_description(folder, {"id": run_id})
        split.save(folder)
        saved = _Training(dataset, split, config, folder, run_id).run(progress)
        with stage("calibrating", progress):
            held = finished_students(dataset, split, config, folder, saved)
        write_description(folder, held | {"id": run_id})
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return _told(folder, held, saved.metrics, dataset, split, kept=False)


def _finished(folder: Path) -> dict[str, Any]:
    """The `config.json` that is there, whoever wrote it; nothing where there is none."""
    path = folder / CONFIG
    if not os.path.lexists(path):
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = None
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise LabelError(f"{path} is not a {FORMAT} file; move it away, or choose another --output")
    return held


def _refuse_foreign(folder: Path, finished: dict[str, Any], overwrite: bool) -> None:
    """Raise LabelError for files of our names that no training wrote."""
    present = [name for name in _OWN if os.path.lexists(folder / name)]
    if present and not finished and not overwrite:
        raise LabelError(
            f"{folder / present[0]} is in the way; move it away, or choose another --output"
        )


def _joined(
    labels: Path, more: Sequence[Path | str], folder: Path, progress: StageProgress | None
) -> list[Path]:
    """Label files of `more`: those that are labels already, and what joins the map first."""
    from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
    from sphere_ebm.files.walk import natural_order

    given = [Path(one) for one in more]
    found: list[Path] = []
    shards: list[Path] = []
    for one in given:
        inside = sorted(one.glob(f"*{LABEL_SUFFIX}"), key=natural_order) if one.is_dir() else []
        if inside:
            found.extend(inside)
        elif one.name.endswith(LABEL_SUFFIX):
            found.append(one)
        else:
            shards.append(one)
    if shards:
        found.extend(join_shards(labels, shards, folder / MORE, progress=progress))
    return found


def _run_id(dataset: LabelDataset, split: Split, config: LibrarianConfig) -> str:
    """What the bytes of the student depend on."""
    content = {
        "version": version("sphere-ebm"),
        "config": json.loads(config.to_json()),
        "map": dataset.map_id,
        "files": [[path.name, sha256_of(path)] for path in dataset.files],
        "train": split.train,
        "validation": split.validation,
    }
    return identity(content)


def _is_whole(folder: Path, finished: dict[str, Any], run_id: str) -> bool:
    """Whether the folder holds this very student, as it was written."""
    files = finished.get("files")
    if finished.get("id") != run_id or not isinstance(files, dict):
        return False
    return all(
        (folder / name).is_file() and sha256_of(folder / name) == digest
        for name, digest in files.items()
    )


def _metrics(folder: Path) -> tuple[dict[str, Any], ...]:
    lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def _told(
    folder: Path,
    held: dict[str, Any],
    metrics: tuple[dict[str, Any], ...],
    dataset: LabelDataset,
    split: Split,
    *,
    kept: bool,
) -> TrainRun:
    counts = {one.name: one.patches for one in dataset.documents}
    return TrainRun(
        folder,
        int(held["steps"]),
        int(held["best_step"]),
        metrics,
        sum(counts[name] for name in split.train),
        sum(counts[name] for name in split.validation),
        kept,
    )


@final
class _Training:
    """The loop: batches, evaluations, checkpoints, and the end."""

    def __init__(
        self,
        dataset: LabelDataset,
        split: Split,
        config: LibrarianConfig,
        folder: Path,
        run_id: str,
    ) -> None:
        self._dataset = dataset
        self._split = split
        self._config = config
        self._folder = folder
        self._run_id = run_id
        length = min(trainer_class(config.student).together, config.batch)
        self._runs = dataset.runs(split.train, length)
        self._each = config.batch // length
        self._epoch = math.ceil(len(self._runs) / self._each)
        # gradients of whole steps only
        wanted = self._epoch * config.epochs
        self.steps = max(wanted - wanted % config.accumulate, config.accumulate)

    def run(self, progress: StageProgress | None) -> Saved:
        """Learn until nothing is gained any more; returns how it ended."""
        config = self._config
        corpus = self._dataset.corpus(self._split.train)
        made = trainer_class(config.student)
        trainer = made.create(config, self._dataset.facts, corpus, self.steps)
        saved = load_checkpoint(self._folder, self._run_id)
        if saved is None:
            saved = Saved({}, {}, 0, -math.inf, 0, (), {})
        else:
            trainer.restore(saved.state)
        while not self._ended(trainer.step, saved):
            if progress is not None:
                progress("training", trainer.step, self.steps)
            told = trainer.fit_step(self._batch(trainer.step))
            sums = {name: saved.sums.get(name, 0.0) + value for name, value in told.items()}
            saved = saved._replace(sums=sums | {"batches": saved.sums.get("batches", 0.0) + 1})
            saved = self._after(trainer, saved)
        if progress is not None:
            progress("training", self.steps, self.steps)
        return saved._replace(state=trainer.state())

    def _ended(self, step: int, saved: Saved) -> bool:
        return step >= self.steps or saved.stale >= self._config.patience

    def _after(self, trainer: AbstractTrainer, saved: Saved) -> Saved:
        """Evaluate and save where it is time to."""
        config = self._config
        whole = trainer.step % config.accumulate == 0
        evaluate = config.evaluate_every * config.accumulate or self._epoch
        save = config.save_every * config.accumulate or self._epoch
        last = trainer.step >= self.steps
        if trainer.step % evaluate == 0 or last:
            saved = self._evaluated(trainer, saved)
            last = self._ended(trainer.step, saved)
        if (trainer.step % save == 0 and whole) or last:
            save_checkpoint(self._folder, self._run_id, saved._replace(state=trainer.state()))
        return saved

    def _evaluated(self, trainer: AbstractTrainer, saved: Saved) -> Saved:
        student = trainer.student()
        told = judged(student, self._dataset, self._split.validation)
        batches = saved.sums["batches"]
        means = {name: total / batches for name, total in saved.sums.items() if name != "batches"}
        score = told[trainer.judged_by]
        line = {"step": trainer.step, "epoch": trainer.step / self._epoch}
        line |= {f"train_{name}": round(value, 6) for name, value in means.items()}
        line |= {name: round(value, 6) for name, value in told.items()}
        saved = saved._replace(metrics=(*saved.metrics, line), sums={})
        _write_metrics(self._folder, saved.metrics)
        # of students that are alike the later one is kept: its steps were smaller
        if score > saved.best_score - trainer.alike:
            saved = saved._replace(best=student.arrays(), best_step=trainer.step)
        if score > saved.best_score:
            return saved._replace(best_score=score, stale=0)
        return saved._replace(stale=saved.stale + 1)

    def _batch(self, step: int) -> Batch:
        """The batch of a step: runs of all documents, in an order drawn anew for each epoch."""
        epoch, number = divmod(step, self._epoch)
        random = np.random.default_rng([self._config.seed, 3, epoch])
        order = random.permutation(len(self._runs))
        chosen = order[number * self._each : (number + 1) * self._each]
        runs: list[Run] = [self._runs[k] for k in chosen]
        return self._dataset.batch(runs, weigh=self._config.weigh_by_spread)


def _write_metrics(folder: Path, metrics: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in metrics)
    atomic_write(folder / METRICS, lambda file: file.write(text.encode()))
