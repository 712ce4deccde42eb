"""The hidden folder in which a swept map is made: files of blocks, and a journal of its own."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final

from sphere_ebm.files.atomic import clean_leftovers
from sphere_ebm.files.journal import Journal, read_journal
from sphere_ebm.files.machine import visible_cpus
from sphere_ebm.files.tensors import write_tensors
from sphere_ebm.graph.blockwise import Arrays, Blocks
from sphere_ebm.maps import sweeps

FOLDER = ".sphere-sweeps"
"""Its name, below the folder of the map."""

DIRECTIONS = "directions.rows"
"""The one file in it that is no safetensors: unit vectors of all embeddings."""

FORMAT = "sphere_sweeps_v1"
"""What the metadata of the others call their format."""


def block_file(stage: str, block: int) -> str:
    """The file of a block."""
    return f"{stage}-{block:06d}.safetensors"


def discard(folder: Path) -> None:
    """Remove the hidden folder of a run, with what our stages have written in it."""
    work = folder / FOLDER
    if not work.is_dir():
        return
    clean_leftovers(work)
    for path in sorted(work.iterdir()):
        if path.stem == Path(DIRECTIONS).stem or path.suffix == ".safetensors":
            path.unlink(missing_ok=True)
    left = read_journal(work)
    if left is not None:
        left.close()
    if not any(work.iterdir()):
        work.rmdir()


@final
@dataclass(frozen=True, eq=False)
class Work:
    """The hidden folder: files of blocks, and the journal that holds their hashes."""

    folder: Path
    journal: Journal

    @classmethod
    def begun(cls, folder: Path, map_id: str) -> "Work":
        """That of this very run, with what it has finished; what another one left is removed."""
        names = ("sphere-ebm", "thrml", "equinox", "jax", "jaxlib", "numpy")
        told = [f"{name} {version(name)}" for name in names]
        told += [map_id, f"CPUs {visible_cpus()}", f"blocks of {sweeps.BLOCK}"]
        identity = hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]
        left = read_journal(folder / FOLDER)
        if left is None or left.map_id != identity:
            discard(folder)
        work = folder / FOLDER
        work.mkdir(exist_ok=True)
        journal = Journal(work, identity)
        journal.resume()
        clean_leftovers(work)
        # a file that was changed since is made again
        for name in [name for name in journal.finished if not journal.holds(name)]:
            del journal.finished[name]
        return cls(work, journal)

    def finished(self, stage: str, blocks: Blocks) -> bool:
        """Whether all blocks of a stage are done."""
        return not self.left(stage, blocks)

    def left(self, stage: str, blocks: Blocks) -> list[int]:
        """The blocks of a stage that are not done."""
        done = self.journal.finished
        return [block for block in range(len(blocks)) if block_file(stage, block) not in done]

    def write(self, name: str, arrays: Arrays) -> None:
        """Write a file and record it."""
        digest = write_tensors(self.folder / name, arrays, {"format": FORMAT})
        self.journal.record(name, digest)

    def forget(self, stage: str, blocks: Blocks) -> None:
        """Remove the files of a stage that later ones have no use for."""
        for block in range(len(blocks)):
            (self.folder / block_file(stage, block)).unlink(missing_ok=True)
