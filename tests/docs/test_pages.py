"""Pages lead where they say, the site holds all of them, and their sentences are short."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from markdown_pages import PAGES, ROOT, anchors, blocks, commands, links, mean_length, sentences

LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "data")),
]
LONGEST = 19.5
"""Words a sentence: README.md before this was measured. Nothing is written in longer ones."""
LONGEST_TABLES = 25.0
"""The same for benchmarks/README.md, which says what the columns of its tables are."""


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", LINKED, ids=_id)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert broken(links(text), page) == []


def broken(found: list[str], page: Path) -> list[str]:
    """Links from a page to files or headings that are not there."""
    return [link for link in found if "://" not in link and not _leads_somewhere(link, page)]


def _leads_somewhere(link: str, page: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def test_a_broken_link_would_be_found() -> None:
    page = ROOT / "docs" / "start.md"
    text = "[a](page.md) [b](none.md) [c](page.md#in-a-notebook) [d](page.md#none) `[e](no.md)`"
    assert broken(links(text), page) == ["none.md", "page.md#none"]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "data" / "README.md"], ids=_id)
def test_sentences_are_short(page: Path) -> None:
    assert mean_length(page.read_text(encoding="utf-8")) <= LONGEST


def test_sentences_about_tables_are_no_longer_than_25_words() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert mean_length(text) <= LONGEST_TABLES


def test_sentences_are_found() -> None:
    text = """# No heading counts
Two words. See [the `page`](page.md) at .5 or N = 2: it *has*
seven words or so. `Code` begins.

- an item without a full stop
- An item that is one. And another!

| a | table |
|---|---|

**A head.** The rest (or what is left)?
```console
$ nothing. Of this.
```
![A picture. Not read](images/page.png)
"""
    assert [len(one.split()) for one in sentences(text)] == [2, 15, 2, 5, 2, 6]
    assert mean_length("") == 0.0
    assert mean_length("One two three. Four.") == 2.0


def test_blocks_and_their_commands_are_found() -> None:
    first, second = blocks(
        "```python\nx = 1\n```\n\n<!-- not run by the tests: a reason -->\n```console\n"
        "$ a 'b c' \\\n    d    # e\nprinted\n$ f\n```\n"
    )
    assert first == ("python", "x = 1\n", None)
    assert second.reason == "a reason"
    assert commands(second) == [["a", "b c", "d"], ["f"]]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """The script that builds the site."""
    return _script("build_site")


def _leaves(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inside = nav.values() if isinstance(nav, dict) else nav
    assert not isinstance(inside, str)
    return [leaf for part in inside for leaf in _leaves(part)]  # type: ignore[union-attr]


def test_every_page_is_in_the_navigation_once(site: ModuleType) -> None:
    nav = _leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = {_id(page) for page in LINKED}
    generated = {f"docs/reference/{name}.md" for name in site.reference()}
    assert sorted(nav) == sorted(pages | generated)


def test_pages_are_copied_with_what_they_show(
    site: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "PAGES", tmp_path / "pages")
    site.copy_pages()
    site.write_reference()
    for page in LINKED:
        copy = tmp_path / "pages" / _id(page)
        for link in links(copy.read_text(encoding="utf-8")):
            path = link.partition("#")[0]
            assert "://" in link or (copy.parent / path).exists(), (page, link)


def test_the_reference_names_what_rooms_export(site: ModuleType) -> None:
    import sphere_ebm

    pages = site.reference()
    first = pages["sphere_ebm"]
    assert all(name in first for name in sphere_ebm.__all__ if name != "__version__")
    assert "check_factor" in pages["sampling"]
    assert "::: sphere_ebm.figures.page\n" in pages["figures"]
    assert "::: sphere_ebm.librarian.librarian.Librarian\n" in pages["librarian"]
    assert "cli" not in pages
    assert site.exported(ROOT / "src" / "sphere_ebm" / "cli") == []
    assert "Agreement" in site.exported(ROOT / "src" / "sphere_ebm" / "quality")


def test_a_warning_of_a_docstring_fails_the_build(
    site: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Done:
        returncode = 0
        stdout = "Build started\ngriffe: a.py:1: no such parameter\nNo issues found\n"

    monkeypatch.setattr(site.subprocess, "run", lambda *_, **__: Done)
    assert site.build() == 1
    assert "1 warnings" in capsys.readouterr().out
    Done.stdout = "Build started\nNo issues found\n"
    assert site.build() == 0
    Done.returncode = 3
    assert site.build() == 3


def test_groups_of_fields_become_sections_of_attributes() -> None:
    pytest.importorskip("griffe", reason="pip install '.[docs]'")
    grouped = _script("reference_groups").grouped
    found = grouped("""A configuration.

Energy:
    inner, outer: Radii of both,
        in shells.
    kernel: Which one.

Raises:
    ValueError: it is wrong.""")
    assert (
        found
        == """A configuration.

Attributes: Energy
    inner: Radii of both,
        in shells.
    outer: Radii of both,
        in shells.
    kernel: Which one.

Raises:
    ValueError: it is wrong."""
    )
    assert grouped(found) == found
