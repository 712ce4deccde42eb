"""Replicas: what independent runs of one map say about the error of its labels.

The thermal spread of a chain tells how a point trembles in the well that holds it. It tells nothing
about the well another run would have found, and that is what a reader of a label wants to know:
maps have many minima of nearly equal depth, in which single points, and whole regions, lie
elsewhere. So a map is run again, `n_replicas` times, from other random numbers; the replicas are
turned or reflected onto the map (its energy knows no frame), and the angle between a point's place
on the map and its places on the replicas is the error of its label.

Few replicas know little about each point, but points move in company: their squared angles are
shrunk towards the mean over the points around, and over the whole map. How well this predicts
where a further run puts a point is measured by `benchmarks/certainty.py`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.spatial import cKDTree

from sphere_ebm.geometry.frames import angles_between, robust_frame, turned
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.hamiltonian.lateral import ARRAY_POTENTIALS, Kernel

SAME_PLACE = np.radians(10)
"""Within this angle of a mode, a run counts as having come to lie there."""

OTHER_PLACE = np.radians(20)
"""From this angle on a place is another one."""

# Points up to which so many replicas are run: a replica costs as much as the map, but for the
# search of neighbours and the compilation, which are shared.
_REPLICAS = ((2_500, 15), (5_000, 7), (20_000, 3))
_REPLICAS_BEYOND = 1

_AROUND = 15  # points on the map whose squared angles a point's own is shrunk towards
_OVERALL = 0.4  # share of the whole map's mean in what it is shrunk towards; the rest is theirs
_PAIRS = 4_000_000  # angles between replicas that are held at once
_BATCH = 4_096
_ROUNDS = 8


class Uncertainty(NamedTuple):
    """How sure the labels of some points are.

    `angle_std`: (N,) root mean square angle, in radians, to where another run puts the point.
    `modes`: (N, 2, 3) two places where runs gather, the point's own first; where there is no
    second, the first is repeated. `mode_weight`: (N, 2) estimated probability that another run
    comes to lie within `SAME_PLACE` of each, 0 where there is no second; what is left of 1 is
    elsewhere. Both are None where no replica was run.
    """

    angle_std: Float32[np.ndarray, " points"]
    modes: Float32[np.ndarray, "points 2 3"] | None = None
    mode_weight: Float32[np.ndarray, "points 2"] | None = None


class Neighbourhoods(NamedTuple):
    """What draws newcomers: nearest fitted points, -1 for none, and the weights of the edges."""

    nearest: Int[np.ndarray, "new k"]
    weight: Float[np.ndarray, "new k"]


class Replicated(NamedTuple):
    """A fitted map, its replicas in the map's frame (None: there are none), and its error bars."""

    direction: Float32[np.ndarray, "points 3"]
    replicas: Float32[np.ndarray, "replicas points 3"] | None
    angle_std: Float32[np.ndarray, " points"]


def n_replicas(asked: int | None, n_points: int) -> int:
    """How many replicas a map of `n_points` gets: as many as were asked for, or as are affordable.

    By default fifteen up to 2 500 points, seven up to 5 000, three up to 20 000, one beyond.
    """
    if n_points < 2:
        return 0
    if asked is not None:
        return asked
    return next((number for most, number in _REPLICAS if n_points <= most), _REPLICAS_BEYOND)


