"""New points on a finished map.

Near their neighbours, in any order and company, on the shell of their rank.
"""

import dataclasses

import numpy as np
import pytest

from builders import in_groups
from sphere_ebm import FrozenMap, Placement, PlacementConfig, place
from sphere_ebm.geometry.shells import make_shells
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.quality.trust import chance_tail

WIDTH = 12
GROUPS = 30
N = 900
NEW = 300
CONFIG = PlacementConfig(steps=150, average=25, shells=8, replicas=1)


def cloud(points: int, seed: int) -> np.ndarray:
    return in_groups(points, seed, groups=GROUPS, width=WIDTH)


FITTED = cloud(N, 0)
FRESH = cloud(NEW, 1)


@pytest.fixture(scope="module")
def placement() -> Placement:
    return place(FITTED, config=CONFIG)


@pytest.fixture(scope="module")
def frozen(placement: Placement) -> FrozenMap:
    return FrozenMap(placement, batch=128)


@pytest.fixture(scope="module")
def joined(frozen: FrozenMap) -> Placement:
    return frozen.place(FRESH)


def nearest(
    queries: np.ndarray, points: np.ndarray, k: int = 15, leave_out: bool = False
) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, points))
    cosine = a @ b.T
    if leave_out:
        np.fill_diagonal(cosine, -2)
    return np.argsort(-cosine, axis=1)[:, :k]


def shared(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([len(set(x) & set(y)) / a.shape[1] for x, y in zip(a, b, strict=True)]))


def test_newcomers_keep_their_neighbours_nearly_as_fitted_points_do(
    placement: Placement, joined: Placement
) -> None:
    fitted = shared(
        nearest(FITTED, FITTED, leave_out=True),
        nearest(placement.direction, placement.direction, leave_out=True),
    )
    new = shared(nearest(FRESH, FITTED), nearest(joined.direction, placement.direction))
    assert fitted > 0.25
    assert new >= 0.85 * fitted


def test_a_fitted_point_comes_back_to_its_place(placement: Placement, frozen: FrozenMap) -> None:
    again = frozen.place(FITTED)
    cosine = np.sum(again.direction * placement.direction, axis=1)
    assert np.mean(cosine > np.cos(np.radians(5))) >= 0.8
    # fitted radii are means over samples at temperature T
    np.testing.assert_allclose(
        again.radius, placement.radius, atol=4 * np.sqrt(CONFIG.temperature_end)
    )
    assert np.corrcoef(again.radius, placement.radius)[0, 1] > 0.999


def test_newcomers_own_of_the_energy_what_fitted_points_own(
    placement: Placement, frozen: FrozenMap, joined: Placement
) -> None:
    again = frozen.place(FITTED)
    assert placement.point_energy is not None
    assert again.point_energy is not None
    assert joined.point_energy is not None
    assert np.corrcoef(again.point_energy, placement.point_energy)[0, 1] > 0.7
    assert again.point_energy.mean() == pytest.approx(placement.point_energy.mean(), abs=0.5)
    assert joined.point_energy.mean() == pytest.approx(placement.point_energy.mean(), abs=0.5)


def test_newcomers_keep_what_a_count_finds(placement: Placement, joined: Placement) -> None:
    k = CONFIG.neighbours
    asked = nearest(FRESH, FITTED)
    found = nearest(joined.direction, placement.direction)
    assert joined.kept is not None
    assert joined.kept_p_value is not None
    assert joined.kept.mean() == pytest.approx(shared(asked, found), abs=1e-6)
    counts = np.rint(joined.kept * k).astype(int)
    np.testing.assert_allclose(joined.kept_p_value, chance_tail(N, k)[counts], rtol=1e-5)


def test_neither_order_nor_company_changes_a_bit(frozen: FrozenMap, joined: Placement) -> None:
    order = np.random.default_rng(2).permutation(NEW)
    shuffled = frozen.place(FRESH[order])
    alone = frozen.place(FRESH[5:6])
    few = frozen.place(FRESH[:130])
    for name in ("direction", "radius", "angle_std", "shell", "point_energy", "kept"):
        whole = getattr(joined, name)
        np.testing.assert_array_equal(getattr(shuffled, name), whole[order])
        np.testing.assert_array_equal(getattr(alone, name), whole[5:6])
        np.testing.assert_array_equal(getattr(few, name), whole[:130])


def test_the_size_of_batches_matters_to_rounding_only(
    placement: Placement, joined: Placement
) -> None:
    np.testing.assert_allclose(
        FrozenMap(placement, batch=77).place(FRESH).direction, joined.direction, atol=2e-5
    )


