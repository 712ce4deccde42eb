"""The page as it opens: what it asks for, odd maps, without WebGL, and pictures of its views."""

from collections.abc import Callable
from typing import Any

import pytest

from browsers import Opened
from pages import made_points, matches
from sphere_ebm.figures.page import PagePoints

Open = Callable[..., Opened]


def test_a_page_asks_for_nothing_but_itself_and_may_not(page: Opened) -> None:
    assert [url for url in page.requests if not url.startswith("data:")] == page.requests[:1]
    assert page.requests[0].startswith("file:")
    assert page.errors == []
    heard: list[str] = []
    page.page.on("console", lambda message: heard.append(message.text))
    reached = page.ask("""Promise.all([
      fetch('https://example.org/').then(() => true, () => false),
      new Promise(done => {
        const image = new Image();
        image.onload = () => done(true);
        image.onerror = () => done(false);
        image.src = 'https://example.org/x.png';
      }),
    ])""")
    assert reached == [False, False]
    assert sum("Content Security Policy" in text for text in heard) >= 2
    page.errors.clear()


def one_point() -> PagePoints:
    return made_points([[b"alone"]], ["one"])


def bare(points: int) -> PagePoints:
    """Without texts, numbers, shells and neighbours."""
    made = made_points([[b""] * points], ["bare"])
    return PagePoints(direction=made.direction, radius=made.radius, documents=made.documents)


def test_odd_maps_open(opened_page: Open) -> None:
    """One point, bare ones, none, and patches without text, one after another in one tab."""
    empty = made_points([[b""] * 5, [b"x"] * 3], ["empty", "x"])
    odd = opened_page(one_point())
    for made in (one_point(), bare(7), bare(0), empty):
        opened_page(made, tab=odd)
        for view in ("flat", "ball", "globe"):
            odd.ask("view => sphere.show(view)", view)
            odd.drawn()
        if len(made):
            odd.ask("sphere.select(0)")
            odd.drawn()
        assert odd.errors == []
        assert odd.ask("sphere.stats.drawn") == (
            len(made) if len(made) > 1 else odd.ask("sphere.levels.n")
        )


def test_without_webgl_a_plain_canvas_shows_hovers_and_searches(
    opened_page: Open, points: PagePoints
) -> None:
    plain = opened_page(
        points,
        "find=clock",
        script="""const real = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
          return kind.startsWith('webgl') ? null : real.call(this, kind, ...rest);
        };""",
    )
    assert plain.ask("sphere.graphics.kind") == "2-D canvas"
    assert plain.ask("sphere.state.matchCount") == matches(points, "clock")
    filled = plain.ask("""() => {
      const canvas = document.querySelector('[data-part=points]');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, i) => i % 4 === 3 && value > 0).length;
    }""")
    assert filled > 2000
    assert plain.ask("sphere.pick(sphere.frame.x, sphere.frame.y, 300)") >= 0
    assert plain.errors == []


PICTURED: dict[str, tuple[str, dict[str, Any]]] = {
    "start": ("", {}),
    "search": ("find=let%20there%20be%20light", {}),
    "selection": ("point=310&view=flat", {}),
    "classes": ("colour=class0&point=40", {}),
    "dark": ("colour=radius", {"color_scheme": "dark"}),
    "phone": ("", {"width": 390, "height": 844}),
}


@pytest.mark.parametrize("name", PICTURED)
def test_views_are_pictured_and_fit_their_window(fresh: Opened, name: str) -> None:
    link, how = PICTURED[name]
    scheme = how.get("color_scheme", "light")
    fresh.page.emulate_media(color_scheme=scheme)
    fresh.page.set_viewport_size(
        {"width": how.get("width", 1100), "height": how.get("height", 720)}
    )
    fresh.ask("link => sphere.follow(link)", link)
    fresh.drawn()
    try:
        assert fresh.ask("sphere.dark") == (scheme == "dark")
        assert fresh.picture(name).stat().st_size > 20_000
        wide = fresh.ask("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], "nothing is wider than the window"
        assert wide[1] == how.get("width", 1100)
        assert fresh.ask(COVERED) > 1500
    finally:
        fresh.page.emulate_media(color_scheme="light")
        fresh.page.set_viewport_size({"width": 1100, "height": 720})
        fresh.drawn()


COVERED = """() => {
  const canvas = document.querySelector('[data-part=points]');
  const gl = canvas.getContext('webgl2');
  sphere.redraw();
  const pixels = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  let covered = 0;
  for (let at = 3; at < pixels.length; at += 4) covered += pixels[at] > 0 ? 1 : 0;
  return covered;
}"""
