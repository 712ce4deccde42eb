import bz2
import hashlib
import lzma
import math
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from sphere_ebm.errors import MissingPackageError
from sphere_ebm.text import byte_model
from sphere_ebm.text.byte_model import PRIOR, ByteModel

TEXTS = Path(__file__).parents[2] / "data/texts"
UNIFORM = math.log(256)


def octets_of(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def text_of(name: str) -> bytes:
    return (TEXTS / f"{name}.txt").read_bytes()


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(0).integers(0, 256, count).astype(np.uint8).tobytes()


def digest(reading) -> str:
    return hashlib.sha256(reading.entropies.tobytes() + reading.surprisals.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def model() -> ByteModel:
    return ByteModel()


@pytest.fixture(scope="module")
def austen(model):
    return model.read(octets_of(text_of("austen")))


@pytest.mark.parametrize(
    "first", [b"", text_of("sqlite")[:9_000], random_bytes(5_000)], ids=["none", "text", "noise"]
)
def test_what_was_read_before_changes_no_bit(model, austen, first):
    model.read(octets_of(first))
    assert digest(model.read(octets_of(text_of("austen")))) == digest(austen)


def test_a_model_made_afresh_gives_the_same_bits(model, austen):
    byte_model._learned_state.cache_clear()
    fresh = ByteModel()
    assert fresh._learned is not model._learned
    assert digest(fresh.read(octets_of(text_of("austen")))) == digest(austen)


def test_another_process_gives_the_same_bits(austen):
    program = (
        "import hashlib, sys; import numpy as np; from sphere_ebm.text.byte_model import"
        " ByteModel\nreading = ByteModel().read(np.fromfile(sys.argv[1],"
        " np.uint8))\nprint(hashlib.sha256(reading.entropies.tobytes() +"
        " reading.surprisals.tobytes()).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(TEXTS / "austen.txt")]
    assert subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout.strip() == digest(austen)


def test_what_comes_later_changes_nothing_before(model, austen):
    part = model.read(octets_of(text_of("austen")[:7_000]))
    np.testing.assert_array_equal(part.entropies, austen.entropies[:7_000])
    np.testing.assert_array_equal(part.surprisals, austen.surprisals[:7_000])


def test_no_bytes_give_no_numbers(model):
    reading = model.read(octets_of(b""))
    assert reading.entropies.shape == reading.surprisals.shape == (0,)
    assert math.isnan(reading.bits_per_byte)


@pytest.mark.parametrize("byte", [b"T", b"A", b"S", b" "])
def test_one_byte_is_predicted_as_after_line_breaks(model, byte):
    reading = model.read(octets_of(byte))
    assert reading.entropies.shape == reading.surprisals.shape == (1,)
    assert reading.surprisals[0] == model.read(octets_of(byte + b"he")).surprisals[0]
    assert reading.surprisals[0] < UNIFORM


@pytest.mark.parametrize(
    "document",
    [
        text_of("sqlite")[:5_000],
        bytes(range(256)) * 2,
        random_bytes(3_000),
        b"\xff" * 200 + b"\x00" * 200,
        "Größe, naïveté, 数据和熵, 😀. ".encode() * 20,
    ],
    ids=["text", "every byte", "noise", "runs", "UTF-8"],
)
def test_numbers_are_finite_and_entropies_at_most_those_of_no_knowledge(model, document):
    entropies, surprisals = model.read(octets_of(document))
    assert entropies.shape == surprisals.shape == (len(document),)
    assert (entropies > 0).all()
    assert (entropies <= np.float32(UNIFORM)).all()
    assert (surprisals > 0).all()
    assert (surprisals < math.inf).all()


def test_noise_costs_at_most_a_quarter_more_than_it_holds(model):
    assert model.read(octets_of(random_bytes(200_000))).bits_per_byte < 10


def test_nothing_can_be_learned_from_noise(model):
    assert model.read(octets_of(random_bytes(200_000))).bits_per_byte > 8


@pytest.mark.parametrize("byte", [b"a", b"\x00", b"\xff"])
def test_a_constant_text_costs_almost_nothing(model, byte):
    reading = model.read(octets_of(byte * 20_000))
    assert reading.bits_per_byte < 0.1
    assert reading.entropies[-1] < 0.1


@pytest.mark.parametrize("name", ["austen", "jargon", "luke"])
def test_the_model_is_as_sure_as_it_is_right(model, name):
    reading = model.read(octets_of(text_of(name)))
    # of the same predictions
    entropies = reading.entropies[:-1]
    surprisals = reading.surprisals[1:]
    assert entropies.mean() == pytest.approx(surprisals.mean(), rel=0.15)
    surer = entropies < np.median(entropies)
    for half in (surer, ~surer):
        assert entropies[half].mean() == pytest.approx(surprisals[half].mean(), rel=0.2)


@pytest.mark.parametrize("name", ["austen", "sqlite"])
@pytest.mark.parametrize("compressor", [bz2, lzma], ids=["bzip2", "xz"])
def test_the_model_predicts_better_than_compressors(model, name, compressor):
    text = text_of(name)
    assert model.read(octets_of(text)).bits_per_byte < 8 * len(compressor.compress(text)) / len(
        text
    )


def test_without_a_prior_the_model_still_predicts_better_than_a_compressor():
    text = text_of("austen")
    assert ByteModel(b"").read(octets_of(text)).bits_per_byte < 8 * len(
        bz2.compress(text, 9)
    ) / len(text)


@pytest.mark.parametrize("name", ["austen", "elements", "jargon", "sqlite"])
def test_the_prior_that_ships_helps_with_short_texts(model, name):
    text = octets_of(text_of(name)[5_000:6_000])
    assert model.read(text).bits_per_byte < 0.75 * ByteModel(b"").read(text).bits_per_byte


def test_numbers_are_bits_over_nats(austen):
    assert austen.bits_per_byte == pytest.approx(
        np.mean(austen.surprisals.astype(float)) / np.log(2), rel=1e-12
    )


def test_the_prior_that_ships_is_a_text_of_its_own():
    prior = lzma.decompress(files("sphere_ebm.text").joinpath(PRIOR).read_bytes())
    assert 50_000 < len(prior) < 200_000
    assert prior.decode("utf-8")
    stretches = {prior[i : i + 200] for i in range(len(prior) - 199)}
    for path in sorted(TEXTS.glob("*.txt")):
        text = path.read_bytes()
        assert not any(text[i : i + 200] in stretches for i in range(len(text) - 199)), path.name


def test_the_texts_it_is_measured_with_are_there():
    assert len(list(TEXTS.glob("*.txt"))) >= 9


def test_the_name_tells_priors_apart(model):
    shipped = lzma.decompress(files("sphere_ebm.text").joinpath(PRIOR).read_bytes())
    assert hashlib.sha256(shipped).hexdigest()[:12] in model.name
    assert hashlib.sha256(b"prior").hexdigest()[:12] in ByteModel(b"prior").name
    assert len({model.name, ByteModel(b"prior").name, ByteModel(b"").name}) == 3
    assert ByteModel(shipped).name == model.name
    assert "\n" not in model.name


def test_another_prior_gives_other_numbers(model):
    text = octets_of(b"The house of the man")
    assert digest(ByteModel(b"prior").read(text)) != digest(model.read(text))


def test_without_numba_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "sphere_ebm.text.byte_kernel", raising=False)
    with pytest.raises(MissingPackageError, match=r"`numba`: pip install 'numba>=.*' 'wordllama>="):
        ByteModel(b"a prior that no other test has")
