"""What radii may order: kinds of prominence, each against its definition."""

import json

import numpy as np
import pytest

from builders import Letters, Spaces
from ingestions import PROSE, made
from sphere_ebm import read_shard
from sphere_ebm.files.container import read_container
from sphere_ebm.text.prominence import PROMINENCES, ordering_column, prominence_of

LENGTHS = np.array([1, 3, 10, 30, 100, 7, 7], np.int64)


@pytest.mark.parametrize("kind", ["rarity", "entropy"])
def test_means_over_the_bytes_of_a_patch_go_over_documents(kind):
    octets = np.frombuffer(PROSE.encode(), np.uint8)[: LENGTHS.sum()]
    readings = [Spaces(noise=True).read(part) for part in (octets[:44], octets[44:])]
    values = np.concatenate(
        [one.surprisals if kind == "rarity" else one.entropies for one in readings]
    )
    parts = np.split(values, np.cumsum(LENGTHS)[:-1])
    found = prominence_of(kind, np.zeros(len(LENGTHS), np.float32), LENGTHS, readings)
    np.testing.assert_allclose(found, [part.mean() for part in parts], rtol=1e-6)


def test_a_shard_holds_the_prominence_that_was_asked_for_and_is_made_with_it(tmp_path):
    (tmp_path / "a.txt").write_text(PROSE)
    shards = {}
    for kind in ("norm", "entropy"):
        run = made(tmp_path / "a.txt", tmp_path / kind, prominence=kind, embedder=Letters())
        ((_, path),) = run.files.items()
        shards[kind] = (read_shard(path), json.loads(read_container(path).metadata["made_with"]))
    norm, entropy = shards["norm"][0], shards["entropy"][0]
    np.testing.assert_array_equal(norm.prominence, norm.patch_length)
    np.testing.assert_allclose(entropy.prominence, entropy.entropy, rtol=1e-6)
    assert "prominence" not in shards["norm"][1], "shards of older versions are known again"
    assert shards["entropy"][1]["prominence"] == "entropy"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("density", "`prominence` cannot be density before all patches are there"),
        ("length-corrected", "`prominence` cannot be length-corrected before"),
        ("", "got nothing"),
    ],
)
def test_what_no_file_alone_can_tell_is_refused(tmp_path, kind, says):
    with pytest.raises(ValueError, match=says):
        made(tmp_path, tmp_path / "out", prominence=kind)


def test_norms_of_an_embedder_that_normalises_are_equal():
    lengths = np.full(3, 2)
    norm = np.array([1, 1 + 2**-23, 1 - 2**-24], np.float32)
    assert prominence_of("norm", norm, lengths, []).tolist() == [1, 1, 1]
    apart = np.linspace(1, 2, 3, dtype=np.float32)
    np.testing.assert_array_equal(prominence_of("norm", apart, lengths, []), apart)


def test_any_other_word_is_a_column():
    assert ordering_column("year") == "year"
    assert [ordering_column(kind) for kind in PROMINENCES] == [None] * 3
