"""What a user would pick instead, as directions on the sphere.

Each at its documented defaults, cosine, 15 neighbours.

None gets a seed: umap-learn with one would stay on one thread. openTSNE, whose default is one
thread, gets all cores.

`python -m benchmarks.peer_methods KEY SET DIR` runs one method on one set and prints the peak
memory of its process.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float32

from benchmarks.datasets import load
from benchmarks.report import cores

if TYPE_CHECKING:
    from pymde.constraints import Constraint

NEIGHBOURS = 15

Method = Callable[[Float32[np.ndarray, "points width"]], Float[np.ndarray, "points 3"]]


@dataclass(frozen=True)
class Contender:
    """One method: `key` on the command line, `name` in the table, the module it needs and the
    package that has it.
    """

    key: str
    name: str
    method: Method
    module: str = "sphere_ebm"
    package: str = "sphere-ebm"

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None


def ours(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """`place` with the default configuration."""
    from sphere_ebm import PlacementConfig, place

    return place(embeddings, config=PlacementConfig(replicas=0)).direction


def umap_3d(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """UMAP in three dimensions, centred and normalised to directions."""
    return to_directions(_umap(embeddings, n_components=3))


def umap_haversine(
    embeddings: Float32[np.ndarray, "points width"],
) -> Float[np.ndarray, "points 3"]:
    """UMAP with output on the sphere.

    Its documentation and its gradient (cos(x + pi/2) in `haversine_grad`) take the first coordinate
    as colatitude.
    """
    theta, phi = _umap(embeddings, n_components=2, output_metric="haversine").astype(np.float64).T
    return np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1
    )


def opentsne_3d(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """t-SNE in three dimensions, centred and normalised to directions.

    Barnes-Hut gradients: the default from 10 000 points on, an interpolation grid, raises an error
    for more than two dimensions. It has no k; its default perplexity of 30 makes it weigh 90
    neighbours.
    """
    from openTSNE import TSNE

    layout = TSNE(
        n_components=3, metric="cosine", negative_gradient_method="bh", n_jobs=cores()
    ).fit(embeddings)
    return to_directions(np.asarray(layout))


def pacmap_3d(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """PaCMAP in three dimensions, centred and normalised to directions.

    Its default reduces the input to 100 principal components before it looks for neighbours, here
    by angle.
    """
    from pacmap import PaCMAP

    layout = PaCMAP(n_components=3, n_neighbors=NEIGHBOURS, distance="angular").fit_transform(
        embeddings
    )
    return to_directions(layout)


def pymde_sphere(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """PyMDE's `preserve_neighbors` under the constraint that every vector has length 1.

    PyMDE exports no such constraint; `_unit_vectors` writes it as its documentation tells to. It
    searches neighbours by Euclidean distance, so that it gets normalised embeddings: the order is
    that of the cosine.
    """
    import pymde

    rows = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    problem = pymde.preserve_neighbors(
        rows, embedding_dim=3, constraint=_unit_vectors(), n_neighbors=NEIGHBOURS
    )
    return problem.embed().numpy().astype(np.float64)


def to_directions(layout: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """A layout in space, centred and normalised."""
    centred = layout.astype(np.float64)
    centred -= centred.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


OURS = Contender("ours", "sphere_ebm `place`", ours)
PEERS = (
    Contender("umap-3d", "umap-learn 3-D", umap_3d, "umap", "umap-learn"),
    Contender("umap-haversine", "umap-learn haversine", umap_haversine, "umap", "umap-learn"),
    Contender("opentsne-3d", "openTSNE 3-D", opentsne_3d, "openTSNE", "openTSNE"),
    Contender("pacmap-3d", "PaCMAP 3-D", pacmap_3d, "pacmap", "pacmap"),
    Contender("pymde-sphere", "PyMDE, unit vectors", pymde_sphere, "pymde", "pymde"),
)
CONTENDERS = {contender.key: contender for contender in (OURS, *PEERS)}


def _umap(
    embeddings: Float32[np.ndarray, "points width"],
    n_components: int,
    output_metric: str = "euclidean",
) -> Float32[np.ndarray, "points components"]:
    """Without `random_state`: a fixed one would keep UMAP on one thread."""
    import umap

    return umap.UMAP(
        n_components=n_components,
        n_neighbors=NEIGHBOURS,
        metric="cosine",
        output_metric=output_metric,
    ).fit_transform(embeddings)


def _unit_vectors() -> "Constraint":
    """Vectors of length 1, as a subclass of `pymde.constraints.Constraint`, whose documentation
    invites it.
    """
    import torch
    from pymde.constraints import Constraint

    class UnitVectors(Constraint):
        def name(self) -> str:
            return "unit vectors"

        def initialization(
            self, n_items: int, embedding_dim: int, device: str | None = None
        ) -> torch.Tensor:
            return self.project_onto_constraint(
                torch.randn((n_items, embedding_dim), device=device)
            )

        def project_onto_constraint(self, Z: torch.Tensor, inplace: bool = True) -> torch.Tensor:
            norm = Z.norm(dim=1, keepdim=True)
            return Z.div_(norm) if inplace else Z / norm

        def project_onto_tangent_space(
            self, X: torch.Tensor, Z: torch.Tensor, inplace: bool = True
        ) -> torch.Tensor:
            outward = (X * Z).sum(dim=1, keepdim=True) * X
            return Z.sub_(outward) if inplace else Z - outward

    return UnitVectors()


def _peak_after(key: str, name: str, folder: Path) -> float:
    """Peak resident memory of this process in 10^6 bytes, after one run of a method.

    `benchmarks.process` imports JAX, which the peers do without: it is imported when the peak is
    past.
    """
    CONTENDERS[key].method(load(name, folder).embeddings)
    from benchmarks.process import peak_mb

    return peak_mb()


if __name__ == "__main__":
    print(_peak_after(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
