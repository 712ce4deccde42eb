"""The model card says what held and what did not, by planted figures."""

import dataclasses
import math
from pathlib import Path

import pytest

from sphere_ebm import LabelError
from sphere_ebm.librarian.bootstrap import Interval
from sphere_ebm.librarian.card import Finding, card_text, findings, write_card
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.measures import Tenth
from sphere_ebm.librarian.report import ALONE, WITH_MAP, Hits, LengthClass, Report


def figure(value, low=None, high=None):
    return Interval(value, value if low is None else low, value if high is None else high)


GOOD = Report(
    student="static",
    context=19,
    map_id="0123456789abcdef",
    patches=1200,
    documents=12,
    unseen=True,
    chance_of_same_document=0.083,
    figures={
        ALONE: {"median_angle": figure(3.0), "near": figure(0.5)},
        WITH_MAP: {"median_angle": figure(1.5), "near": figure(0.6), "bits": figure(3.2)},
        "chance": {"median_angle": figure(90.0), "near": figure(0.01), "bits": figure(-0.05)},
    },
    gains={
        row: {
            "chance": {"bits": figure(3.3, 3.0, 3.6)},
            "ridge": {"near": figure(0.5, 0.4, 0.6)},
            "knn": {"near": figure(-0.01, -0.03, 0.01)},
        }
        for row in (ALONE, WITH_MAP)
    },
    shell_rank={WITH_MAP: 0.8},
    calibration={WITH_MAP: (Tenth(600, 0.1, 0.12), Tenth(600, 0.5, 0.4))},
    hits={WITH_MAP: (Hits(600, 0.4, 0.45), Hits(600, 0.8, 0.79))},
    error_rank={WITH_MAP: 0.4},
    lengths={
        WITH_MAP: {
            "1 to 12 bytes": LengthClass(400, 1.0, 0.7),
            "13 bytes and more": LengthClass(800, 2.0, 0.6),
        }
    },
    patches_per_second={ALONE: 20_000.0, WITH_MAP: 3_000.0},
)


def verdicts(report):
    return {one.claim: one.held for one in findings(report)}


def test_a_good_student_is_told_what_held():
    assert list(verdicts(GOOD).values()) == [True] * 6
    assert "its stated errors hold" in verdicts(GOOD)


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"gains": {WITH_MAP: {"chance": {"bits": figure(0.1, -0.1, 0.3)}}}}, "its places"),
        ({"gains": {WITH_MAP: {"knn": {"near": figure(-0.2, -0.3, -0.1)}}}}, "true embedding"),
        ({"calibration": {WITH_MAP: (Tenth(9, 0.1, 0.3),)}}, "stated errors"),
        (
            {
                "lengths": {
                    WITH_MAP: {
                        "1 to 12 bytes": LengthClass(4, 50.0, 0.1),
                        "13 bytes and more": LengthClass(8, 2.0, 0.6),
                    }
                }
            },
            "short patches",
        ),
    ],
)
def test_what_failed_is_said(change, claim):
    report = dataclasses.replace(GOOD, **change)
    failed = [one.claim for one in findings(report) if not one.held]
    assert len(failed) == 1
    assert claim in failed[0]
    assert f"**no**: {failed[0]}" in card_text(report, LibrarianConfig())


def test_figures_that_are_not_there_are_no_finding():
    bare = dataclasses.replace(
        GOOD,
        figures={ALONE: {"near": figure(math.nan)}},
        gains={ALONE: {"chance": {"bits": figure(math.nan)}}},
        calibration={},
        hits={},
        lengths={ALONE: {}},
    )
    assert findings(bare) == []
    assert "- **yes**" not in card_text(bare, LibrarianConfig())


def test_only_the_static_student_is_meant_to_be_asked_with_the_map():
    assert GOOD.main_row == WITH_MAP
    assert dataclasses.replace(GOOD, student="direct").main_row == ALONE
    alone = dataclasses.replace(GOOD, figures={ALONE: GOOD.figures[ALONE]})
    assert alone.main_row == ALONE


def test_the_card_says_how_it_was_judged():
    text = card_text(GOOD, LibrarianConfig(seed=3), [Finding("context helps", False, "+.01")])
    assert "1,200 patches of 12 documents that it has not seen" in text
    assert "600 bytes on either side; trained with seed 3" in text
    assert "**no**: context helps (+.01)" in text
    assert "| student with the map | 1.50 |" in text
    assert '"student": "static"' in text
    flattered = card_text(dataclasses.replace(GOOD, unseen=False), LibrarianConfig())
    assert "figures flatter" in flattered


def test_card_and_numbers_go_into_the_students_folder(tmp_path: Path):
    written = write_card(tmp_path, GOOD, LibrarianConfig())
    assert [path.name for path in written] == ["README.md", "evaluation.json"]
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "evaluation.json"}
    with pytest.raises(LabelError, match="no folder of a student"):
        write_card(tmp_path / "none", GOOD, LibrarianConfig())
