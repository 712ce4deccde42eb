"""All measures together: of maps whose quality is known, of few points, and of bad input."""

import json
import math

import numpy as np
import pytest

from builders import directions_at_random, noisy_map
from sphere_ebm.geometry.shells import ideal_radii, make_shells
from sphere_ebm.quality.maps import agreement
from sphere_ebm.quality.neighbours import (
    distance_spearman,
    neighbour_recall,
    neighbourhood,
)
from sphere_ebm.quality.radii import shell_deviation
from sphere_ebm.quality.report import measure_quality


def test_a_perfect_map_is_perfect_in_every_respect():
    direction = directions_at_random(300, 1)
    found = neighbourhood(7.0 * direction, direction, (5, 20))
    for measure in (found.recall, found.trustworthiness, found.continuity):
        assert measure == {5: 1.0, 20: 1.0}
    assert distance_spearman(direction, direction) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("points", range(7))
def test_few_points_give_nan_and_never_an_exception(points):
    embeddings, direction = noisy_map(points) if points else (np.zeros((0, 12)), np.zeros((0, 3)))
    shells = make_shells(3)
    prominence = np.arange(float(points))
    report = measure_quality(
        embeddings,
        direction,
        radius=ideal_radii(prominence, shells),
        prominence=prominence,
        shells=shells,
        labels=np.zeros(points, dtype=int),
    )
    assert report.points == points
    assert math.isnan(report.recall[15]) == (points <= 2)
    assert math.isnan(report.prominence_spearman) == (points <= 2)
    assert math.isnan(report.evenness.occupied) == (points <= 3)
    assert math.isnan(report.label_accuracy) == (points <= 1)
    assert math.isnan(agreement(direction, direction).mean_cosine) == (points == 0)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_report_measures_what_it_is_given_and_nothing_else():
    embeddings, direction = noisy_map(60)
    report = measure_quality(embeddings, direction, ks=(4,))
    assert (report.label_accuracy, report.prominence_spearman, report.shell_deviation) == (
        None,
        None,
        None,
    )
    assert report.recall == {4: neighbour_recall(embeddings, direction, 4)}
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["recall"] == {
        "4": report.recall[4]
    }
    shells = make_shells(3)
    shell = np.zeros(60, dtype=np.int32)
    by_shell = measure_quality(
        embeddings, direction, shell=shell, shells=shells, radius=np.full(60, 99.0)
    )
    assert by_shell.shell_deviation == shell_deviation(shell, shells)


def test_half_precision_is_measured_like_the_numbers_it_holds():
    embeddings, direction = noisy_map(100)
    half = embeddings.astype(np.float16)
    assert neighbourhood(half, direction) == neighbourhood(half.astype(np.float64), direction)


@pytest.mark.parametrize("exponent", [-100, 100])
def test_the_scale_of_the_embeddings_does_not_matter(exponent):
    embeddings, direction = noisy_map(100)
    scaled = embeddings * np.float32(2.0**exponent)
    assert neighbourhood(scaled, direction) == neighbourhood(embeddings, direction)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": np.ones((5, 3))}, "`direction` must hold unit vectors"),
        ({"direction": np.full((5, 3), np.nan)}, "`direction` must hold unit vectors"),
        ({"embeddings": np.full((5, 12), np.inf)}, "`embeddings` must be finite"),
        ({"ks": (0,)}, r"`ks` must hold sizes >= 1; got \(0,\)"),
        ({"ks": ()}, "`ks` must hold sizes"),
        ({"queries": 0}, "`queries` must be at least 1"),
    ],
)
def test_bad_input_is_refused_with_the_rule(change, message):
    embeddings, direction = noisy_map(5)
    with pytest.raises(ValueError, match=message):
        neighbourhood(**{"embeddings": embeddings, "direction": direction, **change})
