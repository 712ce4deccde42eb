"""The direct student: from n-grams straight to the place, without a map.

The bag learns by all losses together: cells and shell as well as the embedding.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.bagged import BagModel
from sphere_ebm.librarian.students.base import AbstractStudent, Arrays, Facts, Outputs
from sphere_ebm.librarian.windows import Passages


@final
class Direct(AbstractStudent):
    """Predicts by a bag and two nets."""

    def __init__(self, model: BagModel) -> None:
        self.config = model.config
        self.facts = model.facts
        self._model = model

    @classmethod
    @override
    def from_arrays(
        cls, config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
    ) -> "Direct":
        return cls(BagModel(config, facts, arrays))

    @override
    def arrays(self) -> Arrays:
        return self._model.arrays()

    @override
    def predict(self, passages: Passages) -> Outputs:
        return self._model.outputs(passages)
