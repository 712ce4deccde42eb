"""The corners of `place`: tiny, degenerate, tied and wrong inputs."""

import dataclasses
from typing import Any, ClassVar, final

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.sparse import csr_array

from builders import cloud
from sphere_ebm import Placement, PlacementConfig, place
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.hamiltonian import AbstractEnergyTerm, EnergyFactor, SphereState
from sphere_ebm.heuristics.water_filling import water_filling
from sphere_ebm.maps.starts import pca_directions

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=10, average=5, replicas=1)
PARAMETERS: dict[str, Any] = {"neighbours": 4, "shells": 3, "steps": 10, "average": 5}
PARAMETERS |= {"replicas": 1}


INPUTS = {
    "no points": cloud(0),
    "one point": cloud(1),
    "two points": cloud(2),
    "three points": cloud(3),
    "as many as neighbours": cloud(4),
    "one of two zero": np.array([[0, 0], [1, 2]], np.float32),
    "all zero": np.zeros((12, 4), np.float32),
    "no dimension": cloud(12, 0),
    "all the same": np.ones((12, 4), np.float32),
    "some zero": np.concatenate([cloud(9), np.zeros((3, 4), np.float32)]),
    "one dimension": cloud(12, 1),
    "tiny": cloud(12) * np.float32(1e-30),
    "large": cloud(12) * np.float32(1e30),
    "float64": cloud(12).astype(np.float64),
    "integers": (1000 * cloud(12)).astype(np.int64),
    "not contiguous": np.asfortranarray(cloud(12))[:, ::-1],
}


