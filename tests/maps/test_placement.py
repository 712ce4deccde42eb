"""A placement is what it was after a trip through a file, and says when a file is none."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sphere_ebm import Placement, PlacementConfig, ShardError
from sphere_ebm.files.tensors import read_tensors, write_tensors

CONFIG = PlacementConfig(shells=4, seed=3, capacity_exponent=0.5)


def placement(points: int = 30) -> Placement:
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((points, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction.astype(np.float32)
    modes = np.stack([direction, np.roll(direction, 1, axis=1)], axis=1)
    return Placement(
        direction=direction,
        radius=rng.uniform(16, 20, points).astype(np.float32),
        shell=rng.integers(0, 3, points).astype(np.int32),
        radius_std=rng.random(points).astype(np.float32),
        angle_std=rng.random(points).astype(np.float32),
        prominence=rng.random(points).astype(np.float32),
        energy={"osmotic": np.array([3.0, -1 / 3]), "gravity": np.array([0.1, 1e-300])},
        step=np.array([0, 25]),
        converged=True,
        config=CONFIG,
        notes=("1 zero vector", "a note: ünïcode"),
        method="water-filling: v1",
        info={"deviation": 1 / 3, "passes": 12.0},
        point_energy=rng.standard_normal(points).astype(np.float32),
        thermal_std=rng.random(points).astype(np.float32),
        modes=modes,
        mode_weight=rng.random((points, 2)).astype(np.float32),
        replicas=np.stack([np.roll(direction, 2, axis=1)] * 3),
        kept=rng.random(points).astype(np.float32),
        kept_p_value=rng.random(points).astype(np.float32),
        embeddings=rng.standard_normal((points, 6)).astype(np.float32),
    )


def test_a_turned_placement_is_turned_with_its_modes_and_replicas() -> None:
    made = placement()
    frame = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    found = made.turned(frame)
    for name in ("direction", "modes", "replicas"):
        expected = getattr(made, name) @ frame
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-6)
    np.testing.assert_array_equal(found.radius, made.radius)


@pytest.mark.parametrize("points", [0, 1, 30])
def test_a_saved_placement_comes_back_bit_for_bit(tmp_path: Path, points: int) -> None:
    made = placement(points)
    made.save(tmp_path / "p.safetensors")
    found = Placement.load(tmp_path / "p.safetensors")
    for field in dataclasses.fields(Placement):
        one = getattr(found, field.name)
        other = getattr(made, field.name)
        if field.name == "embeddings":
            assert one is None
        elif field.name == "energy":
            assert list(one) == list(other)
            assert all(one[name].tobytes() == other[name].tobytes() for name in other)
        elif isinstance(other, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (
                other.dtype,
                other.shape,
                other.tobytes(),
            )
        else:
            assert one == other


def test_the_same_placement_is_the_same_file(tmp_path: Path) -> None:
    first, second = (placement().save(str(tmp_path / name)) for name in "xy")
    assert first == second
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@pytest.mark.usefixtures("unchecked")
def test_a_file_without_trust_is_one_of_an_earlier_version(tmp_path: Path) -> None:
    placement().save(tmp_path / "p")
    trust = ("point_energy", "kept", "kept_p_value")
    for name in trust:
        rewrite(tmp_path / "p", drop=name)
    found = Placement.load(tmp_path / "p")
    assert [vars(found)[name] for name in trust] == [None] * 3
    assert set(placement().columns()) - set(found.columns()) == set(trust)
    assert found.quality(placement().embeddings).chance_share is None


@pytest.mark.usefixtures("unchecked")
def test_a_file_without_a_method_is_one_by_langevin_dynamics(tmp_path: Path) -> None:
    placement().save(tmp_path / "p")
    for name in ("method", "info"):
        rewrite(tmp_path / "p", drop=name)
    found = Placement.load(tmp_path / "p")
    assert (found.method, found.info) == ("langevin", {})
    assert dataclasses.replace(placement(), method="langevin", info={}).save(tmp_path / "q")
    assert Placement.load(tmp_path / "q").method == "langevin"


def test_angles_are_those_of_the_directions() -> None:
    made = placement()
    theta = made.theta
    phi = made.phi
    assert ((theta >= 0) & (theta <= np.pi)).all()
    assert ((phi >= 0) & (phi < 2 * np.pi)).all()
    back = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1
    )
    np.testing.assert_allclose(back, made.direction, atol=1e-6)


def test_shells_are_those_of_the_configuration() -> None:
    made = placement()
    assert made.shells.count == 4
    np.testing.assert_allclose(
        made.shells.capacity[0] / made.shells.capacity[3], (16 / 19) ** 0.5, rtol=1e-6
    )
    assert made.shells_used == 3
    assert len(made) == 30


def test_quality_needs_the_embeddings(tmp_path: Path) -> None:
    made = placement()
    made.save(tmp_path / "p")
    found = Placement.load(tmp_path / "p")
    with pytest.raises(ValueError, match="loaded without its embeddings"):
        found.quality()
    assert made.embeddings is not None
    assert found.quality(made.embeddings) == made.quality()
    assert found.with_embeddings(made.embeddings).quality() == made.quality()


def test_quality_takes_lists_and_refuses_what_no_placement_is_made_of() -> None:
    made = placement()
    assert made.embeddings is not None
    assert made.quality(made.embeddings.tolist(), labels=[0, 1] * 15) == made.quality(
        labels=np.arange(30) % 2
    )
    assert made.with_embeddings(made.embeddings.tolist()).quality() == made.quality()
    assert made.quality(np.ones((30, 2), int)).points == 30
    with pytest.raises(
        ValueError, match=r"`embeddings` must hold real numbers; got dtype complex64"
    ):
        made.quality(made.embeddings.astype(np.complex64))
    with pytest.raises(ValueError, match=r"`embeddings` must be finite"):
        made.quality(np.full((30, 2), np.nan))


def test_quality_takes_labels_and_sizes() -> None:
    report = placement().quality(labels=np.arange(30) % 2, ks=(3,), queries=10)
    assert report.label_accuracy is not None
    assert list(report.recall) == [3]
    assert report.queries == 10


def test_prominence_inside_counts_as_right_for_the_core_order() -> None:
    made = placement()
    inside = dataclasses.replace(
        made, radius=-made.prominence, config=PlacementConfig(shells=4, radius_order="core")
    )
    assert inside.quality().prominence_spearman == pytest.approx(1.0)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def rewrite(
    path: Path, *, drop: str = "", arrays: dict | None = None, metadata: dict | None = None
) -> None:
    found, texts = read_tensors(path)
    write_tensors(
        path,
        {k: v for k, v in (found | (arrays or {})).items() if k != drop},
        {k: v for k, v in (texts | (metadata or {})).items() if k != drop},
    )


DAMAGE: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "truncated": truncate,
    "text": lambda path: path.write_text("hello") and None,
    "another format": lambda path: rewrite(path, metadata={"format": "sphere_labels_v1"}),
    "no format": lambda path: rewrite(path, drop="format"),
    "no radii": lambda path: rewrite(path, drop="radius"),
    "no steps": lambda path: rewrite(path, drop="step"),
    "no energy": lambda path: rewrite(path, drop="energy.gravity"),
    "no config": lambda path: rewrite(path, drop="config"),
    "config of a newer version": lambda path: rewrite(
        path, metadata={"config": json.dumps({"flux": 1})}
    ),
    "config that is none": lambda path: rewrite(path, metadata={"config": "[]"}),
    "info that is no JSON": lambda path: rewrite(path, metadata={"info": "deviation"}),
    "converged that is no JSON": lambda path: rewrite(path, metadata={"converged": "yes"}),
    "one shell less": lambda path: rewrite(path, arrays={"shell": np.zeros(29, np.int32)}),
    "shells as floats": lambda path: rewrite(path, arrays={"shell": np.zeros(30, np.float32)}),
    "kept by fewer points": lambda path: rewrite(path, arrays={"kept": np.zeros(29, np.float32)}),
    "flat directions": lambda path: rewrite(
        path, arrays={"direction": np.zeros((30, 2), np.float32)}
    ),
    "embeddings of other points": lambda path: rewrite(
        path, arrays={"embeddings": np.zeros((29, 4), np.float32)}
    ),
    "flat embeddings": lambda path: rewrite(path, arrays={"embeddings": np.zeros(30, np.float32)}),
    "a number for radii": lambda path: rewrite(path, arrays={"radius": np.array(3, np.float32)}),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_no_placement_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "p.safetensors"
    placement().save(path)
    DAMAGE[kind](path)
    with pytest.raises(ShardError) as refusal:
        Placement.load(path)
    assert str(refusal.value).startswith(str(path))
    assert len(str(refusal.value).splitlines()) == 1


def test_embeddings_are_saved_on_demand(tmp_path: Path) -> None:
    embeddings = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    plain = tmp_path / "plain.safetensors"
    whole = tmp_path / "whole.safetensors"
    placement().with_embeddings(embeddings).save(plain)
    placement().with_embeddings(embeddings).save(whole, embeddings=True)
    assert Placement.load(plain).embeddings is None
    np.testing.assert_array_equal(Placement.load(whole).embeddings, embeddings)
    with pytest.raises(
        ValueError, match="no embeddings to save; give it them with `with_embeddings`"
    ):
        dataclasses.replace(placement(), embeddings=None).save(whole, embeddings=True)
