"""From text to a map: patches, the byte model, and neighbourhoods on the finished map.

python -m benchmarks.ingest --texts FILE-OR-FOLDER ... [--whole FILE] [--mapped FOLDER] [--output
FILE]

`--texts` are cut into patches and read by the byte model; `--whole` (about a megabyte) goes the
whole way through the command in a process of its own; `--mapped`, a folder of documents, is mapped
to see how often neighbours share one. Exit code 0 when every target is met, 1 when one is missed.
"""

import bz2
import lzma
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from benchmarks.arguments import parser_of
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm import read_labels
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.labelling.label import label
from sphere_ebm.quality.points import nearest_on_map
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import find_texts
from sphere_ebm.text.ingest import MEAN_LENGTH, ingest
from sphere_ebm.text.patching import Patching, find_threshold, patch_lengths
from sphere_ebm.text.statistics import boundary_share, random_boundary_share, statistics_of

K = 15
NEAR = 10
"""Patches of one document that lie no further apart share context, and are no evidence of anything.
"""

REPEATS = 3
SHOWN = 20
SECONDS = 60.0
SPEED = 1.0
BOUNDARIES = 2.0
SAME = 3.0


@dataclass(frozen=True)
class Text:
    """One text, or all files of a folder.

    Its patches, how they are cut, and how well it is predicted.

    `share` and `random` are shares of cuts at word boundaries, of these patches and of random ones
    as long. `speed` is in MB of text a second of processor time.
    """

    name: str
    octets: int
    threshold: float
    mean: float
    share: float
    random: float
    myelination: float
    model: float
    bzip2: float
    xz: float
    speed: float

    def cells(self) -> list[str]:
        """One row of the table."""
        ratio = f"{self.share / self.random:.2f}"
        bits = [f"{self.model:.3f}", f"{self.bzip2:.3f}", f"{self.xz:.3f}"]
        cuts = [
            f"{self.mean:.1f}",
            f"{self.share:.3f}",
            f"{self.random:.3f}",
            ratio,
            f"{self.myelination:.3f}",
        ]
        return [self.name, f"{self.octets:,}", *cuts, *bits, f"{self.speed:.2f}"]


def measure_text(path: Path) -> Text:
    """Every file of `path` read on its own, cut with one threshold."""
    documents = [read_texts(item).octets for item in find_texts([path])]
    model = ByteModel()
    model.read(documents[0][:100])
    seconds = []
    for _ in range(REPEATS):
        begun = time.process_time()
        readings = [model.read(octets) for octets in documents]
        seconds.append(time.process_time() - begun)
    total = sum(map(len, documents))
    rule = Patching()
    pairs = [
        (octets, reading.entropies) for octets, reading in zip(documents, readings, strict=True)
    ]
    threshold = find_threshold(pairs, MEAN_LENGTH, rule)
    lengths = [patch_lengths(*pair, replace(rule, threshold=threshold)) for pair in pairs]
    whole = statistics_of(np.concatenate(lengths))
    weights = np.array([max(len(one) - 1, 0) for one in lengths])

    def share(measured: Sequence[float]) -> float:
        return float(np.average(measured, weights=weights))

    def packed(compress: object) -> float:
        assert callable(compress)
        return 8 * sum(len(compress(octets.tobytes())) for octets in documents) / total

    return Text(
        path.name,
        total,
        threshold,
        whole.mean,
        share([boundary_share(o, n) for o, n in zip(documents, lengths, strict=True)]),
        share([random_boundary_share(o, n, 0) for o, n in zip(documents, lengths, strict=True)]),
        whole.myelination_ratio,
        sum(len(o) * r.bits_per_byte for o, r in zip(documents, readings, strict=True)) / total,
        packed(bz2.compress),
        packed(lzma.compress),
        total / statistics.median(seconds) / 1e6,
    )


def measure_way(path: Path) -> list[float]:
    """Seconds of `sphere-ebm map` on one file, each in a fresh process and folder."""
    seconds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "sphere_ebm",
                "map",
                str(path),
                "--output",
                folder,
                "--quiet",
            ]
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            seconds.append(time.perf_counter() - begun)
    return seconds


def mapped(folder: Path) -> list[Labels]:
    """Labels of the documents of `folder`, mapped by default."""
    with tempfile.TemporaryDirectory() as output:
        shards = ingest(folder, Path(output) / "shards").files
        run = label(list(shards.values()), Path(output) / "map")
        return [read_labels(path) for path in run.files.values()]


def nearest(files: Sequence[Labels], count: int) -> Int[np.ndarray, "patches count"]:
    """The nearest patches of each patch on the map."""
    directions = np.concatenate([one.direction for one in files])
    return nearest_on_map(directions.astype(np.float64), count, seed=0)


