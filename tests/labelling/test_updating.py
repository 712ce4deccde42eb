"""A map that grows: old points all but keep their places, and the older map its files."""

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import Died, contents
from deaths import Mortal, assert_survives_deaths
from sphere_ebm import LabelError, PlacementConfig, label, read_labels
from sphere_ebm.files.formats import PYRAMID
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.labelling import updating
from sphere_ebm.labelling.adding import join_map
from sphere_ebm.labelling.label import measure_map
from sphere_ebm.labelling.levels import map_pyramid
from sphere_ebm.labelling.moved import FARTHEST
from sphere_ebm.labelling.updating import UpdateRun, update_map
from sphere_ebm.maps.growth import COUPLING, Drift, degrees_moved
from sphere_ebm.retrieval.pyramid import MapPyramid

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=2)
STRONG = 3.0


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for i, patches in enumerate((20, 17)):
        shard(folder / "old" / f"s{i}.safetensors", patches, seed=i)
    shard(folder / "new" / "n.safetensors", 9, seed=7)
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> Path:
    return label(inputs / "old", tmp_path_factory.mktemp("map") / "m", CONFIG).output


@pytest.fixture(scope="module")
def updated(
    parent: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[UpdateRun, dict[str, bytes]]:
    before = contents(parent)
    run = update_map(parent, inputs / "new", tmp_path_factory.mktemp("new") / "m", strength=STRONG)
    return run, before


def old_directions(folder: Path) -> np.ndarray:
    return np.concatenate(
        [read_labels(folder / f"s{i}.sphere.safetensors").direction for i in (0, 1)]
    )


def test_the_older_map_is_not_touched(parent: Path, updated) -> None:
    assert contents(parent) == updated[1]


def test_the_new_map_is_one_as_label_makes_it(parent: Path, updated) -> None:
    output = updated[0].run.output
    assert sorted(contents(output)) == sorted([*contents(parent), "n.sphere.safetensors"])
    held = json.loads((output / "map.json").read_text())
    assert (held["points"], held["fitted"], held["command"]) == (46, 46, "update")
    options = tomllib.loads((output / "config.toml").read_text(encoding="utf-8"))
    expected = {"command": "update", "strength": STRONG, "steps": CONFIG.steps}
    assert options == expected | {"replace": False, "pooling": "mean"}
    assert held["config"] == vars(CONFIG) | {"coupling_start": COUPLING}
    assert [s["file"] for s in held["sources"]] == [f"{n}.safetensors" for n in ("s0", "s1", "n")]
    assert measure_map(output).to_dict() == updated[0].run.quality.to_dict()
    for i, name in enumerate(("s0", "s1")):
        labels, before = (read_labels(m / f"{name}.sphere.safetensors") for m in (output, parent))
        for column in ("embeddings", "prominence", "bytes", "patch_start"):
            np.testing.assert_array_equal(getattr(labels, column), getattr(before, column))
        assert labels.metadata["source_sha256"] == before.metadata["source_sha256"], i


def test_the_map_knows_its_parent_and_how_far_old_points_moved(parent: Path, updated) -> None:
    run = updated[0]
    degrees = degrees_moved(old_directions(parent), old_directions(run.run.output))
    assert run.drift == Drift.of(degrees)
    assert 0 < run.drift.median < 10
    told = json.loads((run.run.output / "map.json").read_text())["parent"]
    assert told == {
        "id": json.loads((parent / "map.json").read_text())["id"],
        "added": ["n.sphere.safetensors"],
        "replaced": [],
        "strength": STRONG,
        "held": 37,
        "moved_degrees": {"median": run.drift.median, "p90": run.drift.p90},
    }
    assert list(run.by_document) == ["s0", "s1"]
    assert run.by_document["s1"] == Drift.of(degrees[20:])
    most = run.farthest[0]
    assert len(run.farthest) == FARTHEST
    assert most.degrees == degrees.max()
    assert most.patch + 20 * (most.document == "s1") == degrees.argmax()


def test_an_update_can_be_updated(updated, inputs: Path, tmp_path: Path, shard) -> None:
    changed = shard(tmp_path / "n.safetensors", 9, seed=12)
    folder = updated[0].run.output
    given = [changed, inputs / "old"]
    again = update_map(folder, given, tmp_path / "m", replace=True, steps=50)
    assert again.parent == updated[0].run.map_id
    assert again.replaced == ("n.sphere.safetensors",)
    assert [path.name for path in again.present] == ["s0.safetensors", "s1.safetensors"]
    assert len(again.run.placement) == 46
    config = json.loads((tmp_path / "m" / "map.json").read_text())["config"]
    assert (config["coupling_start"], config["steps"]) == (COUPLING, 50)


def test_what_joined_is_fitted_by_an_update_without_inputs(
    parent: Path, inputs: Path, tmp_path: Path
) -> None:
    joined = Path(shutil.copytree(parent, tmp_path / "joined"))
    join_map(joined, inputs / "new")
    run = update_map(joined, [], tmp_path / "m")
    held = json.loads((tmp_path / "m" / "map.json").read_text())
    assert (run.added, held["fitted"], held["parent"]["held"]) == ((), 46, 37)
    assert not any("joined" in source for source in held["sources"])


def test_a_changed_document_is_replaced_and_what_did_not_change_is_held(
    parent: Path, inputs: Path, tmp_path: Path, shard
) -> None:
    before = read_shard(inputs / "old" / "s0.safetensors").embeddings
    changed = before.copy()
    changed[::2] += 1
    source = shard(tmp_path / "s0.safetensors", 20, seed=0, embeddings=changed)
    run = update_map(parent, source, tmp_path / "m", replace=True, strength=STRONG)
    held = json.loads((tmp_path / "m" / "map.json").read_text())
    assert (run.replaced, run.added) == (("s0.sphere.safetensors",), ())
    assert (held["points"], held["parent"]["held"]) == (37, 17 + 10)
    labels, old = (read_labels(m / "s0.sphere.safetensors") for m in (tmp_path / "m", parent))
    np.testing.assert_array_equal(labels.embeddings, changed)
    moved = degrees_moved(old.direction, labels.direction)
    assert np.median(moved[1::2]) < 10 < np.median(moved[::2])


def test_where_the_older_map_keeps_a_pyramid_the_new_one_does(
    parent: Path, updated, inputs: Path, tmp_path: Path
) -> None:
    assert not (updated[0].run.output / PYRAMID).exists()
    older = Path(shutil.copytree(parent, tmp_path / "older"))
    map_pyramid(older)
    output = update_map(older, inputs / "new", tmp_path / "m", strength=STRONG).run.output
    kept = (output / PYRAMID).read_bytes()
    assert len(MapPyramid.load(output / PYRAMID)) == 46
    map_pyramid(output)
    assert (output / PYRAMID).read_bytes() == kept, "it is that of the new map"


def test_killed_at_ten_moments_the_update_ends_with_the_same_bytes(
    parent: Path, inputs: Path, updated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m"
    before = contents(parent)

    def check() -> None:
        assert contents(parent) == before
        done = contents(updated[0].run.output)
        for path in output.glob("*.sphere.safetensors"):
            assert path.read_bytes() == done[path.name], "whole or not there"

    assert_survives_deaths(
        lambda: update_map(parent, inputs / "new", output, strength=STRONG),
        monkeypatch,
        moments=10,
        within=10,
        seed=1,
        check=check,
    )
    assert contents(output) == contents(updated[0].run.output)


def test_killed_at_ten_moments_the_join_ends_with_the_same_bytes(
    parent: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, killed = (Path(shutil.copytree(parent, tmp_path / name)) for name in ("done", "killed"))
    before = contents(parent)
    join_map(done, inputs / "new")

    def check() -> None:
        now = contents(killed)
        for name in before:
            assert name in ("map.json", "map.png") or now[name] == before[name]
        assert now["map.json"] in (before["map.json"], contents(done)["map.json"])

    assert_survives_deaths(
        lambda: join_map(killed, inputs / "new"),
        monkeypatch,
        moments=10,
        within=10,
        seed=3,
        check=check,
    )
    assert contents(killed) == contents(done)


def test_a_mortal_dies_at_its_call_and_changes_nothing_after(tmp_path: Path, monkeypatch) -> None:
    mortal = Mortal(2)
    files = [tmp_path / name for name in "abc"]
    for path in files:
        path.touch()
    with monkeypatch.context() as patch:
        mortal.watch(patch)
        files[0].unlink()
        for path in files[1:]:
            with pytest.raises(Died):
                path.unlink()
    assert [path.exists() for path in files] == [False, True, True]


def test_what_cannot_be_updated_is_refused(
    parent: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(parent)
    for given in ([], inputs / "old"):
        with pytest.raises(LabelError, match="nothing to update"):
            update_map(parent, given, tmp_path / "m")
    with pytest.raises(LabelError, match="is the older map"):
        update_map(parent, inputs / "new", parent)
    with pytest.raises(ValueError, match="`strength` must be"):
        update_map(parent, inputs / "new", tmp_path / "m", strength=float("nan"))
    monkeypatch.setattr(updating, "most_fitted", lambda width: 40)
    with pytest.raises(LabelError, match="fits all of 46 points"):
        update_map(parent, inputs / "new", tmp_path / "m")
    assert contents(parent) == before
    assert not (tmp_path / "m").exists()


def test_an_update_is_no_surer_than_the_map_that_it_grew_from(
    parent: Path, updated, inputs: Path
) -> None:
    output = updated[0].run.output
    for name in ("s0", "s1"):
        before, after = (read_labels(m / f"{name}.sphere.safetensors") for m in (parent, output))
        assert (after.angle_std >= before.angle_std).all()
        assert after.modes is None
    new = read_labels(output / "n.sphere.safetensors")
    assert np.median(new.angle_std) > 0.5 * np.median(before.angle_std)


def test_an_update_of_another_parent_is_another_map(
    parent: Path, inputs: Path, tmp_path: Path
) -> None:
    update_map(parent, inputs / "new", tmp_path / "grown")
    other = Path(shutil.copytree(parent, tmp_path / "other"))
    held = json.loads((other / "map.json").read_text())
    turned = label(
        inputs / "old", tmp_path / "again", PlacementConfig(**vars(CONFIG) | {"seed": 3})
    )
    for name in ("s0.sphere.safetensors", "s1.sphere.safetensors", "placement.safetensors"):
        shutil.copy(turned.output / name, other / name)
        held["files"][name] = json.loads((turned.output / "map.json").read_text())["files"][name]
    (other / "map.json").write_text(json.dumps(held))
    with pytest.raises(LabelError, match="holds another map"):
        update_map(other, inputs / "new", tmp_path / "grown")


def test_what_joined_and_is_replaced_is_free(
    parent: Path, inputs: Path, shard, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parent, tmp_path / "m"))
    join_map(folder, inputs / "new")
    shard(tmp_path / "changed" / "n.safetensors", 8, seed=7)
    run = update_map(folder, tmp_path / "changed", tmp_path / "grown", replace=True)
    assert run.replaced == ("n.sphere.safetensors",)
    told = json.loads((tmp_path / "grown" / "map.json").read_text())["parent"]
    assert told["held"] == 37
