import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sphere_ebm.errors import MissingPackageError, ShardError
from sphere_ebm.text import passage_embedder
from sphere_ebm.text.passage_embedder import PassageEmbedder, sentence_transformer

TEXT = "One. Größe 数据 two,\nthree😀 four."


class Recorder:
    """A function from texts to vectors that remembers what it was asked: (characters, words, 1)."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(texts)
        return [[len(text), len(text.split()), 1] for text in texts]


def octets_of(text: str | bytes) -> np.ndarray:
    return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)


def blocks_of(embedder, text, lengths):
    return list(embedder.embed(octets_of(text), np.array(lengths, np.int64)))


def asked_of(text, lengths, context):
    recorder = Recorder()
    blocks_of(PassageEmbedder(recorder, 3, "counts", context), text, lengths)
    return [one for texts in recorder.asked for one in texts]


def whole_characters(data: bytes, begin: int, end: int) -> str:
    """The characters of a text that lie between two bytes."""
    found = []
    at = 0
    for character in data.decode():
        size = len(character.encode())
        if begin <= at and at + size <= end:
            found.append(character)
        at += size
    return "".join(found).strip()


@pytest.mark.parametrize("context", [0, 1, 2, 3, 7, 120])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_patch_is_embedded_with_the_whole_characters_around_it(context, size):
    data = TEXT.encode()
    lengths = [size] * (len(data) // size) + [len(data) % size] * (len(data) % size > 0)
    ends = np.cumsum(lengths).tolist()
    spans = zip([0, *ends[:-1]], ends, strict=True)
    assert asked_of(TEXT, lengths, context) == [
        whole_characters(data, begin - context, end + context) for begin, end in spans
    ]


def test_the_context_reaches_over_lines_and_loses_white_space_at_its_ends():
    assert asked_of("one two\nthree four", [8, 5, 5], 4) == [
        "one two\nthre",
        "two\nthree fou",
        "hree four",
    ]
    assert asked_of("   \n  ", [2, 4], 0) == ["", ""]


def test_blocks_come_in_order(monkeypatch):
    monkeypatch.setattr(passage_embedder, "_BLOCK", 2)
    recorder = Recorder()
    blocks = blocks_of(
        PassageEmbedder(recorder, 3, "counts", 0), "a bcd efghi jk lmn", [2, 4, 6, 3, 3]
    )
    assert recorder.asked == [["a", "bcd"], ["efghi", "jk"], ["lmn"]]
    assert [embeddings[:, 0].tolist() for embeddings, _ in blocks] == [[1, 3], [5, 2], [3]]


def test_blocks_are_made_when_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(passage_embedder, "_BLOCK", 2)
    recorder = Recorder()
    blocks = PassageEmbedder(recorder, 3, "counts").embed(octets_of("abcd"), np.ones(4, np.int64))
    next(blocks)
    assert len(recorder.asked) == 1


def test_prominence_is_the_norm_of_the_vector():
    ((embeddings, prominence),) = blocks_of(
        PassageEmbedder(Recorder(), 3, "counts", 0), "one two three", [7, 6]
    )
    np.testing.assert_array_equal(embeddings, [[7, 2, 1], [5, 1, 1]])
    np.testing.assert_allclose(prominence, np.sqrt([54, 27]), rtol=1e-6)
    assert embeddings.dtype == prominence.dtype == np.float32


def test_no_patches_ask_for_nothing():
    assert asked_of("", [], 120) == []


@pytest.mark.parametrize(
    "vectors",
    [
        lambda texts: np.zeros((len(texts), 4)),
        lambda texts: np.zeros((len(texts) + 1, 3)),
        lambda texts: np.zeros(3),
        lambda texts: np.zeros((1, len(texts), 3)),
    ],
    ids=["width", "count", "one", "three axes"],
)
def test_vectors_of_another_shape_are_refused_by_the_model_s_name(vectors):
    with pytest.raises(
        ValueError, match=r"mine, context 120 bytes must give \(2, 3\) numbers; got"
    ):
        blocks_of(PassageEmbedder(vectors, 3, "mine"), "abc", [1, 2])


def test_the_name_says_model_and_context():
    assert PassageEmbedder(Recorder(), 3, "counts").name == "counts, context 120 bytes"
    other = PassageEmbedder(Recorder(), 5, "counts", context=7)
    assert other.name == "counts, context 7 bytes"
    assert other.width == 5


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"width": 0}, "`width` must be at least 1; got 0"),
        ({"width": 3, "context": -1}, "`context` must be at least 0 bytes; got -1"),
    ],
)
def test_bad_choices_are_refused_by_name(choices, says):
    with pytest.raises(ValueError, match=says):
        PassageEmbedder(Recorder(), name="counts", **choices)


class FakeTransformer:
    """As much of a sentence-transformers model as is used."""

    width: int | None = 2

    def __init__(self, model, local_files_only=False):
        assert local_files_only
        if model == "absent":
            raise OSError("no such model")
        self.model = model

    def get_sentence_embedding_dimension(self):
        return self.width

    def encode(self, texts, convert_to_numpy=False, show_progress_bar=None):
        assert convert_to_numpy
        assert show_progress_bar is False
        return np.array([[len(text), len(self.model)] for text in texts], np.float64)


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setitem(
        sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=FakeTransformer)
    )


@pytest.mark.usefixtures("transformers")
def test_a_sentence_transformer_embeds_passages(tmp_path):
    embedder = sentence_transformer("some/model", context=2)
    ((embeddings, _),) = blocks_of(embedder, "abcdef", [1, 5])
    assert embeddings.tolist() == [[3, 10], [6, 10]]
    assert (embedder.width, embedder.name) == (2, "sentence-transformers model, context 2 bytes")
    assert (
        sentence_transformer(tmp_path / "mine").name
        == "sentence-transformers mine, context 120 bytes"
    )


@pytest.mark.usefixtures("transformers")
def test_a_sentence_transformer_that_is_not_there_is_not_downloaded():
    with pytest.raises(ShardError, match=r"absent: is no folder .* download the model first"):
        sentence_transformer("absent")


@pytest.mark.usefixtures("transformers")
def test_a_sentence_transformer_without_a_width_is_refused(monkeypatch):
    monkeypatch.setattr(FakeTransformer, "width", None)
    with pytest.raises(
        ValueError, match="`model` must give one vector for a text; some/model does not say"
    ):
        sentence_transformer("some/model")


def test_without_sentence_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        MissingPackageError, match=r"`sentence_transformers`: pip install 'sentence-transformers>="
    ):
        sentence_transformer("some/model")
