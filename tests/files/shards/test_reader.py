import numpy as np
import pytest

from builders import refused
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.files.shards.reader import read_shard

STARTS = [0, 3, 4]
COUNT = 6


def means(tensors, starts=STARTS):
    return [piece.mean(axis=0) for piece in np.split(tensors["embeddings"][0], starts[1:])]


def maxima(tensors, starts=STARTS):
    return [piece.max() for piece in np.split(tensors["prominence"][0], starts[1:])]


@pytest.mark.parametrize(("layout", "named"), [("A", "A-C"), ("D", "D"), ("G", "G")])
def test_a_per_token_layout_is_pooled_to_patches(tmp_path, write, tokens, layout, named):
    tensors = tokens(STARTS, COUNT, layout=layout)
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    assert (table.layout, table.documents, table.warnings, table.bytes) == (
        named,
        ("doc",),
        (),
        None,
    )
    np.testing.assert_allclose(table.embeddings, means(tensors), rtol=1e-7)
    np.testing.assert_array_equal(table.prominence, maxima(tensors))
    np.testing.assert_array_equal(table.patch_start, STARTS)
    np.testing.assert_array_equal(table.patch_length, [3, 1, 2])
    np.testing.assert_array_equal(table.document, [0, 0, 0])
    if layout != "A":
        entropies = [piece.mean() for piece in np.split(tensors["entropies"][0], STARTS[1:])]
        np.testing.assert_allclose(table.entropy, entropies, rtol=1e-6)


@pytest.mark.parametrize(("pooling", "rows"), [("first", [0, 3, 4]), ("max", [2, 3, 5])])
def test_the_pooling_can_be_chosen(tmp_path, write, tokens, pooling, rows):
    tensors = tokens(STARTS, COUNT)
    tensors["prominence"] = np.array([[1, 2, 3, 1, 1, 2]], np.float32)
    table = read_shard(write(tmp_path / "doc.safetensors", tensors), pooling=pooling)
    np.testing.assert_array_equal(table.embeddings, tensors["embeddings"][0, rows])


@pytest.mark.parametrize("kept", ["patch_lengths", "patch_indices", "patch_mask"])
def test_each_kind_of_boundaries_suffices(tmp_path, write, tokens, kept):
    tensors = tokens(STARTS, COUNT, layout="G") | tokens(STARTS, COUNT)
    for name in {"patch_lengths", "patch_indices", "patch_mask"} - {kept}:
        del tensors[name]
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    np.testing.assert_array_equal(table.patch_start, STARTS)


def test_tokens_without_boundaries_are_refused(tmp_path, write, tokens):
    tensors = {"embeddings": tokens(STARTS, COUNT)["embeddings"]}
    assert "none of patch_lengths, patch_indices, patch_mask" in refused(
        write(tmp_path / "d.safetensors", tensors)
    )


@pytest.mark.parametrize(
    ("layout", "name", "value", "says"),
    [
        ("A", "patch_indices", [0, 2, 4], "`patch_mask` at index 1"),
        ("A", "patch_mask", [[1, 0, 0, 1, 0, 0]], "`patch_mask` at index 2: has 2 patches"),
        ("G", "patch_lengths", [3, 2, 1], "`patch_indices` at index 2"),
        ("G", "patch_lengths", [3, 1, 1], "add up to 5, but there are 6"),
    ],
)
def test_contradicting_boundaries_are_refused_at_the_first_difference(
    tmp_path, write, tokens, layout, name, value, says
):
    tensors = tokens(STARTS, COUNT, layout=layout) | {name: np.array(value, np.int32)}
    assert says in refused(write(tmp_path / "doc.safetensors", tensors))


def test_the_batch_axis_may_be_missing(tmp_path, write, tokens):
    tensors = tokens(STARTS, COUNT, layout="D")
    flat = {name: array[0] if array.shape[0] == 1 else array for name, array in tensors.items()}
    full = read_shard(write(tmp_path / "full.safetensors", tensors))
    table = read_shard(write(tmp_path / "flat.safetensors", flat))
    np.testing.assert_array_equal(table.embeddings, full.embeddings)


