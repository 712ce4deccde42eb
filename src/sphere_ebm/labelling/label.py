"""`label`: shards in, one map, label files out.

Resumable: the same command continues what a dead run began.

An output folder holds one map: `map.json` (written last), `config.toml`, `energy.csv`, `map.png`,
`map.html`, `placement.safetensors` and one `<name>.sphere.safetensors` per input. While a run works
there is a journal of finished files, and a checkpoint of the sampler. Every file is a function of
the inputs and the configuration, so an interrupted run ends with the same bytes.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from sphere_ebm.errors import LabelError, Refused, ShardError
from sphere_ebm.figures.page.region_names import Region
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import MAP, PLACEMENT
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.map_folder import again, label_files, read_map
from sphere_ebm.files.shards.own import ALL_FOUND, TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.labelling.asked import Asked, asked_options, map_id_of, read_asked
from sphere_ebm.labelling.columns import label_metadata, write_all_labels
from sphere_ebm.labelling.engines import AbstractEngine, reached, ready
from sphere_ebm.labelling.fitting import fitted_placement
from sphere_ebm.labelling.folder import Claim, claim
from sphere_ebm.labelling.join import JoinOptions, join_all
from sphere_ebm.labelling.own_columns import (
    COLOUR,
    forget_colours,
    kept_in_map,
)
from sphere_ebm.labelling.recipe import with_config
from sphere_ebm.labelling.sources import (
    Source,
    collected_warnings,
    planned_files,
)
from sphere_ebm.labelling.summary import MapPoints, expect_figure, measured_points, write_summary
from sphere_ebm.labelling.sweeping import SWEPT, Swept, sweep_all
from sphere_ebm.labelling.work import discard
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.place import place
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.sweeps import SWEEPS
from sphere_ebm.progress import StageProgress, stage
from sphere_ebm.quality.report import QualityReport


@final
@dataclass(frozen=True)
class LabelRun:
    """What `label` did.

    `placement`: of the points that were fitted, all of the `points` or the landmarks. `quality`: of
    the whole map. `files`: label file of each input that was labelled, by the input's path. `kept`:
    how many of these an earlier run of the same map had written. `warnings`: what the inputs said
    about themselves. `regions`: names of the map's regions, coarse ones first.
    """

    output: Path
    map_id: str
    placement: Placement
    points: int
    quality: QualityReport
    files: dict[Path, Path]
    refused: tuple[Refused, ...]
    warnings: tuple[str, ...]
    kept: int
    regions: tuple[Region, ...] = ()

    @classmethod
    def of(
        cls,
        output: Path,
        map_id: str,
        placement: Placement,
        written: "Written",
        sources: Sequence[Source],
        before: set[str],
        refused: Sequence[Refused],
    ) -> "LabelRun":
        """A run that has `written` a map of `sources`, of which those `before` were finished."""
        return cls(
            output,
            map_id,
            placement,
            written.points,
            written.quality,
            written.files,
            tuple(refused),
            collected_warnings(sources, placement.notes),
            sum(source.name in before for source in sources),
            tuple(written.regions),
        )


class Written(NamedTuple):
    """What was written of a map: label files by input, how many points, quality, and regions."""

    files: dict[Path, Path]
    points: int
    quality: QualityReport
    regions: Sequence[Region]


def label(
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    config: PlacementConfig | None = None,
    *,
    pooling: Pooling = "mean",
    sidecar_edges: bool = False,
    overwrite: bool = False,
    landmarks: int | None = None,
    sweeps: int = SWEEPS,
    engine: AbstractEngine | Executor | None = None,
    page: bool = True,
    columns: TableColumns = ALL_FOUND,
    colour_by: str | None = None,
    progress: StageProgress | None = None,
    made_by: Mapping[str, Any] | None = None,
) -> LabelRun:
    """Place the patches of all shards on one sphere and write their labels.

    All points are fitted together where there are at most `landmarks` of them. Beyond, so many,
    drawn at random from every shard, are fitted. The others then start amid their neighbours, and
    all move in sweeps, block by block (see `sphere_ebm.maps.sweeps`); without sweeps they join the
    landmarks' map, which does not move, shard by shard (see `FrozenMap`).

    Args:
        inputs: files, folders (searched recursively) and globs; one, or several.
        output: folder for the labels, made when missing; it may already hold this very map,
            finished or not.
        config: see `PlacementConfig`.
        pooling: how tokens become patches in per-token layouts.
        sidecar_edges: add the edges of `<stem>.hypergraph.db` sidecars to the lateral graph. Edges
            of weight 0 and from a patch to itself have no force and are passed over.
        overwrite: replace another map in `output`, once the new placement exists; only files that
            belong to that map are removed.
        landmarks: the most points that are fitted; None: as many as suit this machine's memory
            (`most_fitted`).
        sweeps: of a map of landmarks; 0: the others join it.
        engine: where shards of a map of landmarks join it or are written, see
            `sphere_ebm.labelling.engines.make_engine`, or an executor of the caller's, see
            `ExecutorEngine` there; None: in this process.
        page: write `map.html` too, the map to explore in a browser.
        columns: which columns of tables become embeddings, text and names of rows, and which are
            kept in label files, page and export.
        colour_by: a column that is kept, by which the figure and the page are coloured.
        progress: called as progress(stage, done, total), stages `"reading"`, `"neighbours"`,
            `"steps"`, `"replicas"`, `"sweeps"`, `"quality"`, `"writing"`, `"figure"`, `"page"`;
            with done = 0 before a stage begins. Only done / total means anything.
        made_by: the command that made the shards as well (`command`), and its options by their
            names, for `config.toml`; None: `sphere-ebm label` with the options given here.

    Raises:
        LabelError: no input could be used, widths differ, the configuration does not suit their
            number of points, `output` holds another map or files of the names that are to be
            written, another run works there, or the engine cannot work, which is found out before
            anything is read where nobody answers at its address.
        MissingPackageError: faiss is not installed and `neighbour_search` is `"approximate"`.
        OSError: the output cannot be written.
        NonFiniteEnergyError: the energy diverged.
    """
    config = PlacementConfig() if config is None else config
    if landmarks is not None and landmarks < 1:
        raise ValueError(f"`landmarks` must be at least 1; got {landmarks}.")
    if sweeps < 0:
        raise ValueError(f"`sweeps` must be at least 0; got {sweeps}.")
    options = JoinOptions(pooling, reached(engine), progress)
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    columns = columns.colouring(colour_by)
    asked = read_asked(given, config, pooling, sidecar_edges, landmarks, sweeps, columns, progress)
    map_id = map_id_of(asked, config, pooling)
    recipe = with_config(made_by or asked_options(asked, pooling), config) | {COLOUR: colour_by}
    folder = Path(output)
    with ready(options.engine, needed=asked.chosen is not None), locked(folder):
        claimed = claim(folder, map_id, planned_files(asked.sources, page), overwrite)
        expect_figure()
        placement = _placement(claimed, asked, config, progress)
        journal = claimed.take_over()
        forget_colours(journal, colour_by)
        if not asked.sweeps:
            discard(folder)  # what another run may have left
        before = journal.whole()
        written, placement = _write(
            journal, asked, placement, before, options, page, colour_by, recipe
        )
        journal.close()
    return LabelRun.of(folder, map_id, placement, written, asked.sources, before, asked.refused)


def _write(
    journal: Journal,
    asked: Asked,
    placement: Placement,
    before: set[str],
    options: JoinOptions,
    page: bool,
    colour_by: str | None,
    recipe: Mapping[str, Any],
) -> tuple[Written, Placement]:
    """Write all labels but those of `before`, and the summary.

    What was not fitted joins the placement or is swept with it, which is returned.
    """
    with stage("quality", options.progress):
        quality = placement.quality()
    metadata = label_metadata(journal.map_id, placement, quality)
    config = placement.config
    if asked.chosen is None:
        told = [metadata] * len(asked.sources)
        files = write_all_labels(journal, asked.sources, placement, told, before, options.progress)
        points = MapPoints.of(placement)
    else:
        metadata["landmarks"] = str(len(placement))
        if asked.sweeps:
            metadata[SWEPT] = str(asked.sweeps)
            swept = Swept(asked.sources, asked.chosen, placement, asked.sweeps)
            files, placement = sweep_all(journal, swept, metadata, before, options)
        else:
            fitted = journal.folder / PLACEMENT
            files = join_all(
                journal, asked.sources, asked.chosen, fitted, config, metadata, before, options
            )
        points, quality = measured_points(files.values(), config)
    regions = write_summary(
        journal,
        asked.sources,
        placement,
        points,
        quality,
        before,
        options.progress,
        kept_in_map(asked.columns) | ({SWEPT: asked.sweeps} if asked.sweeps else {}),
        page=page,
        colour_by=colour_by,
        recipe=recipe,
    )
    return Written(files, len(points.radius), quality, regions), placement


def measure_map(folder: Path | str) -> QualityReport:
    """Check every file of a finished map against its hash, and measure the labels anew.

    The measures come from the label files alone.

    Raises LabelError or ShardError naming the file that is missing or has changed.
    """
    folder = Path(folder)
    held = read_map(folder)
    for name, digest in held["files"].items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ShardError(
                folder / name,
                "is missing or has changed",
                cure=again(held),
            )
    try:
        config = PlacementConfig.from_json(json.dumps(held["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise LabelError(f"{folder / MAP} is damaged ({error}); {again(held)}") from error
    return measured_points(label_files(folder, held), config)[1]


def _placement(
    claimed: Claim, asked: Asked, config: PlacementConfig, progress: StageProgress | None
) -> Placement:
    """Place the fitted patches, or read the placement that an earlier run of this map finished.

    One that others join is saved with its embeddings.
    """
    # replicas of a swept map have landmarks of their own
    own = dataclasses.replace(config, replicas=0) if asked.sweeps else config

    def fit(checkpoint: Path) -> Placement:
        if progress is not None:
            progress("neighbours", 0, 1)
            progress("steps", 0, 1)
        return place(
            asked.embeddings,
            asked.prominence,
            own,
            extra_edges=asked.edges,
            progress=progress,
            checkpoint=checkpoint,
        )

    joined = asked.chosen is not None
    placement = fitted_placement(claimed, asked.embeddings, fit, joined=joined)
    return dataclasses.replace(placement, config=config)
