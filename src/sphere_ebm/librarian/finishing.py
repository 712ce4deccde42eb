"""The end of a training: how well a student does, calibrated, and written."""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.tensors import write_tensors
from sphere_ebm.geometry.cells import cell_centres, cell_keys, neighbours
from sphere_ebm.librarian.calibration import Calibration
from sphere_ebm.librarian.checkpoint import (
    Saved,
)
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.dataset import LabelDataset, Run
from sphere_ebm.librarian.description import BEST, FORMAT, GROUND, METRICS, MODEL
from sphere_ebm.librarian.fields import known_map_arrays
from sphere_ebm.librarian.heads import CLOSE
from sphere_ebm.librarian.known_map import KnownMap, Law
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.map_points import MapPoints, map_points
from sphere_ebm.librarian.parts import Cells
from sphere_ebm.librarian.split import SPLIT, Split
from sphere_ebm.librarian.students.base import (
    AbstractStudent,
    Arrays,
    student_class,
    trainer_class,
)
from sphere_ebm.librarian.windows import Passages, stacked


def judged(
    student: AbstractStudent, dataset: LabelDataset, names: Sequence[str]
) -> dict[str, float]:
    """How well a student does on some documents, patches weighed alike.

    `"cosine"`: of embeddings; `"bits"`: by which the label's cell is known better than that of a
    point anywhere; `"angle"`: median, in degrees, of the likeliest cell's centre; `"shell"`: mean
    error of the median shell.
    """
    rows = []
    level = student.config.level
    centres = cell_centres(np.arange(4**level), level).astype(np.float32)
    for number in (dataset.numbers[name] for name in names):
        batch = dataset.batch([Run(number, 0, dataset.documents[number].patches)])
        outputs = student.predict(batch.passages)
        key = cell_keys(batch.direction, level)
        chance = outputs.cells[np.arange(len(key)), key] / math.log(2) + 2 * level
        likeliest = centres[outputs.cells.argmax(axis=1)]
        shell = np.argmax(np.cumsum(np.exp(outputs.shells), axis=1) >= 0.5, axis=1)
        rows.append(
            np.stack(
                [
                    np.einsum("nd,nd->n", outputs.embedding, batch.embedding),
                    chance,
                    np.degrees(np.sqrt(squared_angles(likeliest, batch.direction))),
                    np.abs(shell - batch.shell),
                ]
            )
        )
    cosine, bits, angle, shell_error = np.concatenate(rows, axis=1).astype(np.float64)
    return {
        "cosine": float(cosine.mean()),
        "bits": float(bits.mean()),
        "angle": float(np.median(angle)),
        "shell": float(shell_error.mean()),
    }


def finished_students(
    dataset: LabelDataset, split: Split, config: LibrarianConfig, folder: Path, saved: Saved
) -> dict[str, Any]:
    """Calibrate the best student and the last one, and write both; returns what to tell of them."""
    points = map_points(dataset.folder)
    made = known_map_arrays(dataset.config, points.embeddings, points.direction)
    law, ground = (None, {}) if made is None else made
    trainer = trainer_class(config.student).create(config, dataset.facts, (), 1)
    trainer.restore(saved.state)
    last = trainer.student().arrays()
    files: dict[str, str] = {}
    told: dict[str, Any] = {}
    for name, arrays in ((BEST, saved.best), (MODEL, last)):
        student = student_class(config.student).from_arrays(config, dataset.facts, arrays)
        librarian = uncalibrated(student, dataset, law, ground)
        librarian = with_calibrations(librarian, dataset, split, points)
        files[name] = write_tensors(folder / name, librarian.arrays(), {"format": FORMAT})
        told = librarian.description()
    if law is not None:
        files[GROUND] = write_tensors(folder / GROUND, ground, {"format": FORMAT})
    files[METRICS] = sha256_of(folder / METRICS)
    files[SPLIT] = sha256_of(folder / SPLIT)
    steps = {"steps": int(saved.metrics[-1]["step"]), "best_step": saved.best_step}
    return {**told, **steps, "version": version("sphere-ebm"), "files": files}


def uncalibrated(
    student: AbstractStudent, dataset: LabelDataset, law: Law | None, ground: Arrays
) -> Librarian:
    """A librarian that is not calibrated."""
    level = student.config.level
    keys = np.arange(4**level)
    cells = Cells(
        cell_centres(keys, level).astype(np.float32), neighbours(keys, level).astype(np.int32)
    )
    return Librarian(
        student=student,
        config=student.config,
        facts=dataset.facts,
        map_id=dataset.map_id,
        cells=cells,
        law=law,
        ground=ground,
    )


def with_calibrations(
    librarian: Librarian, dataset: LabelDataset, split: Split, points: MapPoints
) -> Librarian:
    """The same with calibrations from the validation documents.

    With the map at hand these documents are taken off it first: a newcomer does not meet itself.
    """
    numbers = [dataset.numbers[name] for name in split.validation]
    passages: Passages = stacked([dataset.passages(number) for number in numbers])
    rows = np.concatenate([np.arange(len(dataset))[dataset.documents[n].rows] for n in numbers])
    direction = dataset.direction[rows]
    plain = _calibrated_on(librarian, passages, direction)
    librarian = replace(librarian, plain=plain)
    own = sum(one.patches for one in dataset.documents if not one.more)
    if librarian.law is None:
        return librarian
    keep = np.ones(len(points.direction), np.bool_)
    if own == len(keep):
        # of a map that fitted all points its rows are those of the labels
        keep[rows] = False
    known = KnownMap.of(librarian.law, points.embeddings, points.direction, librarian.ground, keep)
    joining = _calibrated_on(replace(librarian, known=known), passages, direction)
    return replace(librarian, joining=joining)


def _calibrated_on(
    librarian: Librarian, passages: Passages, direction: Float32[np.ndarray, "patches 3"]
) -> Calibration:
    """How far off it is on patches whose labels are known."""
    seen = librarian.seen(passages)
    squared = squared_angles(seen.direction, direction)
    return Calibration.fit(seen.signs, squared, (squared < CLOSE**2).astype(np.float64))


def squared_angles(
    one: Float32[np.ndarray, "patches 3"], other: Float32[np.ndarray, "patches 3"]
) -> Float32[np.ndarray, " patches"]:
    """Squared angles in radians between unit vectors."""
    half = np.minimum(np.linalg.norm(one - other, axis=1) / 2, 1)
    return ((2 * np.arcsin(half)) ** 2).astype(np.float32)
