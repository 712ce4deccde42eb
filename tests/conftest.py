"""Suite-wide settings.

Strict dtype and rank promotion, so that a silent broadcast or upcast is an error.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest
from safetensors.numpy import save_file

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    """One cache of compiled programs for the workers and processes of this run, never the user's
    own.

    Without a lock between them, one may read what another is still writing; then it compiles, and
    JAX warns.
    """
    if hasattr(config, "workerinput"):
        return
    folder = tempfile.mkdtemp(prefix="sphere_ebm-compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    # for workers and other processes, which begin after this; and for this one, where there are no
    # workers
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    harmless = "ignore:Error reading persistent compilation cache entry"
    os.environ["PYTHONWARNINGS"] = ",".join(
        filter(None, [os.environ.get("PYTHONWARNINGS"), harmless])
    )
    jax.config.update("jax_compilation_cache_dir", folder)


@pytest.fixture(scope="module", autouse=True)
def _programs() -> Iterator[None]:
    """Let go of the programs that a module has compiled.

    Each maps memory of its own, and a worker that keeps those of the whole suite meets the kernel's
    limit on mappings.
    """
    yield
    jax.clear_caches()


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
