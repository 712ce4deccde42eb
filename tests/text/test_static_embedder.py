import logging
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("wordllama") is None:  # an import would set up the root logger
    pytest.skip("needs wordllama", allow_module_level=True)

from sphere_ebm.errors import MissingPackageError
from sphere_ebm.text import static_embedder
from sphere_ebm.text.static_embedder import StaticEmbedder

TEXTS = Path(__file__).parents[2] / "data/texts"
LONG = {
    "words": b"entropy of words " * 400,
    "no spaces": b"abcdefghij" * 700,
    "spaces": b" " * 5_000,
    "two bytes": "é".encode() * 3_000,
    "three bytes": b"x" + "数据".encode() * 1_000,
    "four bytes": b"xy" + "😀".encode() * 1_500,
    "one early space": b"ab " + "数".encode() * 2_000,
    "just as long": b"a" * 2_048 + b"\n" + b"b" * 2_049 + b"\n" + b"c" * 2_047 + b"\n",
}


def octets_of(data: bytes | str) -> np.ndarray:
    return np.frombuffer(data.encode() if isinstance(data, str) else data, np.uint8)


def embedded(embedder, data, lengths):
    blocks = list(embedder.embed(octets_of(data), np.array(lengths, np.int64)))
    embeddings, prominence = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return embeddings, prominence


@pytest.fixture(scope="module")
def default() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture(scope="module")
def alone() -> StaticEmbedder:
    return StaticEmbedder(windows=())


