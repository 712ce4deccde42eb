"""A folder holds one map.

Whoever comes next is told whose it is, and nothing of the user's is lost.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import contents
from sphere_ebm import LabelError, PlacementConfig, label
from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.files.shards.labels import read_labels
from sphere_ebm.labelling.folder import NEXT
from sphere_ebm.labelling.label import measure_map

PARAMETERS: dict[str, Any] = {"neighbours": 4, "shells": 3, "steps": 25, "average": 5}
PARAMETERS |= {"replicas": 1}
CONFIG = PlacementConfig(**PARAMETERS)
OTHER = PlacementConfig(**PARAMETERS, seed=1)


@pytest.fixture
def source(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path / "in" / "x.safetensors", 12)


@pytest.fixture
def output(tmp_path: Path, source: Path) -> Path:
    return label(source, tmp_path / "out", CONFIG).output


@pytest.mark.parametrize("change", ["configuration", "input", "pooling"])
def test_a_folder_with_another_map_is_refused_and_left_alone(
    output: Path, source: Path, shard: Callable[..., Path], change: str
) -> None:
    before = contents(output)
    if change == "input":
        shard(source, 12, seed=7)
    with pytest.raises(LabelError, match=r"another map.*--overwrite"):
        label(
            source,
            output,
            OTHER if change == "configuration" else CONFIG,
            pooling="max" if change == "pooling" else "mean",
        )
    assert contents(output) == before


def test_overwriting_removes_the_files_of_the_other_map_only(
    tmp_path: Path, output: Path, shard: Callable[..., Path]
) -> None:
    foreign = {
        "notes.txt": b"mine",
        "y.sphere.safetensors.bak": b"mine",
        "sub/x.sphere.safetensors": b"mine",
    }
    (output / "sub").mkdir()
    for name, raw in foreign.items():
        (output / name).write_bytes(raw)
    other = shard(tmp_path / "in2" / "z.safetensors", 12, seed=2)
    label(other, output, CONFIG, overwrite=True)
    after = contents(output)
    assert "x.sphere.safetensors" not in after
    assert {name: after.pop(name) for name in foreign} == foreign
    assert after == contents(label(other, tmp_path / "fresh", CONFIG).output)


def test_overwriting_the_same_map_keeps_it(output: Path, source: Path) -> None:
    before = contents(output)
    assert label(source, output, CONFIG, overwrite=True).kept == 1
    assert contents(output) == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name",
    ["x.sphere.safetensors", "placement.safetensors", "energy.csv", "config.toml", "map.html"],
)
def test_a_file_that_belongs_to_no_map_is_never_replaced(
    tmp_path: Path, source: Path, name: str, overwrite: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(LabelError, match=f"{name} is in the way"):
        label(source, tmp_path / "out", CONFIG, overwrite=overwrite)
    assert contents(tmp_path / "out") == {name: b"mine"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "sphere_map_v1"}', '{"format": "other", "files": {}}']
)
def test_a_map_file_that_is_not_ours_is_left_alone(tmp_path: Path, source: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "map.json").write_text(text)
    for overwrite in (False, True):
        with pytest.raises(LabelError, match=r"map\.json is not a sphere_map_v1 file"):
            label(source, tmp_path / "out", CONFIG, overwrite=overwrite)
    with pytest.raises(LabelError, match=r"map\.json is not"):
        measure_map(tmp_path / "out")
    assert contents(tmp_path / "out") == {"map.json": text.encode()}


def test_a_list_that_was_tampered_with_removes_nothing_outside(
    tmp_path: Path, output: Path, source: Path
) -> None:
    victims = [
        tmp_path / "victim.txt",
        tmp_path / "victim.sphere.safetensors",
        output / "notes.txt",
    ]
    for victim in victims:
        victim.write_text("mine")
    held = json.loads((output / "map.json").read_text())
    held["files"] |= {
        "../victim.txt": "",
        str(victims[1]): "",
        "../victim.sphere.safetensors": "",
        "notes.txt": "",
    }
    (output / "map.json").write_text(json.dumps(held))
    label(source, output, OTHER, overwrite=True)
    assert all(victim.read_text() == "mine" for victim in victims)
    assert "../victim.txt" not in read_map(output)["files"]


def interrupted(folder: Path) -> None:
    """What a run of another map leaves.

    A label that its journal does not yet tell of, and the journal.
    """
    journal = Journal(folder, "other", ["x.sphere.safetensors", "y.sphere.safetensors"])
    journal.resume()
    (folder / "x.sphere.safetensors").write_bytes(b"old")
    (folder / "y.sphere.safetensors").write_bytes(b"old")
    (folder / ".sphere-checkpoint.safetensors").write_bytes(b"old")
    (folder / ".sphere-0123456789abcdef.tmp").write_bytes(b"old")


def test_an_interrupted_run_of_another_map_holds_the_folder_until_overwritten(
    tmp_path: Path, source: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    interrupted(output)
    before = contents(output)
    with pytest.raises(LabelError, match="another map"):
        label(source, output, CONFIG)
    assert contents(output) == before
    label(source, output, CONFIG, overwrite=True)
    assert contents(output) == contents(label(source, tmp_path / "fresh", CONFIG).output)


class Died(BaseException):
    """What a process that is no more would not get to handle."""


@pytest.mark.parametrize("moment", range(11))
def test_an_overwriting_that_dies_at_any_removal_can_be_done_again(
    tmp_path: Path,
    output: Path,
    shard: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    other = shard(tmp_path / "in2" / "z.safetensors", 12, seed=2)
    unlink = Path.unlink
    left = [moment]

    def dying(path: Path, missing_ok: bool = False) -> None:
        if path.parent in (output, output / NEXT):
            left[0] -= 1
            if left[0] < 0:
                raise Died
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", dying)
    with pytest.raises(Died):
        label(other, output, CONFIG, overwrite=True)
    monkeypatch.setattr(Path, "unlink", unlink)
    label(other, output, CONFIG, overwrite=True)
    assert contents(output) == contents(label(other, tmp_path / "fresh", CONFIG).output)
    assert not (output / NEXT).exists()


@pytest.mark.parametrize("moment", ["start", "steps", "rename"])
def test_an_overwriting_that_dies_before_it_has_a_placement_leaves_the_other_map(
    tmp_path: Path, output: Path, source: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = contents(output)

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "steps" and (done > 0) == (moment == "steps"):
            raise Died

    with monkeypatch.context() as patch:
        if moment == "rename":
            patch.setattr(
                "sphere_ebm.maps.placement.Placement.save", lambda *_, **__: dying("steps", 0, 1)
            )
        with pytest.raises(Died):
            label(
                source,
                output,
                OTHER,
                overwrite=True,
                progress=None if moment == "rename" else dying,
            )
    assert {
        name: raw for name, raw in contents(output).items() if not name.startswith(NEXT)
    } == before
    measure_map(output)
    label(source, output, OTHER, overwrite=True)
    assert contents(output) == contents(label(source, tmp_path / "fresh", OTHER).output)


def test_the_first_map_can_be_kept_after_an_overwriting_that_died(
    output: Path, source: Path
) -> None:
    before = contents(output)

    def dying(stage: str, done: int, total: int) -> None:
        if stage == "steps" and done:
            raise Died

    with pytest.raises(Died):
        label(source, output, OTHER, overwrite=True, progress=dying)
    assert label(source, output, CONFIG).kept == 1
    assert contents(output) == before


def unsuitable(*_: object, **__: object) -> Any:
    raise ValueError("too large a sharpness")


def test_overwriting_that_fails_leaves_the_other_map(
    output: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(output)
    wild = PlacementConfig(
        **(PARAMETERS | {"steps": 3000}), scheme="euler-maruyama", step_size=50.0
    )
    with pytest.raises(NonFiniteEnergyError):
        label(source, output, wild, overwrite=True)
    monkeypatch.setattr("sphere_ebm.labelling.label.place", unsuitable)
    with pytest.raises(LabelError, match="sharpness"):
        label(source, output, OTHER, overwrite=True)
    assert contents(output) == before
    assert not (output / NEXT).exists()


def test_overwriting_looks_for_foreign_files_first(
    tmp_path: Path, output: Path, shard: Callable[..., Path]
) -> None:
    (output / "z.sphere.safetensors").write_bytes(b"mine")
    before = contents(output)
    other = shard(tmp_path / "in2" / "z.safetensors", 12, seed=2)
    with pytest.raises(LabelError, match=r"z\.sphere\.safetensors is in the way; move it away"):
        label(other, output, CONFIG, overwrite=True)
    assert contents(output) == before


@pytest.mark.parametrize("lost", [["map.json"], ["map.json", "placement.safetensors"]])
def test_a_map_that_lost_its_list_is_replaced_when_asked_for(
    tmp_path: Path, output: Path, source: Path, lost: list[str]
) -> None:
    for name in lost:
        (output / name).unlink()
    before = contents(output)
    with pytest.raises(LabelError, match=r"is in the way; replace .* --overwrite"):
        label(source, output, OTHER)
    assert contents(output) == before
    label(source, output, OTHER, overwrite=True)
    assert contents(output) == contents(label(source, tmp_path / "fresh", OTHER).output)


def test_a_placement_in_an_input_folder_is_no_input(tmp_path: Path, source: Path) -> None:
    (source.parent / "mine.safetensors").write_bytes(
        (label(source, tmp_path / "a", CONFIG).output / "placement.safetensors").read_bytes()
    )
    run = label(source.parent, tmp_path / "b", CONFIG)
    assert not run.refused
    assert list(run.files) == [source]
    named = label([source, source.parent / "mine.safetensors"], tmp_path / "c", CONFIG)
    assert "is a placement" in named.refused[0].reason


def test_a_configuration_that_suits_no_such_map_does_not_keep_the_folder(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sphere_ebm.labelling.label.place", unsuitable)
    with pytest.raises(LabelError, match="sharpness"):
        label(source, tmp_path / "out", CONFIG)
    assert not contents(tmp_path / "out")


def test_a_run_that_diverges_does_not_keep_the_folder(tmp_path: Path, source: Path) -> None:
    wild = PlacementConfig(
        **(PARAMETERS | {"steps": 3000}), scheme="euler-maruyama", step_size=50.0
    )
    with pytest.raises(NonFiniteEnergyError):
        label(source, tmp_path / "out", wild)
    assert not contents(tmp_path / "out")
    label(source, tmp_path / "out", CONFIG)


def test_a_map_inside_its_own_input_folder_is_no_input(tmp_path: Path, source: Path) -> None:
    first = label(source.parent, source.parent / "out", CONFIG)
    again = label(source.parent, source.parent / "out", CONFIG)
    assert not again.refused
    assert (again.kept, again.map_id) == (1, first.map_id)
    named = label([source, first.output / "placement.safetensors"], tmp_path / "elsewhere", CONFIG)
    assert [refused.source.name for refused in named.refused] == ["placement.safetensors"]


def test_nothing_usable_leaves_no_folder(tmp_path: Path, shard: Callable[..., Path]) -> None:
    bad = [
        shard(tmp_path / "in" / f"b{i}.safetensors", 3, prominence=np.full(3, np.inf, np.float32))
        for i in range(2)
    ]
    with pytest.raises(LabelError, match="none of the 2 inputs can be used") as failure:
        label(tmp_path / "in", tmp_path / "out", CONFIG)
    assert [refused.source for refused in failure.value.refused] == bad
    assert all("`prominence`" in note for note in failure.value.__notes__)
    assert not (tmp_path / "out").exists()
    with pytest.raises(LabelError, match="no shards"):
        label([], tmp_path / "out", CONFIG)


@pytest.mark.parametrize(
    "change",
    [{"config": {"flux": 1}}, {"config": {"seed": -1}}, {"sources": [{}]}, {"sources": [3]}],
)
def test_a_damaged_map_is_named(output: Path, change: dict[str, Any]) -> None:
    held = json.loads((output / "map.json").read_text())
    (output / "map.json").write_text(json.dumps(held | change))
    with pytest.raises(LabelError, match=r"map\.json is damaged"):
        measure_map(output)


def test_a_folder_without_a_map_has_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no readable map\.json"):
        measure_map(tmp_path)


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_one_works(
    source: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    def intrude(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("writing", 0):
            with pytest.raises(LabelError, match="another run is working") as refusal:
                label(source, tmp_path / "out", CONFIG)
            said.append(str(refusal.value))

    label(source, tmp_path / "out", CONFIG, progress=intrude)
    assert len(said) == 1
    label(source, tmp_path / "out", CONFIG)


def test_labels_name_the_source_as_it_was_when_it_was_read(
    source: Path, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    digest = sha256_of(source)

    def change(stage: str, done: int, total: int) -> None:
        if stage == "steps":
            shard(source, 12, seed=9)

    run = label(source, tmp_path / "out", CONFIG, progress=change)
    assert sha256_of(source) != digest
    assert read_labels(run.files[source]).metadata["source_sha256"] == digest
