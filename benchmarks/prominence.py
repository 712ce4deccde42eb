"""What each kind of prominence orders: `python -m benchmarks.prominence --texts PATH ...`.

Of the patches of each corpus: the rank correlation (Spearman) of every kind of prominence with the
length of the patch, with the rarity of its words in the corpus, and with its density in the
embedding; how alike it is for patches that say the same; and what lies in the outermost and in the
innermost tenth. No map is made: a radius is the rank of the prominence, but for noise. Exit code 0,
or 2 for wrong usage.
"""

import argparse
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from scipy.stats import rankdata

from benchmarks.arguments import parser_of
from benchmarks.report import machine, markdown_table, publish, say
from sphere_ebm import read_shard
from sphere_ebm.files.shards.lengths import corrected, length_curve
from sphere_ebm.files.shards.own import DENSITY, LENGTH_CORRECTED, NORM
from sphere_ebm.maps.density import local_density
from sphere_ebm.quality.points import rank_correlation
from sphere_ebm.text.ingest import ingest
from sphere_ebm.text.prominence import PROMINENCES

PACKAGES = ("sphere-ebm", "wordllama", "numpy")
FREQUENT = 100
"""So many words of a corpus, the most frequent ones, count as common."""
SHOWN = 8
SEED = 0
_WORD = re.compile(r"\w+")


class Corpus(NamedTuple):
    """Patches, and what each kind of prominence says of them."""

    name: str
    texts: list[str]
    length: Int64[np.ndarray, " patches"]
    kinds: dict[str, Float[np.ndarray, " patches"]]

    @classmethod
    def of(cls, path: Path) -> "Corpus":
        """The patches of a file or folder, cut and embedded as by default."""
        kinds: dict[str, np.ndarray] = {}
        norm: list[np.ndarray] = []
        with tempfile.TemporaryDirectory() as folder:
            for kind in PROMINENCES:
                say(f"prominence: {path.name}, {kind}")
                run = ingest(path, Path(folder) / kind, prominence=kind)
                tables = [read_shard(shard) for shard in sorted(run.files.values())]
                own = [table.prominence for table in tables]
                kinds[kind] = np.concatenate(own)
                norm = own if kind == NORM else norm
        norms = [replace(t, prominence=of) for t, of in zip(tables, norm, strict=True)]
        curve = length_curve(norms)
        kinds[LENGTH_CORRECTED] = np.concatenate([corrected(t, curve).prominence for t in norms])
        kinds[DENSITY] = local_density(np.concatenate([table.embeddings for table in tables]))
        lengths = [table.patch_length for table in tables]
        texts = []
        for table, of_table in zip(tables, lengths, strict=True):
            assert table.bytes is not None
            ends = np.cumsum(of_table)
            raw = table.bytes.tobytes()
            places = zip(ends, of_table, strict=True)
            texts += [raw[end - n : end].decode("utf-8", "replace") for end, n in places]
        return cls(path.stem, texts, np.concatenate(lengths), kinds)

    @property
    def words(self) -> list[list[str]]:
        """The words of each patch, in small letters."""
        return [_WORD.findall(text.lower()) for text in self.texts]


class Kind(NamedTuple):
    """What one kind of prominence orders; shares and correlations, lengths in bytes."""

    length: float
    rarity: float
    density: float
    repeats: float
    outer_length: float
    inner_length: float
    outer_common: float
    inner_common: float


