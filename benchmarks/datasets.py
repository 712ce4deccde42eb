"""The sets that quality is measured on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

SETS = ("digits", "wordnet-2k", "wordnet-10k")


@dataclass(frozen=True, eq=False)
class Dataset:
    """`embeddings` (N, D) and one label for each of them."""

    name: str
    embeddings: Float32[np.ndarray, "points width"]
    labels: Shaped[np.ndarray, " points"]

    def __len__(self) -> int:
        return len(self.embeddings)


def load(name: str, folder: Path) -> Dataset:
    """`digits` from scikit-learn, any other set from `folder/name.npz` with arrays `embeddings` and
    `labels`.

    Raises FileNotFoundError when that file is missing.
    """
    if name == "digits":
        from sklearn.datasets import load_digits

        embeddings, labels = load_digits(return_X_y=True)
        return Dataset(name, embeddings.astype(np.float32), labels)
    with np.load(folder / f"{name}.npz") as file:
        return Dataset(name, file["embeddings"].astype(np.float32), file["labels"])