def test_a_batch_with_masks_is_one_document_per_row(tmp_path, write, tokens):
    rows = [tokens(STARTS, COUNT, seed=1), tokens([0, 5], COUNT, seed=2)]
    names = ("embeddings", "prominence", "patch_mask")
    batch = {name: np.concatenate([row[name] for row in rows]) for name in names}
    table = read_shard(write(tmp_path / "doc.safetensors", batch))
    assert table.documents == ("doc[0]", "doc[1]")
    np.testing.assert_array_equal(table.document, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(table.patch_start, [0, 3, 4, 0, 5])
    np.testing.assert_array_equal(table.patch_length, [3, 1, 2, 5, 1])
    np.testing.assert_allclose(table.embeddings, means(rows[0]) + means(rows[1], [0, 5]), rtol=1e-7)


def test_a_batch_is_refused_without_masks_or_if_a_tensor_lacks_it(tmp_path, write, tokens):
    row = tokens(STARTS, COUNT)
    names = ("embeddings", "prominence", "patch_mask")
    batch = {name: np.concatenate([row[name]] * 2) for name in names}
    path = tmp_path / "doc.safetensors"
    assert "`patch_indices`: a batch of 2" in refused(
        write(path, batch | {"patch_indices": row["patch_indices"]})
    )
    assert "`prominence`: shape (1, 6)" in refused(
        write(path, batch | {"prominence": row["prominence"]})
    )
    batch["patch_mask"][1, 0] = 0
    assert "`patch_mask` at index (1, 0)" in refused(write(path, batch))
    del batch["patch_mask"]
    assert "a batch of 2 documents needs its boundaries in `patch_mask`" in refused(
        write(path, batch)
    )


def test_a_token_column_of_another_length_is_refused(tmp_path, write, tokens):
    for name in ("prominence", "entropies", "coherence_scores", "patch_mask"):
        tensors = tokens(STARTS, COUNT, layout="D")
        tensors[name] = tensors[name][:, 1:]
        says = f"`{name}`: shape (1, 5) does not match the 6 tokens"
        assert says in refused(write(tmp_path / "doc.safetensors", tensors))


def test_padding_in_an_attention_mask_is_refused(tmp_path, write, tokens):
    tensors = tokens(STARTS, COUNT, layout="G")
    tensors["mask"][0, 4:] = 0
    assert "`mask` at index 4: a masked token" in refused(
        write(tmp_path / "doc.safetensors", tensors)
    )


@pytest.mark.parametrize("layout", ["F", "H"])
def test_a_per_patch_layout_keeps_the_stored_values(tmp_path, write, patches, layout):
    tensors = patches([2, 1, 3], layout=layout)
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    assert (table.layout, table.documents, table.warnings) == (layout, ("doc",), ())
    np.testing.assert_array_equal(table.embeddings, tensors["embeddings"])
    np.testing.assert_array_equal(table.prominence, tensors["prominence"])
    np.testing.assert_array_equal(table.entropy, tensors["patch_entropies"])
    np.testing.assert_array_equal(table.patch_start, [0, 2, 3])
    np.testing.assert_array_equal(table.patch_length, [2, 1, 3])
    np.testing.assert_array_equal(table.bytes, tensors["bytes"])
    np.testing.assert_array_equal(table.bytes_offset, [0, 2, 3, 6])


def test_a_per_patch_layout_may_have_a_batch_axis_of_one(tmp_path, write, patches):
    tensors = patches([2, 1, 3])
    batched = {name: array[None] for name, array in tensors.items()}
    table = read_shard(write(tmp_path / "doc.safetensors", batched))
    np.testing.assert_array_equal(table.embeddings, tensors["embeddings"])
    np.testing.assert_array_equal(table.bytes, tensors["bytes"])


def test_layout_h_may_lack_bytes_and_lengths(tmp_path, write, patches):
    tensors = patches([2, 1, 3], layout="H")
    del tensors["bytes"], tensors["patch_lengths"]
    table = read_shard(write(tmp_path / "doc.safetensors", tensors, {"n_patches": "3"}))
    np.testing.assert_array_equal(table.patch_start, [0, 1, 2])
    np.testing.assert_array_equal(table.patch_length, [1, 1, 1])
    assert table.warnings == ("no `patch_lengths`: patches are numbered by row",)


def test_layout_h_tells_documents_apart_by_its_metadata(tmp_path, write, patches):
    metadata = {"n_patches": "3", "documents": '[["one", 2], ["empty", 0], ["two", 1]]'}
    table = read_shard(
        write(tmp_path / "doc.safetensors", patches([2, 1, 3], layout="H"), metadata)
    )
    assert table.documents == ("one", "empty", "two")
    np.testing.assert_array_equal(table.document, [0, 0, 2])


def test_document_counts_must_add_up_and_a_foreign_key_is_only_a_warning(tmp_path, write, patches):
    tensors = patches([2, 1, 3], layout="H")
    path = tmp_path / "doc.safetensors"
    assert "adds up to 2 patches" in refused(write(path, tensors, {"documents": '[["one", 2]]'}))
    table = read_shard(write(path, tensors, {"documents": "12"}))
    assert table.documents == ("doc",)
    assert "taken as one document" in table.warnings[0]


def test_a_stated_number_of_patches_must_be_that_of_the_rows(tmp_path, write, patches):
    path = tmp_path / "doc.safetensors"
    assert len(read_shard(write(path, patches([2, 1]), {"num_patches": "2"}))) == 2
    for key in ("num_patches", "n_patches"):
        assert f"'{key}' says 20 patches" in refused(write(path, patches([2, 1]), {key: "20"}))


def test_layout_e_is_refused_by_the_name_of_its_format(tmp_path, write, patches):
    message = refused(write(tmp_path / "doc.safetensors", patches([2, 1], layout="E")))
    assert "blt_patches_v2" in message
    assert "blt_patches_v3" in message


def test_missing_embeddings_are_refused_with_what_was_found(tmp_path, write):
    message = refused(write(tmp_path / "doc.safetensors", {"weights": np.ones(2, np.float32)}))
    assert "has no `embeddings` (found: weights)" in message


def test_bytes_of_another_number_than_the_lengths_are_not_attributed(tmp_path, write, patches):
    tensors = patches([2, 1, 3])
    tensors["bytes"] = tensors["bytes"][:5]
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    assert table.bytes is None
    assert table.warnings == (
        "bytes not attributed: the patch lengths add up to 6, the file has 5 bytes",
    )
    np.testing.assert_array_equal(table.patch_length, [2, 1, 3])


@pytest.mark.parametrize("name", ["prominence", "patch_entropies", "patch_lengths"])
def test_a_patch_column_of_another_length_is_refused(tmp_path, write, patches, name):
    tensors = patches([2, 1, 3])
    tensors[name] = tensors[name][:2]
    says = f"`{name}`: shape (2,) does not match the 3 rows"
    assert says in refused(write(tmp_path / "doc.safetensors", tensors))


def test_without_a_stored_prominence_the_norm_is_used_and_said(tmp_path, write, patches, tokens):
    flat = patches([2, 1, 3])
    deep = tokens(STARTS, COUNT)
    del flat["prominence"], deep["prominence"]
    for tensors, expected in (
        (flat, np.linalg.norm(flat["embeddings"], axis=1)),
        (deep, np.maximum.reduceat(np.linalg.norm(deep["embeddings"][0], axis=1), STARTS)),
    ):
        table = read_shard(write(tmp_path / "doc.safetensors", tensors))
        np.testing.assert_allclose(table.prominence, expected, rtol=1e-6)
        assert table.warnings == ("no stored prominence: the norm of the embedding is used",)


def test_radii_may_order_norms_or_a_column_and_of_tokens_no_column(
    tmp_path, write, patches, tokens
):
    flat = patches([2, 1, 3]) | {"size": np.array([4.0, 6, 5])}
    path = write(tmp_path / "flat.safetensors", flat)
    norms = np.linalg.norm(flat["embeddings"], axis=1)
    for name, expected in (("norm", norms), ("density", norms), ("size", [4, 6, 5])):
        table = read_shard(path, columns=TableColumns(prominence=name))
        np.testing.assert_allclose(table.prominence, expected, rtol=1e-6)
        assert table.warnings == ()
    assert "size" not in table.own.values
    with pytest.raises(ShardError, match=r"`gone`: no such column; there are .*`size`"):
        read_shard(path, columns=TableColumns(prominence="gone"))
    deep = tokens(STARTS, COUNT)
    path = write(tmp_path / "deep.safetensors", deep)
    largest = np.maximum.reduceat(np.linalg.norm(deep["embeddings"][0], axis=1), STARTS)
    table = read_shard(path, columns=TableColumns(prominence="norm"))
    np.testing.assert_allclose(table.prominence, largest, rtol=1e-6)
    with pytest.raises(ShardError, match="tokens, whose radii no column orders; got 'size'; leave"):
        read_shard(path, columns=TableColumns(prominence="size"))


def test_a_norm_beyond_float32_is_refused(tmp_path, write):
    tensors = {"embeddings": np.array([[1, 1], [3e38, 3e38]], np.float32)}
    assert "`embeddings` at index 1" in refused(write(tmp_path / "doc.safetensors", tensors))


def test_zero_vectors_are_allowed_and_counted(tmp_path, write, patches):
    tensors = patches([2, 1, 3])
    tensors["embeddings"][1:] = 0
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    assert table.warnings == ("2 zero vectors have no direction information and no lateral edges",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "index"), [("embeddings", (1, 2)), ("prominence", 2), ("patch_entropies", 0)]
)
def test_values_that_are_not_finite_are_refused_at_their_index(
    tmp_path, write, patches, name, index, value
):
    tensors = patches([2, 1, 3])
    tensors[name][index] = value
    assert f"`{name}` at index {index}: {value} is not" in refused(
        write(tmp_path / "doc.safetensors", tensors)
    )


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_float_dtypes_give_the_same_table(tmp_path, write, patches, bfloat16, dtype):
    tensors = patches([2, 1, 3])
    stored = tensors["embeddings"].astype(bfloat16 if dtype == "bfloat16" else dtype)
    table = read_shard(write(tmp_path / "doc.safetensors", tensors | {"embeddings": stored}))
    np.testing.assert_array_equal(table.embeddings, stored.astype(np.float32))


