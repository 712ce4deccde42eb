"""`config.toml`: which command made a map, and with which options, so that it can be repeated.

The file holds what the bytes of the map depend on besides its inputs. Where these lie, where the
map goes, and on how many processors it is made is no part of it, so that two runs of one map write
the same bytes; `map.json` names the inputs.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphere_ebm.files.atomic import atomic_write, sha256_of
from sphere_ebm.files.formats import RECIPE
from sphere_ebm.files.journal import Journal
from sphere_ebm.maps.config import PlacementConfig

COMMAND = "command"
"""Name of the command among its options."""

_HEADING = "# Options of sphere-ebm, to be given to --config"


def with_config(options: Mapping[str, Any], config: PlacementConfig) -> dict[str, Any]:
    """The options of a command that places points, those of the placement among them."""
    return {**options, **json.loads(config.to_json())}


def write_recipe(journal: Journal, recipe: Mapping[str, Any]) -> None:
    """Write `config.toml`, unless the journal has it under its hash.

    Args:
        journal: of the folder that is written.
        recipe: the options by their names, `command` among them; those that are None are left out,
            since TOML knows no such value and it is the default of every option that may have it.
    """
    if journal.holds(RECIPE):
        return
    lines = [_HEADING]
    lines += [f"{name} = {_toml(value)}" for name, value in recipe.items() if value is not None]
    path = journal.folder / RECIPE
    # a path that is no Unicode cannot be written in TOML
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
    atomic_write(path, lambda file: file.write(content))
    journal.record(RECIPE, sha256_of(path))


def is_recipe(path: Path) -> bool:
    """Whether a file begins like one that `write_recipe` has written."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_HEADING)) == _HEADING.encode()
    except OSError:
        return False


def _toml(value: bool | int | float | str | list[str]) -> str:
    if isinstance(value, str):
        # strings of JSON are those of TOML, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    # every number of a configuration is finite, and JSON writes it as TOML does
    return json.dumps(value)
