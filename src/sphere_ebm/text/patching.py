"""Patches: a document is cut where the entropy of the next byte says so."""

import math
import numbers
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

Rule = Literal["global", "monotonic", "both", "upstream"]
RULES: tuple[str, ...] = get_args(Rule)

Document = tuple[UInt8[np.ndarray, " _"], Float32[np.ndarray, " _"]]
"""Octets and entropies, as many of both."""

_FORCED = {"global": 2, "monotonic": 3, "both": 3, "upstream": 1}
_NEVER_BOTH = 3
_LONGEST_CHARACTER = 4
_LARGEST = float(np.finfo(np.float32).max)

_FOLLOWERS = np.zeros(256, np.uint8)
_FOLLOWERS[0xC2:0xE0] = 1
_FOLLOWERS[0xE0:0xF0] = 2
_FOLLOWERS[0xF0:0xF5] = 3


@final
@dataclass(frozen=True)
class Patching:
    """Where patches start.

    H[i] is the entropy in nats of the prediction of byte i + 1; t is a position in bytes.

    - `rule`: a patch starts at t if
      - `"global"`: H[t-1] > threshold; 0 and 1 always start one.
      - `"monotonic"`: H[t-1] - H[t-2] > threshold; 0, 1 and 2 always start one.
      - `"both"`: H[t-1] > threshold and H[t-1] - H[t-2] > rise; 0, 1 and 2 always start one, 3
        never does.
      - `"upstream"`: H[t] - H[t-1] > threshold, one byte early, as BLT-Burn writes it; 0 always
        starts one.

      Every comparison is strict and made in float32.
    - `threshold`: in nats. None: not known yet, `find_threshold` finds it.
    - `rise`: in nats, for `"both"` and for no other rule. The published function's default is 0.
    - `max_patch_length`: m in bytes, at least 1; a longer patch of L bytes becomes m, m, ..., rest.
      None: no maximum.
    - `forced_starts`: False leaves only 0 among the positions that always start a patch. They are
      forced in BLT because its documents begin with a token of their own; a text gets patches of
      one letter by them.
    - `utf8_safe`: no character is cut. A start inside a character moves to the character's first
      byte, and starts that meet become one. The pieces of a patch above the maximum are as long as
      they can be, which takes m >= 4.

    A character is a lead byte (C2 to F4) with the continuation bytes (80 to BF) right behind it, as
    many as the lead byte announces or as there are. Every other byte stands for itself, so that any
    bytes can be patched.

    Source: `bytelatent/data/patcher.py` of BLT, whose `threshold_add` is `rise`. Its rule for both
    refuses a start right behind another, but looks while only the one at 2 is known: it forbids 3
    and nothing else; here as there.

    Raises:
        ValueError: a choice outside these rules.
    """

    rule: Rule = "monotonic"
    threshold: float | None = None
    rise: float | None = None
    max_patch_length: int | None = 384
    utf8_safe: bool = True
    forced_starts: bool = True

    @property
    def forced(self) -> int:
        """How many positions at the beginning of a document always start a patch."""
        return _FORCED[self.rule] if self.forced_starts else 1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"`rule` must be one of {', '.join(RULES)}; got {self.rule!r}.")
        if (self.rise is not None) != (self.rule == "both"):
            raise ValueError(
                "`rise` must be a number with the rule both and None with others; got"
                f" {self.rise!r} with {self.rule}."
            )
        for name in ("threshold", "rise"):
            value = getattr(self, name)
            if value is None:
                continue
            if (
                not isinstance(value, numbers.Real)
                or isinstance(value, bool)
                or not abs(float(value)) <= _LARGEST
            ):
                raise ValueError(f"`{name}` must be a number that float32 can hold; got {value!r}.")
            object.__setattr__(self, name, float(value))
        longest = self.max_patch_length
        if longest is None:
            return
        least = _LONGEST_CHARACTER if self.utf8_safe else 1
        if (
            not isinstance(longest, numbers.Integral)
            or isinstance(longest, bool)
            or longest < least
        ):
            raise ValueError(
                f"`max_patch_length` must be None or an integer >= {least} "
                f"{'with' if self.utf8_safe else 'without'} `utf8_safe`; got {longest!r}."
            )
        object.__setattr__(self, "max_patch_length", int(longest))


def patch_lengths(
    octets: UInt8[np.ndarray, " bytes"],
    entropies: Float32[np.ndarray, " bytes"],
    patching: Patching,
) -> Int64[np.ndarray, " patches"]:
    """Lengths in bytes of the patches of one document, in order.

    They are positive and add up to the number of bytes.

    `octets` (bytes,) is the document, `entropies` (bytes,) its H in nats. No bytes give no patches.
    O(bytes).

    Raises:
        ValueError: the two differ in number, an entropy is NaN or infinite, or there is no
            threshold.
    """
    patcher = StreamingPatcher(patching)
    return np.concatenate([patcher.push(octets, entropies), patcher.finish()])


