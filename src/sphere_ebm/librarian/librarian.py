"""`Librarian`: a student that has learned the labels of a map.

It needs NumPy and Numba only: neither the map nor JAX has to be at hand where it predicts.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.librarian.calibration import Calibration
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.description import (
    BEST,
    CONFIG,
    FORMAT,
    GROUND,
    MODEL,
    read_description,
    write_description,
)
from sphere_ebm.librarian.heads import (
    Decoded,
    Places,
    Predicted,
    decoded,
    shell_and_radius,
)
from sphere_ebm.librarian.known_map import Joined, KnownMap, Law
from sphere_ebm.librarian.map_points import map_patches, map_points
from sphere_ebm.librarian.parts import JOINING, PLAIN, STUDENT_PREFIX, Cells, parts_of
from sphere_ebm.librarian.students.base import (
    AbstractStudent,
    Arrays,
    Facts,
    Outputs,
)
from sphere_ebm.librarian.windows import Passages, passages_of

Texts = Sequence[bytes | str]

_CURE = "train the student again"
# shares of the place, of what the nearest say, and of the student's own cells
_SHARES = (0.4, 0.3, 0.3)
_BLOCK = 1024  # patches that are worked on together
_BLUR = 0.6  # of a cell's side, as in the losses


class Found(NamedTuple):
    """A patch of the map near a passage: angle in radians, document, first byte there, bytes."""

    angle: float
    document: str
    start: int
    patch: bytes


class Seen(NamedTuple):
    """What predictions are made from: outputs, and where the map at hand lets them join."""

    outputs: Outputs
    direction: Float32[np.ndarray, "patches 3"]
    modes: Float32[np.ndarray, "patches 2 3"]
    weight: Float32[np.ndarray, "patches 2"]
    signs: Float32[np.ndarray, "patches signs"]
    joined: Joined | None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Librarian:
    """Says where passages belong on the map that it was taught.

    Attributes:
        student: what predicts from bytes.
        config: how it was trained.
        facts: about the map.
        map_id: of the map.
        cells: of the configured level.
        law: of newcomers on the map; None where the labels do not say how it was made.
        ground: arrays for the map at hand, see `KnownMap.of`; none without a law.
        plain, joining: calibrations without and with the map at hand; None: not calibrated.
        known: the map at hand.
        folder: of its labels.
    """

    student: AbstractStudent
    config: LibrarianConfig
    facts: Facts
    map_id: str
    cells: Cells
    law: Law | None
    ground: Arrays
    plain: Calibration | None = None
    joining: Calibration | None = None
    known: KnownMap | None = None
    folder: Path | None = None

    @classmethod
    def load(cls, folder: Path | str, *, last: bool = False) -> "Librarian":
        """The librarian that `train` left in `folder`.

        Args:
            folder: of the model.
            last: take the student after the last step, not the best one.

        Raises:
            LabelError: there is no finished model in `folder`, or its `config.json` is damaged.
            ShardError: its arrays are damaged.
        """
        folder = Path(folder)
        held = read_description(folder)
        try:
            config = LibrarianConfig.from_json(json.dumps(held["config"]))
            radii = tuple(float(radius) for radius in held["facts"]["radii"])
            facts = Facts(width=int(held["facts"]["width"]), radii=radii)
            law = None if held["map"]["law"] is None else Law(**held["map"]["law"])
            map_id = str(held["map"]["id"])
        except (KeyError, TypeError, ValueError) as error:
            raise LabelError(f"{folder / CONFIG} is damaged ({error}); {_CURE}") from error
        name = MODEL if last else BEST
        arrays = _checked_file(folder, name, held)
        ground = {} if law is None else _checked_file(folder, GROUND, held)
        try:
            return cls(
                law=law,
                ground=ground,
                map_id=map_id,
                config=config,
                facts=facts,
                **parts_of(config, facts, arrays),
            )
        except ValueError as error:
            raise ShardError(folder / name, str(error), cure=_CURE) from error

    def save(self, folder: Path | str) -> None:
        """Write what `load` reads, into a folder that is there.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        digest = write_tensors(folder / BEST, self.arrays(), {"format": FORMAT})
        files = {BEST: digest, MODEL: write_tensors(folder / MODEL, self.arrays(), _METADATA)}
        if self.law is not None:
            files[GROUND] = write_tensors(folder / GROUND, self.ground, _METADATA)
        write_description(folder, self.description() | {"files": files})

    def description(self) -> dict[str, Any]:
        """What `config.json` tells of it, but for its files."""
        law = None if self.law is None else self.law._asdict()
        return {
            "config": json.loads(self.config.to_json()),
            "facts": {"width": self.facts.width, "radii": list(self.facts.radii)},
            "map": {"id": self.map_id, "law": law},
        }

    def arrays(self) -> Arrays:
        """All that it predicts with, but for the ground of the map."""
        held = {f"{STUDENT_PREFIX}{name}": array for name, array in self.student.arrays().items()}
        held |= {"cells.centres": self.cells.centres, "cells.around": self.cells.around}
        for name, calibration in ((PLAIN, self.plain), (JOINING, self.joining)):
            if calibration is not None:
                held |= calibration.arrays(name)
        return held

    def with_map(self, labels: Path | str) -> "Librarian":
        """The same with the map at hand: predictions join it, and `find` looks around.

        Args:
            labels: the folder of the map that it was taught.

        Raises:
            LabelError: another map, other embeddings, or no map at all.
            ShardError: a label file is damaged.
        """
        labels = Path(labels)
        if self.law is None:
            raise LabelError(
                f"the student cannot join {labels}: its labels did not say how their map was made;"
                " predict without the map"
            )
        points = map_points(labels)
        if points.map_id != self.map_id:
            raise LabelError(
                f"{labels} is the map {points.map_id[:8]}, and the student was taught"
                f" {self.map_id[:8]}; name the folder of that map, or train a student on this one"
            )
        if points.embeddings.shape[1] != self.facts.width:
            raise LabelError(
                f"{labels} has embeddings of width {points.embeddings.shape[1]}, and the student"
                f" makes {self.facts.width}; train a student on this map"
            )
        try:
            known = KnownMap.of(self.law, points.embeddings, points.direction, self.ground)
        except ValueError as error:
            raise LabelError(f"{labels} is not the map as it was taught ({error})") from error
        return dataclasses.replace(self, known=known, folder=labels)

    def predict(
        self,
        passages: Texts,
        *,
        before: Texts | None = None,
        after: Texts | None = None,
        cells: bool = False,
    ) -> Predicted:
        """Where passages belong.

        Args:
            passages: texts, or their bytes.
            before: what stands before each; more than the student sees does no harm.
            after: what stands after each.
            cells: whether to keep the log-probabilities of all cells.

        Raises:
            ValueError: `before` or `after` of another length.
        """
        return self.predict_in(passages_of(passages, before, after), cells=cells)

    def predict_in(self, passages: Passages, *, cells: bool = False) -> Predicted:
        """`predict` for patches that stand in their texts, such as those of a `LabelDataset`."""
        seen = self.seen(passages)
        shell, radius = shell_and_radius(seen.outputs.shells, self.facts.radii)
        calibration = self.plain if seen.joined is None else self.joining
        if calibration is None:
            # not calibrated: what the student's own cells say
            spread = seen.signs[:, 0].copy()
            confidence = seen.weight[:, 0].copy()
        else:
            spread, confidence = calibration.expected(seen.signs)
        return Predicted(
            direction=seen.direction,
            radius=radius,
            shell=shell,
            spread=spread,
            confidence=confidence,
            modes=seen.modes,
            mode_weight=seen.weight,
            embedding=seen.outputs.embedding,
            cells=self._cells(seen) if cells else None,
        )

    def seen(self, passages: Passages) -> Seen:
        """What predictions of these patches are made from, before calibration."""
        outputs, (places, squared), joined = self._said(passages)
        direction = places.modes[:, 0]
        strength = outputs.strength
        known = np.zeros(len(direction), np.float32) if strength is None else np.log1p(strength)
        root = np.sqrt(np.maximum(squared, 0))
        own = [root, places.weight[:, 0], places.weight[:, 1], known]
        if joined is None:
            signs = np.stack(own, axis=1).astype(np.float32)
            return Seen(outputs, direction, places.modes, places.weight, signs, None)
        similarity = np.where(joined.nearest >= 0, joined.similarity, 0)
        apart = np.linalg.norm(joined.direction - direction, axis=1)
        more = [
            similarity.mean(axis=1),
            similarity[:, 0],
            np.sqrt(joined.dispersion),
            joined.weight[:, 0],
            2 * np.arcsin(np.minimum(apart / 2, 1)),
        ]
        signs = np.stack([*own, *more], axis=1).astype(np.float32)
        return Seen(outputs, joined.direction, joined.modes, joined.weight, signs, joined)

    def _said(self, passages: Passages) -> tuple[Outputs, Decoded, Joined | None]:
        """What is said of the patches, block by block, as many at a time as there are CPUs."""

        def block(start: int) -> tuple[Outputs, Decoded, Joined | None]:
            outputs = self.student.predict(passages.rows(start, start + _BLOCK))
            found = decoded(outputs.cells, self.cells.centres, self.cells.around)
            joined = None if self.known is None else self.known.join(outputs.embedding)
            return outputs, found, joined

        starts = range(0, max(len(passages), 1), _BLOCK)
        # what is compiled and what multiplies matrices lets other threads work
        with ThreadPoolExecutor(min(visible_cpus(), len(starts))) as pool:
            parts = list(pool.map(block, starts))
        places = _stacked(Places, [found.places for _, found, _ in parts])
        squared = np.concatenate([found.squared for _, found, _ in parts])
        joined = [one for _, _, one in parts if one is not None]
        return (
            _stacked(Outputs, [outputs for outputs, _, _ in parts]),
            Decoded(places, squared),
            _stacked(Joined, joined) if joined else None,
        )

    def find(
        self,
        passage: bytes | str,
        k: int = 15,
        *,
        before: bytes | str = b"",
        after: bytes | str = b"",
    ) -> tuple[Found, ...]:
        """The `k` patches of the map that lie nearest to where a passage belongs.

        Raises:
            ValueError: the map is not at hand, see `with_map`; or a negative `k`.
        """
        place = self.predict([passage], before=[before], after=[after]).direction[0]
        return self.around(place, k)

    def around(self, place: Float32[np.ndarray, " 3"], k: int = 15) -> tuple[Found, ...]:
        """The `k` patches of the map nearest to a place, nearest first; raises as `find`."""
        if k < 0:
            raise ValueError(f"`k` must be at least 0; got {k}.")
        directions, described = self._patches
        chord = np.linalg.norm(directions - place, axis=1)
        nearest = np.argsort(chord, kind="stable")[:k]
        angles = 2 * np.arcsin(np.minimum(chord[nearest] / 2, 1))
        patches = [described(int(number)) for number in nearest]
        return tuple(
            Found(float(angle), patch.document, patch.start, patch.octets)
            for angle, patch in zip(angles, patches, strict=True)
        )

    @cached_property
    def _patches(self) -> Any:
        if self.folder is None:
            raise ValueError("`find` needs the map at hand: call it on `with_map(labels)`.")
        return map_patches(self.folder)

    def _cells(self, seen: Seen) -> Float32[np.ndarray, "patches cells"]:
        """Log-probabilities of cells; with the map at hand mixed with what the nearest say."""
        if seen.joined is None or self.known is None:
            return seen.outputs.cells
        chance = _SHARES[2] * np.exp(seen.outputs.cells)
        held = np.empty(int(self.known.row.max()) + 1, np.int32)
        held[self.known.row] = self._cell_of(self.known.direction)
        nearest = seen.joined.nearest
        share = np.float32(_SHARES[1] / nearest.shape[1])
        own = self._cell_of(seen.direction)
        for row in range(len(chance)):
            chance[row] += _SHARES[0] * self._blurred[own[row]]
            near = nearest[row][nearest[row] >= 0]
            chance[row] += share * self._blurred[held[near]].sum(axis=0)
        return np.log(chance / chance.sum(axis=1, keepdims=True)).astype(np.float32)

    def _cell_of(self, direction: Float32[np.ndarray, "points 3"]) -> np.ndarray:
        parts = [
            np.argmax(direction[start : start + 4096] @ self.cells.centres.T, axis=1)
            for start in range(0, len(direction), 4096)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @cached_property
    def _blurred(self) -> Float32[np.ndarray, "cells cells"]:
        """Each cell told of its neighbours, as labels are."""
        centres = self.cells.centres.astype(np.float64)
        variance = (_BLUR**2) * 4 * np.pi / len(centres)
        chance = np.exp((centres @ centres.T - 1) / variance)
        return (chance / chance.sum(axis=1, keepdims=True)).astype(np.float32)


_METADATA = {"format": FORMAT}


def _stacked(kind: Any, parts: Sequence[Any]) -> Any:
    """Tuples of columns as one; a column that is None in the first is None."""
    columns = zip(*parts, strict=True)
    return kind(*(None if one[0] is None else np.concatenate(one) for one in columns))


def _checked_file(folder: Path, name: str, held: Mapping[str, Any]) -> Arrays:
    """The arrays of a file that is still the one that was written; raises ShardError."""
    path = folder / name
    if not path.is_file() or sha256_of(path) != held["files"].get(name):
        raise ShardError(path, "is missing or has changed", cure=_CURE)
    return read_tensors(path)[0]
