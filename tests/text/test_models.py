import sys
from importlib.util import find_spec

import numpy as np
import pytest

from sphere_ebm.errors import MissingPackageError
from sphere_ebm.text import byte_model, models
from sphere_ebm.text.blt import BltEmbedder, BltEntropyModel, BltNetwork
from sphere_ebm.text.blt_weights import BltSettings
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.models import EMBEDDERS, ENTROPY_MODELS, make_models
from sphere_ebm.text.passage_embedder import PassageEmbedder
from sphere_ebm.text.static_embedder import StaticEmbedder

if find_spec("numba") is None or find_spec("wordllama") is None:
    pytest.skip("needs numba and wordllama", allow_module_level=True)

SETTINGS = BltSettings(
    width=8, layers=1, heads=2, kv_heads=1, window=4, rope_theta=100.0, norm_eps=1e-5
)
KINDS = {"bytes": ByteModel, "static": StaticEmbedder, "sentences": PassageEmbedder}


@pytest.fixture
def loaded(monkeypatch):
    """What was loaded by name; nothing is read from disk."""
    names = []

    def load_blt(source):
        names.append(source)
        return BltNetwork(None, SETTINGS, f"{source} {len(names)}")

    def sentence_transformer(model):
        names.append(model)
        return PassageEmbedder(lambda texts: np.zeros((len(texts), 4)), 4, model)

    monkeypatch.setattr(models, "load_blt", load_blt)
    monkeypatch.setattr(models, "sentence_transformer", sentence_transformer)
    return names


def names_for(entropy, embedder):
    wanted = {"blt_model": "a-blt"} if "blt" in (entropy, embedder) else {}
    return wanted | ({"sentence_model": "a-sentence-model"} if embedder == "sentences" else {})


@pytest.mark.parametrize("entropy", ENTROPY_MODELS)
@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_each_choice_gives_its_models_and_loads_nothing_else(loaded, entropy, embedder):
    names = names_for(entropy, embedder)
    reader, embeds = make_models(entropy, embedder, **names)
    assert type(reader) is (KINDS | {"blt": BltEntropyModel})[entropy]
    assert type(embeds) is (KINDS | {"blt": BltEmbedder})[embedder]
    assert loaded == list(names.values())


def test_all_choices_are_offered():
    assert set(ENTROPY_MODELS) == {"bytes", "blt"}
    assert set(EMBEDDERS) == {"static", "blt", "sentences"}


def test_without_choices_nothing_is_loaded_by_name(loaded):
    reader, embeds = make_models()
    assert (type(reader), type(embeds)) == (ByteModel, StaticEmbedder)
    assert loaded == []


def test_two_models_of_blt_are_one_network(loaded):
    reader, embeds = make_models("blt", "blt", blt_model="a-blt")
    assert reader._network is embeds._network
    assert loaded == ["a-blt"]


def test_the_sentence_model_that_is_named_is_the_one(loaded):
    _, embeds = make_models("bytes", "sentences", sentence_model="mine")
    assert embeds.name.startswith("mine")


@pytest.mark.parametrize(
    ("entropy", "embedder", "names", "says"),
    [
        ("blt", "static", {}, "`blt_model` must name the model to load; got None"),
        ("bytes", "blt", {}, "`blt_model` must name the model to load; got None"),
        (
            "blt",
            "sentences",
            {"sentence_model": "b"},
            "`blt_model` must name the model to load; got None",
        ),
        (
            "blt",
            "sentences",
            {"blt_model": "a"},
            "`sentence_model` must name the model to load; got None",
        ),
        ("bytes", "sentences", {}, "`sentence_model` must name the model to load; got None"),
        ("bytes", "static", {"blt_model": "a"}, "`blt_model` must be left out: .* got 'a'"),
        (
            "bytes",
            "sentences",
            {"blt_model": "a", "sentence_model": "b"},
            "`blt_model` must be left out: .* got 'a'",
        ),
        (
            "bytes",
            "static",
            {"sentence_model": "b"},
            "`sentence_model` must be left out: .* got 'b'",
        ),
        (
            "blt",
            "blt",
            {"blt_model": "a", "sentence_model": "b"},
            "`sentence_model` must be left out: .* got 'b'",
        ),
    ],
)
def test_names_and_choices_that_do_not_go_together_are_refused(
    loaded, entropy, embedder, names, says
):
    with pytest.raises(ValueError, match=says):
        make_models(entropy, embedder, **names)
    assert loaded == []


@pytest.mark.parametrize("package", ["numba", "wordllama"])
def test_without_a_package_of_the_default_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "numba":
        monkeypatch.delitem(sys.modules, "sphere_ebm.text.byte_kernel", raising=False)
        monkeypatch.setattr(byte_model, "_shipped_prior", lambda: b"a prior that no test has read")
    with pytest.raises(MissingPackageError, match=rf"`{package}`: pip install 'numba>="):
        make_models()


@pytest.mark.parametrize(("entropy", "embedder"), [("byte", "static"), ("bytes", "statics")])
def test_a_choice_that_there_is_not_is_refused(unchecked, entropy, embedder):
    with pytest.raises(ValueError, match="must be one of"):
        make_models(entropy, embedder)
