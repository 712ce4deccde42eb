"""`compare_sequences`: trains next-vector models and compares them on the same targets."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final

import jax
import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.errors import LabelError, Refused, ShardError, require
from sphere_ebm.files.atomic import clean_leftovers, sha256_of
from sphere_ebm.files.folders import locked
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.librarian.sequence.baselines import fit_weights, predict_baselines
from sphere_ebm.librarian.sequence.config import SequenceConfig
from sphere_ebm.librarian.sequence.documents import (
    PARTS,
    Sequences,
    embed_alone,
    read_sequences,
    split_documents,
)
from sphere_ebm.librarian.sequence.measure import cosines, ranks
from sphere_ebm.librarian.sequence.model import build_model
from sphere_ebm.librarian.sequence.prediction import predict_targets
from sphere_ebm.librarian.sequence.report import write_report
from sphere_ebm.librarian.sequence.rows import (
    Measured,
    Row,
    long_context,
    make_rows,
    verdict,
)
from sphere_ebm.librarian.sequence.run_folder import MEASURED, MODEL_FILES, claim
from sphere_ebm.librarian.sequence.training import (
    CHECKPOINT,
    HISTORY,
    Entry,
    Examples,
    make_examples,
    train_model,
)
from sphere_ebm.librarian.sequence.windows import (
    Frame,
    find_targets,
    fit_frame,
    running_means,
    spans_of,
)
from sphere_ebm.progress import StageProgress

_MEASURED_FORMAT = "sphere_next_vector_measured_v1"


@final
@dataclass(frozen=True, eq=False)
class SequenceRun:
    """What `compare_sequences` did.

    - `rows`: baselines and models for every context, measured on the same targets.
    - `said`: the verdict in sentences.
    - `documents`: how many train, validate and test.
    - `targets`: how many vectors were predicted.
    - `refused`: inputs that could not be read.
    - `kept`: models that an earlier run had finished.
    """

    output: Path
    rows: list[Row]
    said: list[str]
    documents: dict[str, int]
    targets: int
    refused: tuple[Refused, ...]
    kept: int


@final
@dataclass(frozen=True, eq=False)
class _Part:
    """Documents of one part in the frame of the training documents, and their targets."""

    sequences: Sequences
    inputs: Float32[np.ndarray, "rows features"]
    targets: Int64[np.ndarray, " targets"]

    @property
    def vectors(self) -> Float32[np.ndarray, "rows dim"]:
        return self.inputs[:, :-1]

    @property
    def truth(self) -> Float32[np.ndarray, "targets dim"]:
        return self.vectors[self.targets]

    def means(self, context: int) -> Float32[np.ndarray, "targets spans dim"]:
        return running_means(self.vectors, self.sequences, self.targets, spans_of(context))


def compare_sequences(
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    config: SequenceConfig | None = None,
    *,
    test: Iterable[Path | str] = (),
    alone: bool = False,
    pooling: Pooling = "mean",
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> SequenceRun:
    """Train models that predict the next vector of a document, and compare them with baselines.

    Documents are divided into those to train, to validate and to test on; none is in two parts, and
    no window reaches over the end of a document. What is predicted is the direction of the next
    vector around the mean of the training documents. Every model and every baseline is measured on
    the same targets: vectors of test documents that have as many others in front of them as the
    longest context.

    Writes into `output`, made when missing: a folder `MODEL-CONTEXT` for each model with its best
    and its last state, its history and its measures; `comparison.json`, the table `comparison.csv`,
    `README.md` with the verdict, and the learning curves `curves.png`. A run that was stopped
    continues with the same call, and ends with the same bytes on the same machine.

    Args:
        inputs: shards, as `label` takes them.
        output: the folder to write.
        config: what to train, and how.
        test: shards of other documents to test on; without them a tenth of `inputs` is for tests.
        alone: embed the patches again, each by its own tokens (`embed_alone`).
        pooling: how tokens of a patch become one vector, in shards of tokens.
        overwrite: replace the files of another comparison.
        progress: hears of the stages `reading` and `MODEL-CONTEXT`.

    Raises:
        LabelError: no input can be used; widths differ; a document is among those to train and to
            test on; there are too few documents, or none is long enough; the folder holds another
            comparison.
        MissingPackageError: optax is not installed (extra `librarian`), or with `alone` wordllama.
        FloatingPointError: a loss became infinite.
        OSError: the output cannot be written.
    """
    chosen = config or SequenceConfig()
    folder = Path(output)
    if chosen.models:
        require("optax", "librarian", "training")
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    parts, refused = _read_parts(given, list(test), chosen, alone, pooling, progress)
    frame = fit_frame(parts["train"])
    least = max(chosen.contexts)
    ready = {
        name: _Part(part, frame.inputs(part.vectors), find_targets(part, least))
        for name, part in parts.items()
    }
    _check_targets(ready, least)
    run_id = _identity(parts, chosen, alone)
    with locked(folder):
        journal = claim(folder, run_id, chosen, overwrite)
        comparison = _Comparison(ready, frame, chosen, journal, progress)
        measured = comparison.measured()
        document = ready["test"].sequences.document()[ready["test"].targets]
        rows = make_rows(measured, document, chosen.resamples, chosen.seed)
        longer = long_context(measured, document, chosen.resamples, chosen.seed)
        said = verdict(rows, longer)
        documents = {name: len(part) for name, part in parts.items()}
        about = {
            "id": run_id,
            "config": json.loads(chosen.to_json()),
            "alone": alone,
            "documents": documents,
            "targets": len(document),
            "files": dict(sorted(journal.finished.items())),
        }
        write_report(folder, about, rows, longer, said, comparison.histories)
        journal.close()
    return SequenceRun(folder, rows, said, documents, len(document), refused, comparison.kept)


def _read_parts(
    inputs: Sequence[Path | str],
    test: Sequence[Path | str],
    config: SequenceConfig,
    alone: bool,
    pooling: Pooling,
    progress: StageProgress | None,
) -> tuple[dict[str, Sequences], tuple[Refused, ...]]:
    """Documents to train, validate and test on."""
    embed = embed_alone if alone else None
    found = read_sequences(inputs, pooling=pooling, embed=embed, progress=progress)
    if not test:
        return dict(zip(PARTS, split_documents(found, config.seed), strict=True)), found.refused
    others = read_sequences(test, pooling=pooling, embed=embed, progress=progress)
    if others.width != found.width:
        raise LabelError(
            f"the documents to test on have vectors of width {others.width}, those to train on of"
            f" {found.width}; use one kind of embeddings"
        )
    known = {_content(found, number): name for number, name in enumerate(found.names)}
    for number, name in enumerate(others.names):
        same = known.get(_content(others, number))
        if same is not None:
            raise LabelError(
                f"the document {name!r} to test on is {same!r} to train on; give other documents"
            )
    divided = split_documents(found, config.seed, 2)
    return dict(zip(PARTS, [*divided, others], strict=True)), found.refused + others.refused


def _content(sequences: Sequences, number: int) -> str:
    rows = sequences.vectors[sequences.begins[number] : sequences.begins[number + 1]]
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def _check_targets(parts: Mapping[str, _Part], least: int) -> None:
    for name, part in parts.items():
        if not len(part.targets):
            longest = int(np.diff(part.sequences.begins).max())
            raise LabelError(
                f"no {name} document has more than {least} vectors, the longest context; the"
                f" longest document has {longest}: give longer documents, or shorter contexts"
            )


def _identity(parts: Mapping[str, Sequences], config: SequenceConfig, alone: bool) -> str:
    """Names the comparison by all that its bytes depend on."""
    told = {
        "version": version("sphere-ebm"),
        "config": config.to_json(),
        "alone": alone,
        "parts": {name: part.digest for name, part in parts.items()},
        "machine": [jax.default_backend(), visible_cpus()],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@final
class _Comparison:
    """Measures baselines and models, one after another; what is finished is kept."""

    def __init__(
        self,
        parts: Mapping[str, _Part],
        frame: Frame,
        config: SequenceConfig,
        journal: Journal,
        progress: StageProgress | None,
    ):
        self._parts = parts
        self._frame = frame
        self._config = config
        self._journal = journal
        self._progress = progress
        self.histories: dict[str, list[Entry]] = {}
        self.kept = 0

    def measured(self) -> list[Measured]:
        """Everything, by context; baselines before models."""
        found = []
        for context in self._config.contexts:
            found += self._baselines(context)
            found += self._models(context)
        return found

    def _measure(
        self, model: str, context: int, predicted: np.ndarray, parameters: int, trained: bool
    ) -> Measured:
        test = self._parts["test"]
        rank = ranks(
            predicted,
            test.vectors,
            test.targets,
            max(self._config.contexts),
            test.sequences.directed(),
        )
        return Measured(model, context, parameters, trained, cosines(predicted, test.truth), rank)

    def _baselines(self, context: int) -> list[Measured]:
        means = {name: part.means(context) for name, part in self._parts.items()}
        pairs = {name: (means[name], part.truth) for name, part in self._parts.items()}
        spans = spans_of(context)
        width = self._parts["test"].vectors.shape[1]
        parameters = {"ridge": len(spans) * width**2, "weighted_means": len(spans)}
        predicted = predict_baselines(spans, pairs["train"], pairs["validation"], means["test"])
        return [
            self._measure(name, context, one, parameters.get(name, 0), False)
            for name, one in predicted.items()
        ]

    def _models(self, context: int) -> list[Measured]:
        train = self._parts["train"]
        weights = fit_weights(train.means(context), train.truth)
        examples = [
            make_examples(self._parts[name].sequences, self._frame, context)
            for name in ("train", "validation")
        ]
        return [
            self._kept(model, context) or self._trained(model, context, weights, *examples)
            for model in self._config.models
        ]

    def _kept(self, model: str, context: int) -> Measured | None:
        """What an earlier run measured, where all its files are whole."""
        name = f"{model}-{context}"
        folder = self._journal.folder / name
        if not all(self._journal.holds(f"{name}/{file}") for file in MODEL_FILES):
            return None
        try:
            tensors, metadata = read_tensors(folder / MEASURED)
            parameters = int(metadata["parameters"])
        except (ShardError, KeyError, ValueError):
            return None
        lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
        self.histories[name] = [json.loads(line) for line in lines]
        self.kept += 1
        return Measured(model, context, parameters, True, tensors["cosine"], tensors["rank"])

    def _trained(
        self,
        model: str,
        context: int,
        weights: Float32[np.ndarray, " spans"],
        train: Examples,
        validation: Examples,
    ) -> Measured:
        config = self._config
        name = f"{model}-{context}"
        folder = self._journal.folder / name
        folder.mkdir(exist_ok=True)
        clean_leftovers(folder)
        test = self._parts["test"]
        # one model is the same whichever others are trained beside it
        key = jax.random.fold_in(jax.random.key(config.seed), _number(name))
        width = test.vectors.shape[1]
        blank = build_model(
            model, config.size, width, context, weights, key, dropout=config.dropout
        )
        trained = train_model(
            blank,
            train,
            validation,
            config,
            folder,
            f"{self._journal.map_id} {name}",
            self._progress,
            name,
        )
        self.histories[name] = trained.history
        predicted = predict_targets(trained.best, test.inputs, test.targets, context)
        measured = self._measure(model, context, predicted, trained.best.parameters, True)
        tensors = {"cosine": measured.cosine, "rank": measured.rank}
        metadata = {"format": _MEASURED_FORMAT, "parameters": str(measured.parameters)}
        write_tensors(folder / MEASURED, tensors, metadata)
        for file in MODEL_FILES:
            self._journal.record(f"{name}/{file}", sha256_of(folder / file))
        (folder / CHECKPOINT).unlink(missing_ok=True)
        return measured


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