@pytest.mark.parametrize("start", ["pca", "spectral"])
@pytest.mark.parametrize("kind", INPUTS)
def test_every_input_gets_a_map(kind: str, start: str) -> None:
    points = INPUTS[kind]
    found = place(points, config=PlacementConfig(**PARAMETERS, start=start))
    assert found.direction.shape == (len(points), 3)
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-5)
    assert np.isfinite(found.radius).all()
    assert found.quality().points == len(points)
    zeros = np.flatnonzero(~points.any(axis=1))
    rows = ", ".join(map(str, zeros[:5])) + (", ..." if len(zeros) > 5 else "")
    assert [note for note in found.notes if "zero vector" in note] == [
        f"{len(zeros)} of {len(points)} embeddings are zero vectors: no direction, no lateral edges"
        f" (rows {rows})"
    ] * (len(zeros) > 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            {"embeddings": np.full((3, 2), np.nan, np.float32)},
            r"`embeddings` must be finite.*got nan at index \(0, 0\)",
        ),
        (
            {"embeddings": np.array([[1, 2], [3, np.inf]])},
            r"`embeddings` must be finite.*got inf at index \(1, 1\)",
        ),
        (
            {"embeddings": np.array([[1, 2], [1e300, 3]])},
            r"`embeddings` must be finite in float32.*at index \(1, 0\)",
        ),
        (
            {"embeddings": np.full((2, 2), 3e38)},
            r"`prominence` must be finite in float32.*at index \(0\)",
        ),
        ({"embeddings": np.ones(3)}, r"`embeddings` must have shape \(points, width\); got \(3,\)"),
        ({"prominence": np.ones(4)}, r"`prominence` must have shape \(5,\); got \(4,\)"),
        (
            {"prominence": np.array([1, 2, np.nan, 4, 5])},
            r"`prominence` must be finite.*index \(2\)",
        ),
        ({"start": np.ones((5, 2))}, r"`start` must have shape \(5, 3\); got \(5, 2\)"),
        ({"start": np.zeros((5, 3))}, r"`start` must have no zero rows; row 0"),
        ({"start": np.full((5, 3), np.inf)}, r"`start` must be finite.*index \(0, 0\)"),
        (
            {"embeddings": cloud(5).astype(complex)},
            r"`embeddings` must hold real numbers; got dtype complex128",
        ),
        (
            {"embeddings": np.array([["1", "2"]])},
            r"`embeddings` must hold real numbers; got dtype <U1",
        ),
        (
            {"embeddings": np.array([[1.0, None]])},
            r"`embeddings` must hold real numbers; got None at index \(0, 1\): fill or drop",
        ),
        (
            {"embeddings": [[1.0, 2.0], [3.0]]},
            r"`embeddings` must be an array.*rows of different length",
        ),
        (
            {"embeddings": csr_array(cloud(5))},
            r"`embeddings` must be a dense array; .* call \.toarray\(\)",
        ),
        (
            {"embeddings": np.ma.masked_less(cloud(5), cloud(5).max())},
            r"`embeddings` must have no masked entries; got 19",
        ),
        (
            {"prominence": np.ma.masked_equal(np.arange(5), 3)},
            r"`prominence` must have no masked entries; got 1",
        ),
        ({"prominence": ["a"] * 5}, r"`prominence` must hold real numbers"),
        (
            {"prominence": 3.0, "embeddings": cloud(1)},
            r"`prominence` must have shape \(1,\); got \(\)",
        ),
        ({"start": np.ones((5, 3), complex)}, r"`start` must hold real numbers"),
        ({"config": PARAMETERS}, r"`config` must be a PlacementConfig, or None; got dict"),
        ({"extra_edges": ([0], [1])}, r"`extra_edges` must be a tuple of three arrays"),
        ({"extra_edges": ([0, 1], [1], [1.0])}, r"one length; got shapes \(2,\), \(1,\), \(1,\)"),
        (
            {"extra_edges": ([0.5], [1], [1.0])},
            r"must name points by integers; got dtypes float64 and int64",
        ),
        ({"extra_edges": ([0], [1], [1j])}, r"`extra_edges` must hold real numbers"),
        (
            {"extra_edges": (np.array([0]), np.array([5]), np.array([1.0]))},
            r"two different points of 0 \.\. 4",
        ),
    ],
)
def test_a_wrong_input_is_refused_with_its_place(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        place(**({"embeddings": cloud(5), "config": CONFIG} | arguments))


def test_the_input_is_not_touched() -> None:
    points = cloud(12)
    prominence = np.arange(12.0)
    copies = points.copy(), prominence.copy()
    place(points, prominence, CONFIG)
    np.testing.assert_array_equal(points, copies[0])
    np.testing.assert_array_equal(prominence, copies[1])


def same_map(one: Placement, other: Placement) -> bool:
    return (one.direction == other.direction).all() and (one.radius == other.radius).all()


def test_lists_are_as_good_as_arrays() -> None:
    points = cloud(12)
    start = cloud(12, 3).astype(np.float64)
    prominence = np.arange(12.0)
    edges = (np.array([0, 1]), np.array([7, 8]), np.array([3.0, 2.0]))
    arrays = place(points, prominence, CONFIG, start=start, extra_edges=edges)
    lists = place(
        points.tolist(),
        prominence.tolist(),
        CONFIG,
        start=start.tolist(),
        extra_edges=tuple(x.tolist() for x in edges),
    )
    assert same_map(arrays, lists)
    assert lists.quality(points.tolist(), labels=[0, 1] * 6) == arrays.quality(
        labels=np.array([0, 1] * 6)
    )
    assert same_map(arrays, place(points, prominence, CONFIG, start=start, extra_edges=list(edges)))


def test_half_precision_and_masks_without_entries_are_taken_as_they_are() -> None:
    points = jnp.asarray(cloud(12), jnp.bfloat16)
    plain = place(np.asarray(points, np.float32), config=CONFIG)
    assert same_map(place(points, config=CONFIG), plain)
    assert same_map(
        place(np.ma.masked_invalid(np.asarray(points, np.float32)), config=CONFIG), plain
    )


FROZEN = PlacementConfig(
    neighbours=4, shells=3, steps=0, average=2, temperature_start=0.0, temperature_end=0.0
)


def order_of(prominence: Any, seed: int = 0, embeddings: Any = None) -> np.ndarray:
    """Points from the innermost to the outermost."""
    config = dataclasses.replace(FROZEN, seed=seed)
    return np.argsort(
        place(cloud(60) if embeddings is None else embeddings, prominence, config).radius,
        kind="stable",
    )


def test_prominence_is_ranked_in_the_precision_that_it_is_given_in() -> None:
    order = np.random.default_rng(0).permutation(60)
    times = np.empty(60)
    times[order] = 1.7e9 + np.arange(60)
    assert np.unique(times.astype(np.float32)).size == 1
    np.testing.assert_array_equal(order_of(times), order)
    assert not place(cloud(60), times, FROZEN).notes


@pytest.mark.parametrize("prominence", [None, np.random.default_rng(4).gamma(0.5, 1, 60)])
def test_a_start_by_water_filling_takes_its_directions(prominence: np.ndarray | None) -> None:
    points = cloud(60)
    config = dataclasses.replace(FROZEN, start="water-filling")
    heuristic = water_filling(points, prominence, config).direction
    assert (np.abs(heuristic - pca_directions(points, 0)).max(axis=1) > 0.1).any()
    found = place(points, prominence, config)
    np.testing.assert_allclose(
        found.direction, place(points, prominence, FROZEN, start=heuristic).direction, atol=1e-5
    )
    np.testing.assert_array_equal(
        found.radius, place(points, prominence, FROZEN, start=heuristic).radius
    )
    assert found.method == "langevin"


@pytest.mark.parametrize("kind", ["no points", "one point", "two points"])
def test_every_input_starts_by_water_filling(kind: str) -> None:
    found = place(INPUTS[kind], config=PlacementConfig(**PARAMETERS, start="water-filling"))
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-5)


