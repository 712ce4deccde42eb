"""The placement of a run: fitted, or read where an earlier run of the same map has finished it."""

import warnings
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Float32
from numpy import ndarray

from sphere_ebm.errors import LabelError, MapWarning, MissingPackageError, NonFiniteEnergyError
from sphere_ebm.files.formats import CHECKPOINT, PLACEMENT
from sphere_ebm.labelling.folder import Claim
from sphere_ebm.maps.placement import Placement


def fitted_placement(
    claimed: Claim,
    embeddings: Float32[ndarray, "points width"],
    fit: Callable[[Path], Placement],
    *,
    joined: bool,
) -> Placement:
    """What `fit` returns for the path of a checkpoint, or what an earlier run of it has saved.

    One that others join is saved with its embeddings.

    Raises:
        LabelError: `fit` refuses its input; nothing of the run is kept then.
        MissingPackageError: a package that it needs is not installed.
        NonFiniteEnergyError: the energy diverged.
        OSError: the folder cannot be written; what could be saved of the run is kept.
    """
    journal = claimed.journal
    if journal.holds(PLACEMENT):
        held = Placement.load(journal.folder / PLACEMENT)
        if len(held) == len(embeddings):
            return held.with_embeddings(embeddings)
    try:
        with warnings.catch_warnings():
            # the notes of the placement are told at the end, each with what it is about
            warnings.simplefilter("ignore", MapWarning)
            placement = fit(journal.folder / CHECKPOINT)
    except (NonFiniteEnergyError, MissingPackageError):
        claimed.give_up()
        raise
    except ValueError as error:
        claimed.give_up()
        raise LabelError(str(error)) from error
    except OSError:
        if not (journal.finished or (journal.folder / CHECKPOINT).exists()):
            claimed.give_up()
        raise
    journal.record(PLACEMENT, placement.save(journal.folder / PLACEMENT, embeddings=joined))
    return placement
