"""Whatever is done to a shard: a valid table or one line that names the file, and nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.reader import read_item, read_shard
from sphere_ebm.files.shards.summary import inspect_shard
from sphere_ebm.files.shards.table import PatchTable

LAYOUTS = ["A", "D", "E", "F", "G", "H"]
WRONG = [np.float64, np.float16, np.int64, np.int32, np.uint8, bool]


@pytest.fixture(scope="module")
def make(tmp_path_factory, write, tokens, patches):
    folder = tmp_path_factory.mktemp("damaged")

    def make(layout, change=None, name="doc"):
        tensors = (
            patches([2, 1, 3], layout=layout)
            if layout in "EFH"
            else tokens([0, 2, 3], 6, layout=layout)
        )
        if change is not None:
            change(tensors)
        return write(folder / f"{name}.safetensors", tensors, {"num_patches": "3"})

    return make


def outcome(path):
    """The table or the refusal of a file, read in every way there is."""
    (item,) = discover([path])
    results = []
    for read in (
        lambda: read_shard(path),
        lambda: read_item(item),
        lambda: inspect_shard(path).problem,
    ):
        try:
            results.append(read())
        except ShardError as error:
            message = str(error)
            assert len(message.splitlines()) == 1
            assert str(path) in message
            results.append(None)
    table = results[0]
    if table is not None:
        assert isinstance(table, PatchTable)
        assert np.isfinite(table.embeddings).all()
        assert np.isfinite(table.prominence).all()
        assert (table.patch_length >= 1).all()
    return table


def damaged(test):
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=70, derandomize=True, deadline=None, database=None, suppress_health_check=quiet
    )(test)


@damaged
@given(layout=st.sampled_from(LAYOUTS), share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_shard_is_refused(make, layout, share):
    path = make(layout)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    assert outcome(path) is None


@damaged
@given(
    layout=st.sampled_from(LAYOUTS),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1),
)
def test_flipped_bytes_in_the_header_give_a_table_or_a_refusal(make, layout, flips):
    path = make(layout)
    raw = bytearray(path.read_bytes())
    last = 7 + int.from_bytes(raw[:8], "little")
    for share, change in flips:
        raw[int(share * last)] ^= change
    path.write_bytes(raw)
    outcome(path)


@damaged
@given(layout=st.sampled_from(LAYOUTS), pick=st.integers(0, 20), dtype=st.sampled_from(WRONG))
def test_another_dtype_gives_a_table_or_a_refusal(make, layout, pick, dtype):
    def change(tensors):
        name = sorted(tensors)[pick % len(tensors)]
        tensors[name] = tensors[name].astype(dtype)

    outcome(make(layout, change))


@damaged
@given(
    layout=st.sampled_from("ADFGH"),
    name=st.sampled_from(["embeddings", "prominence"]),
    place=st.integers(0, 99),
)
def test_a_value_that_is_not_finite_is_refused(make, layout, name, place):
    def change(tensors):
        tensors[name].reshape(-1)[place % tensors[name].size] = (np.nan, np.inf, -np.inf)[place % 3]

    assert outcome(make(layout, change)) is None


@damaged
@given(layout=st.sampled_from("ADG"), indices=st.lists(st.integers(-3, 9), max_size=5))
def test_boundaries_that_contradict_the_others_are_refused(make, layout, indices):
    def change(tensors):
        tensors["patch_indices"] = np.array(indices, np.int32)

    assert (outcome(make(layout, change)) is not None) == (indices == [0, 2, 3])


@damaged
@given(
    layout=st.sampled_from(LAYOUTS),
    pick=st.integers(0, 20),
    axis=st.integers(0, 2),
    size=st.integers(0, 2),
)
def test_a_shape_that_does_not_fit_gives_a_table_or_a_refusal(make, layout, pick, axis, size):
    def change(tensors):
        name = sorted(tensors)[pick % len(tensors)]
        index = [slice(None)] * tensors[name].ndim
        index[axis % tensors[name].ndim] = slice(size)
        tensors[name] = tensors[name][tuple(index)]

    outcome(make(layout, change))


@damaged
@given(layout=st.sampled_from(LAYOUTS), length=st.integers(0, 2**64 - 1))
def test_a_wrong_header_length_is_refused(make, layout, length):
    path = make(layout)
    raw = path.read_bytes()
    if length == int.from_bytes(raw[:8], "little"):
        length += 1
    path.write_bytes(length.to_bytes(8, "little") + raw[8:])
    assert outcome(path) is None


@damaged
@given(
    layout=st.sampled_from("AD"),
    name=st.sampled_from(["doc_part_0", "doc_part_3", "doc_shard_0_of_1"]),
    cut=st.integers(0, 6),
)
def test_a_part_gives_a_table_or_a_refusal(make, layout, name, cut):
    def change(tensors):
        for key in tensors.keys() - {"patch_indices"}:
            tensors[key] = tensors[key][:, cut:]

    table = outcome(make(layout, change, name))
    assert (table is not None) == (cut == 0 and name != "doc_part_3")
