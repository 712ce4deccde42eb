import json

import pytest

from builders import contents
from deaths import assert_survives_deaths
from librarian_cases import TINY_STUDENT
from sphere_ebm import LabelError
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.split import Split
from sphere_ebm.librarian.students.bag_trainer import DirectTrainer
from sphere_ebm.librarian.train import train

RESULTS = ("best.safetensors", "config.json", "map.safetensors", "metrics.jsonl")


def of(student, **changed):
    return LibrarianConfig(**(TINY_STUDENT | {"student": student} | changed))


def results(folder):
    return {path: held for path, held in contents(folder).items() if not path.startswith("more")}


@pytest.mark.parametrize("student", ["static", "direct"])
def test_a_training_that_dies_five_times_ends_with_the_same_bytes(
    student, labels, tmp_path, monkeypatch
):
    config = of(student, save_every=1, evaluate_every=2)
    train(labels, tmp_path / "whole", config)
    whole = results(tmp_path / "whole")
    assert set(RESULTS) < set(whole)

    def unharmed():
        assert results(tmp_path / "whole") == whole

    assert_survives_deaths(
        lambda: train(labels, tmp_path / "dying", config),
        monkeypatch,
        moments=5,
        within=40,
        seed=len(student),
        check=unharmed,
    )
    assert results(tmp_path / "dying") == whole


def test_the_same_command_keeps_a_finished_student(model, labels):
    before = contents(model)
    assert train(labels, model, LibrarianConfig(**TINY_STUDENT)).kept
    assert contents(model) == before


def test_another_student_is_replaced_on_demand_only(labels, tmp_path):
    folder = tmp_path / "student"
    train(labels, folder, of("static"))
    with pytest.raises(LabelError, match="holds another student"):
        train(labels, folder, of("static", seed=1))
    run = train(labels, folder, of("static", seed=1), overwrite=True)
    assert not run.kept
    assert json.loads((folder / "config.json").read_text())["config"]["seed"] == 1


def test_foreign_files_are_not_touched(labels, tmp_path):
    (tmp_path / "metrics.jsonl").write_text("mine")
    with pytest.raises(LabelError, match=r"metrics\.jsonl is in the way"):
        train(labels, tmp_path, of("static"))
    assert contents(tmp_path) == {"metrics.jsonl": b"mine"}


def test_documents_are_learned_from_or_judged_on(model):
    split = Split.load(model)
    assert len(split.validation) == 2
    assert len(split.train) == 4
    assert not set(split.train) & set(split.validation)


def test_metrics_tell_losses_and_the_angle(model):
    lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1.0, 2.0]
    assert {"train_loss", "train_cells", "cosine", "bits", "angle", "shell"} <= set(lines[0])
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


def test_more_shards_join_the_map_and_are_learned_from(labels, more_shards, tmp_path):
    config = of("static", epochs=1)
    few = train(labels, tmp_path / "few", config)
    many = train(labels, tmp_path / "many", config, more=[more_shards])
    assert many.train > few.train
    assert many.validation == few.validation
    joined = sorted(path.name for path in (tmp_path / "many" / "more").glob("*.safetensors"))
    assert joined == ["d6.sphere.safetensors", "d7.sphere.safetensors"]
    again = train(labels, tmp_path / "many", config, more=[more_shards])
    assert again.kept


def test_gradients_of_several_batches_make_one_step(labels, tmp_path):
    run = train(labels, tmp_path, of("direct", batch=16, accumulate=3, epochs=1))
    assert run.steps % 3 == 0
    assert Librarian.load(tmp_path).config.accumulate == 3


def test_held_out_documents_are_named(labels, tmp_path):
    train(labels, tmp_path, of("static", epochs=1), held_out=["d[34].txt"])
    assert Split.load(tmp_path).validation == ("d3.txt", "d4.txt")
    with pytest.raises(LabelError, match="no document is called 'x"):
        train(labels, tmp_path / "b", of("static"), held_out=["x*"])


def test_training_ends_early_where_nothing_is_gained(labels, tmp_path):
    config = of("static", epochs=40, patience=1, bag_rate=1e-9, learning_rate=1e-9)
    run = train(labels, tmp_path, config)
    assert run.metrics[-1]["epoch"] < 40
    assert run.steps == run.metrics[-1]["step"] > run.best_step


@pytest.mark.parametrize(("alike", "kept"), [(0.0, 2), (0.25, 4), (0.6, 5)])
def test_of_students_that_are_alike_the_later_one_is_kept(
    alike, kept, labels, tmp_path, monkeypatch
):
    bits = iter([1.0, 2.0, 1.5, 1.8, 1.45])
    told = {"cosine": 0.0, "angle": 1.0, "shell": 1.0}
    monkeypatch.setattr("sphere_ebm.librarian.train.judged", lambda *_: told | {"bits": next(bits)})
    monkeypatch.setattr(DirectTrainer, "alike", alike)
    config = of("direct", epochs=5, patience=3)
    run = train(labels, tmp_path, config)
    assert len(run.metrics) == 5, "patience counts from the most bits"
    assert run.best_step == run.metrics[kept - 1]["step"]