def places(
    files: Sequence[Labels],
) -> tuple[Int[np.ndarray, " patches"], Int[np.ndarray, " patches"]]:
    """Number of the document of each patch, and the patch's number in it."""
    document = np.repeat(np.arange(len(files)), [len(one) for one in files])
    return document, np.concatenate([np.arange(len(one)) for one in files])


def same_document(files: Sequence[Labels]) -> tuple[float, float, float, float]:
    """Share of the K nearest that are of a patch's own document, and by chance.

    Then without those `NEAR` to it.
    """
    document, place = places(files)
    around = nearest(files, K)
    same = document[around] == document[:, None]
    far = ~(same & (np.abs(place[around] - place[:, None]) <= NEAR))
    counts = np.bincount(document)
    chance = (counts * (counts - 1)).sum() / len(document) / (len(document) - 1)
    others = np.maximum(counts - 1 - 2 * NEAR, 0)
    chance_far = (counts * others).sum() / (counts * (others + len(document) - counts)).sum()
    return float(same.mean()), float(chance), float(same[far].mean()), float(chance_far)


def examples(files: Sequence[Labels], shown: int, count: int = 3) -> str:
    """Patches drawn at random, and the nearest of each that are not `NEAR` to it in its own
    document.
    """
    document, place = places(files)
    around = nearest(files, 4 * NEAR)
    rows = []
    for patch in np.sort(np.random.default_rng(0).choice(len(document), shown, replace=False)):
        apart = (document[around[patch]] != document[patch]) | (
            np.abs(place[around[patch]] - place[patch]) > NEAR
        )
        found = around[patch][apart][:count]
        rows.append([_quoted(files, document, place, i) for i in (patch, *found)])
    return markdown_table(["patch", *["near it on the map"] * count], rows)


def _quoted(
    files: Sequence[Labels],
    document: Int[np.ndarray, " patches"],
    place: Int[np.ndarray, " patches"],
    patch: int,
) -> str:
    labels = files[document[patch]]
    i = place[patch]
    assert labels.bytes is not None
    assert labels.bytes_offset is not None
    text = labels.bytes[labels.bytes_offset[i] : labels.bytes_offset[i + 1]].tobytes().decode()
    words = " ".join(text.split()).replace("|", "\\|")
    return f"{words[:60]} *({Path(labels.metadata['source_file']).stem})*"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; returns the exit code."""
    parser = parser_of("ingest", __doc__)
    parser.add_argument("--texts", type=Path, nargs="+", default=[], metavar="PATH")
    parser.add_argument("--whole", type=Path, metavar="FILE")
    parser.add_argument("--mapped", type=Path, metavar="FOLDER")
    options = parser.parse_args(arguments)
    parts = [machine(["numba", "wordllama", "jax"])]
    checks = list[Check]()
    texts = []
    for path in options.texts:
        say(f"text: {path.name}")
        texts.append(measure_text(path))
    if texts:
        parts.append(_text_table(texts))
        checks += [check for text in texts for check in _text_checks(text)]
    if options.whole is not None:
        say(f"the whole way: {options.whole.name}")
        seconds = measure_way(options.whole)
        size = options.whole.stat().st_size
        name = f"seconds from {size:,} bytes of text to a figure, median of {REPEATS}"
        checks.append(Check(name, statistics.median(seconds), "<", SECONDS, "s"))
    if options.mapped is not None:
        say(f"neighbours: {options.mapped.name}")
        files = mapped(options.mapped)
        same, chance, same_far, chance_far = same_document(files)
        checks.append(
            Check("neighbours of the same document / by chance", same / chance, ">=", SAME)
        )
        checks.append(
            Check(f"the same, patches within {NEAR} left out", same_far / chance_far, ">=", SAME)
        )
        parts.append(
            f"Neighbours of the same document: {same:.3f}; further than {NEAR} patches away:"
            f" {same_far:.3f}."
        )
        parts.append(examples(files, SHOWN))
    return finish("\n\n".join([*parts, check_table(checks)]), options.output, checks)


def _text_table(texts: Sequence[Text]) -> str:
    header = ["text", "bytes", "mean length", "word cuts", "random", "ratio", "myelination"]
    header += ["bits/byte", "bzip2", "xz", "MB/s"]
    return markdown_table(header, [text.cells() for text in texts])


def _text_checks(text: Text) -> list[Check]:
    return [
        Check(
            f"{text.name}: mean length / wanted, apart from 1",
            abs(text.mean / MEAN_LENGTH - 1),
            "<=",
            0.1,
        ),
        Check(
            f"{text.name}: word cuts / those of random cuts",
            text.share / text.random,
            ">=",
            BOUNDARIES,
        ),
        Check(f"{text.name}: MB of text a second on one core", text.speed, ">=", SPEED),
    ]


if __name__ == "__main__":
    sys.exit(main())
