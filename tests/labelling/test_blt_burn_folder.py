"""A folder that BLT-Burn has written is dropped in as it is.

Every layout, its parts, its sidecars, and what else lies there.
"""

import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from blt_burn_folder import (
    CONFIG,
    DOCUMENTS,
    OPTIONS,
    REFUSED,
    write_folder,
)
from builders import contents
from sphere_ebm import label, read_labels
from sphere_ebm.cli.main import main
from sphere_ebm.cli.output import PARTLY
from sphere_ebm.labelling import label as labelling
from sphere_ebm.labelling.label import LabelRun, measure_map


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every entry, hidden ones too, with its mode, the time of its last change and the hash of its
    bytes.
    """
    entries = {}
    for path in [folder, *folder.rglob("*")]:
        state = path.stat()
        raw = path.read_bytes() if path.is_file() else b""
        entries[str(path)] = (state.st_mode, state.st_mtime_ns, hashlib.sha256(raw).hexdigest())
    return entries


class Input(NamedTuple):
    folder: Path
    before: dict[str, tuple[int, int, str]]


class Joined(NamedTuple):
    """A run with edges of sidecars, and these as they came to the placement."""

    run: LabelRun
    edges: list[tuple[int, int, float]]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Input]:
    folder = write_folder(tmp_path_factory.mktemp("given") / "ingest_output")
    folder.chmod(0o555)
    yield Input(folder, snapshot(folder))
    folder.chmod(0o755)


@pytest.fixture(scope="module")
def joined(given: Input, tmp_path_factory: pytest.TempPathFactory) -> Joined:
    edges: list[Any] = []
    place = labelling.place

    def spying(*arguments: Any, **options: Any) -> Any:
        edges.append(options["extra_edges"])
        return place(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelling, "place", spying)
        run = label(given.folder, tmp_path_factory.mktemp("joined"), CONFIG, sidecar_edges=True)
    ((src, dst, weight),) = edges
    return Joined(run, sorted(zip(src.tolist(), dst.tolist(), weight.tolist(), strict=True)))


@pytest.fixture(scope="module")
def plain(given: Input, tmp_path_factory: pytest.TempPathFactory) -> LabelRun:
    return label(given.folder, tmp_path_factory.mktemp("plain"), CONFIG)


def first_rows(run: LabelRun) -> dict[str, int]:
    """Where each document's patches begin on the map."""
    names = [path.name.removesuffix(".sphere.safetensors") for path in run.files.values()]
    return dict(
        zip(
            names,
            itertools.accumulate((len(DOCUMENTS[n].length) for n in names), initial=0),
            strict=False,
        )
    )


def test_the_fixture_cuts_a_patch_in_two_and_names_a_part_10() -> None:
    files = DOCUMENTS["item_7"].files
    assert "item_7_part_10.safetensors" in files
    for name in ("item_7", "manual_input"):
        parts = list(DOCUMENTS[name].files.values())
        assert min(part["patch_mask"][0, 0] for part in parts[1:]) == 0
        assert all(len(part["patch_indices"]) == len(DOCUMENTS[name].length) for part in parts)


