"""`Placement`: the result that every method of placing points returns."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int32, Shaped
from numpy.typing import ArrayLike

from sphere_ebm.errors import ShardError
from sphere_ebm.files.frames import pandas_frame
from sphere_ebm.files.shards.columns import COLUMNS, Column, Columns
from sphere_ebm.files.shards.layouts import PLACEMENT_FORMAT
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.geometry.frames import turned
from sphere_ebm.geometry.shells import Shells, occupancy
from sphere_ebm.geometry.sphere import angles
from sphere_ebm.maps.checks import checked_embeddings
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.quality.neighbours import DEFAULT_QUERIES
from sphere_ebm.quality.report import QualityReport, measure_quality

_CURE = "save the placement again with `Placement.save`"
_EVERY = slice(None)


class Certainty(NamedTuple):
    """How sure the directions of a map are.

    Replicas that were run; median and 90th percentile of `angle_std` in degrees; the share of
    points with two modes, which one replica cannot tell (None).
    """

    replicas: int
    median: float
    p90: float
    two_modes: float | None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Placement:
    """N points on a sphere.

    Attributes:
        direction: (N, 3) unit vectors; the mean over the last samples.
        radius: (N,) mean radius over the last samples, in shell units.
        shell: (N,) the shell that holds each radius, 0 innermost.
        radius_std: (N,) standard deviation of the radius over the last samples.
        angle_std: (N,) the error of the direction: root mean square angle, in radians, to where an
            independent run of the same map puts the point, in the best common frame; estimated
            from `config.replicas`, see `sphere_ebm.maps.replicas`. Without replicas `thermal_std`,
            of joined points the mean of their neighbours'; on a map that has grown the errors of
            the older map and of the fit together; 0 where a heuristic placed the points.
        prominence: (N,) what the radii order.
        thermal_std: (N,) root mean square distance |u - m| to the mean vector m over the last
            samples of the map's own run: how a point trembles in its well, in radians for the
            usual narrow spread; 1 for a point that wandered over the whole sphere. Of joined
            points the same by their conditional law. This and the following are None where no
            Hamiltonian placed the points, and in files of a version without them.
        modes: (N, 2, 3) two places where runs gather, the point's own first; the same twice where
            they gather nowhere else. None, too, where no replica was run.
        mode_weight: (N, 2) estimated probability that another run comes to lie within 10° of each
            mode, 0 where there is no second; what is left of 1 is elsewhere.
        point_energy: (N,) each point's own share of H at `direction` and `radius`, of pairs half;
            the sum over fitted points is that H but for rounding. See `OsmoticPressure` for its
            share of a term that is no sum over pairs. Of joined points, see `FrozenMap.place`.
        kept: (N,) share of its k nearest in the embedding that are its k nearest on the map.
        kept_p_value: (N,) probability that permuted neighbours keep as many or more; see
            `sphere_ebm.quality.kept_by_points`.
        copies: (N,) how many points have this embedding and prominence, and so this very place;
            None where no two do. They were placed as one, and share its `point_energy`.
        energy: energy per term, (chunks,) each, at coupling 1; the sum over terms is the
            Hamiltonian.
        step: (chunks,) steps done at each entry of the trace.
        converged: whether the energy stood still after cooling, so that annealing ended early, or
            at the end; never true of unstable dynamics.
        config: how it was made.
        notes: what the user should know (zero vectors, a search that fell back), one line each.
        method: what placed the points: `"langevin"`, or the name of a heuristic.
        info: what a heuristic tells about its run, by name; see `sphere_ebm.heuristics`.
        replicas: (R, N, 3) directions of the replicas, in the frame of the map; None for points
            that joined and for heuristics.
        embeddings: (N, D) the input, for `quality` and for points that join; saved only on demand.
    """

    direction: Float32[np.ndarray, "points 3"]
    radius: Float32[np.ndarray, " points"]
    shell: Int32[np.ndarray, " points"]
    radius_std: Float32[np.ndarray, " points"]
    angle_std: Float32[np.ndarray, " points"]
    prominence: Float32[np.ndarray, " points"]
    energy: dict[str, Float[np.ndarray, " chunks"]]
    step: Shaped[np.ndarray, " chunks"]
    converged: bool
    config: PlacementConfig
    notes: tuple[str, ...] = ()
    method: str = "langevin"
    info: dict[str, int | float] = field(default_factory=dict)
    thermal_std: Float32[np.ndarray, " points"] | None = None
    modes: Float32[np.ndarray, "points 2 3"] | None = None
    mode_weight: Float32[np.ndarray, "points 2"] | None = None
    point_energy: Float32[np.ndarray, " points"] | None = None
    kept: Float32[np.ndarray, " points"] | None = None
    kept_p_value: Float32[np.ndarray, " points"] | None = None
    copies: Int32[np.ndarray, " points"] | None = None
    replicas: Float32[np.ndarray, "replicas points 3"] | None = None
    embeddings: Float32[np.ndarray, "points width"] | None = None

    def __len__(self) -> int:
        return len(self.direction)

    @property
    def theta(self) -> Float[np.ndarray, " points"]:
        """Colatitude in [0, pi], radians."""
        return angles(self.direction)[0]

    @property
    def phi(self) -> Float[np.ndarray, " points"]:
        """Azimuth in [0, 2 pi), radians."""
        return angles(self.direction)[1]

    @property
    def places(self) -> int:
        """Number of points that were placed: copies count as one."""
        return len(self) if self.copies is None else round(float(np.sum(1 / self.copies)))

    @property
    def shells(self) -> Shells:
        """The shells of `config`."""
        return shells_of(self.config)

    @property
    def shells_used(self) -> int:
        """Number of shells that hold at least one point."""
        return int(np.count_nonzero(occupancy(self.shell, self.shells)))

    @property
    def certainty(self) -> Certainty | None:
        """How sure the directions are; None where no replica was run."""
        if self.replicas is None or not len(self.replicas) or self.mode_weight is None:
            return None
        median, p90 = np.degrees(np.quantile(self.angle_std, (0.5, 0.9)))
        two = float(np.mean(self.mode_weight[:, 1] > 0)) if len(self.replicas) > 1 else None
        return Certainty(len(self.replicas), float(median), float(p90), two)

    def columns(self, rows: slice | Int[np.ndarray, " rows"] = _EVERY) -> Columns:
        """What a label file holds of some points, by the names of `COLUMNS`; what is None is not.

        By default of all of them.
        """
        present = {name: getattr(self, name) for name in COLUMNS}
        return {name: held[rows] for name, held in present.items() if held is not None}

    def quality(
        self,
        embeddings: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        ks: tuple[int, ...] = (15, 50),
        queries: int | None = DEFAULT_QUERIES,
    ) -> QualityReport:
        """How well the map keeps neighbourhoods of the embeddings, and its radii the prominence.

        Raises ValueError for a placement that was loaded from a file, unless `embeddings` are
        given, and for embeddings that `place` would refuse.
        """
        measured = self.embeddings if embeddings is None else checked_embeddings(embeddings)
        if measured is None:
            raise ValueError(
                "this placement was loaded without its embeddings; pass them: quality(embeddings)."
            )
        return measure_quality(
            measured,
            self.direction,
            radius=self.radius,
            prominence=self.prominence,
            shell=self.shell,
            shells=self.shells,
            kept_p_value=self.kept_p_value,
            labels=None if labels is None else np.asanyarray(labels),
            copies=self.copies,
            order=self.config.radius_order,
            ks=ks,
            queries=queries,
            seed=self.config.seed,
        )

    def show(
        self,
        *,
        texts: Sequence[str] | None = None,
        documents: Sequence[object] | None = None,
        title: str = "Map on the sphere",
        height: int = 640,
        widget: bool = False,
    ) -> Any:
        """The map to explore in a notebook; see `sphere_ebm.figures.page.show_points`."""
        from sphere_ebm.figures.page import show_points

        return show_points(
            self, texts=texts, documents=documents, title=title, height=height, widget=widget
        )

    def to_pandas(self) -> Any:
        """A data frame with a row for each point, in the order of the embeddings.

        `prominence`, `x`, `y`, `z`, `theta`, `phi`, `radius` and the other columns of one number
        for each point, by the names that they have here; those that are None are left out.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        places = {"prominence": self.prominence, "theta": self.theta, "phi": self.phi}
        return pandas_frame(places | self.columns())

    def turned(self, frame: Float64[np.ndarray, "3 3"]) -> "Placement":
        """The same map in another frame: all directions times `frame`, a rotation or reflection."""
        modes = None if self.modes is None else turned(self.modes, frame)
        replicas = None if self.replicas is None else turned(self.replicas, frame)
        return dataclasses.replace(
            self, direction=turned(self.direction, frame), modes=modes, replicas=replicas
        )

    def with_embeddings(self, embeddings: ArrayLike) -> "Placement":
        """The same placement, able to measure its own `quality`."""
        return dataclasses.replace(self, embeddings=checked_embeddings(embeddings))

    def save(self, path: Path | str, *, embeddings: bool = False) -> str:
        """Write one safetensors file, atomically; returns its SHA-256.

        With `embeddings` they are written too, so that new points can join the placement that is
        loaded again. Raises ValueError when there are none.
        """
        tensors = self.columns() | {
            "prominence": self.prominence,
            "step": self.step.astype(np.int64),
        }
        tensors |= {
            f"energy.{name}": np.asarray(values, np.float64) for name, values in self.energy.items()
        }
        if self.replicas is not None:
            tensors["replicas"] = self.replicas
        if embeddings:
            if self.embeddings is None:
                raise ValueError(
                    "this placement has no embeddings to save; give it them with `with_embeddings`."
                )
            tensors["embeddings"] = self.embeddings
        metadata = {
            "format": PLACEMENT_FORMAT,
            "config": self.config.to_json(),
            "converged": json.dumps(self.converged),
            "notes": json.dumps(self.notes),
            "method": self.method,
            "info": json.dumps(self.info),
            "terms": json.dumps(list(self.energy)),
        }
        return write_tensors(Path(path), tensors, metadata)

    @classmethod
    def load(cls, path: Path | str, *, mapped: bool = False) -> "Placement":
        """Read what `save` wrote.

        Embeddings are not read where they are `mapped`, but when something looks at them: processes
        then share them, and they cannot be written to.

        Raises ShardError naming the file when it is not a placement, or damaged.
        """
        path = Path(path)
        tensors, metadata = read_tensors(path, mapped=("embeddings",) if mapped else ())
        if metadata.get("format") != PLACEMENT_FORMAT:
            raise ShardError(path, f"not a {PLACEMENT_FORMAT} file", cure=_CURE)
        _check_arrays(path, tensors)
        try:
            return cls(
                **{name: tensors[name] for name in _ARRAYS if name in tensors},
                step=tensors["step"],
                energy={name: tensors[f"energy.{name}"] for name in json.loads(metadata["terms"])},
                converged=bool(json.loads(metadata["converged"])),
                config=PlacementConfig.from_json(metadata["config"]),
                notes=tuple(json.loads(metadata["notes"])),
                method=metadata.get("method", "langevin"),
                info=json.loads(metadata.get("info", "{}")),
                replicas=tensors.get("replicas"),
                embeddings=tensors.get("embeddings"),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ShardError(path, f"incomplete placement ({error})", cure=_CURE) from error


_ARRAYS = COLUMNS | {"prominence": Column()}


def _check_arrays(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Refuse an array that is missing, or has another shape or type than it must.

    Raises ShardError; shapes must suit the directions.
    """
    points = tensors["radius"].shape[:1] if "radius" in tensors else ()
    for name, column in _ARRAYS.items():
        held = tensors.get(name)
        if held is None and column.optional:
            continue
        shape = (*points, *column.row)
        if held is None or held.shape != shape or held.dtype != column.dtype:
            raise ShardError(path, "is missing or does not fit the other arrays", name, cure=_CURE)
    for name, shape in (("embeddings", (*points, None)), ("replicas", (None, *points, 3))):
        held = tensors.get(name)
        if held is None:
            continue
        fits = held.ndim == len(shape) and all(
            size in (None, own) for size, own in zip(shape, held.shape, strict=True)
        )
        if not fits or held.dtype != np.float32:
            raise ShardError(path, "does not fit the other arrays", name, cure=_CURE)
