"""The file of the page: what is in it, and that nothing gets out of where it is put."""

import base64
import dataclasses
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typing_extensions import override

from pages import made_points
from sphere_ebm.figures.page import PagePoints, page_bytes, write_page
from sphere_ebm.figures.page.page import MODULES, json_block, viewer_script
from sphere_ebm.geometry.cells import cell_centres


class Elements(HTMLParser):
    """Every element with its attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        if data.strip() and self.found[-1][0] in ("script", "style"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def text(points: PagePoints) -> str:
    return page_bytes(points, title="<i>A title</i>").decode()


def facts_of(text: str) -> dict[str, Any]:
    found = re.search(r'id="facts">(.*?)</script>', text)
    assert found is not None
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def column(text: str, name: str) -> np.ndarray:
    """The integers of a column, from the file alone."""
    found = re.search(f'data-column="{name}">([^<]*)<', text)
    assert found is not None
    facts = facts_of(text)["columns"][name]
    raw = np.frombuffer(zlib.decompress(base64.b64decode(found[1])), np.uint8)
    planes = raw.reshape(facts["bytes"], -1)
    return sum(plane.astype(np.int64) << (8 * k) for k, plane in enumerate(planes))


def test_columns_hold_the_points(text: str, points: PagePoints) -> None:
    direction = cell_centres(column(text, "key"), 16)
    assert np.linalg.norm(direction - points.direction, axis=1).max() < 6.5e-5
    facts = facts_of(text)["columns"]["radius"]
    step = (facts["high"] - facts["low"]) / 65535
    np.testing.assert_allclose(
        facts["low"] + step * column(text, "radius"), points.radius, atol=0.51 * step
    )
    np.testing.assert_array_equal(column(text, "shell"), points.shell)
    assert points.text_offset is not None
    np.testing.assert_array_equal(column(text, "length"), np.diff(points.text_offset))
    assert points.modes is not None
    modes = cell_centres(column(text, "modes"), 16)
    assert np.linalg.norm(modes - points.modes.reshape(-1, 3), axis=1).max() < 6.5e-5
    np.testing.assert_array_equal(column(text, "mode_weight").reshape(-1, 2), [[178, 76]] * 600)
    assert facts_of(text)["documents"] == [list(document) for document in points.documents]


def test_nothing_refers_outside_and_the_policy_names_script_and_style(text: str) -> None:
    page = Elements(text)
    for tag, attributes in page.found:
        assert not {"src", "href", "style"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
    policy = next(a["content"] for t, a in page.found if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for part in (page.texts[0], page.texts[-1]):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_names_close_no_element(text: str, points: PagePoints) -> None:
    tags = [tag for tag, _ in Elements(text).found]
    assert tags.count("script") == 2 + len(facts_of(text)["columns"])
    assert "b" in tags, "the tip's own"
    assert tags.count("i") == 0
    assert json.loads(json_block("</script><!--\u2028")) == "</script><!--\u2028"
    assert "<" not in json_block("</script><!--")


def test_the_same_map_makes_the_same_bytes_and_a_lone_surrogate_no_error(tmp_path: Path) -> None:
    made = made_points([[b"a", b"b"], [b"c"]], ["\ud800one", "two"])
    digest = write_page(tmp_path / "one.html", made, title="\ud800")
    raw = (tmp_path / "one.html").read_bytes()
    assert digest == hashlib.sha256(raw).hexdigest()
    assert raw == page_bytes(made, title="\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["one.html"]


def test_every_file_of_the_viewer_is_in_the_page_and_short() -> None:
    folder = files("sphere_ebm.figures.page") / "viewer"
    assert isinstance(folder, Path)
    assert {path.stem for path in folder.glob("*.js")} == {*MODULES, "start", "widget"}
    script = viewer_script()
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    for path in folder.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 300, path.name
        assert max(map(len, lines)) <= 100 or path.suffix == ".html", path.name


def test_the_live_page_of_the_docs_has_the_viewer_of_the_code() -> None:
    live = (Path(__file__).parents[3] / "docs" / "texts.html").read_text(encoding="utf-8")
    assert viewer_script() in live, "run `python docs/draw_page.py`"
    assert len(live) < 800_000


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_four_and_a_half_in_both_themes() -> None:
    style = (files("sphere_ebm.figures.page") / "viewer" / "page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r"\.sphere-page \{\s+--paper.*?\}", style, re.DOTALL)
    )
    for theme in (light, dark):
        for ink in ("ink", "quiet", "accent"):
            for ground in ("paper", "panel", "disc", "shade"):
                pair = sorted((luminance(theme[ink]), luminance(theme[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, ground)
        pair = sorted((luminance(theme["ink"]), luminance(theme["mark"])))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_a_page_is_told_which_columns_are_noise(points: PagePoints, text: str) -> None:
    assert "noise" not in facts_of(text)
    flat = page_bytes(dataclasses.replace(points, radius_tells=False)).decode()
    assert facts_of(flat)["noise"] == ["radius", "shell"]