def test_every_document_has_one_label_file_and_the_folder_nothing_else(
    given: Input, joined: Joined
) -> None:
    run = joined.run
    assert {path: file.name for path, file in run.files.items()} == {
        given.folder / next(iter(document.files)): f"{name}.sphere.safetensors"
        for name, document in DOCUMENTS.items()
    }
    beside = {"map.json", "config.toml", "map.png", "map.html", "energy.csv"}
    beside.add("placement.safetensors")
    assert contents(run.output).keys() == {file.name for file in run.files.values()} | beside
    assert (
        run.points
        == len(run.placement)
        == sum(len(document.length) for document in DOCUMENTS.values())
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_labels_hold_the_documents_patches_in_their_order(joined: Joined, name: str) -> None:
    document = DOCUMENTS[name]
    labels = read_labels(joined.run.output / f"{name}.sphere.safetensors")
    assert len(labels) == len(document.length)
    np.testing.assert_array_equal(labels.patch_start, document.start)
    np.testing.assert_array_equal(labels.patch_length, document.length)
    np.testing.assert_array_equal(labels.prominence, document.prominence)
    np.testing.assert_array_equal(labels.embeddings, document.embeddings)
    rows = slice(begin := first_rows(joined.run)[name], begin + len(labels))
    np.testing.assert_array_equal(labels.direction, joined.run.placement.direction[rows])
    if document.octets is None:
        assert labels.bytes is None
    else:
        assert labels.bytes is not None
        assert labels.bytes.tobytes() == document.octets
        np.testing.assert_array_equal(np.diff(labels.bytes_offset), document.length)
    parts = json.loads(labels.metadata.get("source_parts", "[]"))
    assert parts == (list(document.files) if len(document.files) > 1 else [])


def test_the_edges_of_schema_3_and_no_others_reach_the_lateral_graph(joined: Joined) -> None:
    begins = first_rows(joined.run)
    expected = [
        (begins[name] + src, begins[name] + dst, weight)
        for name, document in DOCUMENTS.items()
        for src, dst, weight, _ in document.edges or ()
    ]
    assert joined.edges == sorted(expected)


def test_edges_make_another_map_on_which_their_ends_are_closer(
    joined: Joined, plain: LabelRun
) -> None:
    assert joined.run.map_id != plain.map_id
    src, dst = np.array([edge[:2] for edge in joined.edges]).T
    cosine = [
        np.sum(d[src] * d[dst], axis=1).mean()
        for d in (plain.placement.direction, joined.run.placement.direction)
    ]
    assert cosine[1] > cosine[0] + 0.15
    for name, document in DOCUMENTS.items():
        labels = read_labels(plain.output / f"{name}.sphere.safetensors")
        np.testing.assert_array_equal(labels.embeddings, document.embeddings)


def test_what_has_no_embeddings_is_refused_by_the_name_of_its_format(
    given: Input, joined: Joined
) -> None:
    (refused,) = joined.run.refused
    assert refused.source == given.folder / REFUSED
    assert refused.reason.startswith(str(given.folder / REFUSED))
    assert "blt_patches_v2" in refused.reason


@pytest.mark.usefixtures("unchecked")
def test_the_command_does_the_same_and_says_partly_done(
    given: Input, joined: Joined, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            "label",
            str(given.folder),
            "-o",
            str(tmp_path / "out"),
            "--quiet",
            "--sidecar-edges",
            *OPTIONS,
        ]
    )
    printed = capsys.readouterr()
    assert (code, printed.out) == (PARTLY, "")
    (line,) = [line for line in printed.err.splitlines() if line.startswith("refused: ")]
    assert REFUSED in line
    assert "blt_patches_v2" in line
    assert contents(tmp_path / "out") == contents(joined.run.output)
    assert snapshot(given.folder) == given.before


def test_a_second_run_keeps_every_file(given: Input, joined: Joined) -> None:
    before = contents(joined.run.output)
    again = label(given.folder, joined.run.output, CONFIG, sidecar_edges=True)
    assert (again.kept, again.map_id) == (len(DOCUMENTS), joined.run.map_id)
    assert contents(joined.run.output) == before
    assert measure_map(joined.run.output).to_dict() == joined.run.quality.to_dict()


def test_the_folder_is_as_it_was(given: Input, joined: Joined, plain: LabelRun) -> None:
    assert snapshot(given.folder) == given.before


def test_coordinates_that_upstream_made_are_no_shard(tmp_path: Path) -> None:
    folder = tmp_path / "ingest_output"
    document = DOCUMENTS["item_9"]
    folder.mkdir()
    save_file(
        document.files["item_9.safetensors"], folder / "item_9.safetensors", document.metadata
    )
    flat = np.ones(len(document.length), np.float32)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        r=flat,
        theta=flat,
        phi=flat,
        cartesian=np.ones((len(flat), 3), np.float32),
        prominence=flat,
    )
    (folder / "item_9.sphere.npz").write_bytes(buffer.getvalue())
    run = label(folder, tmp_path / "out", CONFIG)
    assert list(run.files) == [folder / "item_9.safetensors"]
