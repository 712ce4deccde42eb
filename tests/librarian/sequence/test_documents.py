import dataclasses

import numpy as np
import pytest

from sequences import documents_of
from sphere_ebm import LabelError, ShardError, read_shard
from sphere_ebm.librarian.sequence.documents import (
    embed_alone,
    read_sequences,
    split_documents,
)
from sphere_ebm.text.static_embedder import StaticEmbedder


def test_documents_come_in_the_order_of_their_text(tmp_path, shard):
    shard(tmp_path / "in" / "a.safetensors", 7)
    shard(tmp_path / "in" / "b.safetensors", 3, seed=1)
    (tmp_path / "in" / "c.safetensors").write_bytes(b"no shard")
    found = read_sequences([tmp_path / "in"])
    assert found.begins.tolist() == [0, 7, 10]
    assert [name.split(":")[0] for name in found.names] == ["a", "b"]
    assert np.array_equal(
        found.vectors[7:], read_shard(tmp_path / "in" / "b.safetensors").embeddings
    )
    assert found.document().tolist() == [0] * 7 + [1] * 3
    assert found.before().tolist() == [*range(7), *range(3)]
    assert [one.source.name for one in found.refused] == ["c.safetensors"]


def test_embeddings_of_two_widths_are_refused(tmp_path, shard):
    shard(tmp_path / "a.safetensors", 4, width=5)
    shard(tmp_path / "b.safetensors", 4, width=6)
    with pytest.raises(LabelError, match=r"a\.safetensors has 5, .*b\.safetensors has 6"):
        read_sequences([tmp_path])


def test_nothing_to_read_is_one_line(tmp_path):
    with pytest.raises(LabelError, match="no input holds a vector"):
        read_sequences([tmp_path / "none"])


def test_parts_share_no_document_and_lose_none():
    found = documents_of(*range(3, 26))
    parts = split_documents(found, seed=4)
    names = [set(part.names) for part in parts]
    assert [len(part) for part in parts] == [19, 2, 2]
    assert set.union(*names) == set(found.names)
    assert sum(map(len, names)) == len(found)
    for part in parts:
        for number, name in enumerate(part.names):
            whole = found.names.index(name)
            begin, end = found.begins[whole : whole + 2]
            here = part.vectors[part.begins[number] : part.begins[number + 1]]
            assert np.array_equal(here, found.vectors[begin:end])


def test_another_seed_divides_otherwise():
    found = documents_of(*[4] * 20)
    assert split_documents(found, 0)[2].names != split_documents(found, 1)[2].names


def test_too_few_documents_to_divide_are_refused():
    with pytest.raises(LabelError, match="2 documents cannot be divided into train, validation"):
        split_documents(documents_of(9, 9), 0)


def test_the_digest_knows_vectors_and_bounds():
    found = documents_of(5, 5)
    moved = dataclasses.replace(found, begins=np.array([0, 4, 10]))
    other = dataclasses.replace(found, vectors=found.vectors + 1)
    assert len({found.digest, moved.digest, other.digest, documents_of(5, 5).digest}) == 3


def test_alone_a_patch_does_not_depend_on_its_neighbours():
    pytest.importorskip("wordllama")
    table = read_shard("data/luke.safetensors")
    end = int(table.bytes_offset[40])
    few = dataclasses.replace(
        table,
        **{
            name: getattr(table, name)[:40]
            for name in ("embeddings", "prominence", "document", "patch_start", "patch_length")
        },
        entropy=None,
        bytes=table.bytes[:end],
        bytes_offset=table.bytes_offset[:41],
    )
    whole = embed_alone(few)
    octets = few.bytes.copy()
    begin = int(few.bytes_offset[20])
    octets[begin:] = ord("x")
    changed = embed_alone(dataclasses.replace(few, bytes=octets))
    assert whole.shape == (40, 256)
    assert np.allclose(whole[:19], changed[:19], atol=1e-6)
    assert not np.allclose(whole[21:], changed[21:], atol=1e-2)
    # where tokens around a patch count, the patches before it change, too
    around = StaticEmbedder()
    lengths = np.diff(few.bytes_offset)
    first, second = (
        np.concatenate([block for block, _ in around.embed(one, lengths)])
        for one in (few.bytes, octets)
    )
    assert not np.allclose(first[19], second[19], atol=1e-3)


def test_a_shard_without_bytes_cannot_be_embedded_again(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3), np.float32))
    with pytest.raises(ShardError, match="holds no bytes to embed again; use shards that"):
        embed_alone(read_shard(tmp_path / "a.npy"))
