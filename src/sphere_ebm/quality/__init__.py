"""Measures of a placement.

What of the embedding's geometry the map keeps, how it fills the sphere and its shells.

Distance is 1 - cosine between embeddings, the angle between directions on the map. No measure
builds an N x N array.

Ties. A point is left out of its own neighbours by index. Equal angles on the map are ordered at
random (by `seed`), so that a collapsed map is at chance and not better. Equal distances in the
input, where they come from bitwise equal normalised embeddings, are ordered as the map orders them:
of a hundred copies of one text any fifteen are right neighbours. Results are independent of the
order of the points up to these random ties and the sample of queries.

Points whose embedding is zero have no cosine. Measures that compare with the embedding leave them
out altogether, as queries and as neighbours, and report how many.

Queries. Where a measure takes `queries` and N is larger, so many points, drawn with `seed`, ask for
their neighbours, each among all points; the result is unbiased, its standard error about spread /
sqrt(queries), .003 for recall.
"""

from sphere_ebm.quality.maps import Agreement, Evenness, agreement, angular_evenness, label_accuracy
from sphere_ebm.quality.neighbours import (
    DEFAULT_QUERIES,
    Neighbourhood,
    continuity,
    distance_spearman,
    neighbour_recall,
    neighbourhood,
    trustworthiness,
)
from sphere_ebm.quality.radii import ShellDeviation, prominence_spearman, shell_deviation
from sphere_ebm.quality.report import QualityReport, measure_quality
from sphere_ebm.quality.trust import better_than_chance, chance_share, kept_by_points

__all__ = [
    "DEFAULT_QUERIES",
    "Agreement",
    "Evenness",
    "Neighbourhood",
    "QualityReport",
    "ShellDeviation",
    "agreement",
    "angular_evenness",
    "better_than_chance",
    "chance_share",
    "continuity",
    "distance_spearman",
    "kept_by_points",
    "label_accuracy",
    "measure_quality",
    "neighbour_recall",
    "neighbourhood",
    "prominence_spearman",
    "shell_deviation",
    "trustworthiness",
]
