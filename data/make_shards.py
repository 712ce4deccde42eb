"""Make the example texts and shards of this folder again, from the public-domain sources named in
README.md.

    python data/make_shards.py --root / --output data

`--root` is the file system in which the Debian packages of README.md are installed (or unpacked
with `dpkg-deb -x`); the King James text is read through the program `bible`, which must be on the
PATH. Same packages, same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import html.parser
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wordllama

DIMENSION = 128
TARGET_BYTES = 45
SHORTEST = 28
LONGEST = 62
DOCUMENT_BYTES = 24_000
TEXT_BYTES = 40_000
BLOCK_TAGS = {"p", "li", "h1", "h2", "h3", "dt", "dd", "title"}
SILENT_TAGS = {"script", "style", "pre", "svg", "table", "head"}


@dataclass(frozen=True)
class Source:
    """One document: how to get its paragraphs, and what is said of it in the shard's metadata."""

    stem: str
    title: str
    licence: str
    paragraphs: Callable[[Path], Iterator[str]]


def bible_verses(*ranges: str) -> Callable[[Path], Iterator[str]]:
    """Verses of the King James Version without their numbers, one per paragraph."""

    def read(root: Path) -> Iterator[str]:
        for verses in ranges:
            spoken = subprocess.run(
                ["bible", "-f", verses], check=True, capture_output=True, text=True
            ).stdout
            for line in spoken.splitlines():
                yield line.partition(" ")[2]

    return read


def jargon_entries(root: Path) -> Iterator[str]:
    """Entries of the Jargon File from `daemon` on: the headword, then its paragraphs."""
    text = gzip.decompress((root / "usr/share/dictd/jargon.dict.dz").read_bytes()).decode()
    text = text[text.index("\ndaemon\n") :]
    for block in re.split(r"\n\s*\n", re.sub(r"\n(?=\S)", "\n\n", text)):
        yield block.replace("{", "").replace("}", "")


def element_entries(root: Path) -> Iterator[str]:
    """What the Elements database says in prose of hydrogen to uranium (its last entries are not its
    author's own).
    """
    text = gzip.decompress((root / "usr/share/dictd/elements.dict.dz").read_bytes()).decode(
        "latin-1"
    )
    text = text[text.index("\nhydrogen\n") : text.index("\nneptunium\n")]
    for entry in text.strip().split("\n\n"):
        name, _, description = entry.partition("\n")
        prose = re.sub(r"(?m)^(Symbol|Atomic [Nn]umber|Atomic [Ww]eight):.*\n?", "", description)
        if prose.strip():
            yield f"{name.capitalize()}: {prose}".replace("{", "").replace("}", "")


def constitution(root: Path) -> Iterator[str]:
    """The Constitution of the United States, paragraph by paragraph."""
    yield from (
        gzip.decompress((root / "usr/share/state/us-constitution.gz").read_bytes())
        .decode()
        .split("\n\n")
    )


def austen(root: Path) -> Iterator[str]:
    """Pride and Prejudice out of R's lazy-load database.

    Length-prefixed zlib records of serialised string vectors.
    """
    database = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    while database:
        inflate = zlib.decompressobj()
        record = inflate.decompress(database[4:])
        database = inflate.unused_data
        if b"PRIDE AND PREJUDICE" in record[:200]:
            yield from "\n".join(string_vector(record)).split("\n\n")
            return
    raise ValueError("Rdata.rdb holds no string vector that begins with PRIDE AND PREJUDICE")


def string_vector(record: bytes) -> Iterator[str]:
    """Strings of a serialised R character vector (format X, version 3: 14 bytes, the native
    encoding, then type 16).
    """
    position = 23
    kind, count = struct.unpack_from(">II", record, position)
    if kind != 16:
        raise ValueError(f"expected a character vector (type 16); got type {kind}")
    position += 8
    for _ in range(count):
        length = struct.unpack_from(">I", record, position + 4)[0]
        yield record[position + 8 : position + 8 + length].decode()
        position += 8 + length