@final
class StreamingPatcher:
    """`patch_lengths` of one document that comes in chunks.

    However it is chunked, the patches are the same.

    Between two calls it holds a few numbers and the bytes of an unfinished character, at most
    three. A patch is given out when its last byte is certain; with a maximum, each piece of a long
    patch as soon as a whole character follows.

    Raises:
        ValueError: there is no threshold.
    """

    def __init__(self, patching: Patching) -> None:
        if patching.threshold is None:
            raise ValueError(
                "`threshold` must be a number to cut patches; got None. Find one with"
                " `find_threshold`."
            )
        self._patching = patching
        self._settled = 0
        self._open = 0
        self._before = np.zeros(2, np.float32)
        self._held_octets = np.empty(0, np.uint8)
        self._held_entropies = np.empty(0, np.float32)
        self._finished = False

    def push(
        self, octets: UInt8[np.ndarray, " bytes"], entropies: Float32[np.ndarray, " bytes"]
    ) -> Int64[np.ndarray, " patches"]:
        """Lengths in bytes of the patches that became certain with this chunk.

        The chunk has shape (bytes,), and so has its H in nats.

        Raises:
            ValueError: the two differ in number, an entropy is NaN or infinite, or `finish` was
                called before.
        """
        if self._finished:
            raise ValueError(
                "`push` must come before `finish`. Take a new patcher for the next document."
            )
        _check(octets, entropies, self._settled + len(self._held_octets))
        octets = np.concatenate([self._held_octets, octets])
        entropies = np.concatenate([self._held_entropies, entropies])
        depths = _depths(octets)
        settled = len(octets)
        if self._patching.utf8_safe:
            settled -= _unfinished(octets, depths)
        lengths = self._settle(depths[:settled], entropies[:settled])
        self._held_octets = octets[settled:].copy()
        self._held_entropies = entropies[settled:].copy()
        return lengths

    def finish(self) -> Int64[np.ndarray, " patches"]:
        """Lengths in bytes of the patches that are left at the document's end.

        None if it was finished before.
        """
        lengths = self._settle(_depths(self._held_octets), self._held_entropies)
        if self._open:
            lengths = np.append(lengths, self._open)
        self._open = 0
        self._held_octets = np.empty(0, np.uint8)
        self._held_entropies = np.empty(0, np.float32)
        self._finished = True
        return lengths

    def _settle(
        self, depths: UInt8[np.ndarray, " bytes"], entropies: Float32[np.ndarray, " bytes"]
    ) -> Int64[np.ndarray, " patches"]:
        """Take in whole characters.

        Positions count from the first of these bytes, so the open patch starts at <= 0.

        Its pieces were given out up to m bytes before the end, so that no later cut falls before
        these bytes.
        """
        if not len(entropies):
            return np.empty(0, np.int64)
        starts = np.flatnonzero(
            _start_mask(self._patching, self._before, entropies, self._settled)
        ).astype(np.int64)
        if self._patching.utf8_safe:
            starts -= depths[starts]
        starts = np.concatenate([[-self._open], starts])
        starts = starts[np.diff(starts, prepend=starts[0] - 1) > 0]
        cuts = _split(starts, len(entropies), depths, self._patching)
        self._settled += len(entropies)
        self._open = len(entropies) - int(cuts[-1])
        self._before = np.concatenate([self._before, entropies[-2:]])[-2:]
        return np.diff(cuts)


def find_threshold(documents: Sequence[Document], mean_length: float, patching: Patching) -> float:
    """The threshold in nats whose patches have a mean length nearest to `mean_length` bytes.

    The mean is over the patches of all `documents`.

    Each document is a pair of its octets (bytes,) and its H (bytes,). The patches are those of
    `patch_lengths` with this `patching`, whatever its own threshold. The result is a float32 value,
    so that it stays the same as a Python float and in JSON: one of the scores that the threshold is
    compared with, or 1 less than the smallest; 0 where the rule decides nothing, as in documents of
    up to 3 bytes. The mean length never falls as the threshold rises, so bisection over these finds
    the nearest; of two as near, the lower. A `mean_length` out of reach gives the nearest there is,
    without an error: above the maximum, in a short document, or among equal entropies. Cost: a sort
    of the scores, and about log2(bytes) + 2 times the cutting of all documents.

    Raises:
        ValueError: `mean_length` is not a finite number >= 1; and as `patch_lengths` does.
    """
    if not 1 <= mean_length < math.inf:
        raise ValueError(
            f"`mean_length` must be a finite number of bytes >= 1; got {mean_length!r}."
        )
    scores, depths = _joint_scores(documents, patching)
    decided = np.unique(scores[np.isfinite(scores)])
    if not len(decided):
        return 0.0
    candidates = np.concatenate([decided[:1] - np.float32(1), decided])

    def mean_at(index: int) -> float:
        starts = np.flatnonzero(scores > candidates[index])
        if patching.utf8_safe:
            starts = np.unique(starts - depths[starts])
        return len(scores) / len(_split(starts, len(scores), depths, patching))

    above = min(bisect_left(range(len(candidates)), mean_length, key=mean_at), len(candidates) - 1)
    nearest = min((max(above - 1, 0), above), key=lambda index: abs(mean_at(index) - mean_length))
    return float(candidates[nearest])


