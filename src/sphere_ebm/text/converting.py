"""The prose of files that hold more than prose: HTML, PDF, Markdown with front matter."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sphere_ebm.errors import MissingPackageError, ShardError, require

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
PDF_SUFFIX = ".pdf"
MARKDOWN_SUFFIXES = (".md", ".markdown", ".mdx", ".qmd", ".rmd")

_FRONT_MATTER = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?P<mark>---|\+\+\+)[ \t]*\r?\n"
    # the first line that says something is a key of YAML or TOML, or else this is a rule
    rb"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*[\w\"'.-]+[ \t]*[:=](?:[ \t\r][^\n]*)?\n"
    rb"(?:(?!(?P=mark)|\.\.\.)[^\n]*\n)*(?:(?P=mark)|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)


def without_front_matter(octets: bytes) -> bytes:
    """A Markdown text without the block of YAML (`---`) or TOML (`+++`) that it may begin with."""
    found = _FRONT_MATTER.match(octets)
    return octets if found is None else octets[found.end() :]


def html_prose(path: Path, html: str) -> str:
    """What a browser would show of a page as text: paragraphs, lists and tables, no scripts.

    Raises:
        ShardError: resiliparse is not installed.
    """
    extract = _library(path, "resiliparse.extract.html2text", "text", "reading HTML")
    text: str = extract.extract_plain_text(
        html, list_bullets=False, alt_texts=False, links=False, form_fields=False
    )
    return text


def pdf_prose(path: Path, file: BinaryIO) -> Iterator[str]:
    """The text of each page of an open PDF that has any, in order.

    What is scanned has none: there is no recognition of letters here.

    Raises:
        ShardError: the file is no PDF, damaged, or encrypted; pypdf is not installed.
    """
    pypdf = _library(path, "pypdf", "pdf", "reading PDF")
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise ShardError(path, "is encrypted", cure="decrypt it, for example with qpdf")
        for page in reader.pages:
            text = page.extract_text()
            if text.strip():
                yield text
    except (ShardError, MemoryError):
        raise
    # pypdf raises many kinds of exceptions for damaged files, KeyError among them.
    except Exception as error:
        problem = f"cannot be read as PDF ({type(error).__name__}: {error})"
        raise ShardError(path, problem, cure="the file is damaged or no PDF: write it again") from (
            error
        )


def _library(path: Path, module: str, extra: str, purpose: str) -> Any:
    try:
        return require(module, extra, purpose)
    except MissingPackageError as error:
        raise ShardError(path, error.problem, cure=error.cure) from error
