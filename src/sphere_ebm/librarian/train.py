"""`train`: a student of labels, from their folder to a folder of its own.

Resumable: the same command continues what a dead run began, to the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.progress import StageProgress


@final
@dataclass(frozen=True)
class TrainRun:
    """What `train` did.

    `steps`: taken in all; `best_step`: of the best student. `metrics`: a dictionary for each line
    of `metrics.jsonl`. `train` and `validation`: patches that were learned from and judged on.
    `kept`: whether the folder held this very run, finished.
    """

    output: Path
    steps: int
    best_step: int
    metrics: tuple[dict[str, Any], ...]
    train: int
    validation: int
    kept: bool


def train(
    labels: Path | str,
    output: Path | str,
    config: LibrarianConfig | None = None,
    *,
    more: Sequence[Path | str] = (),
    held_out: Sequence[str] = (),
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> TrainRun:
    """Teach a student the labels in a folder.

    Args:
        labels: folder of a finished map.
        output: folder for the student, made when missing.
        config: see `LibrarianConfig`.
        more: shards that join the map first, and are learned from then.
        held_out: documents to validate on, by names or patterns; else a share of them is drawn.
        overwrite: replace another student in `output`.
        progress: called as progress(stage, done, total), stages `"joining"`, `"training"` and
            `"calibrating"`.

    Raises:
        LabelError: no labels, or labels that cannot be learned from; `output` holds another student
            or another run works there.
        ShardError: a label file or shard is damaged.
        MissingPackageError: without the extra `librarian`.
        OSError: the output cannot be written.
    """
    raise NotImplementedError
