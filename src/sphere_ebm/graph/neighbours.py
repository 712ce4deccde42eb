"""`Neighbours`: lists of nearest points, of our search or of another library, checked."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.arrays import matrix, real_array
from sphere_ebm.graph.directions import pointing_directions

_CHUNK = 16_384
_CHECKED = 64  # rows whose similarities are compared with cosines
_FAR = 0.05  # a cosine of quantised vectors is closer than that
_CLOSE = 0.01
_ROUNDING = 1e-3
"""How far beyond 1 a cosine of another library may lie, which computed it in half precision, say.
"""


@final
@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k' nearest other points of every point.

    - `index`: neighbours in order of falling similarity, -1 where a point has fewer than k'. A
      point is not its own neighbour and no neighbour is listed twice.
    - `similarity`: their cosines, in [-1, 1], -inf where `index` is -1.
    - `note`: what the caller should tell the user about how the search was done, or None.

    Raises `ValueError` when the arrays break these rules.
    """

    index: Int32[np.ndarray, "points neighbours"]
    similarity: Float32[np.ndarray, "points neighbours"]
    note: str | None = None

    def __post_init__(self) -> None:
        n = len(self.index)
        for start in range(0, n, _CHUNK):
            index = self.index[start : start + _CHUNK]
            similarity = self.similarity[start : start + _CHUNK]
            own = np.arange(start, start + len(index))
            ordered = np.sort(index, axis=1)
            broken = (
                ((index < -1) | (index >= n) | (index == own[:, None])).any(axis=1)
                | ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
                | ((index >= 0) & ~np.isfinite(similarity)).any(axis=1)
            )
            if broken.any():
                row = int(broken.argmax())
                raise ValueError(
                    f"`index` must list distinct other points of 0 .. {n - 1} (or -1) with finite"
                    f" similarities; got {index[row]} in row {start + row}."
                )

    @classmethod
    def from_arrays(
        cls,
        index: ArrayLike,
        similarity: ArrayLike | None = None,
        embeddings: ArrayLike | None = None,
    ) -> "Neighbours":
        """Neighbours that another library found.

        Row i of (N, k) arrays, lists or DataFrames lists the neighbours of point i, in any order.

        - `index`: of any integer type, -1 where a row is short. The point itself may be listed,
          usually first: it is taken out, and so is the last column when that leaves it empty.
        - `similarity`: cosines, not distances; computed from `embeddings` when missing.
        - `embeddings`: where given, zero vectors lose their neighbours and are nobody's, as in
          `nearest_neighbours`. A few similarities are then checked, see `check_cosines`.

        Rows are put in order of falling similarity, equal ones as they were given. Cost: O(N k D)
        with embeddings, in chunks; memory: a copy of them.

        Raises `ValueError`, naming the row and the cure, for shapes that do not match, an index
        outside -1 .. N - 1, a neighbour listed twice, a similarity that is no cosine, and neither
        similarities nor embeddings.
        """
        given = None if embeddings is None else matrix("embeddings", embeddings)
        found = cls(*_from_arrays(index, similarity, given))
        if similarity is not None and given is not None:
            found.check_cosines(given)
        return found

    def check_cosines(self, embeddings: Float[np.ndarray, "points width"]) -> None:
        """Refuse similarities that are evidently distances of `embeddings`, by a few of them.

        Cost: some hundred cosines. Similarities of another kind are the caller's own business.

        Raises:
            ValueError: they are far from the cosines and close to a common distance.
        """
        if len(embeddings) != len(self.index):
            return
        rows = np.unique(np.linspace(0, max(len(self.index) - 1, 0), _CHECKED).astype(int))
        here, column = np.nonzero(self.index[rows] >= 0)
        near = self.index[rows][here, column]
        ends = [np.asarray(embeddings[x], np.float64) for x in (rows[here], near)]
        length = [np.linalg.norm(end, axis=1) for end in ends]
        usable = (length[0] > 0) & (length[1] > 0)
        if not usable.any():
            return
        given = self.similarity[rows][here, column][usable]
        cosine = np.einsum("ij,ij->i", *ends)[usable] / (length[0] * length[1])[usable]
        chord = np.sqrt(np.maximum(2 - 2 * cosine, 0))
        angle = np.arccos(np.clip(cosine, -1, 1))
        off = {
            name: float(np.median(np.abs(given - value)))
            for name, value in {
                "cosines": cosine,
                "cosine distances: give 1 - distance": 1 - cosine,
                "chords of unit vectors: give 1 - distance² / 2": chord,
                "squared chords of unit vectors: give 1 - distance / 2": chord**2,
                "angles: give their cosine": angle,
                "angles in units of pi: give the cosine of pi times that": angle / np.pi,
            }.items()
        }
        nearest = min(off, key=off.__getitem__)
        if off["cosines"] > _FAR and off[nearest] < _CLOSE:
            raise ValueError(
                f"`similarity` must hold cosines; got {given[0]:.4g} where the cosine is"
                f" {cosine[0]:.4g}, and such numbers look like {nearest}."
            )


