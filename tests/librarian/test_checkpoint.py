import numpy as np

from sphere_ebm.librarian.checkpoint import CHECKPOINT, Saved, load_checkpoint, save_checkpoint

SAVED = Saved(
    {"step": np.array([7]), "bag.keys": np.arange(3, dtype=np.uint32)},
    {"x": np.ones((2, 3), np.float16)},
    4,
    0.1 + 0.2,
    1,
    ({"step": 4, "loss": 1 / 3},),
    {"loss": 2 / 3, "batches": 3.0},
)


def test_a_checkpoint_brings_everything_back_to_the_bit(tmp_path):
    save_checkpoint(tmp_path, "run", SAVED)
    back = load_checkpoint(tmp_path, "run")
    assert back[2:] == SAVED[2:]
    for part in (0, 1):
        assert back[part].keys() == SAVED[part].keys()
        for name, array in SAVED[part].items():
            assert np.array_equal(back[part][name], array)
            assert back[part][name].dtype == array.dtype


def test_that_of_another_run_and_a_torn_one_are_none(tmp_path):
    assert load_checkpoint(tmp_path, "run") is None
    save_checkpoint(tmp_path, "run", SAVED)
    assert load_checkpoint(tmp_path, "other") is None
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-5])
    assert load_checkpoint(tmp_path, "run") is None
