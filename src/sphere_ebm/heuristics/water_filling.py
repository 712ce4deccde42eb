"""Water-filling.

Points start on a shell by their prominence and overflow to other shells until capacities are met.

A comparator and a start for the sampler, not a way to good maps: radii are treated at length,
directions hardly. One engine (`sphere_ebm.filling.engine`) runs the presets of `PRESETS`, which
stand for the seven variants of the prototype that this package replaces (TheSphere-JAX, in the
public repository SashimiSaketoro/blt-burn, file SphereCodebase11_20_25.md). `capacity_sort` is the
exact answer to what all of them approach.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numpy.typing import ArrayLike

from sphere_ebm.filling.engine import Tally
from sphere_ebm.filling.pour import pour, spread_of
from sphere_ebm.filling.presets import PRESETS, TOLERANCE, Preset
from sphere_ebm.geometry.shells import (
    Shells,
    assign_shells,
    ideal_radii,
    occupancy,
)
from sphere_ebm.maps.checks import (
    checked_config,
    checked_embeddings,
    checked_numbers,
    checked_prominence,
    checked_start,
    real_array,
)
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.starts import likeness_features, pca_directions, random_directions, roomy
from sphere_ebm.quality.radii import shell_deviation


def water_filling(
    embeddings: ArrayLike | None = None,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    preset: str | Preset = "lateral_jit",
    variance: ArrayLike | None = None,
    start: ArrayLike | None = None,
) -> Placement:
    """Place points by one of the water-filling presets.

    Args:
        embeddings: (N, D) real numbers. May be left out when `prominence` is given: directions are
            then random, and points count as alike when their information scores have near ranks.
        prominence: (N,) real numbers; by default the norms of the embeddings.
        config: seed, shells and their capacities, radius order, and `start` of the directions
            (`pca` or `random`; others count as `pca`). Where neither radius is given,
            `inner_radius` becomes `minimum_radius(N, shells)`.
        preset: a key of `PRESETS`, or a `Preset`.
        variance: (N,) variance of each normalised embedding over its dimensions; by default that of
            the embeddings, 0 without.
        start: (N, 3) initial directions instead.

    Returns:
        A `Placement` without an energy trace or spread. `info` holds `passes`, `promotions`,
        `lateral_moves`, `lateral_share` (of all points that left their place by promotion or
        search), `osmotic_moves`, `start_deviation` and `deviation` (mean over shells of |count - N
        c_s| / (N c_s), before and after), `overload_mean` and `overload_max` (of count / (N c_s) -
        1 over the shells that hold too many, 0 when none does). `converged` is true when every
        shell holds its capacity to within 5 % or one point, and never otherwise. `deviation` is
        never above `start_deviation`, but for rounding. Prominence is ordered within a shell to a
        256th of 12 of its standard deviations: outliers by many powers of ten leave the others in
        their shell unordered.

    Raises:
        ValueError: neither embeddings nor prominence, an unknown preset, arrays of the wrong shape
            or not finite.

    Cost: O(N) a pass, compiled once per shape of the input; no array larger than N x max(D, 8).
    """
    rules, name = _rules(preset)
    given = _given(embeddings, prominence, config, start)
    n = len(given.prominence)
    shells = shells_of(given.config)
    if variance is None:
        spread = spread_of(given.embeddings, n)
    else:
        spread = checked_numbers("variance", variance, n)
    poured = pour(
        given.prominence,
        spread,
        given.direction,
        given.features(spread) if rules.lateral else None,
        shells,
        rules,
        order=given.config.radius_order,
        seed=given.config.seed,
    )
    info: dict[str, int | float] = {}
    if n:
        info = _done(poured.tally) | {"start_deviation": _deviation(poured.first, shells)}
    return given.placement(poured.radius, poured.direction, f"water-filling: {name}", info)


def capacity_sort(
    embeddings: ArrayLike | None = None,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    start: ArrayLike | None = None,
) -> Placement:
    """The exact answer to what water-filling approaches.

    Radii follow from the rank of the prominence through the capacity law.

    Every shell holds its capacity to within one point, and radii order the prominence perfectly;
    the radii are those of `sphere_ebm.geometry.shells.ideal_radii`. Directions are those of the
    start. `info` holds what was reached. Arguments and errors as in `water_filling`. Cost O(N log
    N).
    """
    given = _given(embeddings, prominence, config, start)
    shells = shells_of(given.config)
    radius = ideal_radii(
        given.prominence, shells, given.config.radius_order, seed=given.config.seed
    )
    return given.placement(radius, given.direction, "capacity sort", {})


class _Given(NamedTuple):
    """Checked input."""

    embeddings: Float32[np.ndarray, "points width"] | None
    prominence: Float64[np.ndarray, " points"]
    direction: Float32[np.ndarray, "points 3"]
    config: PlacementConfig
    notes: tuple[str, ...]

    def features(
        self, variance: Float64[np.ndarray, " points"]
    ) -> Float32[np.ndarray, "points features"]:
        """What tells which points are alike, for the lateral search; see `likeness_features`."""
        outer = self.config.radius_order == "outer"
        signed = self.prominence if outer else -self.prominence
        return likeness_features(self.embeddings, signed * (1 + variance))

    def placement(
        self,
        radius: Float32[np.ndarray, " points"],
        direction: Float32[np.ndarray, "points 3"],
        method: str,
        info: dict[str, int | float],
    ) -> Placement:
        """What `radius` and `direction` make of these points; adds to `info` what was reached."""
        shells = shells_of(self.config)
        shell = assign_shells(radius, shells)
        still = np.zeros(len(radius), np.float32)
        return Placement(
            direction=direction,
            radius=radius,
            shell=shell,
            radius_std=still,
            angle_std=still.copy(),
            prominence=self.prominence.astype(np.float32),
            energy={},
            step=np.zeros(0, np.int64),
            converged=_fits(shell, shells),
            config=self.config,
            notes=self.notes,
            embeddings=self.embeddings,
            method=method,
            info=info | _reached(shell, shells),
        )


def _given(
    embeddings: ArrayLike | None,
    prominence: ArrayLike | None,
    config: PlacementConfig | None,
    start: ArrayLike | None,
) -> _Given:
    config = checked_config(config)
    rows = None if embeddings is None else checked_embeddings(embeddings)
    if rows is None and prominence is None:
        raise ValueError("`embeddings` or `prominence` must be given; got neither.")
    unseen = (
        np.zeros((real_array("prominence", prominence).size, 0), np.float32)
        if rows is None
        else rows
    )
    order, notes = checked_prominence(prominence, unseen)
    n = len(order)
    config = roomy(config, n)
    if start is not None:
        direction = checked_start(start, n)
    elif rows is None or config.start == "random":
        direction = random_directions(n, config.seed)
    else:
        direction = pca_directions(rows, config.seed)
    return _Given(rows, order, direction, config, tuple(notes))


def _rules(preset: str | Preset) -> tuple[Preset, str]:
    if isinstance(preset, Preset):
        return preset, "own rules"
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ValueError(
            f"`preset` must be one of {', '.join(PRESETS)}, or a Preset; got {preset!r}."
        )
    return PRESETS[preset], preset


def _done(tally: Tally | None) -> dict[str, int | float]:
    """What a run did; see `water_filling`. None: nothing."""
    counts = [0, 0, 0, 0] if tally is None else [int(count) for count in tally[:4]]
    passes, promotions, lateral, osmotic = counts
    return {
        "passes": passes,
        "promotions": promotions,
        "lateral_moves": lateral,
        "lateral_share": lateral / max(promotions + lateral, 1),
        "osmotic_moves": osmotic,
    }


def _deviation(shell: Int32[np.ndarray, " points"], shells: Shells) -> float:
    return shell_deviation(shell, shells).mean_relative


def _reached(shell: Int32[np.ndarray, " points"], shells: Shells) -> dict[str, int | float]:
    """How full the shells are; nothing without points."""
    if not len(shell):
        return {}
    load = occupancy(shell, shells) / (len(shell) * shells.capacity) - 1
    over = load[load > 0]
    return {
        "deviation": _deviation(shell, shells),
        "overload_mean": float(over.mean()) if over.size else 0.0,
        "overload_max": float(over.max(initial=0.0)),
    }


def _fits(shell: Int32[np.ndarray, " points"], shells: Shells) -> bool:
    """Whether every shell holds its capacity to within `TOLERANCE` or one point."""
    wanted = len(shell) * shells.capacity
    return bool(
        (np.abs(occupancy(shell, shells) - wanted) <= np.maximum(TOLERANCE * wanted, 1)).all()
    )
