"""For the reference of the site: fields of configurations that docstrings describe in groups.

`PlacementConfig` lists its fields under `Graph:`, `Energy:` and so on, which the command reads too.
griffe knows sections of certain names only, so that these become sections of attributes here, each
with its title.
"""

import re
from typing import Any

import griffe

_GROUP = re.compile(r"^(?P<title>[A-Z][a-z]+(?: [a-z]+)*):$")
_FIELDS = re.compile(r"^    (?P<names>[a-z_]+(?:, [a-z_]+)*): (?P<text>.*)$")
_KNOWN = {
    "Args",
    "Attributes",
    "Cost",
    "Example",
    "Examples",
    "Note",
    "Raises",
    "Returns",
    "Yields",
}


def grouped(docstring: str) -> str:
    """The docstring with every group as a section of attributes, each field by itself."""
    written: list[str] = []
    held: list[str] = []  # names that share the text which is being read
    texts: list[str] = []
    in_group = False

    def close() -> None:
        for name in held:
            written.extend([f"    {name}: {texts[0]}", *texts[1:]])
        held.clear()
        texts.clear()

    for line in docstring.splitlines():
        group = _GROUP.match(line)
        fields = _FIELDS.match(line) if in_group else None
        if fields or not line.startswith("        "):
            close()
        if fields:
            held.extend(fields["names"].split(", "))
            texts.append(fields["text"])
        elif held:
            texts.append(line)
        elif group:
            in_group = group["title"] not in _KNOWN
            written.append(f"Attributes: {group['title']}" if in_group else line)
        else:
            written.append(line)
    close()
    return "\n".join(written)


class Groups(griffe.Extension):
    """Turns the groups of every class that is a configuration into sections of attributes."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Rewrite the docstring of a configuration."""
        if cls.docstring is not None and cls.name.endswith("Config"):
            cls.docstring.value = grouped(cls.docstring.value)