def replica_seed(seed: int, number: int) -> int:
    """The seed of replica `number` (from 1) of a map: unlike the seeds that users count up."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def in_frame(
    direction: Float32[np.ndarray, "points 3"], replica: Float32[np.ndarray, "points 3"]
) -> Float32[np.ndarray, "points 3"]:
    """`replica`, turned or reflected onto the map; see `robust_frame`."""
    return turned(replica, robust_frame(direction, replica))


def uncertainty(
    direction: Float32[np.ndarray, "points 3"],
    replicas: Float32[np.ndarray, "replicas points 3"],
    thermal_std: Float32[np.ndarray, " points"],
) -> Uncertainty:
    """The error bars of a map.

    With d_i² the mean squared angle between point i and its R replicas, l_i the mean of d² over the
    point and the 15 nearest on the map, and m that over all points, `angle_std`² is
    (.4 m + .6 l_i + R d_i²) / (1 + R), but at least `thermal_std`². Without replicas it is the
    thermal spread, which understates the error.

    Args:
        direction: (N, 3) unit vectors.
        replicas: (R, N, 3) the same points in other runs, in the frame of `direction`.
        thermal_std: (N,) spread of one chain, in radians.

    Cost: O(R² N) and a search of neighbours on the sphere.
    """
    if not len(replicas) or len(direction) < 2:
        return Uncertainty(thermal_std)
    squared = np.mean([angles_between(direction, place) ** 2 for place in replicas], axis=0)
    around = min(_AROUND + 1, len(direction))
    nearest = cKDTree(direction).query(direction, around)[1].reshape(len(direction), around)
    return Uncertainty(
        _calibrated(
            squared, squared[nearest].mean(axis=1), squared.mean(), len(replicas), thermal_std
        ),
        *_modes(direction, direction, replicas),
    )


def uncertainty_of_newcomers(
    direction: Float32[np.ndarray, "new 3"],
    thermal_std: Float32[np.ndarray, " new"],
    drawn_by: Neighbourhoods,
    runs: Replicated,
    sharpness: float,
    kernel: Kernel,
) -> Uncertainty:
    """The error bars of points that joined a map, in the same sense as those of its own points.

    Where a newcomer's neighbours would have drawn it on each replica is compared with where they
    draw it on the map (by the lateral term alone, so that no other field of a replica has to be
    tabulated). These angles take the place of d_i in `uncertainty`, and the mean `angle_std`² of
    its neighbours that of l_i.

    Args:
        direction: (M, 3) where newcomers lie.
        thermal_std: (M,) spread of their conditional law, in radians.
        drawn_by: their neighbours among the fitted points.
        runs: the fitted points.
        sharpness: s, the inverse interaction length.
        kernel: of the lateral attraction.
    """
    index = drawn_by.nearest
    overall = float(np.mean(runs.angle_std.astype(np.float64) ** 2))
    known = index >= 0
    share = np.where(known, runs.angle_std[index].astype(np.float64) ** 2, 0).sum(axis=1)
    near = np.divide(share, known.sum(axis=1), out=np.full(len(index), overall), where=known.any(1))
    here = _drawn(runs.direction, drawn_by, sharpness, kernel)
    replicas = () if runs.replicas is None else runs.replicas
    elsewhere = np.zeros((len(replicas), *direction.shape))
    for place, replica in zip(elsewhere, replicas, strict=True):
        place[:] = _drawn(replica, drawn_by, sharpness, kernel)
    squared = np.zeros(len(direction))
    if len(elsewhere):
        squared = np.mean([angles_between(here, place) ** 2 for place in elsewhere], axis=0)
    # who has no neighbours is drawn nowhere: as unsure as the map's points are in the mean
    lost = ~known.any(axis=1)
    squared[lost] = overall
    spread = _calibrated(squared, near, overall, len(elsewhere), thermal_std)
    if not len(elsewhere):
        return Uncertainty(spread)
    modes, weight = _modes(direction, here, elsewhere)
    modes[lost] = direction[lost, None]
    weight[lost] = 0.25 / (len(elsewhere) + 1), 0
    return Uncertainty(spread, modes, weight)


def _calibrated(
    squared: Float[np.ndarray, " points"],
    near: Float[np.ndarray, " points"],
    overall: float,
    runs: int,
    thermal_std: Float32[np.ndarray, " points"],
) -> Float32[np.ndarray, " points"]:
    """Own squared angles, shrunk as if what is around and overall had been seen in one run."""
    before = _OVERALL * overall + (1 - _OVERALL) * near
    mean = (before + runs * squared) / (1 + runs)
    return np.maximum(np.sqrt(mean), thermal_std).astype(np.float32)


def _modes(
    direction: Float32[np.ndarray, "points 3"],
    here: Float[np.ndarray, "points 3"],
    replicas: Float[np.ndarray, "replicas points 3"],
) -> tuple[Float32[np.ndarray, "points 2 3"], Float32[np.ndarray, "points 2"]]:
    """`modes` and `mode_weight`: the place `direction`, and where at least two replicas gather.

    Those count that are far from `here`. Of n runs within reach of a mode, ¼ is added to the count
    of the first and ¾ taken from that of the second, which was chosen because they are there; out
    of R + 1.
    """
    modes = np.stack([direction, direction], axis=1)
    weight = np.zeros((len(direction), 2), np.float32)
    runs = len(replicas)
    block = max(1, _PAIRS // max(runs, 1) ** 2)
    for start in range(0, len(direction), block):
        rows = slice(start, start + block)
        places = replicas[:, rows]
        apart = np.stack([angles_between(here[rows], place) for place in places])
        weight[rows, 0] = ((apart < SAME_PLACE).sum(axis=0) + 0.25) / (runs + 1)
        if runs < 2:
            continue
        together = np.stack(
            [[angles_between(a, b) < SAME_PLACE for b in places] for a in places]
        )  # (R, R, rows)
        away = apart > OTHER_PLACE
        gathered = (together & away[None]).sum(axis=1) * away
        most = gathered.argmax(axis=0)
        each = np.arange(len(most))
        count = gathered[most, each]
        members = together[most, :, each].T & away
        centre = unit_rows(np.einsum("rn,rnc->nc", members.astype(np.float64), places))
        two = count >= 2
        modes[rows, 1][two] = centre[two]
        weight[rows, 1] = np.where(two, (count - 0.75) / (runs + 1), 0)
    return modes, weight


def _drawn(
    places: Float32[np.ndarray, "points 3"],
    drawn_by: Neighbourhoods,
    sharpness: float,
    kernel: Kernel,
) -> Float[np.ndarray, "new 3"]:
    """Where the lateral attraction by fitted points at `places` is lowest, near the best of them.

    The neighbour whose place has the lowest energy, then rounds of the weighted mean of all
    neighbours, weighted by the slope of the potential, of which the minimum is a fixed point.
    """
    value, slope = ARRAY_POTENTIALS[kernel]
    found = np.empty((len(drawn_by.nearest), 3))
    for start in range(0, len(found), _BATCH):
        rows = slice(start, start + _BATCH)
        index = drawn_by.nearest[rows]
        pull = np.where(index >= 0, drawn_by.weight[rows], 0)
        held = places[index].astype(np.float64)  # (rows, k, 3); where -1 stands, nothing pulls
        cosines = np.einsum("mkc,mlc->mkl", held, held)
        energy = np.einsum("ml,mkl->mk", pull, value(_stretched(cosines, sharpness)))
        best = np.where(index >= 0, energy, np.inf).argmin(axis=1)
        here = held[np.arange(len(held)), best]
        for _ in range(_ROUNDS):
            x = _stretched(np.einsum("mc,mkc->mk", here, held), sharpness)
            mean = unit_rows(np.einsum("mk,mkc->mc", pull * slope(x), held))
            here = np.where(mean.any(axis=1, keepdims=True), mean, here)
        found[rows] = here
    return found


def _stretched(
    cosine: Float[np.ndarray, "*shape"], sharpness: float
) -> Float[np.ndarray, "*shape"]:
    """The x = 2 s² (1 - c), what potentials are functions of."""
    return 2 * sharpness**2 * np.maximum(1 - cosine, 0)