@pytest.mark.parametrize("dtype", ["int64", "uint32", "uint8"])
def test_other_integer_dtypes_give_the_same_table(tmp_path, write, tokens, dtype):
    tensors = tokens(STARTS, COUNT, layout="G")
    for name in ("patch_indices", "patch_lengths"):
        tensors[name] = tensors[name].astype(dtype)
    table = read_shard(write(tmp_path / "doc.safetensors", tensors))
    np.testing.assert_array_equal(table.patch_start, STARTS)


def test_a_boolean_mask_is_a_mask(tmp_path, write, tokens):
    tensors = tokens(STARTS, COUNT)
    tensors["patch_mask"] = tensors["patch_mask"].astype(bool)
    np.testing.assert_array_equal(
        read_shard(write(tmp_path / "d.safetensors", tensors)).patch_start, STARTS
    )


@pytest.mark.parametrize("layout", ["A", "D", "G", "F", "H"])
def test_no_patches_one_patch_and_one_token_are_valid(tmp_path, write, tokens, patches, layout):
    def make(count):
        if layout in "FH":
            return patches([1] * count, dim=5, layout=layout)
        return tokens([0] if count else [], count, dim=5, layout=layout)

    for count in (0, 1):
        table = read_shard(write(tmp_path / "doc.safetensors", make(count)))
        assert table.embeddings.shape == (count, 5)
        assert table.patch_length.tolist() == [1] * count


