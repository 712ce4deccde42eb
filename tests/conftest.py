"""Suite-wide settings.

Strict dtype and rank promotion, so that a silent broadcast or upcast is an error.
"""

import gc
import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jaxlib
import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from sketches import sketch
from sphere_ebm.figures.map import plot_map

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# No test is timed: hypothesis would fail an example that a busy machine takes long for.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


DEAREST = (
    "test_types.py",
    "test_laws.py",
    "test_notebooks.py",
    "test_devices.py",
    "test_readme.py",
    "test_blocks.py",
    "test_sample.py",
    "test_killing.py",
    "test_crosscheck.py",
    "test_ray_engine.py",
)
"""Test files that would keep one worker busy when the others have finished."""

DIVIDED = ("test_laws.py", "test_notebooks.py")
"""Test files whose tests share nothing that is dear unless all their parameters but the last do."""

TOGETHER = {"test_comparison_figure.py": "test_compare.py"}
"""Test files that are handed out with another one, whose dear fixture they share."""

MOST_MAPPINGS = 30_000
"""Memory mappings of a worker at which it lets go of its programs; Linux allows 65 530."""

QUICKLY_COMPILED = {
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
    "xla_backend_optimization_level": "1",
}
"""XLA's older generator of loops, in one piece, and less polish: a third of the compiler's time."""

TINY = (
    "cli",
    "docs",
    "figures",
    "files",
    "hamiltonian",
    "labelling",
    "librarian",
    "maps",
    "retrieval",
    "sampling",
    "studies",
    "text",
)
"""Rooms whose tests place a few points in a few steps: better code would not be worth its while."""

LONG = (
    "test_crosscheck.py",
    "test_euler_maruyama.py",
    "test_langevin.py",
    "test_laws.py",
    "test_leimkuhler_matthews.py",
    "test_mala.py",
    "test_metropolis.py",
    "test_metropolis_within_gibbs.py",
    "test_underdamped.py",
)
"""Test files of these rooms whose chains are so many that better code is."""


def choose_compiler() -> None:
    """Tell XLA and BLAS how to work, for this process and those that it starts.

    When this file is read: conftest.py of a room may wake JAX before pytest is configured. Workers
    share the cores, so that threads of their own would only wait for each other.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # told by the process that started this one
    flags = [f"--{name}={value}" for name, value in QUICKLY_COMPILED.items() if is_known(name)]
    # What someone asks for comes last and counts.
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip()
    for library in ("OMP", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """One cache of compiled programs for all workers, processes and runs, never the user's own.

    XLA's compiler takes most of the time of the suite. Without a lock between them, one worker may
    read what another is still writing; then it compiles, and JAX warns.
    """
    if hasattr(config, "workerinput"):
        return
    folder = config.rootpath / ".pytest_cache" / "compiled"
    tidy(folder)
    # For workers and other processes, which begin after this.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    harmless = "ignore:Error reading persistent compilation cache entry"
    others = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [others, harmless]))
    # For this process, where there are no workers.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def is_known(flag: str) -> bool:
    """Whether this jaxlib has heard of a flag of XLA, which ends the process over any other."""
    for library in Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with (
            library.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as code,
        ):
            return code.find(flag.encode()) >= 0
    return False


choose_compiler()


def tidy(folder: Path) -> None:
    """Remove what a killed run or worker left half-written, which JAX would never replace.

    Reading all of them takes about a second for 50 MB in a few thousand files.
    """
    for path in folder.glob("*-cache") if folder.is_dir() else ():
        if not is_whole(path.read_bytes()):
            path.unlink()


def is_whole(program: bytes) -> bool:
    """Whether compressed bytes end where they should; other compressors' are taken as they are."""
    if program and not program.startswith(b"\x78"):
        return True
    try:
        return len(zlib.decompress(program)) > 0
    except zlib.error:
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the dearest files; what maps warn of is no error unless a test asks for it."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore::sphere_ebm.errors.MapWarning"))
    items.sort(key=lambda item: DEAREST.index(item.path.name) if item.path.name in DEAREST else 99)


class ByFile(LoadScopeScheduling):
    """Hands whole files to workers, so that what a file's tests share is made once.

    The groups of pytest-xdist do nothing under pytest 9.2: its workers write them where pytest no
    longer looks.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit_of_work(nodeid)


def unit_of_work(nodeid: str) -> str:
    """What the tests that one worker takes at a time have in common."""
    path = nodeid.partition("::")[0]
    if path.endswith(DIVIDED):
        return nodeid.rpartition("-")[0] or path
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{TOGETHER.get(name, name)}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """Spare Python's collector the modules and tests, which it would search time and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="module", autouse=True)
def _programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile for a tiny room without optimisation, here and in processes that its tests start.

    Let go of compiled programs before the other way of compiling, so that one program is never met
    in both, and where a worker comes near the kernel's limit on mappings: each maps memory of its
    own. What is let go of comes back from the cache on the disk.
    """
    room = request.path.relative_to(Path(__file__).parent).parts[0]
    tiny = room in TINY and request.path.name not in LONG
    maps = Path("/proc/self/maps")
    crowded = maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPPINGS
    if crowded or tiny != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(tiny)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _sketched() -> Iterator[None]:
    """Sketch the figures of labelled maps; processes that tests start draw them in full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sphere_ebm.labelling.summary.draw_map", sketch)
        yield


@pytest.fixture
def drawn_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of labelled maps as users get them."""
    monkeypatch.setattr("sphere_ebm.labelling.summary.draw_map", plot_map)


@pytest.fixture
def kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of fits after every chunk, however short, and one replica at a time."""
    monkeypatch.setattr("sphere_ebm.maps.checkpoint.EVERY", 0.0)
    monkeypatch.setattr("sphere_ebm.maps.runs.at_a_time", lambda: 1)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the run-time type checks of the test suite: what a user of the package meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _write_shard(
    path: Path, patches: int, *, width: int = 5, seed: int = 0, **replaced: np.ndarray
) -> Path:
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 9, patches).astype(np.int32)
    tensors = {
        "bytes": rng.integers(32, 127, int(length.sum())).astype(np.uint8),
        "patch_lengths": length,
        "entropies": rng.random(int(length.sum())).astype(np.float32),
        "embeddings": rng.standard_normal((patches, width)).astype(np.float32),
        "prominence": rng.random(patches).astype(np.float32),
        "patch_entropies": rng.random(patches).astype(np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors | replaced, path, {"format": "blt_patches_v3"})
    return path


@pytest.fixture(scope="session")
def shard() -> Callable[..., Path]:
    """`shard(path, patches, width=, seed=, **tensors)`: a shard of layout F with random patches."""
    return _write_shard
