"""A budget is never overspent, goes where relevance is, and shows passages that hang together."""

import dataclasses

import numpy as np
import pytest

from builders import cloud, directions_at_random
from sphere_ebm.geometry.cells import cell_keys
from sphere_ebm.retrieval.budgets import BudgetConfig, allocate, choose, worth
from sphere_ebm.retrieval.pyramid import MapPyramid

POINTS = 400
RNG = np.random.default_rng(0)
RELEVANCE = RNG.normal(0, 0.1, POINTS)
RELEVANCE[[10, 200, 201, 350]] = [0.9, 0.8, 0.7, 0.6]
DOCUMENT = np.repeat([0, 1, 2, 3], 100)
SIZE = RNG.integers(10, 50, POINTS)


@pytest.fixture(scope="module")
def pyramid() -> MapPyramid:
    return MapPyramid.of_points(directions_at_random(POINTS, 1), np.ones(POINTS), cloud(POINTS))


@pytest.mark.parametrize("total", [5, 100, 1000, 100_000])
@pytest.mark.parametrize("by_region", [False, True])
def test_no_more_is_spent_than_there_is_and_no_patch_is_counted_twice(pyramid, total, by_region):
    config = BudgetConfig(total=total)
    regions = allocate(pyramid, RELEVANCE, config) if by_region else None
    chosen = choose(RELEVANCE, DOCUMENT, SIZE, config, regions=regions)
    assert chosen.spent <= total
    assert chosen.spent == SIZE[chosen.taken].sum()
    assert chosen.spent == sum(passage.units for passage in chosen.passages)
    shown = [p for one in chosen.passages for p in range(one.first, one.last + 1)]
    assert sorted(shown) == np.flatnonzero(chosen.taken).tolist()
    assert len(shown) == len(set(shown))
    if total >= SIZE.sum():
        assert chosen.taken.all(), "what is left over is spent as long as anything fits"


def test_passages_stay_within_documents_are_joined_and_come_best_first():
    chosen = choose(RELEVANCE, DOCUMENT, SIZE, BudgetConfig(total=1500))
    assert chosen.passages[0].score == 0.9
    scores = [passage.score for passage in chosen.passages]
    assert scores == sorted(scores, reverse=True)
    for passage in chosen.passages:
        assert len(set(DOCUMENT[passage.first : passage.last + 1])) == 1
        assert passage.score == RELEVANCE[passage.first : passage.last + 1].max()
    ends = {(one.document, one.last) for one in chosen.passages}
    assert not {(one.document, one.first - 1) for one in chosen.passages} & ends
    both = next(one for one in chosen.passages if one.first <= 200 <= one.last)
    assert both.first <= 201 <= both.last


def test_a_relevant_seed_gets_a_larger_piece_and_equal_sizes_make_all_alike():
    ones = np.ones(POINTS)
    far = np.zeros(POINTS)
    far[[50, 350]] = [1.0, 0.2]
    varied = choose(far, DOCUMENT, ones, BudgetConfig(total=24, smallest=4, largest=20))
    assert [passage.units for passage in varied.passages] == [20, 4]
    alike = choose(far, DOCUMENT, ones, BudgetConfig(total=24, smallest=12, largest=12))
    assert [passage.units for passage in alike.passages] == [12, 12]


def test_few_pieces_are_large_by_default_as_many_as_middle_ones_that_the_total_pays_for():
    relevance = np.zeros(POINTS)
    relevance[::20] = np.linspace(1, 0.5, 20)
    config = BudgetConfig(total=60, smallest=2, largest=10)
    chosen = choose(relevance, DOCUMENT, None, config)
    # ten pieces of six: the eleventh seed is worth as little as any that follows
    floor = choose(relevance, DOCUMENT, None, dataclasses.replace(config, floor=1 - 10 / POINTS))
    np.testing.assert_array_equal(chosen.taken, floor.taken)
    units = [passage.units for passage in chosen.passages]
    assert units[0] == 10
    assert units == sorted(units, reverse=True)
    assert len(chosen.passages) > 10
    wide = choose(relevance, DOCUMENT, None, dataclasses.replace(config, floor=0.5))
    assert len(wide.passages) < len(chosen.passages)


def test_a_piece_grows_towards_the_more_relevant_side():
    relevance = np.array([0, 0.3, 1.0, 0.2, 0.1])
    config = BudgetConfig(total=4, smallest=4, largest=4)
    assert choose(relevance, np.zeros(5), None, config).taken.tolist() == [
        False,
        True,
        True,
        True,
        True,
    ]


def test_patches_that_are_left_out_are_never_shown():
    relevance = RELEVANCE.copy()
    relevance[11:] = -np.inf
    chosen = choose(relevance, DOCUMENT, SIZE, BudgetConfig(total=10_000))
    assert np.flatnonzero(chosen.taken).max() == 10


def test_regions_are_cells_that_share_the_total_by_worth(pyramid):
    config = BudgetConfig(total=2000, smallest=16, largest=64, threshold=0.0, floor=0.5)
    regions = allocate(pyramid, RELEVANCE, config)
    value = worth(RELEVANCE, 0.5)
    assert sum(region.budget for region in regions) == pytest.approx(2000)
    points = np.concatenate([region.points for region in regions])
    assert len(points) == len(set(points.tolist()))
    assert value[points].sum() == pytest.approx(value.sum()), "what is left out is worth nothing"
    direction = directions_at_random(POINTS, 1)
    for region in regions:
        assert (cell_keys(direction[region.points], region.level) == region.key).all()
        assert region.budget == pytest.approx(2000 * value[region.points].sum() / value.sum())
        last = region.level == pyramid.levels[-1].level
        assert last or region.budget <= 64 or np.ptp(value[region.points]) == 0
    assert len(allocate(pyramid, RELEVANCE, BudgetConfig(threshold=1.0))) == 1


def test_a_region_that_has_much_does_not_take_all(pyramid):
    # half of the points are equally relevant; regions make the choice cover more of them
    direction = directions_at_random(POINTS, 1)
    relevance = np.where(direction[:, 2] > 0, 0.5, 0.0) + 0.2 * (direction[:, 0] > 0.5)
    config = BudgetConfig(total=60, smallest=2, largest=2, floor=0.1)
    regions = allocate(pyramid, relevance, config)
    plain = choose(relevance, np.arange(POINTS), None, config)
    spread = choose(relevance, np.arange(POINTS), None, config, regions=regions)
    cells = [len(set(cell_keys(direction[one.taken], 3).tolist())) for one in (plain, spread)]
    assert cells[1] > cells[0]


def test_worth_begins_at_the_floor_and_ends_at_the_best():
    values = worth([0, 0.5, 1.0, -np.inf], floor=0.0)
    assert values.tolist() == [0, 0.5, 1, 0]
    assert worth([2.0, 2.0, -np.inf]).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([np.nan, 1], [0, 0]), "at least one of them finite"),
        (([-np.inf], [0]), "at least one of them finite"),
        (([1.0, 2.0], [0]), r"must have shape \(2,\)"),
        (([1.0, 2.0], [0, 0], [1, 0]), "`size` must be positive"),
    ],
)
def test_what_cannot_be_spent_on_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose(*arguments)


def test_a_bad_configuration_is_refused(pyramid):
    with pytest.raises(ValueError, match="`total` must be an integer >= 1"):
        BudgetConfig(total=0)
    with pytest.raises(ValueError, match="`largest` must be at least `smallest`=64; got 10"):
        BudgetConfig(largest=10)
    with pytest.raises(ValueError, match="one number for each of 400 points"):
        allocate(pyramid, [1.0])