@pytest.fixture(scope="module")
def wordllama(default):
    """The package's own model: its vectors and its tokenizer, which pads and cuts as it comes."""
    import wordllama

    loaded = wordllama.WordLlama.load(
        "l2_supercat", cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
    loaded.tokenizer.no_padding()
    loaded.tokenizer.no_truncation()
    return loaded


def tokens_by_hand(wordllama, text: str) -> list[tuple[int, int]]:
    """(first byte, id) of each token of a text of short lines."""
    found = []
    line_begin = 0
    for line in text.split("\n"):
        encoding = wordllama.tokenizer.encode(line, add_special_tokens=False)
        for token, (character, end) in zip(encoding.ids, encoding.offsets, strict=True):
            piece = line[character:end]
            character += piece != (word := piece.removeprefix(" ")) and word[:1] not in ("", " ")
            found.append((line_begin + len(line[:character].encode()), token))
        line_begin += len(line.encode()) + 1
    return found


def by_hand(wordllama, text: str, lengths: list[int], windows):
    """Embeddings and prominence, one patch and one token after the other."""
    tokens = tokens_by_hand(wordllama, text)
    vectors = wordllama.embedding.astype(np.float64)
    embeddings = []
    prominence = []
    begin = 0
    for length in lengths:
        end = begin + length
        inside = [i for i, (at, _) in enumerate(tokens) if begin <= at < end]
        inside = inside or [max(i for i, (at, _) in enumerate(tokens) if at < begin)]
        total = np.zeros(256)
        weights = 0.0
        for i, (at, token) in enumerate(tokens):
            weight = (i in inside) + sum(
                share for size, share in windows if begin - size <= at < end + size
            )
            total = total + weight * vectors[token]
            weights = weights + weight
        embeddings.append(total / weights)
        prominence.append(np.linalg.norm(np.mean([vectors[tokens[i][1]] for i in inside], axis=0)))
        begin = end
    return np.array(embeddings), np.array(prominence)


SMALL = "The entropy of größe\nis unbelievable, 数据 says: 😀 and no more.\nAn end"


def lengths_of_size(size: int) -> list[int]:
    count = len(SMALL.encode())
    return [size] * (count // size) + [count % size] * (count % size > 0)


@pytest.mark.parametrize(
    "windows",
    [((60, 0.2), (600, 0.01)), ((3, 0.5),), ((10, 1.0), (0, 2.0), (5, 0.25)), ((8, 0.0),), ()],
)
@pytest.mark.parametrize("size", [1, 4, 9, 40])
def test_an_embedding_is_the_weighted_mean_of_token_vectors(wordllama, windows, size):
    lengths = lengths_of_size(size)
    embeddings, prominence = embedded(StaticEmbedder(windows), SMALL, lengths)
    expected, norms = by_hand(wordllama, SMALL, lengths, windows)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prominence, norms, rtol=1e-6)


def test_the_default_windows_are_the_sentence_and_the_paragraph(default, wordllama):
    text = SMALL + "\n" + "and so it goes on. " * 60
    lengths = [len(SMALL.encode()), 10, 3, 1_128]
    expected, _ = by_hand(wordllama, text, lengths, ((60, 0.2), (600, 0.01)))
    np.testing.assert_allclose(embedded(default, text, lengths)[0], expected, rtol=1e-5, atol=1e-6)


def test_prominence_is_the_norm_of_the_patch_alone(default, alone):
    lengths = [4, 8, 3, len(SMALL.encode()) - 15]
    own, norms = embedded(alone, SMALL, lengths)
    np.testing.assert_array_equal(embedded(default, SMALL, lengths)[1], norms)
    np.testing.assert_allclose(norms, np.linalg.norm(own, axis=1), rtol=1e-6)
    assert len(set(norms.tolist())) == 4


def test_a_fragment_of_a_word_takes_the_token_that_it_lies_in(alone, wordllama):
    text = "Hello unbelievable world"
    encoding = wordllama.tokenizer.encode(text, add_special_tokens=False)
    assert [text[a:b] for a, b in encoding.offsets] == [
        "Hello",
        " un",
        "bel",
        "iev",
        "able",
        " world",
    ]
    embeddings, _ = embedded(
        alone, text, [2, 2, 1, 1, 1, 1, 1, 2, 6, 1, 6]
    )  # He|ll|o| |u|n|b|el|ievabl|e| world
    hello, un, bel, iev, able, world = (wordllama.embedding[token] for token in encoding.ids)
    expected = [hello, hello, hello, hello, un, un, bel, bel, (iev + able) / 2, able, world]
    np.testing.assert_allclose(embeddings, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("letter", ["é", "数", "😀"])
def test_tokens_start_at_bytes_not_at_characters(default, wordllama, letter):
    text = f"{letter * 3} word {letter} word\n{letter} word"
    ids, starts = default._tokens(octets_of(text))
    word = wordllama.tokenizer.encode("word", add_special_tokens=False).ids[0]
    data = text.encode()
    assert starts[ids == word].tolist() == [match.start() for match in re.finditer(b"word", data)]
    assert {data[start] & 0xC0 for start in starts.tolist()} <= {0x00, 0x40, 0xC0}
    assert list(zip(starts.tolist(), ids.tolist(), strict=True)) == tokens_by_hand(wordllama, text)


def test_blocks_of_patches_change_rounding_only(monkeypatch, default):
    text = (TEXTS / "austen.txt").read_bytes()[:6_000]
    lengths = np.random.default_rng(0).integers(1, 30, 1_000)
    lengths = lengths[np.cumsum(lengths) <= 6_000]
    data = text[: lengths.sum()]
    whole = embedded(default, data, lengths)
    for block in (1, 7, 64):
        monkeypatch.setattr(static_embedder, "_BLOCK", block)
        sizes = [len(part) for part, _ in default.embed(octets_of(data), lengths)]
        assert sizes[:-1] == [block] * (
            len(lengths) // block if len(lengths) % block else len(lengths) // block - 1
        )
        for part, expected in zip(embedded(default, data, lengths), whole, strict=True):
            # the running sums are in float64: the last bit of float32 may differ, and near 0 no
            # more than its square
            np.testing.assert_allclose(part, expected, rtol=2**-22, atol=1e-12)


def test_a_block_that_begins_within_a_token_takes_that_token(monkeypatch, alone):
    lengths = lengths_of_size(1)
    whole, _ = embedded(alone, SMALL, lengths)
    monkeypatch.setattr(static_embedder, "_BLOCK", 1)
    np.testing.assert_allclose(embedded(alone, SMALL, lengths)[0], whole, rtol=2**-22, atol=1e-12)


@pytest.mark.parametrize("pieces", [1, 3])
def test_batches_of_lines_change_nothing(monkeypatch, default, pieces):
    octets = octets_of(SMALL.encode() * 5 + LONG["words"] + b"\n\n" + LONG["three bytes"])
    ids, starts = default._tokens(octets)
    monkeypatch.setattr(static_embedder, "_PIECES", pieces)
    again = default._tokens(octets)
    np.testing.assert_array_equal(again[0], ids)
    np.testing.assert_array_equal(again[1], starts)


@pytest.mark.parametrize("text", ["\n", "\n\n\n\n", " ", "     ", " \n \n\t\n", "\r\n\r\n", "\t\t"])
def test_white_space_alone_is_embedded_with_finite_numbers(default, text):
    for lengths in ([len(text)], [1] * len(text)):
        embeddings, prominence = embedded(default, text, lengths)
        assert embeddings.shape == (len(lengths), default.width)
        assert np.isfinite(embeddings).all()
        assert (np.isfinite(prominence) & (prominence >= 0)).all()


def test_line_breaks_alone_have_no_meaning(default):
    embeddings, prominence = embedded(default, "\n\n\n", [1, 2])
    assert not embeddings.any()
    assert not prominence.any()


def test_line_breaks_before_a_word_mean_only_what_is_around(default, alone):
    embeddings, prominence = embedded(default, "\n\n\nword", [2, 5])
    assert prominence[0] == 0 < prominence[1]
    np.testing.assert_allclose(embeddings[0], embeddings[1], rtol=1e-6)
    assert not embedded(alone, "\n\n\nword", [2, 5])[0][0].any()


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("before", [b"", b"\n", b"a line\n"])
def test_long_lines_are_cut_between_characters(default, name, before):
    data = before + LONG[name]
    pieces = list(static_embedder._pieces(data))
    assert max(len(text.encode()) for text, _ in pieces) <= 2_048
    rebuilt = bytearray(b"\n" * len(data))
    for text, begin in pieces:
        assert "\n" not in text
        rebuilt[begin : begin + len(text.encode())] = text.encode()
    assert rebuilt == data
    embeddings, prominence = embedded(default, data, [1] * len(data))
    assert np.isfinite(embeddings).all()
    assert (prominence > 0).sum() >= len(data) - len(before)


def test_long_lines_are_cut_before_a_space_where_there_is_one():
    texts = [text for text, _ in static_embedder._pieces(LONG["words"])]
    assert len(texts) == 4
    assert all(text.startswith(" ") for text in texts[1:])
    assert min(map(len, texts[:-1])) > 2_048 - 8


def test_long_lines_without_spaces_are_cut_as_late_as_possible():
    assert [begin for _, begin in static_embedder._pieces(LONG["no spaces"])] == [
        0,
        2_048,
        4_096,
        6_144,
    ]
    assert [begin for _, begin in static_embedder._pieces(LONG["four bytes"])] == [0, 2_046, 4_094]


@pytest.mark.parametrize(
    "line", [b"An unbelievable line.", SMALL.encode().split(b"\n")[1], *LONG.values()]
)
@pytest.mark.parametrize("before", [b"x\n", b"one line\n\nand \xc3\xa9\n", b"y" * 3_000 + b"\n"])
def test_a_line_has_the_same_tokens_wherever_it_stands(default, line, before):
    ids, starts = default._tokens(octets_of(line))
    less = len(default._tokens(octets_of(before))[0])
    there = default._tokens(octets_of(before + line + b"\nafter"))
    np.testing.assert_array_equal(there[0][less : less + len(ids)], ids)
    np.testing.assert_array_equal(there[1][less : less + len(ids)] - len(before), starts)
    assert there[1][less + len(ids)] >= len(before) + len(line)


def test_a_line_as_long_as_a_piece_has_the_same_tokens_at_the_end_and_elsewhere(default):
    line = (b"word " * 410)[:2_048]
    ids, _ = default._tokens(octets_of(line))
    elsewhere, _ = default._tokens(octets_of(line + b"\n"))
    np.testing.assert_array_equal(elsewhere, ids)


@pytest.mark.parametrize(
    ("data", "at"),
    [(b"abc\xff", 3), (b"\x80", 0), (b"a" * 3_000 + b"\xe6\x95", 3_000), (b"a\n\xc0\xaf", 2)],
)
def test_bytes_that_are_no_utf8_are_refused_with_their_place(default, data, at):
    with pytest.raises(ValueError, match=rf"must be UTF-8; byte {at} is not"):
        list(default.embed(octets_of(data), np.array([len(data)], np.int64)))


def test_no_patches_give_no_blocks(default):
    assert list(default.embed(octets_of(b""), np.zeros(0, np.int64))) == []


def test_a_text_is_embedded_alike_after_any_other(default):
    first = embedded(default, SMALL, [10, len(SMALL.encode()) - 10])
    embedded(default, LONG["words"], [len(LONG["words"])])
    for part, again in zip(
        first, embedded(default, SMALL, [10, len(SMALL.encode()) - 10]), strict=True
    ):
        np.testing.assert_array_equal(part, again)


@pytest.mark.parametrize(
    "window",
    [(-1, 0.5), (10, -0.1), (10, float("nan")), (10, float("inf"))],
    ids=["bytes", "negative", "nan", "inf"],
)
def test_bad_windows_are_refused_by_name(window):
    says = f"`windows` must be pairs of bytes >= 0 and a weight >= 0; got {window}"
    with pytest.raises(ValueError, match=re.escape(says)):
        StaticEmbedder([(60, 0.2), window])


def test_the_name_says_version_and_windows(default):
    known = f"wordllama {version('wordllama')} l2_supercat, weights 1 in the patch"
    assert default.name == f"{known}, 0.2 within 60 bytes, 0.01 within 600 bytes"
    assert StaticEmbedder([(40, 0.25)]).name == f"{known}, 0.25 within 40 bytes"
    assert default.width == StaticEmbedder([(40, 0.25)]).width == 256


def test_loading_leaves_the_root_logger_alone():
    program = (
        "import logging; from sphere_ebm.text.static_embedder import StaticEmbedder;"
        " StaticEmbedder()\nroot = logging.getLogger(); print(root.level, root.handlers)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == f"{logging.WARNING} []"


def test_without_wordllama_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingPackageError, match=r"`wordllama`: pip install 'numba>="):
        StaticEmbedder()


def test_the_first_word_of_a_patch_is_its_own_and_not_that_of_the_patch_before(alone, wordllama):
    embeddings, prominence = embedded(alone, "the very aardvark of", [9, 9, 2])
    aardvark = wordllama.tokenizer.encode("aardvark", add_special_tokens=False).ids
    expected = wordllama.embedding[aardvark].mean(axis=0)
    np.testing.assert_allclose(embeddings[1], expected, rtol=1e-5, atol=1e-6)
    assert prominence[1] == pytest.approx(np.linalg.norm(expected), rel=1e-5)