def test_a_batch_of_nothing_is_refused_however_large(tmp_path, write):
    tensors = {
        "embeddings": np.empty((2**40, 0, 3), np.float32),
        "patch_mask": np.empty((2**40, 0), np.int32),
    }
    assert "is not (1, tokens, dim)" in refused(write(tmp_path / "doc.safetensors", tensors))


def test_a_label_file_is_no_shard(tmp_path, write, patches):
    path = write(tmp_path / "doc.safetensors", patches([1]), {"format": "sphere_labels_v1"})
    assert "is a label file" in refused(path)


def test_the_sidecar_is_the_named_one_else_the_one_of_the_same_stem(tmp_path, write, patches):
    path = tmp_path / "doc.safetensors"
    assert read_shard(write(path, patches([1]))).sidecar is None
    (tmp_path / "doc.hypergraph.db").touch()
    assert read_shard(path).sidecar == tmp_path / "doc.hypergraph.db"
    (tmp_path / "other.db").touch()
    assert (
        read_shard(write(path, patches([1]), {"metadata_file": "other.db"})).sidecar
        == tmp_path / "other.db"
    )


@pytest.mark.parametrize("name", ["gone.db", "..", "\0", "x" * 999, "\ud800"])
def test_a_sidecar_name_that_leads_nowhere_is_passed_over(tmp_path, write, patches, name):
    path = write(tmp_path / "doc.safetensors", patches([1]), {"metadata_file": name})
    assert read_shard(path).sidecar is None


def test_a_sidecar_outside_the_folder_is_never_taken(tmp_path, write, patches):
    (tmp_path / "secret.db").touch()
    path = write(
        tmp_path / "in" / "doc.safetensors", patches([1]), {"metadata_file": "../secret.db"}
    )
    assert read_shard(path).sidecar is None


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_pooling_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match="`pooling` must be one of"):
        read_shard(tmp_path / "gone.npy", pooling="sum")
