import pickle

import pytest

from sphere_ebm.errors import MissingPackageError, ShardError, require


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


def test_a_missing_package_is_named_with_its_purpose_and_what_to_install():
    with pytest.raises(MissingPackageError) as caught:
        require("no_such_package.inner", "ann", "a fast search")
    assert str(caught.value) == (
        "a fast search needs the package `no_such_package`: pip install 'faiss-cpu>=1.10'"
    )
    assert isinstance(caught.value, ModuleNotFoundError)
    assert caught.value.name == "no_such_package"


def test_a_package_that_lacks_one_of_its_own_is_named_itself(monkeypatch, tmp_path):
    (tmp_path / "half_installed.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match="needs the package `half_installed`") as caught:
        require("half_installed", "ann")
    assert str(caught.value) == (
        "this needs the package `half_installed`, which is installed but cannot be imported"
        " (No module named 'no_such_package'): repair the installation of `half_installed`"
    )


def test_a_package_that_is_broken_tells_why_and_not_to_install_it(monkeypatch, tmp_path):
    (tmp_path / "broken_library.py").write_text("raise ImportError('libx.so:\\nno such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError) as caught:
        require("broken_library", "ann")
    assert "cannot be imported (libx.so:\\nno such file): repair" in str(caught.value)
    assert "pip install" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_module_that_an_old_release_lacks_is_to_be_installed():
    with pytest.raises(MissingPackageError, match=r"`json`: pip install 'faiss-cpu>=1"):
        require("json.no_such_module", "ann")


def test_what_is_installed_is_imported():
    assert require("json.decoder", "ann").JSONDecoder


def test_the_error_of_a_missing_package_survives_pickling():
    error = pickle.loads(pickle.dumps(MissingPackageError("faiss", "ann", "a fast search")))
    assert str(error) == "a fast search needs the package `faiss`: pip install 'faiss-cpu>=1.10'"
    assert (error.name, error.cure) == ("faiss", "pip install 'faiss-cpu>=1.10'")
