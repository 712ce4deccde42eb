"""What to read of a finished map for a query."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from builders import Letters, Spaces, in_groups
from sphere_ebm import LabelError, PlacementConfig, label, read_labels
from sphere_ebm.files.formats import PYRAMID
from sphere_ebm.labelling.ask import Answer, ask
from sphere_ebm.labelling.folder import is_placement
from sphere_ebm.labelling.levels import map_pyramid
from sphere_ebm.retrieval.budgets import BudgetConfig
from sphere_ebm.text.ingest import ingest
from sphere_ebm.text.patching import Patching

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=5, average=2, seed=3, replicas=1)
TEXTS = {
    "one.txt": "The old clock in the hall struck seven, and nobody in the house had slept. " * 3,
    "two.txt": "Rivers carry sand, gravel and the memory of mountains to the quiet sea. " * 3,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    patching = Patching("global", threshold=0.5)
    files = [folder / name for name in TEXTS]
    run = ingest(files, folder / "s", patching=patching, entropy=Spaces(), embedder=Letters())
    label(run.files.values(), folder / "map", CONFIG)
    return folder / "map"


def asked(folder: Path, query: str = "gravel", **options: object) -> Answer:
    config = BudgetConfig(total=60, smallest=10, largest=30)
    return ask(folder, query, Letters, config, **options)


def test_passages_are_slices_of_their_documents_and_fit_the_budget(finished):
    answer = asked(finished)
    assert answer.spent <= 60
    assert answer.spent == sum(len(one.patch) for one in answer.passages)
    for one in answer.passages:
        text = TEXTS[one.document].encode()
        assert text[one.start : one.start + len(one.patch)] == one.patch
    assert b"gravel" in answer.passages[0].patch
    assert [one.score for one in answer.passages] == sorted(
        (one.score for one in answer.passages), reverse=True
    )


def test_the_place_of_a_passage_is_that_of_its_most_relevant_patch(finished):
    best = asked(finished).passages[0]
    labels = read_labels(finished / f"{Path(best.document).stem}.sphere.safetensors")
    query, _ = next(iter(Letters().embed(np.frombuffer(b"gravel", np.uint8), np.array([6]))))
    norms = np.linalg.norm(labels.embeddings, axis=1)
    cosine = labels.embeddings @ query[0] / np.where(norms > 0, norms, 1)
    cosine /= np.linalg.norm(query[0])
    assert best.score == pytest.approx(cosine.max())
    near = np.isclose(cosine, cosine.max())
    assert best.theta in labels.theta[near]
    assert best.phi in labels.phi[near]
    assert best.radius in labels.radius[near]


def test_a_budget_may_count_patches_or_what_the_caller_counts(finished):
    patches = asked(finished, unit="points")
    assert patches.spent == min(60, sum(text.count(" ") + 1 for text in TEXTS.values()))
    words = asked(finished, unit=lambda text: 10 * len(text.split()))
    assert words.spent == 60


def test_by_region_the_pyramid_is_kept_with_the_map_and_used_again(finished):
    answer = asked(finished, by_region=True)
    assert 0 < answer.spent <= 60
    kept = (finished / PYRAMID).stat().st_mtime_ns
    pyramid = map_pyramid(finished)
    assert (finished / PYRAMID).stat().st_mtime_ns == kept
    directions = np.concatenate(
        [read_labels(finished / f"{n}.sphere.safetensors").direction for n in ("one", "two")]
    )
    assert len(pyramid) == len(directions)


def test_a_pyramid_is_no_shard(finished):
    map_pyramid(finished)
    assert is_placement(finished / PYRAMID)


def test_what_cannot_be_asked_is_refused_and_a_pyramid_goes_with_its_map(finished, tmp_path):
    with pytest.raises(ValueError, match="`query` must hold something"):
        asked(finished, " \n")
    with pytest.raises(LabelError, match="make a map there first"):
        asked(tmp_path)
    np.save(tmp_path / "points.npy", in_groups(30, 0, groups=3, width=8))
    output = shutil.copytree(finished, tmp_path / "map")
    assert (output / PYRAMID).is_file()
    label(tmp_path / "points.npy", output, CONFIG, overwrite=True)
    assert not (output / PYRAMID).exists()
    with pytest.raises(LabelError, match="holds no bytes"):
        asked(output)