def measured(corpus: Corpus) -> dict[str, Kind]:
    """Every kind of prominence on the patches that hold a word."""
    words = corpus.words
    spoken = np.array([bool(own) for own in words])
    counts = Counter(word for own in words for word in own)
    total = counts.total()
    common = {word for word, _ in counts.most_common(FREQUENT)}
    rarity = np.array([_mean([-math.log(counts[w] / total) for w in own]) for own in words])
    share = np.array([_mean([float(w in common) for w in own]) for own in words])
    groups = _repeats(corpus.texts, spoken)
    found = {}
    for name, values in corpus.kinds.items():
        order = np.flatnonzero(spoken)[np.argsort(values[spoken], kind="stable")]
        tenth = max(1, len(order) // 10)
        inner = order[:tenth]
        outer = order[-tenth:]
        found[name] = Kind(
            rank_correlation(values[spoken], corpus.length[spoken]),
            rank_correlation(values[spoken], rarity[spoken]),
            rank_correlation(values[spoken], corpus.kinds[DENSITY][spoken]),
            agreement(values, groups),
            float(np.median(corpus.length[outer])),
            float(np.median(corpus.length[inner])),
            float(share[outer].mean()),
            float(share[inner].mean()),
        )
    return found


def agreement(
    values: Float[np.ndarray, " patches"], groups: Sequence[Int64[np.ndarray, " _"]]
) -> float:
    """One less the variance within groups over that among all of their members, by ranks.

    1 where patches that say the same have one value, 0 where they differ as any do; nan where
    nothing is said twice, or all values are equal.
    """
    if not groups:
        return math.nan
    rank = rankdata(values[np.concatenate(groups)])
    if not np.ptp(rank):
        return math.nan
    ends = np.cumsum([len(group) for group in groups])[:-1]
    within = sum(len(part) * part.var() for part in np.split(rank, ends)) / len(rank)
    return float(1 - within / rank.var())


def _repeats(texts: Sequence[str], spoken: np.ndarray) -> list[Int64[np.ndarray, " _"]]:
    """Patches that say the same, white space aside, in groups of two or more."""
    held: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        if spoken[row]:
            held.setdefault(" ".join(text.split()), []).append(row)
    return [np.array(rows) for rows in held.values() if len(rows) > 1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def table(found: dict[str, Kind]) -> str:
    """A row for every kind."""
    header = ["prominence", "length", "rarity of words", "density", "same text, same radius"]
    header += ["bytes outside", "bytes inside", "common words outside", "inside"]
    rows = [
        [
            name,
            *(f"{value:.2f}" for value in one[:4]),
            *(f"{value:.0f}" for value in one[4:6]),
            *(f"{value:.0%}" for value in one[6:]),
        ]
        for name, one in found.items()
    ]
    return markdown_table(header, rows)


def examples(corpus: Corpus) -> str:
    """Patches drawn from the outermost and the innermost tenth of each kind."""
    rng = np.random.default_rng(SEED)
    spoken = np.flatnonzero([bool(own) for own in corpus.words])
    rows = []
    for name, values in corpus.kinds.items():
        order = spoken[np.argsort(values[spoken], kind="stable")]
        tenth = max(1, len(order) // 10)
        cells = [
            " · ".join(
                _shown(corpus.texts[row])
                for row in rng.choice(part, min(SHOWN, tenth), replace=False)
            )
            for part in (order[-tenth:], order[:tenth])
        ]
        rows.append([name, *cells])
    return markdown_table(["prominence", "outside", "inside"], rows)


def _shown(text: str) -> str:
    words = " ".join(text.split()).replace("|", "/")
    return words if len(words) <= 36 else f"{words[:36]}…"


def parser() -> argparse.ArgumentParser:
    cli = parser_of("prominence", __doc__)
    cli.add_argument(
        "--texts",
        nargs="+",
        type=Path,
        required=True,
        metavar="PATH",
        help="a file or folder of texts; each is a corpus of its own",
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    for path in options.texts:
        if not path.exists():
            cli.error(f"--texts: {path} does not exist")
    sections = []
    for path in options.texts:
        corpus = Corpus.of(path)
        heading = f"## {corpus.name}: {len(corpus.texts)} patches"
        sections.append(f"{heading}\n\n{table(measured(corpus))}\n\n{examples(corpus)}")
    text = f"# What each prominence orders\n\n{machine(PACKAGES)}\n\n" + "\n\n".join(sections)
    publish(text, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
