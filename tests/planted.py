"""A task that every student of labels must learn: patches of two kinds, at two places."""

import numpy as np

from builders import unit
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import Batch, Facts
from sphere_ebm.librarian.windows import Passages, passages_of

FACTS = Facts(width=8, radii=(1.0, 1.5, 2.0, 2.5, 3.0))
WORDS = (("light", "morning", "bright"), ("stone", "cellar", "heavy"))
PLACES = unit([[1.0, 1.0, 0.6], [-1.0, -1.0, -0.6]])


def config_for(student: str, **options: object) -> LibrarianConfig:
    """A configuration in which a few steps teach something."""
    given = {
        "student": student,
        "context": 2,
        "near": 12,
        "far": 40,
        "rows": 400,
        "hidden": 16,
        "level": 1,
        "batch": 24,
        "learning_rate": 0.01,
        "seed": 3,
    }
    return LibrarianConfig(**given | options)


def texts_of(patches: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Patches of two to six words of one kind, among words of no kind; and their kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(2, size=patches)
    texts = []
    for kind in kinds:
        words = [*rng.choice(WORDS[kind], rng.integers(1, 4)), *rng.choice(["the", "of", "and"], 2)]
        texts.append(" ".join(rng.permutation(words)))
    return texts, kinds


def passages_for(patches: int, seed: int) -> tuple[Passages, np.ndarray]:
    """Those patches, each between two that tell nothing."""
    texts, kinds = texts_of(patches, seed)
    return passages_of(texts, ["and so "] * patches, [" or not"] * patches), kinds


def batch_for(patches: int, seed: int) -> tuple[Batch, np.ndarray]:
    """Those patches with labels: the first kind lies outside, the second inside."""
    passages, kinds = passages_for(patches, seed)
    axes = np.eye(FACTS.width, dtype=np.float32)[kinds]
    direction = PLACES[kinds].astype(np.float32)
    shell = np.where(kinds == 0, 4, 0).astype(np.int32)
    return Batch(
        passages=passages,
        embedding=axes,
        direction=direction,
        modes=np.stack([direction, direction], axis=1),
        mode_weight=np.tile(np.array([1, 0], np.float32), (patches, 1)),
        angle_std=np.full(patches, 0.2, np.float32),
        radius=np.array(FACTS.radii, np.float32)[shell],
        radius_std=np.full(patches, 0.1, np.float32),
        shell=shell,
        rank=np.where(kinds == 0, 0.9, 0.1).astype(np.float32),
        weight=np.ones(patches, np.float32),
    ), kinds
