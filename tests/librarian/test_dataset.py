import numpy as np
import pytest

from builders import contents
from sphere_ebm import LabelError, ShardError, read_labels
from sphere_ebm.librarian.dataset import LabelDataset, Run
from sphere_ebm.librarian.joined import join_shards
from sphere_ebm.librarian.split import Split


@pytest.fixture(scope="module")
def dataset(labels):
    return LabelDataset.open(labels)


def test_documents_keep_the_order_of_the_map_and_their_bytes(dataset, labels):
    assert [one.name for one in dataset.documents] == [f"d{i}.txt" for i in range(6)]
    held = read_labels(labels / "d2.sphere.safetensors")
    patches = dataset.passages(2)
    assert patches.octets.tobytes() == held.bytes.tobytes()
    assert np.array_equal(patches.first, held.bytes_offset[:-1])
    assert np.array_equal(dataset.direction[dataset.documents[2].rows], held.direction)
    assert np.array_equal(dataset.vectors(2), held.embeddings)


def test_weights_of_modes_sum_to_one_and_ranks_follow_prominence(dataset, labels):
    assert np.allclose(dataset.mode_weight.sum(axis=1), 1)
    held = read_labels(labels / "d0.sphere.safetensors")
    own = dataset.rank[dataset.documents[0].rows]
    order = np.argsort(held.prominence, kind="stable")
    assert (np.diff(own[order]) >= 0).all()
    assert abs(dataset.rank.mean() - 0.5) < 1e-6
    assert len(dataset.facts.radii) == 32


def test_a_batch_holds_neighbouring_patches_of_its_runs(dataset):
    batch = dataset.batch([Run(1, 3, 7), Run(4, 0, 2)])
    assert len(batch) == 6
    whole = dataset.vectors(1)[3:7]
    cosine = (batch.embedding[:4] * whole).sum(axis=1) / np.linalg.norm(whole, axis=1)
    assert np.allclose(cosine, 1, atol=1e-5)
    text = dataset.passages(4)
    first = batch.passages.octets[batch.passages.first[4] : batch.passages.last[4]].tobytes()
    assert first == text.octets[text.first[0] : text.last[0]].tobytes()


def test_unsure_labels_weigh_less_and_all_one_on_average(dataset):
    runs = dataset.runs([one.name for one in dataset.documents], 1000)
    batch = dataset.batch(runs, weigh=True)
    assert abs(batch.weight.mean() - 1) < 1e-4
    order = np.argsort(batch.angle_std, kind="stable")
    assert (np.diff(batch.weight[order]) <= 1e-6).all()
    assert (dataset.batch(runs).weight == 1).all()


def test_above_the_memory_rows_are_read_again_and_are_the_same(dataset, labels):
    streamed = LabelDataset.open(labels, memory=100)
    assert streamed._held is None
    runs = dataset.runs(["d1.txt", "d5.txt"], 9)
    assert np.array_equal(streamed.batch(runs).embedding, dataset.batch(runs).embedding)


def test_whole_documents_are_held_out_by_the_seed(dataset, tmp_path):
    split = dataset.split(3, 0.34)
    assert (len(split.train), len(split.validation)) == (4, 2)
    assert dataset.split(3, 0.34) == split
    assert any(dataset.split(seed, 0.34) != split for seed in range(4, 9))
    split.save(tmp_path)
    assert Split.load(tmp_path) == split
    (tmp_path / "split.json").write_text("{}")
    with pytest.raises(LabelError, match=r"split\.json cannot be read"):
        Split.load(tmp_path)


def test_named_documents_are_held_out_and_joined_ones_never(labels, more_shards, tmp_path):
    files = join_shards(labels, [more_shards], tmp_path / "joined")
    assert [path.name for path in files] == ["d6.sphere.safetensors", "d7.sphere.safetensors"]
    both = LabelDataset.open(labels, more=files)
    split = both.split(held_out=["d0.txt", "d[45].txt"])
    assert split.validation == ("d0.txt", "d4.txt", "d5.txt")
    assert split.train == ("d1.txt", "d2.txt", "d3.txt", "d6.txt", "d7.txt")
    with pytest.raises(LabelError, match="no document is called 'd6'"):
        both.split(held_out=["d6"])
    assert ((both.rank >= 0) & (both.rank <= 1)).all()


def test_joining_again_keeps_what_is_there(labels, more_shards, tmp_path):
    before = contents(labels)
    join_shards(labels, [more_shards], tmp_path / "joined")
    held = contents(tmp_path / "joined")
    join_shards(labels, [more_shards], tmp_path / "joined")
    assert contents(tmp_path / "joined") == held
    assert contents(labels) == before


def test_labels_of_several_maps_are_refused(labels, other_labels):
    other = sorted(other_labels.glob("*.sphere.safetensors"))
    with pytest.raises(LabelError, match=r"is of the map .*, and .* of .*; label or join them"):
        LabelDataset.open(labels, more=other[:1])


def test_folders_without_labels_are_refused(tmp_path):
    with pytest.raises(LabelError, match="no label files"):
        LabelDataset.open(tmp_path)
    (tmp_path / "x.sphere.safetensors").write_bytes(b"nothing at all")
    with pytest.raises(ShardError):
        LabelDataset.open(tmp_path)
