import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from builders import assert_copied
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.columns import spliced
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.labels import read_labels, write_labels
from sphere_ebm.files.shards.reader import read_item, read_shard

METADATA = {"seed": "3", "config": '{"a": "\u03b1"}', "quality": "{}"}


def columns(patches, seed=0):
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((patches, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return {
        "direction": direction.astype(np.float32),
        "radius": rng.random(patches).astype(np.float32) + 1,
        "shell": rng.integers(0, 9, patches).astype(np.int32),
        "radius_std": rng.random(patches).astype(np.float32),
        "angle_std": rng.random(patches).astype(np.float32),
        "thermal_std": rng.random(patches).astype(np.float32),
        "modes": np.stack([direction, -direction], axis=1).astype(np.float32),
        "mode_weight": rng.random((patches, 2)).astype(np.float32),
        "point_energy": rng.standard_normal(patches).astype(np.float32),
        "kept": rng.random(patches).astype(np.float32),
        "kept_p_value": rng.random(patches).astype(np.float32),
    }


@pytest.fixture
def table(tmp_path, write, patches):
    return read_shard(write(tmp_path / "doc.safetensors", patches([2, 1, 3])))


def test_labels_come_back_as_they_were_written(tmp_path, table):
    given = columns(3)
    digest = write_labels(tmp_path / "doc.sphere.safetensors", table, given, metadata=METADATA)
    labels = read_labels(tmp_path / "doc.sphere.safetensors")
    assert digest == hashlib.sha256((tmp_path / "doc.sphere.safetensors").read_bytes()).hexdigest()
    for name, array in given.items():
        np.testing.assert_array_equal(getattr(labels, name), array)
    assert_copied(labels, table)
    assert METADATA.items() <= labels.metadata.items()
    assert labels.metadata["format"] == "sphere_labels_v1"
    assert labels.metadata["source_file"] == "doc.safetensors"
    assert labels.metadata["source_sha256"] == hashlib.sha256(table.source.read_bytes()).hexdigest()


def test_labels_become_a_data_frame(tmp_path, table):
    given = columns(3)
    write_labels(tmp_path / "doc.sphere.safetensors", table, given, metadata=METADATA)
    labels = read_labels(tmp_path / "doc.sphere.safetensors")
    frame = labels.to_pandas()
    np.testing.assert_array_equal(frame[["x", "y", "z"]], given["direction"])
    for name in ("radius", "shell", "kept", "patch_start", "theta"):
        np.testing.assert_array_equal(frame[name], getattr(labels, name))
    assert set(frame["document"]) == {"doc"}
    ends = zip(labels.bytes_offset, labels.bytes_offset[1:], strict=False)
    patches = [labels.bytes[begin:end].tobytes() for begin, end in ends]
    assert list(frame["text"]) == [patch.decode("utf-8", "replace") for patch in patches]
    assert "copies" not in frame


def test_the_safetensors_library_reads_every_tensor_of_the_format(tmp_path, table):
    path = tmp_path / "doc.sphere.safetensors"
    write_labels(path, table, columns(3), metadata=METADATA)
    got = {name: (str(array.dtype), array.shape) for name, array in load_file(path).items()}
    assert got == {
        "sphere_coords": ("float32", (3, 3)),
        "radii": ("float32", (3,)),
        "theta": ("float32", (3,)),
        "phi": ("float32", (3,)),
        "direction": ("float32", (3, 3)),
        "shell": ("int32", (3,)),
        "radius_std": ("float32", (3,)),
        "angle_std": ("float32", (3,)),
        "thermal_std": ("float32", (3,)),
        "modes": ("float32", (3, 2, 3)),
        "mode_weight": ("float32", (3, 2)),
        "point_energy": ("float32", (3,)),
        "kept": ("float32", (3,)),
        "kept_p_value": ("float32", (3,)),
        "embeddings": ("float32", (3, 3)),
        "prominence": ("float32", (3,)),
        "patch_start": ("int32", (3,)),
        "patch_length": ("int32", (3,)),
        "bytes": ("uint8", (6,)),
        "bytes_offset": ("int64", (4,)),
    }
    with safe_open(path, "np") as file:
        assert file.metadata()["config"] == METADATA["config"]


def test_angles_are_those_of_the_directions(tmp_path, table):
    given = columns(3)
    write_labels(tmp_path / "l.sphere.safetensors", table, given, metadata={})
    labels = read_labels(tmp_path / "l.sphere.safetensors")
    x, y, z = given["direction"].T
    np.testing.assert_allclose(labels.theta, np.arccos(z), atol=1e-6)
    np.testing.assert_allclose(labels.phi, np.arctan2(y, x) % (2 * np.pi), rtol=1e-6)
    np.testing.assert_array_equal(labels.sphere_coords.T, [labels.radius, labels.theta, labels.phi])


@pytest.mark.parametrize("y", [-1e-8, -1e-30, -1e-45, -0.0, 0.0])
def test_an_azimuth_just_below_zero_never_becomes_a_full_turn(tmp_path, table, y):
    given = columns(3) | {"direction": np.tile(np.array([1, y, 0], np.float32), (3, 1))}
    write_labels(tmp_path / "l.sphere.safetensors", table, given, metadata={})
    phi = read_labels(tmp_path / "l.sphere.safetensors").phi
    assert (phi >= 0).all()
    assert (phi.astype(np.float64) < 2 * np.pi).all()


def test_an_empty_shard_has_empty_labels(tmp_path, write, patches):
    table = read_shard(write(tmp_path / "doc.safetensors", patches([], dim=4)))
    write_labels(tmp_path / "l.sphere.safetensors", table, columns(0), metadata={})
    labels = read_labels(tmp_path / "l.sphere.safetensors")
    assert (len(labels), labels.embeddings.shape, labels.bytes_offset.tolist()) == (0, (0, 4), [0])


def test_what_is_optional_may_be_missing(tmp_path, table):
    given = columns(3)
    del given["kept_p_value"]
    write_labels(tmp_path / "l.sphere.safetensors", table, given, metadata={})
    labels = read_labels(tmp_path / "l.sphere.safetensors")
    assert labels.kept_p_value is None
    np.testing.assert_array_equal(labels.kept, given["kept"])


def test_parts_of_columns_are_put_together_row_by_row():
    given = columns(5)
    rows = np.array([4, 0])
    others = np.array([1, 2, 3])
    one = {name: column[rows] for name, column in given.items()}
    other = {name: column[others] for name, column in given.items() if name != "kept"}
    whole = spliced(5, (others, other), (rows, one))
    assert whole.keys() == given.keys() - {"kept"}
    for name, column in whole.items():
        np.testing.assert_array_equal(column, given[name])
        assert column.dtype == given[name].dtype


@pytest.mark.usefixtures("unchecked")
def test_columns_of_other_dtypes_are_stored_as_the_format_says(tmp_path, table):
    given = {name: column.astype(np.float64) for name, column in columns(3).items()}
    write_labels(tmp_path / "l.sphere.safetensors", table, given, metadata={})
    np.testing.assert_array_equal(
        read_labels(tmp_path / "l.sphere.safetensors").shell, given["shell"]
    )


def test_a_table_without_bytes_gives_labels_without_bytes(tmp_path, table):
    table = dataclasses.replace(table, bytes=None, bytes_offset=None)
    write_labels(tmp_path / "l.sphere.safetensors", table, columns(3), metadata={})
    labels = read_labels(tmp_path / "l.sphere.safetensors")
    assert (labels.bytes, labels.bytes_offset) == (None, None)


def test_a_document_in_parts_is_hashed_as_a_whole(tmp_path, write, tokens, cut):
    tensors = tokens([0, 2], 4)
    paths = [
        write(tmp_path / f"d_part_{i}.safetensors", cut(tensors, 2 * i, 2 * i + 2))
        for i in range(2)
    ]
    table = read_item(discover([tmp_path])[0])
    write_labels(tmp_path / "d.sphere.safetensors", table, columns(2), metadata={})
    metadata = read_labels(tmp_path / "d.sphere.safetensors").metadata
    assert json.loads(metadata["source_parts"]) == ["d_part_0.safetensors", "d_part_1.safetensors"]
    assert (
        metadata["source_sha256"]
        == hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest()
    )


SCRIPT = """
import sys, numpy as np
from pathlib import Path
from sphere_ebm.files.shards import read_shard, write_labels
table = read_shard(sys.argv[1])
direction = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
ones = np.ones(3, np.float32)
metadata = {f"key {i}": str(i) for i in (range(30) if sys.argv[3] == "up" else reversed(range(30)))}
columns = {"direction": direction, "radius": ones, "shell": np.zeros(3, np.int32)}
columns |= {"radius_std": ones, "angle_std": ones}
print(write_labels(Path(sys.argv[2]), table, columns, metadata=metadata))
"""


def test_the_bytes_are_the_same_in_every_process(tmp_path, table):
    runs = []
    for seed, order in (("1", "up"), ("2", "down")):
        out = tmp_path / f"{seed}.sphere.safetensors"
        command = [sys.executable, "-c", SCRIPT, str(table.source), str(out), order]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        runs.append(out.read_bytes())
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shell": np.zeros(2, np.int32)}, r"`shell` must have shape \(3,\)"),
        ({"direction": np.ones((3, 2), np.float32)}, r"`direction` must have shape \(3, 3\)"),
        ({"direction": np.ones((3, 3), np.float32)}, "unit vectors; row 0 has length 1.73205"),
        ({"radius": np.array([1, np.nan, 1], np.float32)}, "`radius` must be finite; got nan"),
        ({"metadata": {"format": "mine"}}, "got format"),
        ({"keptt": np.ones(3, np.float32)}, "missing or unknown: keptt"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_columns_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, table, change, says):
    with pytest.raises(ValueError, match=says):
        write_labels(
            tmp_path / "l.sphere.safetensors",
            table,
            columns(3) | {name: array for name, array in change.items() if name != "metadata"},
            metadata=change.get("metadata", {}),
        )
    assert not (tmp_path / "l.sphere.safetensors").exists()


def test_a_source_that_is_gone_is_an_error(tmp_path, table):
    table.source.unlink()
    with pytest.raises(ShardError, match="can no longer be read"):
        write_labels(tmp_path / "l.sphere.safetensors", table, columns(3), metadata={})


def test_a_shard_is_no_label_file(table):
    with pytest.raises(ShardError, match="format is None, not 'sphere_labels_v1'"):
        read_labels(table.source)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("theta", None, "`theta` is missing"),
        ("radii", np.ones(2, np.float32), r"is F32 \[3\], not F32 \[2\]"),
        ("kept", np.zeros(2, np.float32), r"`kept`: is F32 \[2\], not F32 \[3\]"),
        ("shell", np.zeros(3, np.int64), r"`shell`: is I64 \[3\], not I32 \[3\]"),
        ("sphere_coords", np.zeros((3, 3), np.float32), "`sphere_coords`: does not agree"),
        ("bytes_offset", np.array([0, 5, 3, 6]), "`bytes_offset`: does not rise"),
        ("bytes", None, "`bytes` is missing"),
        ("embeddings", np.zeros((2, 3), np.float32), "`embeddings`"),
        ("direction", np.full((3, 3), np.nan, np.float32), r"`direction` at index \(0, 0\)"),
    ],
)
def test_a_label_file_with_a_wrong_tensor_is_refused_by_its_name(
    tmp_path, write, table, name, value, says
):
    path = tmp_path / "l.sphere.safetensors"
    write_labels(path, table, columns(3), metadata={})
    tensors = load_file(path) | {name: value}
    metadata = read_labels(path).metadata
    write(path, {key: array for key, array in tensors.items() if array is not None}, metadata)
    with pytest.raises(ShardError, match=says):
        read_labels(path)
