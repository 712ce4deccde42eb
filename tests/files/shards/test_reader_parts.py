"""Documents in several files are read as one."""

import numpy as np
import pytest

from builders import refused
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.reader import read_item, read_shard

STARTS = [0, 3, 4]
COUNT = 6


@pytest.mark.parametrize("pooling", ["mean", "first", "max"])
@pytest.mark.parametrize("naming", ["doc_part_{}", "doc_shard_{}_of_12"])
def test_parts_joined_in_numeric_order_are_the_whole_document(
    tmp_path, write, tokens, cut, naming, pooling
):
    # Patches of 7, 1, 14 and 2 tokens over parts of 2: most straddle parts, and several parts have
    # no start at all.
    tensors = tokens([0, 7, 8, 22], 24, layout="D")
    for part in range(12):
        write(tmp_path / f"{naming.format(part)}.safetensors", cut(tensors, 2 * part, 2 * part + 2))
    whole = read_shard(write(tmp_path / "whole" / "doc.safetensors", tensors), pooling=pooling)
    (item,) = discover([tmp_path / "*.safetensors"])
    table = read_item(item, pooling=pooling)
    assert (item.stem, table.documents, table.layout) == ("doc", ("doc",), "D")
    assert [path.stem for path in table.parts] == [naming.format(part) for part in range(12)]
    for name in ("embeddings", "prominence", "entropy", "patch_start", "patch_length"):
        np.testing.assert_array_equal(getattr(table, name), getattr(whole, name))


def test_the_sidecar_of_a_document_in_parts_is_found(tmp_path, write, tokens):
    path = write(tmp_path / "doc_part_0.safetensors", tokens(STARTS, COUNT))
    (tmp_path / "doc.hypergraph.db").touch()
    assert read_shard(path).sidecar == tmp_path / "doc.hypergraph.db"


def test_a_missing_last_part_is_found_out_from_the_patch_count(tmp_path, write, tokens, cut):
    path = write(tmp_path / "doc_part_0.safetensors", cut(tokens(STARTS, COUNT), 0, 4))
    assert "has 3 patches, doc_part_0.safetensors hold 2" in refused(path)


def test_one_part_read_alone_names_the_others(tmp_path, write, tokens, cut):
    path = write(tmp_path / "doc_shard_1_of_3.safetensors", cut(tokens(STARTS, COUNT), 2, 4))
    assert "parts 0, 2 missing of the document's parts 0 to 2" in refused(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"embeddings": np.ones((1, 3, 4), np.float32)},
            "has 4 dimensions, doc_part_0.safetensors has 3",
        ),
        (
            {"prominence": None},
            "`prominence`: is missing here but present in doc_part_0.safetensors",
        ),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(tmp_path, write, tokens, cut, change, says):
    tensors = tokens(STARTS, COUNT)
    write(tmp_path / "doc_part_0.safetensors", cut(tensors, 0, 3))
    other = cut(tensors, 3, 6) | change
    write(tmp_path / "doc_part_1.safetensors", {k: v for k, v in other.items() if v is not None})
    (item,) = discover([tmp_path])
    with pytest.raises(ShardError) as caught:
        read_item(item)
    assert says in str(caught.value)
    assert caught.value.file.name == "doc_part_1.safetensors"
