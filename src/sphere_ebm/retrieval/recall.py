"""How much of a neighbourhood a work finds, measured on points that are taken out of a map."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.maps.placement import Placement
from sphere_ebm.retrieval.cascade import NEIGHBOURS_FOUND, Cascade
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.visitors import with_visitors


@final
@dataclass(frozen=True, eq=False)
class RecallCurve:
    """How much of the 10 nearest points a work finds on one map.

    Attributes:
        work: (W,) mean work, rising.
        recall: (W,) mean recall over the trials, made not to fall.
        error: (W,) standard error of that mean over the trials.
        trials: how many points were taken out and asked for.
    """

    work: Float64[np.ndarray, " works"]
    recall: Float64[np.ndarray, " works"]
    error: Float64[np.ndarray, " works"]
    trials: int

    @classmethod
    def measure(
        cls,
        placement: Placement,
        works: ArrayLike = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.25),
        *,
        trials: int = 400,
        visitors: bool = False,
        seed: int = 0,
    ) -> "RecallCurve":
        """Take `trials` points out of the map at random, and ask a cascade of the others for them.

        With `visitors` the cascade has them, as that must have whose work is to be chosen.
        Their neighbours were placed with them, which a query that never was on the map has not:
        on wordnet-10k what such queries found was within .006 of what the curve said.
        O(trials N D).

        Raises:
            ValueError: no embeddings, a map of fewer than 64 points whose embeddings are not zero,
                or a bad work.
        """
        if placement.embeddings is None:
            raise ValueError(
                "`placement` must hold its embeddings; got one without. Add them with"
                " `placement.with_embeddings(embeddings)`."
            )
        unit = unit_rows(placement.embeddings.astype(np.float64)).astype(np.float32)
        pointing = np.flatnonzero(np.any(unit, axis=1))
        if len(pointing) < 64:
            raise ValueError(
                "`placement` must hold at least 64 points with embeddings that are not zero; got"
                f" {len(pointing)}. Compare queries with all of them instead."
            )
        rng = np.random.default_rng(seed)
        out = np.sort(rng.choice(pointing, min(trials, len(pointing) // 4), replace=False))
        kept = np.delete(np.arange(len(unit)), out)
        truth = exact_neighbours(unit[kept], unit[out], NEIGHBOURS_FOUND)
        pyramid = MapPyramid.of_points(
            placement.direction[kept], placement.radius[kept], unit[kept]
        )
        cascade = Cascade.build(with_visitors(pyramid, unit[kept]) if visitors else pyramid)
        rows = []
        for work in np.sort(np.asarray(works, np.float64)):
            reached = cascade.find(unit[out], work=float(work))
            found = found_share(truth, reached.points)
            rows.append((reached.work.mean(), found.mean(), found.std() / math.sqrt(len(out))))
        work, recall, error = (np.array(column) for column in zip(*rows, strict=True))
        return cls(work, np.maximum.accumulate(recall), error, len(out))

    def work_for(self, recall: float) -> float:
        """The work that finds so much, between the measured ones by a straight line.

        Raises ValueError for more than the largest measured work finds.
        """
        if not self.recall[0] <= recall <= self.recall[-1]:
            raise ValueError(
                f"`recall` must lie in [{self.recall[0]:.3f}, {self.recall[-1]:.3f}], what the"
                f" measured works found; got {recall}. Measure other works."
            )
        return float(np.interp(recall, self.recall, self.work))


def found_share(
    truth: Int[np.ndarray, "queries k"], points: Int[np.ndarray, "queries returned"]
) -> Float64[np.ndarray, " queries"]:
    """The share of each query's true neighbours that is among its points."""
    found = [np.isin(true, row).mean() for true, row in zip(truth, points, strict=True)]
    return np.array(found, np.float64)
