"""Maps that pages are made of."""

import re

import numpy as np

from builders import directions_at_random, unit
from sphere_ebm.figures.page import PagePoints
from sphere_ebm.files.shards.own import words_of

GENRES = 14
"""Classes of the column `genre` that every map has which is made here."""

HOSTILE = [
    b"</script><script>window.hit = 1</script>",
    b"<!--<script>\x00\x00",
    b"\xff\xfe\xc3",
    "\u202eright to left \u05d0\u05d1".encode(),
    b"",
    b"",
    b"<img src=x onerror='window.hit=1'>",
    b"\xef\xbb\xbf mark of byte order",
]


def patched(text: bytes, count: int, seed: int) -> list[bytes]:
    """A text cut anywhere, also within characters, into so many patches; some are empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(text) + 1, count - 1)).tolist()
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def made_points(patches: list[list[bytes]], names: list[str], seed: int = 0) -> PagePoints:
    """A map of these documents: points around a few places, radii and spreads at random."""
    rng = np.random.default_rng(seed)
    flat = [patch for document in patches for patch in document]
    n = len(flat)
    centres = directions_at_random(max(2, n // 50), seed)[rng.integers(0, max(2, n // 50), n)]
    direction = unit(centres + 0.25 * rng.standard_normal((n, 3))).astype(np.float32)
    neighbours = rng.permuted(np.tile(np.arange(n, dtype=np.int32), (n, 1)), axis=1)[:, :10]
    return PagePoints(
        direction=direction,
        radius=rng.uniform(10, 40, n).astype(np.float32),
        shell=rng.integers(0, 8, n).astype(np.int32),
        documents=tuple((name, len(part)) for name, part in zip(names, patches, strict=True)),
        text=np.frombuffer(b"".join(flat), np.uint8),
        text_offset=np.cumsum([0, *map(len, flat)]).astype(np.int64),
        numbers={"spread": rng.uniform(0.01, 0.3, n).astype(np.float32)},
        own={"genre": words_of([f"genre {i % GENRES}" for i in range(n)])},
        modes=directions_at_random(2 * n, seed + 1).reshape(n, 2, 3),
        mode_weight=np.tile(np.array([0.7, 0.3], np.float32), (n, 1)),
        neighbours=np.where(neighbours == np.arange(n)[:, None], -1, neighbours),
    )


def patch(points: PagePoints, i: int) -> bytes:
    """The bytes of a patch."""
    assert points.text is not None
    assert points.text_offset is not None
    begin, end = points.text_offset[i : i + 2]
    return points.text[begin:end].tobytes()


def folded(raw: bytes) -> str:
    """Text in small letters where they take as many bytes, with white space as spaces."""
    text = raw.decode("utf-8", "surrogateescape")
    small = [c.lower().replace("ς", "σ") for c in text]
    kept = [s if octets(s) == octets(c) else c for s, c in zip(small, text, strict=True)]
    return re.sub("[\t-\r]", " ", "".join(kept))


def octets(text: str) -> int:
    """How many bytes a text takes."""
    return len(text.encode("utf-8", "surrogateescape"))


def matches(points: PagePoints, query: str) -> int:
    """How often a query is said, in every document by itself."""
    pattern = re.compile(" +".join(map(re.escape, folded(query.encode()).split())))
    begin = 0
    count = 0
    for _, patches in points.documents:
        said = b"".join(patch(points, i) for i in range(begin, begin + patches))
        count += len(pattern.findall(folded(said)))
        begin += patches
    return count
