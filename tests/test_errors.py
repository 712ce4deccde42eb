import pickle

from sphere_ebm.errors import ShardError


def test_a_message_names_file_tensor_index_problem_and_cure():
    error = ShardError("a/b.safetensors", "nan is not finite", "embeddings", (3, 1), "repair it")
    assert (
        str(error) == "a/b.safetensors: `embeddings` at index (3, 1): nan is not finite; repair it"
    )


def test_a_message_is_one_line_whatever_the_names_hold():
    error = ShardError(
        "evil\nname\u2028.npy", "bad\r\x85\x1b[31m", "ten\x0bsor\ud800", None, "cure\n"
    )
    assert len(str(error).splitlines()) == 1
    assert str(error).isprintable()
    assert str(error).encode("utf-8")


def test_a_message_stays_short_whatever_the_names_hold():
    assert len(str(ShardError("f", "x" * 10**6, "y" * 10**6))) < 600


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(ShardError("f", "problem", "t", 2, "cure")))
    assert (str(error), error.index, error.cure) == ("f: `t` at index 2: problem; cure", 2, "cure")