class _Prose(html.parser.HTMLParser):
    """Collects the text of block elements; scripts, listings, drawings and tables are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[str] = [""]
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in SILENT_TAGS:
            self._silent.append(tag)
        elif tag in BLOCK_TAGS:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()
        elif tag in BLOCK_TAGS:
            self.blocks.append("")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.blocks[-1] += data


def sqlite_page(root: Path) -> Iterator[str]:
    """Prose of the page "Atomic Commit In SQLite", from its first section on."""
    page = _Prose()
    page.feed((root / "usr/share/doc/sqlite3/atomiccommit.html").read_text(encoding="utf-8"))
    started = False
    for block in page.blocks:
        started = started or block.startswith("An important feature of transactional databases")
        if started:
            yield block


KJV = "public domain (King James Version, 1611)"
DEDICATED = "public domain (dedicated by its authors)"
SOURCES = (
    Source("genesis", "Genesis, King James Version", KJV, bible_verses("Genesis1:1-8:22")),
    Source("psalms", "Psalms, King James Version", KJV, bible_verses("Psalms1:1-35:28")),
    Source(
        "matthew",
        "The Gospel of Matthew, King James Version",
        KJV,
        bible_verses("Matthew3:1-13:58"),
    ),
    Source("luke", "The Gospel of Luke, King James Version", KJV, bible_verses("Luke3:1-9:50")),
    Source("austen", "Pride and Prejudice, Jane Austen", "public domain (1813)", austen),
    Source(
        "constitution",
        "The Constitution of the United States",
        "public domain (1787)",
        constitution,
    ),
    Source("elements", "The Elements Database, Jay F. Kominek", DEDICATED, element_entries),
    Source("jargon", "The Jargon File, version 4.4.7", DEDICATED, jargon_entries),
    Source("sqlite", "Atomic Commit In SQLite", DEDICATED, sqlite_page),
)


def document_lines(source: Source, root: Path, most: int = DOCUMENT_BYTES) -> list[str]:
    """Paragraphs with white space made single, one per line, up to the one that reaches `most`
    bytes.
    """
    lines: list[str] = []
    size = 0
    for paragraph in source.paragraphs(root):
        line = " ".join(paragraph.split()) + "\n"
        if len(line) > 1:
            lines.append(line)
            size += len(line.encode())
        if size >= most:
            break
    return lines


def cut_line(line: bytes) -> list[bytes]:
    """Cut one line into patches after white space.

    Lengths near TARGET_BYTES, ends of clauses preferred.

    Shortest path over the possible cuts. A cut costs ((length - TARGET_BYTES) / 12)², and 1 more
    inside a clause; lengths outside SHORTEST..LONGEST cost 25 more. A line depends on nothing but
    itself, so that the same sentence in two documents gives the same patches.
    """
    cuts = [0] + [match.end() for match in re.finditer(rb"\s", line)]
    best = [0.0] + [np.inf] * (len(cuts) - 1)
    came_from = [0] * len(cuts)
    for j in range(1, len(cuts)):
        inside_clause = line[cuts[j] - 2 : cuts[j] - 1] not in b'.,;:?!"' and j < len(cuts) - 1
        for i in range(j - 1, -1, -1):
            length = cuts[j] - cuts[i]
            outside = not SHORTEST <= length <= LONGEST
            cost = best[i] + ((length - TARGET_BYTES) / 12) ** 2 + inside_clause + 25 * outside
            if cost < best[j]:
                best[j] = cost
                came_from[j] = i
    patches = []
    j = len(cuts) - 1
    while j:
        patches.append(line[cuts[came_from[j]] : cuts[j]])
        j = came_from[j]
    return patches[::-1]


def byte_entropies(texts: list[bytes], context_weight: float = 4.0) -> list[np.ndarray]:
    """Entropy (nats) of the next byte after each byte, under one order-2 model of all texts.

    P(b | two bytes) = (count + w P(b | one byte)) / (total + w), and likewise down to bytes and the
    uniform law, with w = `context_weight`. Counts are those of the texts themselves: the model has
    seen what it predicts.
    """
    streams = [np.frombuffer(text, np.uint8).astype(np.int64) for text in texts]
    pairs = np.concatenate([stream[:-1] * 256 + stream[1:] for stream in streams])
    triples = np.concatenate(
        [(stream[:-2] * 256 + stream[1:-1]) * 256 + stream[2:] for stream in streams]
    )

    def refine(counts: np.ndarray, prior: np.ndarray) -> np.ndarray:
        return (counts + context_weight * prior) / (
            counts.sum(axis=-1, keepdims=True) + context_weight
        )

    one = refine(np.bincount(np.concatenate(streams), minlength=256), np.full(256, 1 / 256))
    two = refine(np.bincount(pairs, minlength=65_536).reshape(256, 256), one)
    contexts, row = np.unique(triples // 256, return_inverse=True)
    counts = np.zeros((contexts.size, 256))
    np.add.at(counts, (row, triples % 256), 1)
    three = refine(counts, two[contexts % 256])

    def entropy(law: np.ndarray) -> np.ndarray:
        return -(law * np.log(law)).sum(axis=-1)

    by_context = entropy(two)[np.arange(65_536) % 256]
    by_context[contexts] = entropy(three)
    return [
        np.concatenate(
            [entropy(two)[stream[:1]], by_context[stream[:-1] * 256 + stream[1:]]]
        ).astype(np.float32)
        for stream in streams
    ]


def embed(patches: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the token vectors of each patch, its first DIMENSION components, and the norm of the
    whole vector.
    """
    home = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=home, disable_download=True)
    full = np.asarray(
        model.embed([patch.decode().strip() for patch in patches], norm=False), np.float32
    )
    return full[:, :DIMENSION].copy(), np.linalg.norm(full.astype(np.float64), axis=1).astype(
        np.float32
    )


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write one file with keys in a fixed order.

    The library's writer orders metadata differently in each process.
    """
    names = {"float32": "F32", "int32": "I32", "uint8": "U8"}
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    for name, array in ordered:
        offsets = [position, position + array.nbytes]
        header[name] = {
            "dtype": names[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": offsets,
        }
        position = offsets[1]
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    body = b"".join(np.ascontiguousarray(array).tobytes() for _, array in ordered)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)


def write_shard(path: Path, source: Source, patches: list[bytes], entropies: np.ndarray) -> None:
    """One document in layout F."""
    embeddings, prominence = embed(patches)
    lengths = np.array([len(patch) for patch in patches], np.int32)
    sums = np.add.reduceat(entropies.astype(np.float64), np.cumsum(lengths) - lengths)
    tensors: dict[str, np.ndarray] = {
        "bytes": np.frombuffer(b"".join(patches), np.uint8),
        "patch_lengths": lengths,
        "entropies": entropies,
        "embeddings": embeddings,
        "prominence": prominence,
        "patch_entropies": (sums / lengths).astype(np.float32),
    }
    metadata = {
        "format": "blt_patches_v3",
        "num_patches": str(len(patches)),
        "source": source.title,
        "licence": source.licence,
        "embedding_model": f"wordllama l2_supercat_256, first {DIMENSION} components",
        "entropy_model": "order-2 byte n-gram of these documents, nats",
    }
    write_safetensors(path, tensors, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the Debian packages are installed"
    )
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, help="folder for the shards"
    )
    arguments = parser.parse_args()
    documents = []
    for source in SOURCES:
        lines = document_lines(source, arguments.root)
        documents.append([patch for line in lines for patch in cut_line(line.encode())])
    entropies = byte_entropies([b"".join(patches) for patches in documents])
    for source, patches, entropy in zip(SOURCES, documents, entropies, strict=True):
        path = arguments.output / f"{source.stem}.safetensors"
        write_shard(path, source, patches, entropy)
        print(f"{path.name:28} {len(patches):5} patches {path.stat().st_size:9,} bytes")
    (arguments.output / "texts").mkdir(exist_ok=True)
    for source in SOURCES:
        text = "".join(document_lines(source, arguments.root, TEXT_BYTES)).encode()
        (arguments.output / "texts" / f"{source.stem}.txt").write_bytes(text)


if __name__ == "__main__":
    main()
