"""The command as a process: its entry points, and Ctrl-C at any moment."""

import json
import os
import signal
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import jax
import matplotlib
import pytest

from builders import contents
from sphere_ebm.cli import entry
from sphere_ebm.cli.main import main
from sphere_ebm.files import machine
from sphere_ebm.files.journal import JOURNAL
from sphere_ebm.files.machine import visible_cpus

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]
SMALL += ["--replicas", "1"]


@pytest.fixture
def source(tmp_path: Path, shard: Callable[..., Path]) -> Path:
    return shard(tmp_path / "in" / "x.safetensors", 12)


@pytest.mark.parametrize(
    "start", [["-m", "sphere_ebm"], ["-c", "from sphere_ebm.cli.entry import run; run()"]]
)
def test_the_module_is_the_command(tmp_path: Path, start: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *start, "inspect", str(tmp_path / "absent.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"sphere-ebm: {tmp_path / 'absent.npy'}: ")


def test_the_entry_point_is_what_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"sphere-ebm": "sphere_ebm.cli.entry:run"}


# Interrupts itself when the module of that name is imported, like a Ctrl-C or a request to end
# while the command is still starting.
STARTING = """
import os, signal, sys
def watch(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), {number})
sys.addaudithook(watch)
from sphere_ebm.cli.entry import run
run()
"""
LINE = "sphere-ebm: interrupted; the same command continues where it stopped\n"


@pytest.mark.parametrize(
    ("module", "number", "code"),
    [
        ("numpy", signal.SIGINT, 130),
        ("jax", signal.SIGTERM, 143),
        ("sphere_ebm.labelling.summary", signal.SIGINT, 130),
    ],
)
def test_an_interruption_while_the_command_starts_is_one_line(
    module: str, number: signal.Signals, code: int
) -> None:
    program = STARTING.format(module=module, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", LINE)


@pytest.mark.parametrize(
    ("start", "number", "code"),
    [
        (["-m", "sphere_ebm"], signal.SIGINT, 130),
        (["-c", "from sphere_ebm.cli.entry import run; run()"], signal.SIGTERM, 143),
    ],
)
def test_an_interruption_while_xla_compiles_is_one_line_and_the_run_continues(
    source: Path,
    tmp_path: Path,
    unchecked: None,
    start: list[str],
    number: signal.Signals,
    code: int,
) -> None:
    log = tmp_path / "log"
    arguments = [*start, "label", str(source), "-o", str(tmp_path / "out"), "--quiet", *SMALL]
    arguments += ["--log", str(log)]
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # The journal appears before the graph is built and the sampler compiled, which take seconds.
    while process.poll() is None and not (tmp_path / "out" / JOURNAL).exists():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.005)
    process.send_signal(number)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (code, "", LINE)
    assert log.read_text().endswith(LINE)
    assert main([*map(str, ["label", source, "-o", tmp_path / "out", "--quiet", *SMALL])]) == 0


# Runs the command in a process and counts, as its last line of output, what JAX took from and put
# into its cache.
COUNTING = """
import atexit, json, sys
import jax
from collections import Counter
seen = Counter()
jax.monitoring.register_event_listener(
    lambda event, **details: seen.update([event.rpartition("/")[2]])
)
atexit.register(
    lambda: print(json.dumps({name: seen["cache_" + name] for name in ("hits", "misses")}))
)
from sphere_ebm.cli.entry import run
run()
"""


def home(folder: Path) -> dict[str, str]:
    """An environment whose user has this cache folder, and the variables that decide about it
    otherwise, unset.
    """
    how = "JAX_DISABLE_MOST_OPTIMIZATIONS"  # says nothing of the cache, but of how long this takes
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == how or not name.startswith("JAX_")
    }
    fonts = {"MPLCONFIGDIR": matplotlib.get_cachedir()}
    return kept | fonts | dict.fromkeys(("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"), str(folder))


