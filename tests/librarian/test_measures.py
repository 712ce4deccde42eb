"""Measures, by planted answers whose figures are known beforehand."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sphere_ebm.geometry.cells import cell_keys
from sphere_ebm.librarian.measures import (
    FIRST,
    LEVEL,
    Answers,
    Judged,
    calibration,
    cells_around,
    chance_of_same_document,
    length_classes,
    looked_up,
    prior_of,
    same_document,
    score,
    taken,
)

PATCHES = 600
CELLS = 4**LEVEL


def unit(rng, *shape):
    rows = rng.standard_normal((*shape, 3))
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def judged():
    rng = np.random.default_rng(0)
    fitted = unit(rng, 5000)
    return Judged(
        direction=unit(rng, PATCHES),
        shell=rng.integers(0, 32, PATCHES).astype(np.int32),
        angle_std=np.full(PATCHES, 0.1, np.float32),
        document=np.repeat(np.arange(20), PATCHES // 20),
        length=rng.integers(1, 60, PATCHES).astype(np.int32),
        fitted=fitted,
        prior=prior_of(fitted),
    )


def moved(direction, angle, seed=1):
    """Each direction turned by `angle` (radians) about an axis at right angles to it."""
    axis = np.cross(direction, unit(np.random.default_rng(seed), len(direction)))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    return (
        Rotation.from_rotvec(axis * np.reshape(angle, (-1, 1))).apply(direction).astype(np.float32)
    )


def test_the_labels_themselves_are_perfect_answers(judged):
    around = cells_around(
        judged.direction[:, None], np.ones((PATCHES, 1)), np.full(PATCHES, 0.05), judged.prior
    )
    found = score(
        Answers(
            direction=judged.direction, shell=judged.shell, cell=looked_up(around, judged.direction)
        ),
        judged,
    )
    assert found.angle.max() < 1e-6
    assert found.near.all()
    assert found.nbr15.min() == 1
    assert found.top.all()
    assert found.bits.mean() > 6
    assert found.shell_error.max() == 0
    assert found.shell_rank == pytest.approx(1)


def test_answers_a_known_angle_away_are_that_far_off(judged):
    angle = np.where(np.arange(PATCHES) % 4 == 0, math.radians(30), math.radians(5))
    found = score(Answers(direction=moved(judged.direction, angle)), judged)
    np.testing.assert_allclose(found.angle, angle, atol=1e-5)
    assert found.near.mean() == pytest.approx(0.75)
    assert found.top is None
    assert found.shell_error is None
    far = found.angle > math.radians(20)
    # 15 of 5 000 points lie within 6 degrees of a label: at 30 degrees none is shared
    assert found.nbr15[far].max() == 0
    assert 0.05 < found.nbr15[~far].mean() < 0.6


def test_the_prior_alone_gains_no_bits_and_finds_a_hundredth_of_the_cells(judged):
    rng = np.random.default_rng(2)
    several = dataclasses.replace(
        judged,
        direction=unit(rng, 8_000),
        shell=np.zeros(8_000, np.int32),
        document=np.zeros(8_000, np.int64),
        angle_std=np.zeros(8_000, np.float32),
        length=np.ones(8_000, np.int32),
    )
    flat = np.full((8_000, CELLS), -math.log(CELLS), np.float32)
    uniform = dataclasses.replace(several, prior=np.full(CELLS, 1 / CELLS))
    found = score(
        Answers(direction=unit(rng, 8_000), cell=looked_up(flat, uniform.direction)), uniform
    )
    assert abs(found.bits).max() < 1e-5
    assert not found.top.any()  # all alike: the middle rank, not the first
    ranked = np.broadcast_to(np.log(prior_of(judged.fitted)).astype(np.float32), flat.shape)
    by_prior = score(
        Answers(direction=unit(rng, 8_000), cell=looked_up(ranked, several.direction)), several
    )
    assert by_prior.bits == pytest.approx(np.zeros(8_000), abs=1e-5)
    # the ten fullest cells, of points that know nothing of them
    assert by_prior.top.mean() == pytest.approx(FIRST / CELLS, abs=0.004)
    assert by_prior.nbr15.mean() < 0.02


def test_cells_of_two_places_hold_what_each_weighs(judged):
    north = np.array([0.05, 0.08, 1], np.float32)
    places = np.stack([north, -north]) / np.linalg.norm(north)
    weight = np.array([[3.0, 1.0]])
    law = np.exp(
        cells_around(places[None].astype(np.float32), weight, np.array([0.2]), judged.prior)[0]
    )
    assert law.sum() == pytest.approx(1, abs=1e-4)
    cell = cell_keys(places, LEVEL)
    assert law[cell[0]] / law[cell[1]] == pytest.approx(3, rel=0.2)
    wide = np.exp(cells_around(places[None], weight, np.array([1.0]), judged.prior)[0])
    assert wide.max() < law.max() / 5


def test_documents_that_gather_are_found_among_the_nearest(judged):
    centres = unit(np.random.default_rng(3), 20)
    gathered = moved(centres[judged.document], np.full(PATCHES, 0.01))
    assert same_document(gathered, judged.document).mean() > 0.95
    scattered = same_document(judged.direction, judged.document).mean()
    assert scattered == pytest.approx(chance_of_same_document(judged.document), abs=0.02)
    assert chance_of_same_document(judged.document) == pytest.approx(29 / 599)


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (2.0, False)])
def test_calibration_tells_stated_errors_that_hold(factor, right):
    rng = np.random.default_rng(4)
    spread = rng.uniform(0.05, 1, 20_000)
    # root mean square of two normal components of variance spread² / 2
    angle = np.hypot(*(rng.standard_normal((2, 20_000)) * spread / math.sqrt(2)))
    tenths = calibration(spread / factor, angle)
    assert [tenth.patches for tenth in tenths] == [2000] * 10
    assert all(0.9 < tenth.ratio < 1.1 for tenth in tenths) == right


def test_length_classes_hold_every_patch_once(judged):
    classes = length_classes(judged.length)
    assert list(classes) == ["1 to 12 bytes", "13 to 32 bytes", "33 bytes and more"]
    np.testing.assert_array_equal(sum(rows.astype(int) for rows in classes.values()), 1)
    assert judged.length[classes["1 to 12 bytes"]].max() == 12
    found = score(Answers(direction=judged.direction), judged)
    assert len(taken(found, classes["13 to 32 bytes"]).angle) == classes["13 to 32 bytes"].sum()


def test_too_few_answers_are_refused(judged):
    with pytest.raises(ValueError, match="600 patches judged; got 3"):
        score(Answers(direction=judged.direction[:3]), judged)
