from pathlib import Path

import numpy as np
import pytest

from sphere_ebm.files.shards.table import PatchTable


def columns(**changes):
    return {
        "source": Path("a.npy"),
        "layout": "npy",
        "embeddings": np.ones((2, 3), np.float32),
        "prominence": np.ones(2, np.float32),
        "documents": ("a",),
        "document": np.zeros(2, np.int32),
        "patch_start": np.arange(2, dtype=np.int32),
        "patch_length": np.ones(2, np.int32),
    } | changes


def test_a_table_knows_its_size():
    table = PatchTable(**columns())
    assert (len(table), table.dim) == (2, 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["prominence", "patch_start", "patch_length", "document"])
def test_a_column_of_another_length_is_refused_by_name(name):
    wrong = columns()[name][:1]
    with pytest.raises(ValueError, match=f"`{name}` must have shape"):
        PatchTable(**columns(**{name: wrong}))


def test_a_document_number_without_a_name_is_refused():
    with pytest.raises(ValueError, match="`document` must index `documents`"):
        PatchTable(**columns(document=np.array([0, 1], np.int32)))


def test_bytes_without_offsets_are_refused():
    with pytest.raises(ValueError, match="together"):
        PatchTable(**columns(bytes=np.zeros(3, np.uint8)))


@pytest.mark.parametrize("offset", [[0, 2, 4], [1, 2, 3], [0, 4, 3]])
def test_offsets_that_do_not_rise_from_zero_to_the_end_are_refused(offset):
    with pytest.raises(ValueError, match="`bytes_offset` must rise"):
        PatchTable(**columns(bytes=np.zeros(3, np.uint8), bytes_offset=np.array(offset)))
