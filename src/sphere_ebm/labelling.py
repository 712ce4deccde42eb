"""`label`: shards in, one map, label files out. Resumable: the same command continues what a dead run began.

An output folder holds one map: `map.json` (written last), `energy.csv`, `map.png`, `placement.safetensors` and one
`<name>.sphere.safetensors` per input. While a run works there is a journal of finished files, and a checkpoint of the
sampler. Every file is a function of the inputs and the configuration, so an interrupted run ends with the same bytes.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sphere_ebm.config import PlacementConfig, shells_of
from sphere_ebm.fit import ExtraEdges, StageProgress, place
from sphere_ebm.map_folder import (
    CHECKPOINT,
    ENERGY,
    FIGURE,
    MAP,
    MAP_FORMAT,
    PLACEMENT,
    Claim,
    LabelError,
    Refused,
    claim,
    locked,
    read_map,
)
from sphere_ebm.placement import Placement
from sphere_ebm.plotting import plot_map, save_figure
from sphere_ebm.quality import QualityReport, measure_quality
from sphere_ebm.sampling.run import NonFiniteEnergyError
from sphere_ebm.shards import Pooling, ShardError, atomic_write, read_labels, sha256_of, write_labels
from sphere_ebm.shards.journal import Journal
from sphere_ebm.shells import occupancy
from sphere_ebm.sources import (
    Source,
    check_sources,
    collected_warnings,
    nothing_usable,
    offsets,
    read_sources,
    stacked,
    take_sidecar_edges,
)


@dataclass(frozen=True)
class LabelRun:
    """What `label` did.

    `files`: label file of each input that was labelled, by the input's path. `kept`: how many of these an earlier run
    of the same map had written. `warnings`: what the inputs said about themselves.
    """

    output: Path
    map_id: str
    placement: Placement
    quality: QualityReport
    files: dict[Path, Path]
    refused: tuple[Refused, ...]
    warnings: tuple[str, ...]
    kept: int


def label(
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    config: PlacementConfig | None = None,
    *,
    pooling: Pooling = "mean",
    sidecar_edges: bool = False,
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> LabelRun:
    """Place the patches of all shards on one sphere and write their labels.

    Args:
        inputs: files, folders (searched recursively) and globs; one, or several.
        output: folder for the labels, made when missing; it may already hold this very map, finished or not.
        config: see `PlacementConfig`.
        pooling: how tokens become patches in per-token layouts.
        sidecar_edges: add the edges of `<stem>.hypergraph.db` sidecars to the lateral graph. Edges of weight 0 and
            from a patch to itself have no force and are passed over.
        overwrite: replace another map in `output`, once the new placement exists; only files that belong to that map
            are removed.
        progress: called as progress(stage, done, total), stages `"reading"`, `"neighbours"`, `"steps"`, `"quality"`,
            `"writing"`, `"figure"`; with done = 0 before a stage begins. Only done / total means anything.

    Raises:
        LabelError: no input could be used, widths differ, the configuration does not suit their number of points, or
            `output` holds another map or files of the names that are to be written, or another run works there.
        OSError: the output cannot be written.
        NonFiniteEnergyError: the energy diverged.
    """
    config = PlacementConfig() if config is None else config
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    sources, refused = read_sources(given, pooling, progress)
    check_sources(sources, refused)
    edges = take_sidecar_edges(sources, refused) if sidecar_edges else None
    if not sources:
        raise nothing_usable(refused)
    map_id = _map_id(sources, config, pooling, edges)
    folder = Path(output)
    with locked(folder):
        claimed = claim(folder, map_id, [s.name for s in sources], overwrite)
        placement = _placement(claimed, sources, config, edges, progress)
        journal = claimed.take_over()
        before = {name for name in journal.finished if journal.holds(name)}
        with _stage("quality", progress):
            quality = placement.quality()
        files = _write_all_labels(journal, sources, placement, quality, before, progress)
        _write_summary(journal, sources, placement, quality, before, progress)
        journal.close()
    kept = sum(s.name in before for s in sources)
    warnings = collected_warnings(sources, placement.notes)
    return LabelRun(folder, map_id, placement, quality, files, tuple(refused), warnings, kept)


@contextmanager
def _stage(name: str, progress: StageProgress | None) -> Iterator[None]:
    """Announce one piece of work before and after it."""
    if progress is not None:
        progress(name, 0, 1)
    yield
    if progress is not None:
        progress(name, 1, 1)


def _map_id(sources: Sequence[Source], config: PlacementConfig, pooling: str, edges: ExtraEdges | None) -> str:
    """Identity of the map: everything that its files are a function of."""
    drawn = None if edges is None else hashlib.sha256(b"".join(x.tobytes() for x in edges)).hexdigest()
    content = {
        "format": MAP_FORMAT,
        "version": version("sphere-ebm"),
        "config": json.loads(config.to_json()),
        "pooling": pooling,
        "edges": drawn,
        "files": [[s.name, [part.name for part in s.item.parts], s.digest] for s in sources],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def measure_map(folder: Path | str) -> QualityReport:
    """Check every file of a finished map against its hash, and measure the labels anew, from the label files alone.

    Raises LabelError or ShardError naming the file that is missing or has changed.
    """
    folder = Path(folder)
    held = read_map(folder)
    for name, digest in held["files"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ShardError(folder / name, "is missing or has changed", cure="run the same `label` command again")
    try:
        config = PlacementConfig.from_json(json.dumps(held["config"]))
        names = [source["labels"] for source in held["sources"]]
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{folder / MAP} is damaged ({error}); run the same `label` command again") from error
    labels = [read_labels(folder / name) for name in names]
    filled = [part for part in labels if len(part)] or labels[:1]

    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in filled])

    return measure_quality(
        column("embeddings"),
        column("direction"),
        radius=column("radius"),
        prominence=column("prominence"),
        shell=column("shell"),
        shells=shells_of(config),
        order=config.radius_order,
        seed=config.seed,
    )


def _placement(
    claimed: Claim,
    sources: Sequence[Source],
    config: PlacementConfig,
    edges: ExtraEdges | None,
    progress: StageProgress | None,
) -> Placement:
    """Place all patches, or read the placement that an earlier run of this map finished."""
    embeddings, prominence, _ = stacked(sources)
    journal = claimed.journal
    if journal.holds(PLACEMENT):
        return Placement.load(journal.folder / PLACEMENT).with_embeddings(embeddings)
    if progress is not None:
        progress("neighbours", 0, 1)
        progress("steps", 0, 1)
    checkpoint = journal.folder / CHECKPOINT
    try:
        placement = place(embeddings, prominence, config, extra_edges=edges, progress=progress, checkpoint=checkpoint)
    except NonFiniteEnergyError:
        claimed.give_up()
        raise
    except ValueError as error:
        claimed.give_up()
        raise LabelError(str(error)) from error
    journal.record(PLACEMENT, placement.save(journal.folder / PLACEMENT))
    return placement


def _write_all_labels(
    journal: Journal,
    sources: Sequence[Source],
    placement: Placement,
    quality: QualityReport,
    finished: set[str],
    progress: StageProgress | None,
) -> dict[Path, Path]:
    config = placement.config
    metadata = {
        "map_id": journal.map_id,
        "config": config.to_json(),
        "seed": str(config.seed),
        "energy": json.dumps(final_energy(placement)),
        "quality": json.dumps(quality.to_dict(), sort_keys=True),
    }
    files = {}
    for i, (source, begin) in enumerate(zip(sources, offsets(sources), strict=False)):
        if progress is not None:
            progress("writing", i, len(sources))
        rows = slice(begin, begin + len(source.table))
        path = journal.folder / source.name
        if source.name not in finished:
            digest = write_labels(
                path,
                source.table,
                direction=placement.direction[rows],
                radius=placement.radius[rows],
                shell=placement.shell[rows],
                radius_std=placement.radius_std[rows],
                angle_std=placement.angle_std[rows],
                metadata=metadata,
                source_sha256=source.digest,
            )
            journal.record(source.name, digest)
        files[source.table.source] = path
    if progress is not None:
        progress("writing", len(sources), len(sources))
    return files


def final_energy(placement: Placement) -> dict[str, float]:
    """Energy of each term at the end of the run."""
    return {name: float(values[-1]) for name, values in placement.energy.items()}


def _write_summary(
    journal: Journal,
    sources: Sequence[Source],
    placement: Placement,
    quality: QualityReport,
    finished: set[str],
    progress: StageProgress | None,
) -> None:
    """Energy trace, figure and, last of all, `map.json`."""
    folder = journal.folder
    if ENERGY not in finished:
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["step", *placement.energy])
        writer.writerows(zip(placement.step.tolist(), *(v.tolist() for v in placement.energy.values()), strict=True))
        atomic_write(folder / ENERGY, lambda file: file.write(rows.getvalue().encode()))
        journal.record(ENERGY, sha256_of(folder / ENERGY))
    if FIGURE not in finished:
        with _stage("figure", progress):
            _draw(folder / FIGURE, sources, placement, quality)
            journal.record(FIGURE, sha256_of(folder / FIGURE))
    content = _map_content(journal, sources, placement, quality)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    atomic_write(folder / MAP, lambda file: file.write(text.encode()))


def _map_content(
    journal: Journal, sources: Sequence[Source], placement: Placement, quality: QualityReport
) -> dict[str, Any]:
    """What `map.json` holds."""
    shells = placement.shells
    return {
        "format": MAP_FORMAT,
        "id": journal.map_id,
        "version": version("sphere-ebm"),
        "config": json.loads(placement.config.to_json()),
        "points": len(placement),
        "steps": int(placement.step[-1]) if placement.step.size else 0,
        "converged": placement.converged,
        "energy": final_energy(placement),
        "quality": quality.to_dict(),
        "shells": {
            "radius": shells.radius.tolist(),
            "capacity": shells.capacity.tolist(),
            "occupancy": occupancy(placement.shell, shells).tolist(),
        },
        "sources": [
            {"file": s.table.source.name, "sha256": s.digest, "labels": s.name, "patches": len(s.table)}
            for s in sources
        ],
        "files": {name: journal.finished[name] for name in (*(s.name for s in sources), PLACEMENT, ENERGY, FIGURE)},
    }


def _draw(path: Path, sources: Sequence[Source], placement: Placement, quality: QualityReport) -> None:
    names = [name for s in sources for name in s.table.documents]
    figure = plot_map(
        placement.direction,
        placement.radius,
        document=stacked(sources)[2],
        document_names=names,
        shell=placement.shell,
        shells=placement.shells,
        energy=placement.energy,
        steps=placement.step,
        quality={f"recall@{k}": v for k, v in quality.recall.items()}
        | {f"trustworthiness@{k}": v for k, v in list(quality.trustworthiness.items())[:1]},
        title=f"{len(names)} documents on one sphere" if len(names) > 1 else "One document on a sphere",
    )
    save_figure(figure, path)
