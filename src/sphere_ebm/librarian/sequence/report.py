"""The files that tell of a comparison: JSON, a table, a card with the verdict, learning curves."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.librarian.sequence.measure import Interval
from sphere_ebm.librarian.sequence.rows import STANDARD, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = "comparison.json"
SPREADSHEET = "comparison.csv"
CARD = "README.md"
CURVES = "curves.png"

History = Sequence[Mapping[str, int | float]]
_HEADINGS: tuple[str, ...] = (
    "context",
    "model",
    "numbers",
    "cosine",
    "over weighted means",
    "MRR",
    "over weighted means",
    "median rank",
)
_DEFINITIONS = """\
*cosine*: centred, between the prediction and the true next vector, both around the mean of the
training documents. *MRR*: mean of 1 / rank of the true next vector among all vectors of the test
documents by that cosine, without those in front of it that the longest context sees. *over weighted
means*: the paired difference from the weighted running means of the same context. Intervals hold
95 % of draws of documents with replacement. *mean* predicts the mean of the training documents,
*last* repeats the last vector, *weighted_means* is a sum of running means with fitted weights,
*ridge* a linear map of them.
"""


def write_report(
    folder: Path,
    about: Mapping[str, Any],
    rows: Sequence[Row],
    longer: Mapping[str, Mapping[str, Interval]],
    said: Sequence[str],
    histories: Mapping[str, History],
) -> None:
    """Write `comparison.csv`, `curves.png`, `README.md` and, last, `comparison.json`.

    Args:
        folder: where the comparison is.
        about: its identity, configuration, documents and files, for JSON.
        rows: the table.
        longer: what the longest context is worth, by model.
        said: the verdict.
        histories: of the trained models by name; without any there are no curves.

    Raises:
        OSError: a file cannot be written.
    """
    _write(folder / SPREADSHEET, _spreadsheet(rows))
    if histories:
        from sphere_ebm.figures.map import save_figure

        save_figure(plot_curves(histories), folder / CURVES)
    _write(folder / CARD, _card(about, rows, said, bool(histories)))
    everything = {
        **about,
        "rows": [row.to_dict() for row in rows],
        "long_context": {
            model: {name: one.to_dict() for name, one in found.items()}
            for model, found in longer.items()
        },
        "verdict": list(said),
    }
    _write(folder / TABLE, json.dumps(everything, indent=1, sort_keys=True) + "\n")


def _write(path: Path, text: str) -> None:
    atomic_write(path, lambda file: file.write(text.encode("utf-8")))


def _spreadsheet(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    heads = ["model", "context", "parameters", "trained"]
    measures = ["cosine", "mrr", "cosine_over", "mrr_over"]
    ends = ["", "_low", "_high"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*heads, *(name + end for name in measures for end in ends), "median_rank"])
    for row in rows:
        over = row.over[row.measured.context]
        one = row.measured
        numbers = [*row.cosine, *row.mrr, *over["cosine"], *over["mrr"], row.median_rank]
        writer.writerow([one.model, one.context, one.parameters, int(one.trained), *numbers])
    return text.getvalue()


def _cells(row: Row) -> list[str]:
    """A row of the card's table."""
    one = row.measured
    over = row.over[one.context]
    same = one.model == STANDARD
    return [
        str(one.context),
        one.model,
        f"{one.parameters:,}",
        f"{row.cosine.mean:.4f}",
        "" if same else _interval(over["cosine"]),
        f"{row.mrr.mean:.4f}",
        "" if same else _interval(over["mrr"]),
        f"{row.median_rank:,.0f}",
    ]


def _interval(interval: Interval) -> str:
    return f"{interval.mean:+.4f} ({interval.low:+.4f}, {interval.high:+.4f})"


def _card(about: Mapping[str, Any], rows: Sequence[Row], said: Sequence[str], curves: bool) -> str:
    documents = about["documents"]
    config = about["config"]
    lines = [
        "# Next vectors",
        "",
        *said,
        "",
        f"{documents['train']} documents to train, {documents['validation']} to validate and"
        f" {documents['test']} to test on; {about['targets']:,} targets, the same for every row."
        f" Models of size `{config['size']}`, seed {config['seed']}, one run each."
        + (" Patches are embedded by their own tokens alone." if about["alone"] else ""),
        "",
        "| " + " | ".join(_HEADINGS) + " |",
        "|" + "---|" * len(_HEADINGS),
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
        "",
        _DEFINITIONS,
    ]
    if curves:
        lines += [f"![Learning curves: validation cosine by epoch]({CURVES})", ""]
    return "\n".join(lines)


def plot_curves(histories: Mapping[str, History]) -> "Figure":
    """Validation cosine by epoch, a panel for each context, a line for each model.

    Epoch 0 is the weighted means, with which every model begins.

    Raises:
        ValueError: there is no history.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from sphere_ebm.figures.colours import house_style

    if not histories:
        raise ValueError("`histories` must hold at least one model; got none.")
    contexts = sorted({int(name.rpartition("-")[2]) for name in histories})
    with house_style():
        figure = Figure(figsize=(6 * len(contexts), 4.2), dpi=110, facecolor="white")
        FigureCanvasAgg(figure)
        panels = np.atleast_1d(np.asarray(figure.subplots(1, len(contexts))))
        for axes, context in zip(panels, contexts, strict=True):
            for name, history in histories.items():
                if name.endswith(f"-{context}"):
                    epochs = [entry["epoch"] for entry in history]
                    values = [entry["validation_cosine"] for entry in history]
                    axes.plot(epochs, values, marker=".", label=name.rpartition("-")[0])
            axes.set_title(f"context of {context}")
            axes.set_xlabel("epoch (0: weighted means)")
            axes.set_ylabel("validation cosine, centred")
            axes.legend(frameon=False)
        figure.tight_layout()
    return figure
