"""The lock on a folder: for one run at a time, and gone with the process that held it."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sphere_ebm.errors import LabelError
from sphere_ebm.files.folders import LOCK, locked, made

fcntl = pytest.importorskip("fcntl", reason="locks of Windows are not those of this test")
HOLDER = """
import sys
from pathlib import Path
from sphere_ebm.files.folders import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `tmp_path / "map"` until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "map")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_is_missing_is_made_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == [LOCK]
    assert [*(tmp_path / "a" / "b").iterdir()] == []


def leave(path: Path) -> None:
    """Fail, and leave a file behind."""
    path.touch()
    raise KeyError


def test_folders_that_failed_work_leaves_empty_are_removed_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyError), locked(tmp_path / "mine" / "a" / "b"):
        raise KeyError
    assert [*(tmp_path / "mine").iterdir()] == []
    with pytest.raises(KeyError), locked(tmp_path / "mine"):
        raise KeyError
    with pytest.raises(KeyError), made(tmp_path / "full" / "a"):
        leave(tmp_path / "full" / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "mine"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["x"]
    with pytest.raises(OSError, match="Not a directory"), locked(tmp_path / "full" / "x" / "a"):
        pass


def test_a_second_holder_is_refused_also_in_the_same_process(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(LabelError, match="another run is working in"), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        pass


def test_another_process_is_refused_while_one_holds_the_folder(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(LabelError, match="another run is working in"), locked(tmp_path / "map"):
        pass
    holder.communicate()
    with locked(tmp_path / "map"):
        pass


def test_a_killed_process_holds_nothing_and_what_it_left_is_removed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "map" / LOCK).exists()
    with locked(tmp_path / "map"):
        pass
    assert [*(tmp_path / "map").iterdir()] == []


def test_whoever_opened_the_file_before_it_was_removed_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def removed_meanwhile(descriptor: int, how: int) -> None:
        (tmp_path / LOCK).unlink(missing_ok=True)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with pytest.raises(LabelError, match="another run is working in"), locked(tmp_path):
        pass
    monkeypatch.undo()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("reason", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_nothing_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert [*tmp_path.iterdir()] == []


def refuse_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another user's file does: it exists and may not be opened, also where tests are root."""
    opened = os.open

    def refusing(path, flags, *rest, **options):
        if Path(os.fsdecode(path)).name == LOCK:
            raise OSError(
                errno.EEXIST if flags & os.O_EXCL else errno.EACCES, "Permission denied", path
            )
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)


def test_a_lock_file_that_may_not_be_opened_refuses_the_run_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).touch()
    refuse_to_open(monkeypatch)
    with pytest.raises(LabelError, match="another run may be working in") as caught:
        locked(tmp_path).__enter__()
    assert f"{tmp_path / LOCK} cannot be opened (Permission denied); wait" in str(caught.value)
    assert (tmp_path / LOCK).exists()


def test_in_a_folder_that_cannot_be_written_nothing_is_held_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / LOCK).touch()
    refuse_to_open(monkeypatch)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()


def test_a_run_that_could_not_lock_leaves_the_lock_file_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with locked(tmp_path):
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", refuse)
            with locked(tmp_path):
                pass
        with pytest.raises(LabelError, match="another run is working in"), locked(tmp_path):
            pass


def test_every_user_may_try_the_lock_whatever_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        with locked(tmp_path):
            assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(former)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_run_of_another_user_is_refused_and_takes_over_what_a_killed_run_left() -> None:
    # Python itself may lie where only root can read, so the user changes after the imports.
    other = HOLDER.replace("with locked", "os.setgid(65534)\nos.setuid(65534)\nwith locked")

    def tried() -> str:
        done = subprocess.run(
            [sys.executable, "-c", f"import os\n{other}", base],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    # Not `tmp_path`, which belongs to one user alone.
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o777)
        with locked(Path(base)):
            assert "another run is working in" in tried()
            assert (Path(base) / LOCK).exists()
        (Path(base) / LOCK).touch()
        assert "another run may be working in" in tried()
        (Path(base) / LOCK).chmod(0o666)
        assert tried() == "held"


def test_the_folder_is_let_go_of_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert [*tmp_path.iterdir()] == []
    with locked(tmp_path):
        pass
