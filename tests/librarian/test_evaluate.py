"""Evaluations of planted students, on a small map with documents that joined it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import cloud, unit
from sphere_ebm import LabelError, PlacementConfig, label
from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.dataset import LabelDataset
from sphere_ebm.librarian.evaluate import THEMSELVES, at_level, evaluate
from sphere_ebm.librarian.heads import Predicted
from sphere_ebm.librarian.joined import join_shards
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.measures import LEVEL
from sphere_ebm.librarian.report import ALONE, WITH_MAP, Report, as_json
from sphere_ebm.librarian.rivals import other_seed
from sphere_ebm.librarian.split import Split
from sphere_ebm.librarian.trial import Trial
from sphere_ebm.maps.loading import load_placement

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=2)
SEEN = Split(("s0", "s1"), ("n",))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("home")
    for i, patches in enumerate((20, 17)):
        shard(folder / "old" / f"s{i}.safetensors", patches, seed=i)
    shard(folder / "new" / "n.safetensors", 9, seed=7)
    shard(folder / "new" / "m.safetensors", 6, seed=8)
    label(folder / "old", folder / "map", CONFIG, page=False)
    join_shards(folder / "map", [folder / "new"], folder / "joined")
    return folder


def planted(labels: Path, names: list[str], right: bool) -> Librarian:
    """A student that answers with the labels of some documents, or with their opposites."""
    data = LabelDataset.open(labels)
    numbers = [data.numbers[name] for name in names]
    rows = np.concatenate([np.arange(len(data))[data.documents[n].rows] for n in numbers])
    direction = data.direction[rows] * np.float32(1 if right else -1)
    modes = np.stack([direction, direction], axis=1)
    vectors = np.concatenate([data.vectors(n) for n in numbers])
    predicted = Predicted(
        direction=direction,
        radius=data.radius[rows],
        shell=data.shell[rows],
        spread=np.linspace(0.1, 0.5, len(rows), dtype=np.float32),
        confidence=np.linspace(0.9, 0.2, len(rows), dtype=np.float32),
        modes=modes,
        mode_weight=np.tile(np.float32([1, 0]), (len(rows), 1)),
        embedding=unit(vectors),
        cells=np.full((len(rows), 4**3), -math.log(4**3), np.float32),
    )
    student = Librarian.__new__(Librarian)
    vars(student).update(
        config=LibrarianConfig(context=2),
        map_id=data.map_id,
        predict_in=lambda passages, cells: predicted,
        with_map=lambda folder: student,
    )
    return student


@pytest.fixture(scope="module")
def report(home: Path) -> Report:
    student = planted(home / "joined", ["m", "n"], right=True)
    return evaluate(student, home / "joined", of_map=home / "map", draws=50)


def test_a_student_that_knows_every_label_is_told_so(report: Report) -> None:
    assert (report.patches, report.documents, report.unseen) == (15, 2, True)
    for row in (ALONE, WITH_MAP, THEMSELVES):
        assert report.figures[row]["near"].value == 1
        assert report.figures[row]["nbr15"].value == 1
    assert report.figures[ALONE]["cosine"].value == pytest.approx(1)
    assert report.figures[ALONE]["shell_error"].value == 0
    assert report.main_row == WITH_MAP
    # all cells alike: less than the prior where the map has points
    assert report.figures[ALONE]["top"].value == 0
    assert set(report.gains[ALONE]) == {"chance", "ridge", "knn", "seed"}
    gain = report.gains[ALONE]["chance"]["near"]
    assert gain.value == pytest.approx(1 - report.figures["chance"]["near"].value)
    assert len(report.calibration[ALONE]) == 10
    assert report.error_rank[ALONE] != 0
    assert sum(one.patches for one in report.lengths[ALONE].values()) == 15


def test_hits_compare_stated_confidence_with_what_was_near(report: Report) -> None:
    assert report.hits[ALONE][0].stated < report.hits[ALONE][-1].stated
    assert {one.found for one in report.hits[ALONE]} == {1.0}


def test_a_report_survives_its_json(report: Report) -> None:
    assert as_json(Report.from_dict(json.loads(as_json(report)))) == as_json(report)


def test_a_damaged_report_is_refused_by_the_name_of_what_is_missing(
    report: Report, unchecked: None
) -> None:
    for damage in ([1], None, {"student": {"bits": [1]}}):
        with pytest.raises(ValueError, match="`figures` of the report"):
            Report.from_dict({**report.to_dict(), "figures": damage})


def test_a_student_that_is_always_opposite_is_worse_than_chance(home: Path) -> None:
    student = planted(home / "joined", ["m", "n"], right=False)
    found = evaluate(student, home / "joined", of_map=home / "map", against=["chance"], draws=20)
    assert found.figures[ALONE]["median_angle"].value == pytest.approx(180, abs=0.1)
    assert found.gains[ALONE]["chance"]["median_angle"].low > 0


def test_only_documents_that_were_not_seen_are_judged(home: Path) -> None:
    student = planted(home / "joined", ["m"], right=True)
    found = evaluate(student, home / "joined", of_map=home / "map", split=SEEN, against=[], draws=2)
    assert (found.patches, found.documents, found.unseen) == (6, 1, True)


def test_validation_documents_stand_in_and_are_taken_from_the_map(home: Path) -> None:
    student = planted(home / "map", ["s1"], right=True)
    split = Split(("s0",), ("s1",))
    found = evaluate(student, home / "map", split=split, against=["knn"], draws=2)
    assert not found.unseen
    assert WITH_MAP not in found.figures
    assert "on the map" in found.notes[0]
    # an oracle that found the patch itself would know its place
    assert found.figures["knn"]["median_angle"].value > 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"of_map": None}, "no map; name the folder"),
        ({"split": Split(("m", "n"), ())}, "was trained on"),
        ({"map_id": "another"}, "the student was taught another"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(home, change, says) -> None:
    student = planted(home / "joined", ["m", "n"], right=True)
    vars(student)["map_id"] = change.pop("map_id", student.map_id)
    with pytest.raises(LabelError, match=says) as caught:
        evaluate(student, home / "joined", **{"of_map": home / "map", "against": []} | change)
    assert "\n" not in str(caught.value)


def test_rivals_are_named(home: Path) -> None:
    student = planted(home / "joined", ["m", "n"], right=True)
    with pytest.raises(ValueError, match="chance, ridge, knn, seed; got luck"):
        evaluate(student, home / "joined", against=["luck"])


def test_another_map_of_the_same_points_may_be_the_floor(home: Path, report: Report) -> None:
    student = planted(home / "joined", ["m", "n"], right=True)
    same = evaluate(
        student, home / "joined", of_map=home / "map", other=home / "map", against=["seed"], draws=2
    )
    # the map itself puts them where they are
    assert same.figures["seed"]["median_angle"].value < 0.1
    assert report.figures["seed"]["median_angle"].value > 0.5


def test_a_reflected_copy_of_the_map_is_the_map(home: Path) -> None:
    asked = LabelDataset.open(home / "joined")
    trial = Trial.of(asked, LabelDataset.open(home / "map"), ["m", "n"])
    placement = load_placement(home / "map")
    flipped = replace(placement, direction=placement.direction * np.float32([-1, 1, 1]))
    answers = other_seed(trial.ground(0), flipped, placement.direction)
    assert np.median(angles_between(answers.direction, trial.judged.direction)) < 0.01
    assert answers.cell is not None
    assert answers.cell.log_probability.mean() > np.log(trial.judged.prior).mean()


@pytest.mark.parametrize("given", [LEVEL - 1, LEVEL, LEVEL + 1])
def test_distributions_keep_their_sum_on_another_level(given: int) -> None:
    logits = cloud(3, 4**given, seed=0)
    law = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = at_level(law.astype(np.float32), LEVEL)
    assert found.shape == (3, 4**LEVEL)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-4)
    first = np.exp(found[:, :4]).sum(axis=1)
    wanted = {LEVEL - 1: np.exp(law[:, 0]), LEVEL + 1: np.exp(law[:, :16]).sum(axis=1)}
    np.testing.assert_allclose(first, wanted.get(given, first), rtol=1e-4)