def _from_arrays(
    index: ArrayLike,
    similarity: ArrayLike | None,
    embeddings: Float[np.ndarray, "points width"] | None,
) -> tuple[Int32[np.ndarray, "points k"], Float32[np.ndarray, "points k"]]:
    listed = _given_index(
        real_array("index", index), None if embeddings is None else len(embeddings)
    )
    own = listed == np.arange(len(listed))[:, None]
    if embeddings is None and similarity is None:
        raise ValueError(
            "give `similarity` or `embeddings`: without either, neighbours have no cosines."
        )
    given = None if similarity is None else real_array("similarity", similarity)
    cosine = None if given is None else _given_cosines(given, listed, own)
    if embeddings is not None:
        unit, pointing = pointing_directions(embeddings)
        place = np.full(len(listed), -1)
        place[pointing] = np.arange(len(pointing))
        listed[(place[listed] < 0) | (place[:, None] < 0)] = -1
        cosine = _cosines(unit, place, listed) if cosine is None else cosine
    assert cosine is not None
    missing = own | (listed < 0)
    listed[missing] = -1
    cosine[missing] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")
    listed = np.take_along_axis(listed, order, axis=1)
    cosine = np.take_along_axis(cosine, order, axis=1)
    columns = listed.shape[1] - bool(own.any() and (listed[:, -1] < 0).all())
    return listed[:, :columns].astype(np.int32), cosine[:, :columns]


def _given_index(index: np.ndarray, n_points: int | None) -> Int64[np.ndarray, "points k"]:
    """A checked copy of another library's lists."""
    if index.ndim != 2 or index.dtype.kind not in "iu":
        raise ValueError(
            f"`index` must be an (N, k) array of integers; got {index.dtype} of shape"
            f" {index.shape}."
        )
    n = len(index)
    if n_points is not None and n_points != n:
        raise ValueError(
            f"`index` must have a row for each of the {n_points} embeddings; got {n} rows."
        )
    outside = ((index >= n) | (index < -1)).any(axis=1)
    if outside.any():
        row = outside.argmax()
        raise ValueError(
            f"`index` must lie in 0 .. N - 1 = {n - 1}, or be -1 where a neighbour is missing; got"
            f" {index[row]} in row {row}. Number points from 0, in the order of the embeddings."
        )
    return index.astype(np.int64)


def _cosines(
    unit: Float32[np.ndarray, "pointing width"],
    place: Int64[np.ndarray, " points"],
    listed: Int64[np.ndarray, "points k"],
) -> Float32[np.ndarray, "points k"]:
    """Cosines of the points with those they list; meaningless where `listed` is -1."""
    cosine = np.zeros(listed.shape, np.float32)
    rows = max(1, _CHUNK // max(listed.shape[1], 1))
    for start in range(0, len(listed) if len(unit) else 0, rows):
        block = slice(start, start + rows)
        cosine[block] = np.einsum("nd,nkd->nk", unit[place[block]], unit[place[listed[block]]])
    return np.clip(cosine, -1, 1)


def _given_cosines(
    similarity: np.ndarray, listed: Int64[np.ndarray, "points k"], own: Bool[np.ndarray, "points k"]
) -> Float32[np.ndarray, "points k"]:
    """Cosines of another library, checked.

    A point's cosine with itself tells them from distances.
    """
    if similarity.shape != listed.shape or similarity.dtype.kind not in "iuf":
        raise ValueError(
            f"`similarity` must be real numbers of the shape {listed.shape} of `index`; got"
            f" {similarity.dtype} of shape {similarity.shape}."
        )
    wrong = ((listed >= 0) & ~own & ~(np.abs(similarity) <= 1 + _ROUNDING)).any(axis=1)
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(
            f"`similarity` must hold cosines in [-1, 1]; got {similarity[row]} in row {row}. Leave"
            " it out and give `embeddings` to have them computed; of cosine distances give 1 -"
            " distance."
        )
    with_itself = similarity[own]
    if with_itself.size and np.median(with_itself) < 0.5:
        row = own.any(axis=1).argmax()
        raise ValueError(
            f"`similarity` must hold cosines, 1 of a point with itself; got {with_itself[0]} in row"
            f" {row}. If these are cosine distances, give 1 - distance."
        )
    return np.clip(similarity.astype(np.float32), -1, 1)
