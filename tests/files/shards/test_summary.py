import numpy as np
import pytest

from sphere_ebm import PlacementConfig, place
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.labels import write_labels
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.files.shards.summary import inspect_shard


def test_a_summary_shows_layout_tensors_metadata_and_size(tmp_path, write, patches):
    summary = inspect_shard(
        write(tmp_path / "doc.safetensors", patches([2, 1]), {"format": "blt_patches_v3"})
    )
    assert (summary.layout, summary.patches, summary.dim) == ("F", 2, 3)
    assert (summary.documents, summary.warnings, summary.problem) == (("doc",), (), None)
    assert summary.metadata == {"format": "blt_patches_v3"}
    assert ("embeddings", "F32", (2, 3)) in [
        (info.name, info.dtype, info.shape) for info in summary.tensors
    ]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_array_files_are_summarised_too(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    np.save(path, np.ones((4, 2))) if suffix == "npy" else np.savez(
        path, embeddings=np.ones((4, 2))
    )
    summary = inspect_shard(path)
    assert (summary.layout, summary.patches, summary.dim) == (suffix, 4, 2)
    assert [(info.name, info.dtype, info.shape) for info in summary.tensors] == [
        ("embeddings", "float64", (4, 2))
    ]


def test_what_cannot_be_used_is_still_described(tmp_path, write, patches):
    summary = inspect_shard(write(tmp_path / "doc.safetensors", patches([2, 1], layout="E")))
    assert (summary.layout, summary.patches, len(summary.tensors)) == ("E", None, 3)
    assert "blt_patches_v2" in str(summary.problem)


def test_a_file_without_a_layout_is_described_by_its_tensors(tmp_path, write):
    summary = inspect_shard(
        write(tmp_path / "doc.safetensors", {"weights": np.ones(2, np.float32)})
    )
    assert (summary.layout, summary.tensors[0].name) == (None, "weights")
    assert "no `embeddings`" in str(summary.problem)


@pytest.fixture
def labelled(tmp_path, write, patches):
    """`labelled(name)`: a label file of that name, for the one patch of `doc.safetensors`."""

    def make(name):
        one = np.ones(1, np.float32)
        write_labels(
            tmp_path / name,
            read_shard(write(tmp_path / "doc.safetensors", patches([2]))),
            {
                "direction": np.array([[0, 0, 1]], np.float32),
                "radius": one,
                "shell": np.zeros(1, np.int32),
                "radius_std": one,
                "angle_std": one,
            },
            metadata={},
        )
        return tmp_path / name

    return make


def test_a_label_file_is_summarised(labelled):
    summary = inspect_shard(labelled("doc.sphere.safetensors"))
    assert (summary.layout, summary.patches, summary.dim, summary.problem) == (
        "sphere_labels_v1",
        1,
        3,
        None,
    )


def test_a_label_file_tells_its_source(labelled):
    assert inspect_shard(labelled("renamed.sphere.safetensors")).documents == ("doc.safetensors",)


def test_a_placement_is_called_one(tmp_path):
    path = tmp_path / "mine.safetensors"
    place(np.eye(3, dtype=np.float32), config=PlacementConfig(steps=2, average=2)).save(path)
    summary = inspect_shard(path)
    assert (summary.layout, summary.patches, summary.problem) == ("sphere_placement_v1", 3, None)
    with pytest.raises(ShardError, match="is a placement"):
        read_shard(path)


@pytest.mark.parametrize("form", ["doc_part_{}", "doc_shard_{}_of_2"])
def test_one_part_of_many_is_called_one(tmp_path, write, tokens, cut, form):
    whole = tokens([0, 3], 6)
    paths = [
        write(tmp_path / f"{form.format(i)}.safetensors", cut(whole, 3 * i, 3 * i + 3))
        for i in range(2)
    ]
    for path in paths:
        assert "is part of doc (2 files); label the folder" in str(inspect_shard(path).problem)


def test_a_file_without_a_readable_header_is_an_error(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ShardError, match="too few"):
        inspect_shard(tmp_path / "x.safetensors")
