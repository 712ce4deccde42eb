"""`evaluate`: how well a student has learned the labels, beside those who know less and more."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float32

from sphere_ebm.errors import LabelError
from sphere_ebm.files.formats import MAP
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.librarian.bootstrap import DRAWS, Interval, interval
from sphere_ebm.librarian.dataset import LabelDataset
from sphere_ebm.librarian.heads import Predicted
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.measures import (
    LEVEL,
    TENTHS,
    Answers,
    Judged,
    LabelCell,
    Scores,
    calibration,
    chance_of_same_document,
    length_classes,
    looked_up,
    score,
)
from sphere_ebm.librarian.report import (
    ALONE,
    FIGURES,
    WITH_MAP,
    Hits,
    LengthClass,
    Report,
    values_of,
)
from sphere_ebm.librarian.rivals import (
    GUESSES,
    NAMES,
    other_seed,
    replica_of,
)
from sphere_ebm.librarian.split import Split
from sphere_ebm.librarian.trial import Trial, judged_documents
from sphere_ebm.librarian.windows import Passages, stacked
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress
from sphere_ebm.quality.points import rank_correlation

THEMSELVES = "the labels themselves"
_BATCH = 8192


def evaluate(
    librarian: Librarian,
    labels: Path | str,
    *,
    against: Sequence[str] = NAMES,
    split: Split | None = None,
    of_map: Path | str | None = None,
    other: Path | str | None = None,
    seed: int = 0,
    draws: int = DRAWS,
    progress: StageProgress | None = None,
) -> Report:
    """Judge a student by labels of documents that it has not seen.

    Args:
        librarian: the student, without the map at hand: it is judged both ways.
        labels: folder with the labels to judge by: of the map, with documents that joined it, or
            of label files that joined it elsewhere.
        against: rivals, of `NAMES`; see `sphere_ebm.librarian.rivals`.
        split: documents that the student was trained and stopped on, which are not judged. Where no
            other is left, those that it was stopped on are, which the report tells.
        of_map: folder of the map; None: `labels`.
        other: folder of another seed's map of the same points, for `seed`; None: a replica of the
            map.
        seed: of chance and of the draws of documents.
        draws: of documents, for intervals.
        progress: called as progress("judging", done, total).

    Raises:
        LabelError: no labels to judge by, no map, labels of another map than the student's, or an
            `other` map of other points.
        ShardError: a label file is damaged.
        ValueError: an unknown rival.
    """
    if unknown := sorted(set(against) - set(NAMES)):
        raise ValueError(f"`against` must be of {', '.join(NAMES)}; got {', '.join(unknown)}.")
    asked = LabelDataset.open(labels)
    home = Path(labels if of_map is None else of_map)
    known = asked if home == Path(labels) else LabelDataset.open(home)
    _check_maps(librarian, asked, known, home)
    chosen, unseen = judged_documents(asked, split)
    test = Trial.of(asked, known, chosen)
    given = _students(librarian, test, home, progress)
    rows = {name: one.answers for name, one in given.items()}
    rows |= _rivals(test, against, home, other, seed)
    rows[THEMSELVES] = Answers(direction=test.judged.direction, shell=test.judged.shell)
    scores = {name: score(answers, test.judged) for name, answers in rows.items()}
    return _report(librarian, test, unseen, given, scores, _Drawing(seed, draws))


@final
@dataclass(frozen=True)
class _Drawing:
    """How intervals are drawn."""

    seed: int
    draws: int


def _check_maps(librarian: Librarian, asked: LabelDataset, known: LabelDataset, home: Path) -> None:
    """All of it is about one map, whose folder is at hand. Raises LabelError."""
    if not (home / MAP).exists():
        raise LabelError(
            f"{home} holds label files but no map; name the folder of the map that they joined with"
            " --map"
        )
    for held, folder in ((librarian.map_id, "the student was taught"), (known.map_id, str(home))):
        if held != asked.map_id:
            raise LabelError(
                f"{asked.folder} has labels of the map {asked.map_id[:8]}, but"
                f" {folder} {held[:8]}; join the documents to that map"
            )


def _students(
    librarian: Librarian, test: Trial, home: Path, progress: StageProgress | None
) -> dict[str, "Given"]:
    """Answers of the student, alone and with the map at hand."""
    asked = {ALONE: librarian}
    if not test.fitted:
        asked[WITH_MAP] = librarian.with_map(home)
    found = {}
    for number, (name, student) in enumerate(asked.items()):
        if progress is not None:
            progress("judging", number, len(asked))
        found[name] = answers_of(student, test)
    if progress is not None:
        progress("judging", len(asked), len(asked))
    return found


@final
@dataclass(frozen=True, eq=False)
class Given:
    """Answers of a student, and how fast they came: patches that it predicted a second."""

    answers: Answers
    patches_per_second: float


def answers_of(student: Librarian, test: Trial) -> Given:
    """What a student, with the map at hand or without, says of all patches of a trial.

    Some thousand at a time; what it says of cells is looked up and let go.
    """
    parts: list[Predicted] = []
    looked: list[LabelCell] = []
    seconds = 0.0
    begin = 0
    for passages in _batches(test.passages):
        started = time.perf_counter()
        predicted = student.predict_in(passages, cells=True)
        seconds += time.perf_counter() - started
        here = slice(begin, begin + len(passages))
        begin = here.stop
        if predicted.cells is not None:
            cells = at_level(predicted.cells, LEVEL)
            looked.append(looked_up(cells, test.judged.direction[here]))
        parts.append(replace(predicted, cells=None))
    truth = unit_rows(test.embeddings.astype(np.float64))
    embedding = np.concatenate([part.embedding for part in parts])
    answers = Answers(
        direction=np.concatenate([part.direction for part in parts]),
        spread=np.concatenate([part.spread for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        shell=np.concatenate([part.shell for part in parts]),
        cell=_together(looked) if looked else None,
        cosine=np.einsum("pd,pd->p", embedding.astype(np.float64), truth),
    )
    return Given(answers, len(embedding) / max(seconds, 1e-9))


def _together(parts: Sequence[LabelCell]) -> LabelCell:
    return LabelCell(*map(np.concatenate, zip(*parts, strict=True)))


def _batches(documents: Sequence[Passages]) -> Iterator[Passages]:
    """Documents in groups of a few thousand patches."""
    group: list[Passages] = []
    for one in documents:
        group.append(one)
        if sum(map(len, group)) >= _BATCH:
            yield stacked(group)
            group = []
    if group:
        yield stacked(group)


def at_level(
    log_cells: Float32[np.ndarray, "patches given"], level: int
) -> Float32[np.ndarray, "patches cells"]:
    """The same distributions over the cells of another level: summed, or shared among children."""
    given = round(math.log(log_cells.shape[1], 4))
    if given == level:
        return log_cells
    if given < level:
        parts = 4 ** (level - given)
        return np.repeat(log_cells, parts, axis=1) - np.float32(math.log(parts))
    grouped = log_cells.reshape(len(log_cells), 4**level, -1)
    most = grouped.max(axis=2)
    return most + np.log(np.exp(grouped - most[:, :, None]).sum(axis=2))


def _rivals(
    test: Trial, against: Sequence[str], home: Path, other: Path | str | None, seed: int
) -> dict[str, Answers]:
    """Answers of the rivals that were asked for."""
    ground = test.ground(seed)
    found = {name: GUESSES[name](ground) for name in against if name in GUESSES}
    if "seed" not in against:
        return found
    if other is not None:
        placement: Placement | None = load_placement(other)
    else:
        placement = replica_of(home)
    if placement is None:
        return found
    own = load_placement(home)
    if not _same_points(own, placement):
        raise LabelError(f"{other} is a map of other points than {home}; label the same shards")
    return found | {"seed": other_seed(ground, placement, own.direction)}


def _same_points(one: Placement, other: Placement) -> bool:
    mine = one.embeddings
    theirs = other.embeddings
    return mine is not None and theirs is not None and np.array_equal(mine, theirs)


def _report(
    librarian: Librarian,
    test: Trial,
    unseen: bool,
    given: Mapping[str, Given],
    scores: Mapping[str, Scores],
    drawing: _Drawing,
) -> Report:
    judged = test.judged
    students = {name: one.answers for name, one in given.items()}
    stated = {name: one.spread for name, one in students.items() if one.spread is not None}
    sure = {name: one.confidence for name, one in students.items() if one.confidence is not None}
    rivals = {
        name: one for name, one in scores.items() if name not in students and name != THEMSELVES
    }
    return Report(
        student=librarian.config.student,
        context=librarian.config.context,
        map_id=librarian.map_id,
        patches=len(judged),
        documents=len(test.passages),
        unseen=unseen,
        chance_of_same_document=chance_of_same_document(judged.document),
        figures={name: _figures(one, judged, drawing) for name, one in scores.items()},
        gains={
            name: {
                rival: _gains(scores[name], one, judged, drawing) for rival, one in rivals.items()
            }
            for name in students
        },
        shell_rank={name: one.shell_rank for name, one in scores.items()},
        calibration={
            name: tuple(calibration(spread, scores[name].angle)) for name, spread in stated.items()
        },
        hits={name: hits(held, scores[name].near) for name, held in sure.items()},
        error_rank={
            name: rank_correlation(spread, scores[name].angle) for name, spread in stated.items()
        },
        lengths={name: _lengths(scores[name], judged) for name in students},
        patches_per_second={name: one.patches_per_second for name, one in given.items()},
        notes=test.notes,
    )


def _figures(scores: Scores, judged: Judged, drawing: _Drawing) -> dict[str, Interval]:
    found = {}
    for name, figure in FIGURES.items():
        values = values_of(scores, name)
        if values is not None:
            found[name] = interval(
                values,
                judged.document,
                figure.statistic,
                seed=drawing.seed,
                draws=drawing.draws,
            )
    return found


def _gains(scores: Scores, rival: Scores, judged: Judged, drawing: _Drawing) -> dict[str, Interval]:
    found = {}
    for name, figure in FIGURES.items():
        values = values_of(scores, name)
        others = values_of(rival, name)
        if values is not None and others is not None:
            found[name] = interval(
                values,
                judged.document,
                figure.statistic,
                against=others,
                seed=drawing.seed,
                draws=drawing.draws,
            )
    return found


def hits(
    confidence: Float[np.ndarray, " patches"], near: Bool[np.ndarray, " patches"]
) -> tuple[Hits, ...]:
    """Stated confidence and the share that was near, by tenth of the former, surest last."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), TENTHS)
    return tuple(
        Hits(len(part), float(confidence[part].mean()), float(near[part].mean()))
        for part in parts
        if len(part)
    )


def _lengths(scores: Scores, judged: Judged) -> dict[str, LengthClass]:
    found = {}
    for name, rows in length_classes(judged.length).items():
        angle = np.degrees(scores.angle[rows])
        median = float(np.median(angle)) if len(angle) else math.nan
        share = float(scores.near[rows].mean()) if len(angle) else math.nan
        found[name] = LengthClass(int(rows.sum()), median, share)
    return found
