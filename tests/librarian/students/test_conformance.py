"""Every student by its name, held to one contract."""

import hashlib

import numpy as np
import pytest

from planted import FACTS, PLACES, batch_for, config_for, passages_for
from sphere_ebm.files.tensors import read_tensors, write_tensors
from sphere_ebm.geometry.cells import cell_keys
from sphere_ebm.librarian.students.base import (
    STUDENTS_BY_NAME,
    TRAINERS_BY_NAME,
    Outputs,
    student_class,
    trainer_class,
)
from sphere_ebm.librarian.windows import passages_of

STEPS = 30
HOSTILE = (b"", b"a", bytes(range(256)) * 40, b"\xff\xc3\x28 \xf0\x28", "Grüße, 漢字".encode())


class Taught:
    """A trainer after some steps, half-way as well, and what it predicts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.config = config_for(name)
        self.trainer = self.fresh()
        self.losses = []
        for step in range(STEPS):
            if step == STEPS // 2:
                self.half = {key: value.copy() for key, value in self.trainer.state().items()}
            self.losses.append(self.trainer.fit_step(batch_for(24, step)[0])["loss"])
        self.student = self.trainer.student()

    def fresh(self):
        corpus = [passages_for(60, 900)[0]]
        return trainer_class(self.name).create(self.config, FACTS, corpus, STEPS)


@pytest.fixture(scope="module", params=sorted(STUDENTS_BY_NAME))
def taught(request) -> Taught:
    return Taught(request.param)


@pytest.fixture(scope="module")
def unseen():
    return passages_for(40, 12345)


def digest(arrays: dict[str, np.ndarray]) -> str:
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        state.update(np.ascontiguousarray(arrays[name]).data)
    return state.hexdigest()


def assert_alike(one: Outputs, other: Outputs, rows=slice(None), atol: float = 1e-4) -> None:
    for name in Outputs._fields:
        found = getattr(one, name)
        if found is not None:
            assert np.allclose(found[rows], getattr(other, name), atol=atol), name


def test_whoever_predicts_has_someone_to_teach_it():
    assert STUDENTS_BY_NAME.keys() == TRAINERS_BY_NAME.keys()


def test_outputs_have_their_shapes_and_are_normalised(taught, unseen):
    passages, _ = unseen
    said = taught.student.predict(passages)
    assert said.cells.shape == (40, 4)
    assert said.shells.shape == (40, 5)
    assert said.embedding.shape == (40, 8)
    assert said.rank.shape == (40,)
    assert {column.dtype for column in said if column is not None} == {np.dtype(np.float32)}
    assert np.allclose(np.exp(said.cells).sum(axis=1), 1, atol=1e-5)
    assert np.allclose(np.exp(said.shells).sum(axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(said.embedding, axis=1), 1, atol=1e-5)
    assert ((said.rank >= 0) & (said.rank <= 1)).all()
    assert said.strength is None or (said.strength >= 0).all()


def test_it_learns_a_task_above_chance(taught, unseen):
    passages, kinds = unseen
    said = taught.student.predict(passages)
    cell = cell_keys(PLACES.astype(np.float32), 1)[kinds]
    chance = np.exp(said.cells[np.arange(40), cell]).mean()
    assert chance > 0.45, "one cell of four is .25"
    assert (said.cells[:, cell[kinds == 0][0]] > said.cells[:, cell[kinds == 1][0]])[
        kinds == 0
    ].mean() > 0.85
    assert said.embedding[np.arange(40), kinds].mean() > 0.6
    outside = np.exp(said.shells[:, 3:]).sum(axis=1)
    assert outside[kinds == 0].mean() > outside[kinds == 1].mean() + 0.3
    assert np.mean(taught.losses[-5:]) < 0.8 * np.mean(taught.losses[:3])


def test_the_same_batches_teach_the_same_bits(taught):
    again = Taught(taught.name)
    assert again.losses == taught.losses
    assert digest(again.student.arrays()) == digest(taught.student.arrays())


def test_a_trainer_goes_on_from_its_state_to_the_same_bits(taught, tmp_path):
    write_tensors(tmp_path / "state.safetensors", taught.half, {})
    resumed = taught.fresh()
    resumed.restore(read_tensors(tmp_path / "state.safetensors")[0])
    assert resumed.step == STEPS // 2
    for step in range(STEPS // 2, STEPS):
        resumed.fit_step(batch_for(24, step)[0])
    assert digest(resumed.state()) == digest(taught.trainer.state())


def test_a_smaller_batch_is_taken_too_and_what_fills_it_counts_nothing(taught):
    one = taught.fresh()
    losses = one.fit_step(batch_for(7, 5)[0])
    assert all(np.isfinite(value) for value in losses.values())
    assert one.step == 1


def test_arrays_bring_the_student_back_to_the_same_bits(taught, unseen, tmp_path):
    passages, _ = unseen
    write_tensors(tmp_path / "model.safetensors", taught.student.arrays(), {})
    arrays, _ = read_tensors(tmp_path / "model.safetensors")
    back = student_class(taught.name).from_arrays(taught.config, FACTS, arrays)
    assert digest(back.arrays()) == digest(taught.student.arrays())
    for one, other in zip(back.predict(passages), taught.student.predict(passages), strict=True):
        assert np.array_equal(one, other)


def test_arrays_that_do_not_fit_are_named(taught):
    arrays = taught.student.arrays()
    name = sorted(arrays)[-1]
    without = {key: value for key, value in arrays.items() if key != name}
    with pytest.raises(ValueError, match=f"`{name}` is missing"):
        student_class(taught.name).from_arrays(taught.config, FACTS, without)
    wider = arrays | {name: np.zeros((3, 3, 3), np.float32)}
    with pytest.raises(ValueError, match=f"`{name}`"):
        student_class(taught.name).from_arrays(taught.config, FACTS, wider)


def test_neither_order_nor_company_changes_what_is_said(taught, unseen):
    passages, _ = unseen
    said = taught.student.predict(passages)
    order = np.random.default_rng(0).permutation(40)
    parts = [taught.student.predict(passages.rows(int(i), int(i) + 1)) for i in order[:5]]
    for part, row in zip(parts, order, strict=False):
        assert_alike(said, part, slice(row, row + 1))
    texts = [
        passages.octets[a:b].tobytes() for a, b in zip(passages.first, passages.last, strict=True)
    ]
    shuffled = passages_of(
        [texts[i] for i in order] + [b"a very much longer patch than all the others " * 3],
        ["and so "] * 41,
        [" or not"] * 41,
    )
    turned = taught.student.predict(shuffled)
    assert_alike(Outputs(*(None if x is None else x[:40] for x in turned)), said, np.argsort(order))


def test_bytes_beyond_its_reach_are_not_seen(taught):
    texts = [b"light and morning"]
    near = passages_of(texts, [b"x" * 12], [b"y" * 12])
    far = passages_of(texts, [b"far away " * 9 + b"x" * 12], [b"y" * 12 + b" far away" * 9])
    assert_alike(taught.student.predict(near), taught.student.predict(far))


def test_hostile_bytes_give_answers_and_nothing_at_all_none(taught):
    said = taught.student.predict(passages_of(HOSTILE))
    for column in said:
        assert column is None or np.isfinite(column).all()
    assert not said.embedding[0].any()
    empty = taught.student.predict(passages_of([]))
    assert empty.cells.shape == (0, 4)
    assert empty.embedding.shape == (0, 8)