def test_radii_are_those_of_the_rank_among_fitted_points(
    placement: Placement, frozen: FrozenMap
) -> None:
    between = (np.sort(placement.prominence)[100:102].astype(np.float64)).mean()
    prominence = np.asarray([-1.0, between, 1e9])
    placed = frozen.place(FRESH[:3], prominence)
    edges = make_shells(8).edges
    assert placed.radius[0] == pytest.approx(edges[0])
    assert placed.radius[2] == pytest.approx(edges[-1])
    assert np.searchsorted(np.sort(placement.radius), placed.radius[1]) == pytest.approx(
        101, abs=10
    )
    np.testing.assert_array_equal(placed.prominence, prominence.astype(np.float32))
    np.testing.assert_allclose(
        placed.radius_std, np.sqrt(CONFIG.temperature_end / CONFIG.radius_stiffness), rtol=1e-6
    )
    tied = FrozenMap(
        dataclasses.replace(placement, prominence=np.full(N, 2.0, np.float32)), batch=4
    )
    amid = make_shells(8)
    middle = np.interp(0.5, np.append(0, np.cumsum(amid.capacity)), amid.edges)
    assert tied.place(FRESH[:1], [2.0]).radius[0] == pytest.approx(middle, rel=1e-5)
    core = FrozenMap(
        dataclasses.replace(placement, config=dataclasses.replace(CONFIG, radius_order="core")),
        batch=4,
    )
    assert core.place(FRESH[:1], [1e9]).radius[0] == pytest.approx(edges[0])
    given = np.asarray([17.5, 18.5], np.float32)
    np.testing.assert_array_equal(frozen.place(FRESH[:2], ideal_radius=given).radius, given)


def test_a_zero_vector_lies_where_the_map_is_emptiest_and_says_so(
    placement: Placement, frozen: FrozenMap
) -> None:
    placed = frozen.place(np.vstack([FRESH[:2], np.zeros((1, WIDTH), np.float32)]))
    assert placed.notes == (
        "1 of 3 embeddings are zero vectors: they lie where the map is emptiest",
    )
    closest = (placed.direction @ placement.direction.T).max(axis=1)
    assert closest[2] < closest[:2].min()
    assert placed.angle_std[2] > placed.angle_std[:2].max()


def test_spread_grows_with_temperature_as_its_root(placement: Placement, joined: Placement) -> None:
    warmer = dataclasses.replace(
        placement, config=dataclasses.replace(CONFIG, temperature_end=4 * 0.01)
    )
    placed = FrozenMap(warmer, batch=128).place(FRESH)
    np.testing.assert_array_equal(placed.direction, joined.direction)
    assert placed.thermal_std is not None
    assert joined.thermal_std is not None
    held = joined.thermal_std < 0.2
    assert held.mean() > 0.9
    np.testing.assert_allclose(placed.thermal_std[held], 2 * joined.thermal_std[held], rtol=1e-4)


@pytest.mark.parametrize("friction", [0.05, 5.0])
def test_newcomers_come_to_rest_whatever_the_dynamics_of_the_map_were(
    placement: Placement, joined: Placement, friction: float
) -> None:
    config = dataclasses.replace(CONFIG, friction=friction, step_size=1e-4)
    placed = FrozenMap(dataclasses.replace(placement, config=config), batch=128).place(FRESH)
    np.testing.assert_array_equal(placed.direction, joined.direction)


def test_the_given_radii_are_checked(frozen: FrozenMap) -> None:
    with pytest.raises(ValueError, match=r"`ideal_radius` must have shape \(3,\); got \(2,\)"):
        frozen.place(FRESH[:3], ideal_radius=[1.0, 2.0])


def test_a_batch_of_nothing_and_maps_of_one_point() -> None:
    alone = FrozenMap(place(FITTED[:1], config=CONFIG), batch=4)
    assert len(alone.place(FRESH[:0])) == 0
    np.testing.assert_allclose(
        alone.place(FRESH[:3]).direction, np.tile(alone.placement.direction, (3, 1)), atol=1e-6
    )


def test_progress_tells_of_every_batch(frozen: FrozenMap) -> None:
    calls: list[tuple[int, int]] = []
    frozen.place(FRESH, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(128, 300), (256, 300), (300, 300)]


def test_maps_without_attraction_or_pressure_take_newcomers(placement: Placement) -> None:
    for changed in (
        {"lateral_strength": 0.0},
        {"osmotic_strength": 0.0},
        {"affinity": "perplexity"},
    ):
        config = dataclasses.replace(CONFIG, **changed)
        placed = FrozenMap(dataclasses.replace(placement, config=config), batch=32).place(
            FRESH[:20]
        )
        np.testing.assert_allclose(np.linalg.norm(placed.direction, axis=1), 1, atol=1e-5)


def test_what_no_point_can_join_is_refused(placement: Placement, tmp_path) -> None:
    placement.save(tmp_path / "p.safetensors")
    loaded = Placement.load(tmp_path / "p.safetensors")
    with pytest.raises(ValueError, match="loaded without its embeddings: pass them, or an `index`"):
        FrozenMap(loaded)
    with pytest.raises(ValueError, match="must be those of 900 points; got 899"):
        FrozenMap(loaded, FITTED[:-1])
    with pytest.raises(ValueError, match="at least one point for others to join; got 0"):
        FrozenMap(place(np.zeros((0, 3), np.float32), config=CONFIG))
    with pytest.raises(ValueError, match="width of the indexed embeddings, 12; got 5"):
        FrozenMap(placement).place(np.ones((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"must be finite in float32; got nan at index \(1, 0\)"):
        FrozenMap(placement).place(np.asarray([[1.0] * WIDTH, [np.nan] * WIDTH]))


def test_an_index_can_be_handed_over(placement: Placement, joined: Placement, tmp_path) -> None:
    index = NeighbourIndex.build(FITTED)
    placement.save(tmp_path / "p.safetensors")
    given = FrozenMap(Placement.load(tmp_path / "p.safetensors"), index=index, batch=128)
    np.testing.assert_array_equal(given.place(FRESH).direction, joined.direction)
