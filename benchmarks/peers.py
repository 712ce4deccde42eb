"""What a user would pick instead: umap-learn, as directions on the sphere. Library defaults, cosine, 15 neighbours."""

import numpy as np
from jaxtyping import Float, Float32

NEIGHBOURS = 15


def umap_3d(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """UMAP in three dimensions, centred and normalised to directions."""
    layout = _umap(embeddings, n_components=3).astype(np.float64)
    layout -= layout.mean(axis=0)
    return layout / np.linalg.norm(layout, axis=1, keepdims=True)


def umap_haversine(embeddings: Float32[np.ndarray, "points width"]) -> Float[np.ndarray, "points 3"]:
    """UMAP with output on the sphere.

    Its documentation and its gradient (cos(x + pi/2) in `haversine_grad`) take the first coordinate as colatitude.
    """
    theta, phi = _umap(embeddings, n_components=2, output_metric="haversine").astype(np.float64).T
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


def _umap(
    embeddings: Float32[np.ndarray, "points width"], n_components: int, output_metric: str = "euclidean"
) -> Float32[np.ndarray, "points components"]:
    """Without `random_state`: a fixed one would keep UMAP on one thread."""
    import umap

    return umap.UMAP(
        n_components=n_components, n_neighbors=NEIGHBOURS, metric="cosine", output_metric=output_metric
    ).fit_transform(embeddings)
