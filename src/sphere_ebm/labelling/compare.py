"""`compare_shards`: shards in, a table and a figure of all methods out."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from sphere_ebm.errors import LabelError, Refused
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.files.folders import made
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.heuristics.compare import Compared, compare
from sphere_ebm.labelling.sources import (
    Source,
    check_sources,
    document_numbers,
    nothing_usable,
    read_sources,
    stacked,
)
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.progress import StageProgress

COMPARISON_TABLE = "comparison.csv"
COMPARISON_FIGURE = "comparison.png"


@final
@dataclass(frozen=True, eq=False)
class ShardComparison:
    """What `compare_shards` did.

    A result per method, the number of points, and the inputs that could not be read.
    """

    compared: list[Compared]
    points: int
    refused: tuple[Refused, ...]


def compare_shards(
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    config: PlacementConfig | None = None,
    *,
    methods: Sequence[str] | None = None,
    pooling: Pooling = "mean",
    progress: StageProgress | None = None,
) -> ShardComparison:
    """Place the patches of all shards by every method; see `sphere_ebm.compare`.

    Writes `comparison.csv` (a row per method) and `comparison.png` into `output`, made when
    missing; both replace what has their name there. Inputs and `pooling` are those of
    `sphere_ebm.label`.

    Raises:
        LabelError: no input could be used, widths differ, or there are fewer than 2 points.
        ValueError: an unknown method.
        MissingPackageError: faiss is not installed and `neighbour_search` is `"approximate"`.
        OSError: the output cannot be written.
        NonFiniteEnergyError: the energy of a Langevin run diverged.
    """
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    sources, refused = read_sources(given, pooling, progress)
    check_sources(sources, refused)
    if not sources:
        raise nothing_usable(refused)
    embeddings, prominence = stacked(sources)
    if len(embeddings) < 2:
        raise LabelError(
            f"comparing needs at least 2 patches; the inputs hold {len(embeddings)}", refused
        )
    with made(Path(output)):
        compared = compare(embeddings, prominence, config, methods=methods, progress=progress)
        _write(Path(output), compared, sources)
    return ShardComparison(compared, len(embeddings), tuple(refused))


def _write(folder: Path, compared: Sequence[Compared], sources: Sequence[Source]) -> None:
    """The table and the figure; matplotlib is imported no earlier."""
    from sphere_ebm.figures import plot_comparison, save_figure

    rows = [one.row() for one in compared]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["method", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"method": one.method} | row for one, row in zip(compared, rows, strict=True))
    atomic_write(folder / COMPARISON_TABLE, lambda file: file.write(text.getvalue().encode()))
    save_figure(
        plot_comparison(compared, document=document_numbers(sources)), folder / COMPARISON_FIGURE
    )
