"""What is on a Markdown page: its blocks of code, its links, and how long its sentences are."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])

_BLOCK = re.compile(
    r"(?:^<!-- not run by the tests: (?P<reason>[^\n]+) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_UNREAD = (
    re.compile(r"^```.*?^```[ ]*$", re.MULTILINE | re.DOTALL),  # blocks of code
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"^(?: {4}|\t)(?![-*+] |\d+\. )\S.*$", re.MULTILINE),  # formulas
    re.compile(r"^\s*\|.*$", re.MULTILINE),  # tables
    re.compile(r"^\s*#.*$", re.MULTILINE),  # headings
    re.compile(r"^\s*!\[[^\]]*\]\([^)]*\)\s*$", re.MULTILINE),  # pictures
    re.compile(r"\*\*[^*]*[.?]\*\*"),  # headings within a paragraph
)
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d+\.)[ \t]+", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`]*`")
_END = re.compile(r"[.!?][\"'”)\]*_]*(?=\s+[\"'“(\[*_]*[A-Z0-9α-ω]|\Z)")
_ITEM_BEGINS = "\0"


class Block(NamedTuple):
    """A block of code; `reason` says why the tests do not run it, where they do not."""

    language: str
    code: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of code on a page, in order."""
    return [Block(one["language"], one["code"], one["reason"]) for one in _BLOCK.finditer(page)]


def commands(block: Block) -> list[list[str]]:
    """The words of every line of a console block that is typed, which begins with `$`."""
    lines = block.code.replace("\\\n", " ").splitlines()
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in typed]


def links(page: str) -> list[str]:
    """Where the links and pictures of a page lead to."""
    text = _CODE.sub("", _UNREAD[0].sub("", page))
    return [target for _, target in _LINK.findall(text)]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.*)$", _UNREAD[0].sub("", page), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", _LINK.sub(r"\1", heading)) for heading in headings]
    return {re.sub(r"\s", "-", heading.strip().lower()) for heading in plain}


def sentences(page: str) -> Iterator[str]:
    """What is written in running text, sentence by sentence.

    Links count as what they say, and code within a line as one word. Left out is what is not read
    as prose: blocks of code, tables, headings, pictures, and items of lists that are no sentences,
    which have no full stop.
    """
    text = page
    for pattern in _UNREAD:
        text = pattern.sub("\n" if pattern.pattern.startswith("^") else "", text)
    text = _LINK.sub(r"\1", _CODE.sub("Code", text))
    for paragraph in re.split(r"\n\s*\n", _ITEM.sub(f"\n\n{_ITEM_BEGINS}", text)):
        line = " ".join(paragraph.split())
        if line.startswith(_ITEM_BEGINS) and not re.search(r"[.!?][\"'”)\]*_]*\Z", line):
            continue
        start = 0
        for end in _END.finditer(line):
            found = line[start : end.end()].strip(f" {_ITEM_BEGINS}")
            start = end.end()
            if words(found):
                yield found
        if words(line[start:]):
            yield line[start:].strip(f" {_ITEM_BEGINS}")


def words(sentence: str) -> int:
    """How many words a sentence has; signs alone are none."""
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def mean_length(page: str) -> float:
    """Words a sentence in the mean, 0 for a page without prose."""
    lengths = [words(sentence) for sentence in sentences(page)]
    return sum(lengths) / len(lengths) if lengths else 0.0