def move_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process such a user, who has named no cache of compiled programs."""
    for name, value in home(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")


def labels(source: Path, output: Path, environment: dict[str, str]) -> dict[str, int]:
    """Label one shard with nothing on standard error.

    What came from the cache, and what went there.
    """
    arguments = ["label", str(source), "-o", str(output), "--quiet", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, *arguments],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


def programs(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name.endswith("-cache")}


def test_a_second_run_compiles_nothing_and_labels_are_the_same_bits_without_a_cache(
    source: Path, tmp_path: Path
) -> None:
    here = home(tmp_path / "home")
    first = labels(source, tmp_path / "first", here)
    assert first["misses"] > 10
    kept = programs(tmp_path / "home")
    assert len(kept) == first["misses"]
    # as if the first run had been killed in the middle of a file: that one alone is made anew
    broken = tmp_path / "home" / max(kept, key=lambda name: len(kept[name]))
    broken.write_bytes(broken.read_bytes()[:1000])
    asked = first["hits"] + first["misses"]
    assert labels(source, tmp_path / "second", here) == {"hits": asked - 1, "misses": 1}
    assert programs(tmp_path / "home").keys() == kept.keys()
    off = labels(source, tmp_path / "off", here | {"JAX_COMPILATION_CACHE_DIR": ""})
    assert off == {"hits": 0, "misses": 0}
    maps = [contents(tmp_path / name) for name in ("first", "second", "off")]
    assert all(one == maps[0] for one in maps)


@pytest.mark.parametrize("chosen", ["", "named"])
def test_a_cache_folder_that_the_user_names_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str
) -> None:
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "mine").touch()
    move_home(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / chosen) if chosen else "")
    before = jax.config.jax_compilation_cache_dir
    entry.keep_programs()
    assert jax.config.jax_compilation_cache_dir == before
    assert [*contents(tmp_path)] == ["named/mine"]
    assert not (tmp_path / "home").exists()


def test_the_cache_lies_in_the_folder_that_the_specification_names_for_the_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_home(tmp_path, monkeypatch)
    before = jax.config.jax_compilation_cache_dir
    try:
        entry.keep_programs()
        folder = tmp_path / "sphere_ebm" / f"jax-{visible_cpus()}-cpus"
        assert jax.config.jax_compilation_cache_dir == str(folder)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_programs_compiled_beside_other_cpus_lie_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_home(tmp_path, monkeypatch)
    before = jax.config.jax_compilation_cache_dir
    try:
        for count in (1, 2):
            monkeypatch.setattr(machine, "visible_cpus", lambda count=count: count)
            entry.keep_programs()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    found = sorted(path.name for path in (tmp_path / "sphere_ebm").iterdir())
    assert found == ["jax-1-cpus", "jax-2-cpus"]


def test_a_cache_folder_of_another_user_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_home(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    before = jax.config.jax_compilation_cache_dir
    entry.keep_programs()
    assert jax.config.jax_compilation_cache_dir == before


def test_a_cache_folder_that_cannot_be_made_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    move_home(tmp_path / "file", monkeypatch)
    before = jax.config.jax_compilation_cache_dir
    entry.keep_programs()
    assert jax.config.jax_compilation_cache_dir == before
    assert [*contents(tmp_path)] == ["file"]


def test_the_cache_keeps_what_was_used_last_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age in range(6):
        path = tmp_path / f"{age}-cache"
        path.write_bytes(zlib.compress(bytes(range(256)), 0))
        os.utime(path, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(entry, "CACHE_BYTES", 3 * (tmp_path / "0-cache").stat().st_size)
    entry._tidy(tmp_path)
    assert sorted(programs(tmp_path)) == ["0-cache", "1-cache", "2-cache"]


def test_the_library_sets_no_cache() -> None:
    program = (
        "import jax, sphere_ebm, sphere_ebm.cli.main; print(jax.config.jax_compilation_cache_dir)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
