"""Runs of `ingest` and models of BLT that several files test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blt_models import (
    BLT_CONFIG,
    ROPE,
    published_weights,
    save_model,
)
from ingestions import (
    made,
    written,
)
from sphere_ebm.text.blt import load_blt
from sphere_ebm.text.ingest import IngestRun


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(name, content="text\\n")`: a file of text or bytes in the folder of the test."""

    def make(name: str, content: str | bytes = "text\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return written(tmp_path / "in")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> IngestRun:
    """A run that nobody disturbed.

    Its inputs are in a folder of the same name as those of `texts`.
    """
    folder = tmp_path_factory.mktemp("finished")
    return made(written(folder / "in"), folder / "out")


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="module")
def published(torch, tmp_path_factory):
    """The tiny model as BLT publishes its own."""
    return save_model(tmp_path_factory.mktemp("blt") / "tiny-blt", BLT_CONFIG, published_weights())


@pytest.fixture
def theirs(torch, published):
    """The same model, wholly in the hands of transformers."""
    from transformers.models.blt.modeling_blt import BltPatcher

    loaded = load_blt(published)._patcher
    loaded.config.rope_parameters = ROPE
    patcher = BltPatcher(loaded.config).eval()
    patcher.load_state_dict(loaded.state_dict())
    return patcher