def normalised(points: int = 60) -> np.ndarray:
    rows = cloud(points)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("zeros", [0, 5])
def test_the_rounding_of_normalised_embeddings_orders_nothing(zeros: int) -> None:
    unit = normalised()
    unit[:zeros] = 0
    norms = np.linalg.norm(unit.astype(np.float64), axis=1)
    assert np.unique(norms).size > 20
    found = place(unit, config=FROZEN)
    assert np.unique(found.prominence).size == 1 + (zeros > 0)
    notes = [
        note
        for note in found.notes
        if note.startswith("embeddings are normalised: their norms order nothing")
    ]
    assert len(notes) == 1
    assert "give your own prominence" in notes[0]
    np.testing.assert_array_equal(
        np.sort(order_of(None, embeddings=unit)[:zeros]), np.arange(zeros)
    )
    rounding = unit * (1 + 4e-7 * np.random.default_rng(1).uniform(-1, 1, (60, 1))).astype(
        np.float32
    )
    np.testing.assert_array_equal(
        order_of(None, embeddings=rounding), order_of(None, embeddings=unit)
    )


def test_norms_that_differ_by_more_than_rounding_order_the_radii() -> None:
    scale = 1 + 1e-3 * np.random.default_rng(0).permutation(60)
    found = place(normalised() * scale[:, None], config=FROZEN)
    assert not found.notes
    np.testing.assert_array_equal(np.argsort(found.radius, kind="stable"), np.argsort(scale))


def test_ties_follow_the_seed_and_not_the_rows() -> None:
    orders = [order_of(np.ones(60), seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    assert abs(np.corrcoef(orders[0], np.arange(60))[0, 1]) < 0.4


@pytest.mark.parametrize(("tied", "noted"), [(30, False), (31, True), (60, True)])
def test_a_prominence_with_more_ties_than_not_is_noted(tied: int, noted: bool) -> None:
    prominence = np.arange(60.0)
    prominence[:tied] = -1
    notes = place(cloud(60), prominence, FROZEN).notes
    text = f"{tied} of 60 points share their prominence with another: the seed orders equal ones"
    assert notes == ((text,) if noted else ())


@pytest.mark.parametrize(("temperature", "noted"), [(0.24, False), (0.26, True)])
def test_radii_that_spread_over_more_than_a_shell_are_noted(
    temperature: float, noted: bool
) -> None:
    config = PlacementConfig(**PARAMETERS, temperature_end=temperature)
    notes = [
        note for note in place(cloud(12), config=config).notes if "raise radius_stiffness" in note
    ]
    assert len(notes) == noted
    stiff = dataclasses.replace(config, radius_stiffness=2.0)
    assert not [
        note for note in place(cloud(12), config=stiff).notes if "raise radius_stiffness" in note
    ]


@final
class Field(AbstractEnergyTerm):
    """H = -Σ B·u_i."""

    field: Float[Array, "3"]
    name: ClassVar[str] = "field"

    def energy_of(self, state: SphereState) -> Float[Array, " nodes"]:
        return -state.direction @ self.field


def test_a_term_of_ones_own_is_part_of_the_map() -> None:
    field = Field(jnp.asarray([0.0, 8.0, 0.0]))
    points = np.concatenate([cloud(12), cloud(12)])
    found = place(points, config=CONFIG, extra_factors=[field])
    without = place(points, config=CONFIG, neighbours=nearest_neighbours(points, 4))
    assert found.direction[:, 1].mean() > without.direction[:, 1].mean() + 0.3
    assert set(found.energy) >= {"gravity", "field"}
    assert found.copies is None, "terms may have a row for each point"
    made = place(points, config=CONFIG, extra_factors=[lambda block: EnergyFactor(block, field)])
    np.testing.assert_array_equal(made.direction, found.direction)