def _joint_scores(
    documents: Sequence[Document], patching: Patching
) -> tuple[Float32[np.ndarray, " bytes"], UInt8[np.ndarray, " bytes"]]:
    """Scores of all documents one after another, and `_depths`.

    Scores are infinite where a patch starts always or never.
    """
    before = np.zeros(2, np.float32)
    scores = [before[:0]]
    depths = [np.empty(0, np.uint8)]
    for octets, entropies in documents:
        _check(octets, entropies, 0)
        of_document = _scores(patching.rule, before, entropies).copy()
        if patching.rise is not None:
            of_document[
                _scores("monotonic", before, entropies) <= np.float32(patching.rise)
            ] = -np.inf
            of_document[_NEVER_BOTH : _NEVER_BOTH + 1] = -np.inf
        of_document[: patching.forced] = np.inf
        scores.append(of_document)
        depths.append(_depths(octets))
    return np.concatenate(scores), np.concatenate(depths)


def _check(
    octets: UInt8[np.ndarray, " bytes"], entropies: Float32[np.ndarray, " bytes"], before: int
) -> None:
    if len(octets) != len(entropies):
        raise ValueError(f"`entropies` must be one per byte ({len(octets)}); got {len(entropies)}.")
    finite = np.isfinite(entropies)
    if not finite.all():
        index = int(finite.argmin())
        raise ValueError(
            f"`entropies` must be finite; got {entropies[index]} at byte {before + index}."
        )


def _scores(
    rule: Rule, before: Float32[np.ndarray, "2"], entropies: Float32[np.ndarray, " bytes"]
) -> Float32[np.ndarray, " bytes"]:
    """What is compared with the threshold at each byte.

    `before` holds the entropies of the two bytes before these.
    """
    entropy = np.concatenate([before, entropies])
    if rule in ("global", "both"):
        return entropy[1:-1]
    rises = np.diff(entropy)
    return rises[1:] if rule == "upstream" else rises[:-1]


def _start_mask(
    patching: Patching,
    before: Float32[np.ndarray, "2"],
    entropies: Float32[np.ndarray, " bytes"],
    first: int,
) -> Bool[np.ndarray, " bytes"]:
    """Where patches start by the rule, in bytes `first` and following of a document."""
    mask = _scores(patching.rule, before, entropies) > np.float32(patching.threshold)
    if patching.rise is not None:
        mask &= _scores("monotonic", before, entropies) > np.float32(patching.rise)
        if first <= _NEVER_BOTH < first + len(mask):
            mask[_NEVER_BOTH - first] = False
    mask[: max(patching.forced - first, 0)] = True
    return mask


def _depths(octets: UInt8[np.ndarray, " bytes"]) -> UInt8[np.ndarray, " bytes"]:
    """How many bytes behind the first of its character each byte is: 0 to 3."""
    depths = np.zeros(len(octets), np.uint8)
    inside = (octets & 0xC0) == 0x80
    if not inside.any():
        return depths
    followers = _FOLLOWERS[octets]
    followed = np.ones(len(octets), bool)
    for depth in range(1, _LONGEST_CHARACTER):
        followed = followed[:-1] & inside[depth:]
        depths[depth:][followed & (followers[: len(followed)] >= depth)] = depth
    return depths


def _unfinished(octets: UInt8[np.ndarray, " bytes"], depths: UInt8[np.ndarray, " bytes"]) -> int:
    """How many bytes at the end belong to a character that may go on."""
    if not len(octets):
        return 0
    depth = int(depths[-1])
    return depth + 1 if _FOLLOWERS[octets[-1 - depth]] > depth else 0


def _split(
    starts: Int64[np.ndarray, " patches"],
    stop: int,
    depths: UInt8[np.ndarray, " bytes"],
    patching: Patching,
) -> Int64[np.ndarray, " pieces"]:
    """Starts of the pieces of at most `max_patch_length` bytes.

    Only starts, not their cuts, may lie before byte 0.
    """
    longest = patching.max_patch_length
    lengths = np.diff(starts, append=stop)
    if longest is None or lengths.max() <= longest:
        return starts
    pieces = -(-lengths // longest)
    patch = np.repeat(np.arange(len(starts)), pieces)
    order = np.arange(len(patch)) - (np.cumsum(pieces) - pieces)[patch]
    cuts = starts[patch] + longest * order
    inner = order > 0
    if not patching.utf8_safe or not depths[cuts[inner]].any():
        return cuts
    again = np.zeros(len(starts), bool)
    again[patch[inner][depths[cuts[inner]] > 0]] = True
    known = depths.tobytes()
    stops = starts + lengths
    moved = [
        cut
        for start, end in zip(starts[again].tolist(), stops[again].tolist(), strict=True)
        for cut in _character_cuts(start, end, longest, known)
    ]
    return np.sort(np.concatenate([cuts[~again[patch]], np.array(moved, np.int64)]))


def _character_cuts(start: int, stop: int, longest: int, depths: bytes) -> list[int]:
    cuts = [start]
    while stop - cuts[-1] > longest:
        cut = cuts[-1] + longest
        cuts.append(cut - depths[cut])
    return cuts
