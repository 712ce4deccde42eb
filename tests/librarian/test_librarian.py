import subprocess
import sys

import numpy as np
import pytest

from builders import contents
from sphere_ebm import LabelError, ShardError
from sphere_ebm.librarian.librarian import Librarian


def copied(folder, target):
    target.mkdir()
    for name, held in contents(folder).items():
        if "/" not in name:
            (target / name).write_bytes(held)
    return target


def test_predictions_have_the_form_of_the_contract(librarian):
    said = librarian.predict(["sea river", b"light", ""], before=["stone ", "", ""], cells=True)
    assert len(said) == 3
    assert np.allclose(np.linalg.norm(said.direction, axis=1), 1, atol=1e-5)
    assert np.array_equal(said.modes[:, 0], said.direction)
    assert ((said.confidence >= 0) & (said.confidence <= 1)).all()
    assert (said.spread > 0).all()
    assert said.cells.shape == (3, 16)
    assert np.allclose(np.exp(said.cells).sum(axis=1), 1, atol=1e-4)
    assert not said.embedding[2].any()
    assert librarian.predict(["sea"]).cells is None


def test_what_stands_around_is_read(librarian):
    alone = librarian.predict(["sea "])
    within = librarian.predict(["sea "], before=["window letter "], after=["garden"])
    assert not np.allclose(alone.embedding, within.embedding)


def test_saving_and_loading_change_nothing(librarian, tmp_path):
    librarian.save(tmp_path)
    again = Librarian.load(tmp_path)
    one = librarian.predict(["stone light"])
    other = again.predict(["stone light"])
    assert np.array_equal(one.direction, other.direction)
    assert np.array_equal(one.spread, other.spread)
    assert contents(tmp_path)["best.safetensors"] == contents(tmp_path)["model.safetensors"]


def test_with_the_map_passages_join_it_and_something_is_around(librarian, labels):
    at_hand = librarian.with_map(labels)
    said = at_hand.predict(["light ", "sea river "], cells=True)
    assert said.cells.shape == (2, 16)
    found = at_hand.find("light ", 4)
    assert [one.angle for one in found] == sorted(one.angle for one in found)
    assert found[0].document.startswith("d")
    assert found[0].patch.decode().strip()
    with pytest.raises(ValueError, match="with_map"):
        librarian.find("light ")


def test_another_map_is_refused_in_one_line(librarian, other_labels, tmp_path):
    with pytest.raises(LabelError, match="was taught") as caught:
        librarian.with_map(other_labels)
    assert "\n" not in str(caught.value)
    with pytest.raises(LabelError, match="no label files"):
        librarian.with_map(tmp_path)


def test_embeddings_of_another_width_are_refused(librarian, labels):
    import dataclasses

    facts = dataclasses.replace(librarian.facts, width=5)
    with pytest.raises(LabelError, match="width 8, and the student makes 5"):
        dataclasses.replace(librarian, facts=facts).with_map(labels)


@pytest.mark.parametrize("name", ["best.safetensors", "map.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_damaged_arrays_are_refused_in_one_line(name, harm, model, tmp_path):
    path = copied(model, tmp_path / "m") / name
    held = path.read_bytes()
    if harm == "cut":
        path.write_bytes(held[:-9])
    elif harm == "changed":
        path.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    else:
        path.unlink()
    with pytest.raises(ShardError, match="missing or has changed; train") as caught:
        Librarian.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "has no readable config.json"),
        ("{", "is not a sphere_librarian_v1 file"),
        ('{"format": "sphere_librarian_v1", "id": "x"}', "has not ended"),
        ('{"format": "sphere_librarian_v1", "files": {}}', "is damaged"),
    ],
)
def test_a_damaged_description_is_refused(text, told, model, tmp_path):
    path = copied(model, tmp_path / "m") / "config.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(LabelError, match=told):
        Librarian.load(tmp_path / "m")


WITHOUT_JAX = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name == "jax" or name.startswith("jax."):
            raise ImportError("no jax here")
sys.meta_path.insert(0, Nowhere())
from sphere_ebm.librarian.librarian import Librarian
librarian = Librarian.load(sys.argv[1])
plain = librarian.predict(["light"], before=["sea "])
joined = librarian.with_map(sys.argv[2]).predict(["light"])
assert "jax" not in sys.modules and "optax" not in sys.modules
print(len(plain), len(joined))
"""


def test_predictions_need_no_jax(model, labels):
    code = [sys.executable, "-c", WITHOUT_JAX, str(model), str(labels)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr
