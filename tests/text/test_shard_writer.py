"""One text, one shard.

Everything about the text can be got back from it, and the same text is the same bytes.
"""

import bz2
import hashlib
import json
import lzma
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders import Letters, Spaces
from sphere_ebm import __version__, read_shard
from sphere_ebm.errors import ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.container import read_container
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel, Reading
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import TextItem
from sphere_ebm.text.patching import Patching, find_threshold, patch_lengths
from sphere_ebm.text.shard_writer import write_shard
from sphere_ebm.text.statistics import statistics_of

TEXTS = Path(__file__).parents[2] / "data" / "texts"
WIDTH = 8
BLOCK = 3
PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds.\n" * 4


def letters() -> Letters:
    return Letters(WIDTH, block=BLOCK, prominence=prominence_of)


def prominence_of(patch: np.ndarray) -> float:
    return len(patch) + patch[0] / 256


class Written(NamedTuple):
    path: Path
    table: PatchTable
    metadata: dict[str, str]
    digest: str


Write = Callable[..., Written]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, content, **options)`: the shard of a file of this name and content."""

    def make(name: str, content: bytes | str | pa.Table = PROSE, **options: Any) -> Written:
        source = tmp_path / name
        path = tmp_path / f"{name}.safetensors"
        if isinstance(content, pa.Table):
            pq.write_table(content, source)
        else:
            source.write_bytes(content if isinstance(content, bytes) else content.encode())
        text = read_texts(TextItem(source.stem, source))
        given = {
            "patching": Patching("global"),
            "mean_length": 8.0,
            "entropy": Spaces(noise=True),
            "embedder": letters(),
        } | options
        digest = write_shard(path, text, metadata={"made_with": "a test"}, **given)
        return Written(path, read_shard(path), read_container(path).metadata, digest)

    return make


def patches_of(table: PatchTable) -> list[bytes]:
    assert table.bytes is not None
    assert table.bytes_offset is not None
    return [
        table.bytes[a:b].tobytes()
        for a, b in zip(table.bytes_offset, table.bytes_offset[1:], strict=False)
    ]


def lines(*texts: str) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


CONTENTS = [
    b"x",
    b"\xef\xbb\xbfmarked \r\nlines\n",
    "Grüße an 🌍 und Łódź: naïve café ".encode() * 9,
    PROSE.encode(),
]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_shard_is_of_layout_f_and_holds_the_text_byte_for_byte(
    write: Write, content: bytes
) -> None:
    table = write("notes.txt", content).table
    assert (table.layout, table.warnings) == ("F", ())
    assert b"".join(patches_of(table)) == content
    assert not table.document.any()


@pytest.mark.parametrize("content", CONTENTS)
def test_starts_and_lengths_point_into_the_file_at_whole_characters(
    write: Write, content: bytes
) -> None:
    table = write("notes.txt", content).table
    spans = zip(table.patch_start.tolist(), table.patch_length.tolist(), strict=True)
    found = [content[start : start + length] for start, length in spans]
    assert found == patches_of(table)
    assert all(found)
    assert "".join(patch.decode() for patch in found).encode() == content


def test_entropies_are_those_of_the_model_and_of_a_patch_their_mean(write: Write) -> None:
    done = write("notes.txt")
    expected = Spaces(noise=True).read(np.frombuffer(PROSE.encode(), np.uint8)).entropies
    np.testing.assert_array_equal(read_container(done.path).floats("entropies"), expected)
    starts = done.table.patch_start
    means = [
        expected[a : a + n].mean(dtype=float)
        for a, n in zip(starts, done.table.patch_length, strict=True)
    ]
    assert done.table.entropy is not None
    np.testing.assert_allclose(done.table.entropy, means, rtol=1e-6)
    assert np.ptp(means) > 0.1


def test_embeddings_and_prominence_come_block_by_block_and_stay_in_order(write: Write) -> None:
    table = write("rows.jsonl", lines(PROSE, "another one, shorter than that", "x")).table
    patches = [np.frombuffer(patch, np.uint8) for patch in patches_of(table)]
    assert len(patches) > 5 * BLOCK
    counts = [np.bincount(patch & 7, minlength=WIDTH) for patch in patches]
    np.testing.assert_array_equal(table.embeddings, np.array(counts, np.float32))
    np.testing.assert_array_equal(
        table.prominence, np.array([prominence_of(p) for p in patches], np.float32)
    )


def rows_of(kind: str) -> tuple[str | pa.Table, tuple[str, ...], list[str]]:
    texts = ["First of all: Äpfel.", "", PROSE, "e"]
    if kind == "row":
        return (
            pa.table({"text": texts}),
            ("row 1", "row 3", "row 4"),
            [text for text in texts if text],
        )
    return lines(*texts), ("line 1", "line 3", "line 4"), [text for text in texts if text]


@pytest.mark.parametrize(("name", "kind"), [("rows.jsonl", "line"), ("rows.parquet", "row")])
def test_documents_come_back_by_name_and_none_shares_a_patch(
    write: Write, name: str, kind: str
) -> None:
    content, names, texts = rows_of(kind)
    table = write(name, content).table
    assert table.documents == names
    found = [
        b"".join(p for p, of in zip(patches_of(table), table.document, strict=True) if of == i)
        for i in range(3)
    ]
    assert [one.decode() for one in found] == texts


def by_document(table: PatchTable) -> dict[bytes, tuple[list[bytes], bytes]]:
    """Patches and embeddings of each document, by its text."""
    rows = [np.flatnonzero(table.document == i) for i in range(len(table.documents))]
    patches = patches_of(table)
    cut = [[patches[row] for row in of] for of in rows]
    return {
        b"".join(own): (own, table.embeddings[of].tobytes())
        for own, of in zip(cut, rows, strict=True)
    }


def test_the_order_of_documents_changes_nothing_in_any_of_them(write: Write) -> None:
    texts = [PROSE, "To be, or not to be: that is the question.", "a b c d e f g", "Grüße an alle"]
    one = write("a.jsonl", lines(*texts))
    other = write("b.jsonl", lines(*reversed(texts)))
    assert by_document(one.table) == by_document(other.table)
    for key in ("patching", "statistics", "bits_per_byte"):
        if key == "bits_per_byte":  # compressors do see the order
            assert (
                json.loads(one.metadata[key])["model"] == json.loads(other.metadata[key])["model"]
            )
        else:
            assert one.metadata[key] == other.metadata[key]


def test_other_documents_change_nothing_in_a_document_cut_with_a_given_threshold(
    write: Write,
) -> None:
    fixed = Patching("global", threshold=1.0)
    alone = by_document(write("a.jsonl", lines(PROSE), patching=fixed).table)
    among = by_document(write("b.jsonl", lines("x y z", PROSE, "w"), patching=fixed).table)
    assert alone[PROSE.encode()] == among[PROSE.encode()]


def test_metadata_tell_all_that_the_shard_was_made_with(write: Write) -> None:
    done = write("notes.txt", patching=Patching("monotonic", max_patch_length=20))
    octets = np.frombuffer(PROSE.encode(), np.uint8)
    held = done.metadata
    told = {
        key: held[key]
        for key in ("format", "num_patches", "source_file", "text_file", "source_sha256", "version")
    }
    assert told == {
        "format": "blt_patches_v3",
        "num_patches": str(len(done.table.patch_length)),
        "source_file": "notes.txt",
        "text_file": "notes.txt",
        "source_sha256": hashlib.sha256(PROSE.encode()).hexdigest(),
        "version": __version__,
    }
    assert held["made_with"] == "a test"
    assert (held["entropy_model"], held["embedding_model"]) == ("spaces", "letters")
    patching = Patching(**json.loads(held["patching"]))
    entropies = Spaces(noise=True).read(octets).entropies
    assert patching.threshold == find_threshold([(octets, entropies)], 8.0, patching)
    np.testing.assert_array_equal(
        patch_lengths(octets, entropies, patching), done.table.patch_length
    )
    assert (
        json.loads(held["statistics"])
        == statistics_of(done.table.patch_length.astype(np.int64)).to_dict()
    )


def test_bits_per_byte_are_those_of_the_model_and_of_two_compressors(write: Write) -> None:
    bits = json.loads(
        write("rows.jsonl", lines(PROSE, "a b", "abc" * 50)).metadata["bits_per_byte"]
    )
    data = (PROSE + "a b" + "abc" * 50).encode()
    nats = sum(3 if byte == 32 else 1 for byte in data)
    assert bits == {
        "model": pytest.approx(nats / math.log(2) / len(data), abs=1e-4),
        "bzip2": pytest.approx(8 * len(bz2.compress(data)) / len(data), abs=1e-4),
        "xz": pytest.approx(8 * len(lzma.compress(data)) / len(data), abs=1e-4),
    }


def test_a_given_threshold_is_kept_whatever_the_mean_length(write: Write) -> None:
    one, other = (
        write("notes.txt", patching=Patching("global", threshold=1.5), mean_length=mean)
        for mean in (2.0, 50.0)
    )
    assert one.path.read_bytes() == other.path.read_bytes()
    assert json.loads(one.metadata["patching"])["threshold"] == 1.5


def test_the_same_text_gives_the_same_bytes_and_their_hash(write: Write) -> None:
    first = write("notes.txt")
    raw = first.path.read_bytes()
    again = write("notes.txt")
    assert again.path.read_bytes() == raw
    assert first.digest == again.digest == sha256_of(again.path)


@pytest.fixture(scope="module")
def reader() -> ByteModel:
    return ByteModel()


@pytest.mark.parametrize(
    ("name", "wanted", "rule"),
    [
        ("genesis", 16.0, "global"),
        ("genesis", 32.0, "monotonic"),
        ("jargon", 32.0, "monotonic"),
        ("jargon", 48.0, "global"),
        ("sqlite", 32.0, "upstream"),
    ],
)
def test_patches_of_real_text_are_as_long_as_wanted(
    write: Write, reader: ByteModel, name: str, wanted: float, rule: Any
) -> None:
    content = (TEXTS / f"{name}.txt").read_bytes()
    done = write(
        f"{name}.txt", content, mean_length=wanted, entropy=reader, patching=Patching(rule)
    )
    assert len(content) / len(done.table.patch_length) == pytest.approx(wanted, rel=0.1)
    assert json.loads(done.metadata["bits_per_byte"])["model"] < 3


class Spoilt(AbstractEmbedder):
    """`Letters`, with something done to every block."""

    name = "spoilt"
    width = WIDTH

    def __init__(self, spoil: Callable[[np.ndarray, np.ndarray], Any]) -> None:
        self._spoil = spoil

    def embed(self, octets: np.ndarray, lengths: np.ndarray) -> Any:
        for embeddings, prominence in letters().embed(octets, lengths):
            yield self._spoil(embeddings, prominence)


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    spoilt = array.copy()
    spoilt[-1] = value
    return spoilt


SPOILT: dict[str, tuple[Callable[[np.ndarray, np.ndarray], Any], str]] = {
    "NaN": (
        lambda e, p: (with_value(e, np.nan), p),
        "`embeddings` at index 2: spoilt gave what is not finite",
    ),
    "infinite prominence": (lambda e, p: (e, with_value(p, np.inf)), "at index 2: .* not finite"),
    "too many": (
        lambda e, p: (np.repeat(e, 2, axis=0), np.repeat(p, 2)),
        "spoilt gave more embeddings than patches",
    ),
    "too few": (lambda e, p: (e[1:], p[1:]), "spoilt gave fewer embeddings than patches"),
    "none": (lambda e, p: (e[:0], p[:0]), "spoilt gave fewer embeddings than patches"),
    "too wide": (
        lambda e, p: (np.repeat(e, 2, axis=1), p),
        r"gave float32 \(3, 16\) .* not float32 \(n, 8\)",
    ),
    "float64": (lambda e, p: (e.astype(np.float64), p), r"gave float64 \(3, 8\)"),
    "prominence of fewer": (
        lambda e, p: (e, p[1:]),
        r"gave float32 \(3, 8\) and \(2,\) prominences",
    ),
    "one prominence": (lambda e, p: (e, p[:1]), r"gave float32 \(3, 8\) and \(1,\) prominences"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_an_embedder_that_gives_what_no_shard_may_hold_leaves_nothing(
    write: Write, tmp_path: Path, kind: str
) -> None:
    spoil, says = SPOILT[kind]
    with pytest.raises(ValueError, match=says) as caught:
        write("notes.txt", embedder=Spoilt(spoil))
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_value_that_is_not_finite_is_found_in_its_document_and_the_old_shard_stays(
    write: Write,
) -> None:
    content = lines("a b c d", "e f g h")
    done = write("rows.jsonl", content)
    raw = done.path.read_bytes()
    first = int((done.table.document == 0).sum())

    def spoil(embeddings: np.ndarray, prominence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spoilt = (embeddings[:, ord("e") & 7] > 0) & (prominence % 1 == ord("e") / 256)
        return np.where(spoilt[:, None], np.nan, embeddings).astype(np.float32), prominence

    with pytest.raises(ShardError) as caught:
        write("rows.jsonl", content, embedder=Spoilt(spoil))
    assert (caught.value.tensor, caught.value.index) == ("embeddings", first)
    assert done.path.read_bytes() == raw


class Unsure(AbstractEntropyModel):
    """`Spaces`, with one entropy that is not a number."""

    name = "unsure"

    def read(self, octets: np.ndarray) -> Reading:
        reading = Spaces(noise=True).read(octets)
        return Reading(with_value(reading.entropies, np.nan), reading.surprisals)


@pytest.mark.parametrize(
    "options",
    [
        {"embedder": Spoilt(SPOILT["too few"][0])},
        {"embedder": Spoilt(SPOILT["too wide"][0])},
        {"embedder": Spoilt(SPOILT["float64"][0])},
        {"entropy": Unsure()},
        {"entropy": Unsure(), "patching": Patching("global", threshold=1.0)},
    ],
)
def test_what_no_shard_may_hold_is_a_shard_error(write: Write, options: dict[str, Any]) -> None:
    with pytest.raises(ShardError, match=r"spoilt|unsure"):
        write("notes.txt", **options)
