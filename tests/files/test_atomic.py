import hashlib

import pytest

from sphere_ebm.files.atomic import atomic_write, clean_leftovers, sha256_of


def test_a_written_file_is_complete_and_alone(tmp_path):
    atomic_write(tmp_path / "out", lambda file: file.write(b"abc"))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"abc"


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_an_exception_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    (tmp_path / "out").write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise interruption

    with pytest.raises(interruption):
        atomic_write(tmp_path / "out", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"


def test_the_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    atomic_write(tmp_path / ("x" * 255), lambda file: file.write(b""))
    assert (tmp_path / ("x" * 255)).exists()


def test_the_target_appears_only_after_the_last_byte(tmp_path):
    seen = []
    atomic_write(tmp_path / "out", lambda file: seen.append((tmp_path / "out").exists()))
    assert seen == [False]


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    left = tmp_path / ".sphere-0123456789abcdef.tmp"
    kept = [
        tmp_path / name for name in (".sphere-config.tmp", "a.tmp", "x.sphere-0123456789abcdef.tmp")
    ]
    for path in [left, *kept]:
        path.write_bytes(b"")
    assert clean_leftovers(tmp_path) == (left,)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_temporary_is_recognised_as_a_leftover(tmp_path):
    found = []
    atomic_write(
        tmp_path / "out",
        lambda file: found.extend(clean_leftovers(tmp_path)) or (tmp_path / found[0]).touch(),
    )
    assert len(found) == 1


def test_the_hash_is_that_of_the_files_one_after_another(tmp_path):
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"ab").hexdigest()
    assert sha256_of(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"abc").hexdigest()
