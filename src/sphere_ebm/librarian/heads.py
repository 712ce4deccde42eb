"""From what a student says of cells, shells and embeddings to places with an error.

Everything here is NumPy: it runs where predictions are made.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32

CLOSE = np.radians(11.5)
"""Within this angle of the label a prediction counts as right: a hundredth of the sphere."""

OTHER_PLACE = np.radians(20)
"""From this angle on a place is another one."""

_BLOCK = 2048


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Predicted:
    """Where N patches belong on the map, and how surely.

    Attributes:
        direction: (N, 3) unit vectors, the likeliest place.
        radius: (N,) in shell units.
        shell: (N,) number of the shell, 0 innermost.
        spread: (N,) root mean square angle in radians that is to be expected between `direction`
            and the label's, calibrated on the validation documents.
        confidence: (N,) probability that the two are within 11.5° of each other, calibrated there.
        modes: (N, 2, 3) the two likeliest places, `direction` first; the same twice where there is
            one.
        mode_weight: (N, 2) probability of each, 0 for a second one that there is not.
        embedding: (N, D) unit vectors in the space of the map's embeddings; zero rows for patches
            of which the student recognises nothing.
        cells: (N, C) log-probabilities of the equal-area cells, where they were asked for.
    """

    direction: Float32[np.ndarray, "patches 3"]
    radius: Float32[np.ndarray, " patches"]
    shell: Int32[np.ndarray, " patches"]
    spread: Float32[np.ndarray, " patches"]
    confidence: Float32[np.ndarray, " patches"]
    modes: Float32[np.ndarray, "patches 2 3"]
    mode_weight: Float32[np.ndarray, "patches 2"]
    embedding: Float32[np.ndarray, "patches width"]
    cells: Float32[np.ndarray, "patches cells"] | None = None

    def __len__(self) -> int:
        return len(self.radius)


class Places(NamedTuple):
    """Two places for each of N patches, and the probability of each."""

    modes: Float32[np.ndarray, "patches 2 3"]
    weight: Float32[np.ndarray, "patches 2"]
