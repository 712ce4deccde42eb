"""The page in a real browser: what it shows, finds and lets a user do."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from browsers import Opened
from pages import HOSTILE, made_points, patched
from sphere_ebm.figures.page import PagePoints
from sphere_ebm.geometry.cells import cell_centres, cell_keys

Open = Callable[..., Opened]


@pytest.fixture
def fresh(page: Opened) -> Iterator[Opened]:
    """The shared page as it begins, which no test may leave with an error."""
    page.ask("sphere.follow('')")
    page.drawn()
    yield page
    assert page.errors == []


@pytest.fixture(scope="module")
def placed(points: PagePoints) -> np.ndarray:
    """Directions as the page has them: of four bytes, in float32."""
    return cell_centres(cell_keys(points.direction), 16).astype(np.float32)


def patch(points: PagePoints, i: int) -> bytes:
    assert points.text is not None
    assert points.text_offset is not None
    begin, end = points.text_offset[i : i + 2]
    return points.text[begin:end].tobytes()


def folded(raw: bytes) -> str:
    """Text in small letters where they take as many bytes, with white space as spaces."""
    text = raw.decode("utf-8", "surrogateescape")
    small = [c.lower().replace("ς", "σ") for c in text]
    kept = [s if octets(s) == octets(c) else c for s, c in zip(small, text, strict=True)]
    return re.sub("[\t-\r]", " ", "".join(kept))


def octets(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def matches(points: PagePoints, query: str) -> int:
    """How often a query is said, in every document by itself."""
    pattern = re.compile(" +".join(map(re.escape, folded(query.encode()).split())))
    begin = 0
    count = 0
    for _, patches in points.documents:
        said = b"".join(patch(points, i) for i in range(begin, begin + patches))
        count += len(pattern.findall(folded(said)))
        begin += patches
    return count


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


def test_hostile_names_and_texts_run_no_script(fresh: Opened, points: PagePoints) -> None:
    for i, said in enumerate(HOSTILE):
        fresh.ask("i => sphere.select(i)", i)
        shown = fresh.page.text_content('[data-part="passage"] mark')
        assert shown == said.decode("utf-8", "replace")
    titles = fresh.page.locator(".document .title").all_text_contents()
    assert titles == [name for name, _ in points.documents]
    assert fresh.page.title() == "A </title><b>map"
    assert fresh.ask("window.hit") is None


def one_point() -> PagePoints:
    return made_points([[b"alone"]], ["one"])


def bare(points: int) -> PagePoints:
    """Without texts, numbers, shells and neighbours."""
    made = made_points([[b""] * points], ["bare"])
    return PagePoints(direction=made.direction, radius=made.radius, documents=made.documents)


@pytest.mark.parametrize(
    "made",
    [one_point(), bare(7), bare(0), made_points([[b""] * 5, [b"x"] * 3], ["empty", "x"])],
    ids=["one point", "bare", "no point", "empty patches"],
)
def test_odd_maps_open(opened_page: Open, made: PagePoints) -> None:
    odd = opened_page(made)
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


def front(placed: np.ndarray, opened: Opened) -> np.ndarray:
    """Places on the screen (n, 2) of all points; NaN for those behind the globe."""
    turn = np.reshape(opened.ask("sphere.state.turn"), (3, 3))
    frame = opened.ask("sphere.frame")
    eye = placed.astype(np.float64) @ turn.T
    at = np.stack(
        [frame["x"] + frame["scale"] * eye[:, 0], frame["y"] - frame["scale"] * eye[:, 1]], axis=1
    )
    return np.where(eye[:, 2:] > 0.02, at, np.nan)


def test_the_point_under_the_pointer_tells_its_text(
    fresh: Opened, points: PagePoints, placed: np.ndarray
) -> None:
    fresh.ask("document.querySelector('.document input').click()")
    fresh.drawn()
    shown = np.arange(len(points)) >= points.documents[0][1]
    places = front(placed, fresh)
    places[~shown] = np.nan
    corner = fresh.ask(
        "(({x, y}) => [x, y])(document.querySelector('[data-part=stage]').getBoundingClientRect())"
    )
    tried = 0
    for i in np.random.default_rng(3).permutation(np.flatnonzero(np.isfinite(places[:, 0]))):
        pixel = np.round(places[i])
        distance = np.linalg.norm(places - pixel, axis=1)
        if np.nanargmin(distance) != i or np.sum(distance < distance[i] + 0.2) > 1:
            continue
        fresh.page.mouse.move(*(pixel + corner).tolist())
        fresh.wait(f"sphere.state.hovered === {i}")
        said = patch(points, int(i)).decode("utf-8", "replace")
        fresh.wait("!document.querySelector('[data-part=tip]').hidden")
        assert fresh.text("tip-text") == said
        tried += 1
        if tried == 50:
            break
    assert tried == 50
    # Whatever lies behind the globe or is filtered out is never picked, wherever the pointer is.
    picked = fresh.ask("""() => {
      const found = [];
      for (let x = 0; x < sphere.frame.width; x += 9) {
        for (let y = 0; y < sphere.frame.height; y += 9) found.push(sphere.pick(x, y));
      }
      return [...new Set(found)].filter(i => i >= 0);
    }""")
    assert len(picked) > 100
    assert (
        np.isfinite(front(placed, fresh)[picked]).all()
        or (
            (placed[picked] @ np.reshape(fresh.ask("sphere.state.turn"), (3, 3)).T)[:, 2] >= 0
        ).all()
    )
    assert shown[picked].all()


def test_neighbours_on_the_map_are_those_of_numpy(fresh: Opened, placed: np.ndarray) -> None:
    for i in (0, 17, 333, len(placed) - 1):
        found = fresh.ask("i => sphere.nearest(i, 10)", i)
        difference = placed.astype(np.float64) - placed[i].astype(np.float64)
        square = (difference**2).sum(axis=1)
        square[i] = np.inf
        np.testing.assert_array_equal(found, np.argsort(square, kind="stable")[:10])


def test_both_lists_of_neighbours_are_shown_and_shared_ones_are_marked(
    fresh: Opened, points: PagePoints
) -> None:
    assert points.neighbours is not None
    fresh.ask("sphere.select(40)")
    near = fresh.ask("[sphere.near.map.map(n => n.point), sphere.near.embedding]")
    assert near[1] == [j for j in points.neighbours[40].tolist() if j >= 0]
    rows = [fresh.page.locator(f'[data-part="near-{name}"] li') for name in ("map", "embedding")]
    assert [row.count() for row in rows] == [10, len(near[1])]
    both = set(near[0]) & set(near[1])
    assert fresh.page.locator('[data-part="near-map"] .both').count() == len(both)
    assert fresh.text("shared") == f"{len(both)} of 10 are in both lists (⇄)"


def test_a_filter_goes_for_the_neighbours_of_a_chosen_point_too(
    fresh: Opened, points: PagePoints
) -> None:
    fresh.ask("sphere.select(40)")
    fresh.ask("document.querySelectorAll('.document input')[1].click()")
    first = points.documents[0][1]
    hidden = range(first, first + points.documents[1][1])
    fresh.wait("document.querySelectorAll('[data-part=near-embedding] .away').length > 0")
    near = fresh.ask("[sphere.near.map.map(n => n.point), sphere.near.embedding]")
    assert len(near[0]) == 10
    assert not set(near[0]) & set(hidden)
    away = fresh.page.locator("[data-part=near-embedding] .away").count()
    assert away == len(set(near[1]) & set(hidden))


QUERIES = ["let there be light", "été", "ÉTÉ", "the", "STRUCK  seven;", "i̇", "σας", "İstanbul"]
QUERIES += ["nowhere", "light ov", "(", "<img", "\u202eright", "æther"]


@pytest.mark.parametrize("query", QUERIES)
def test_search_finds_what_python_finds(fresh: Opened, points: PagePoints, query: str) -> None:
    fresh.ask("query => { sphere.state.query = query; return sphere.searchBox.run(); }", query)
    expected = matches(points, query)
    assert fresh.ask("sphere.state.matchCount") == expected
    if query in ("été", "let there be light"):
        assert expected > 40
    assert (expected == 0) == (query in ("nowhere", "i̇", "("))


def test_matches_are_the_patches_that_hold_them_and_stay_in_their_document(
    opened_page: Open,
) -> None:
    made = made_points([[b"a gre", b"", b"at fla", b"me, a ", b"great"], [b" flame"]], ["x", "y"])
    opened = opened_page(made, "find=great%20flame")
    assert opened.ask("[sphere.state.matchCount, sphere.state.matches]") == [1, [0, 2, 3]]
    assert opened.text("count") == "1 match in 1 document"


def test_document_names_are_found_and_filtered_by(fresh: Opened, points: PagePoints) -> None:
    fresh.ask("(sphere.state.query = 'CLOCK', sphere.searchBox.run())")
    fresh.page.click('[data-part="named"] button')
    fresh.drawn()
    assert fresh.ask("sphere.levels.n") == points.documents[1][1]
    assert fresh.text("status").startswith("250 of 600 points shown")


def test_a_link_brings_a_view_back(fresh: Opened, opened_page: Open, points: PagePoints) -> None:
    link = (
        "view=flat&turn=0.00000,1.00000,0.00000,0.00000,0.00000,1.00000&zoom=2.5000&colour=radius"
        "&hide=2&shells=1-6&find=clock&point=310"
    )
    fresh.ask("link => sphere.follow(link)", link)
    fresh.drawn()
    fresh.ask("new Promise(done => setTimeout(done, 300))")
    kept = fresh.ask("location.hash.slice(1)")
    state = "({...sphere.state, hidden: [...sphere.state.hidden]})"
    again = opened_page(points, kept)
    for name in ("view", "turn", "zoom", "colour", "hidden", "shells", "query", "selected"):
        assert again.ask(f"{state}.{name}") == fresh.ask(f"{state}.{name}"), name
    assert again.ask("[sphere.levels.n, sphere.state.matchCount]") == fresh.ask(
        "[sphere.levels.n, sphere.state.matchCount]"
    )
    broken = opened_page(
        points, "view=cube&turn=1,x&zoom=-3&colour=number9&hide=99&shells=a&point=1e9"
    )
    assert broken.ask("[sphere.state.view, sphere.state.zoom, sphere.levels.n]") == [
        "globe",
        1,
        600,
    ]
    assert broken.errors == []


def test_points_are_turned_chosen_and_found_by_keyboard(fresh: Opened) -> None:
    press = fresh.page.keyboard.press
    fresh.page.locator('[data-part="stage"]').focus()
    before = fresh.ask("sphere.state.turn")
    press("ArrowLeft")
    press("ArrowUp")
    press("+")
    press("2")
    assert fresh.ask("sphere.state.turn") != before
    assert fresh.ask("[sphere.state.zoom, sphere.state.view]") == [pytest.approx(1.3), "flat"]
    press("0")
    press("1")
    press("Enter")
    fresh.wait("!document.querySelector('[data-part=chosen]').hidden")
    chosen = fresh.ask("sphere.state.selected")
    press("ArrowRight")
    fresh.wait(f"sphere.state.selected === {chosen + 1}")
    fresh.wait("document.querySelector('[data-part=live]').textContent.startsWith('Selected in')")
    press("Escape")
    assert fresh.ask("sphere.state.selected") == -1
    press("/")
    fresh.page.keyboard.type("let there")
    fresh.wait("sphere.state.matchCount > 0")
    press("Enter")
    fresh.wait("sphere.state.selected >= 0")
    first = fresh.ask("sphere.state.selected")
    press("Enter")
    fresh.wait(f"sphere.state.selected !== {first}")
    press("Escape")
    fresh.wait("sphere.state.query === ''")


def test_colours_shells_and_documents_can_be_chosen_by_keyboard(
    fresh: Opened, points: PagePoints
) -> None:
    press = fresh.page.keyboard.press
    fresh.page.locator('[data-part="stage"]').focus()
    tab_to(fresh, "colour")
    press("ArrowDown")
    fresh.wait("sphere.state.colour !== 'document'")
    tab_to(fresh, "shell-low")
    press("ArrowRight")
    fresh.wait("sphere.state.shells !== null && sphere.state.shells[0] === 1")
    tab_to(fresh, "none")
    press("Space")
    press("Tab")
    press("Space")
    fresh.wait("sphere.state.hidden.size === 2")
    fresh.drawn()
    most = points.documents[0][1]
    assert 0 < fresh.ask("sphere.levels.n") < most
    press("?")
    fresh.wait("document.querySelector('dialog').open")
    press("Escape")
    fresh.wait("!document.querySelector('dialog').open")


def tab_to(opened: Opened, part: str) -> None:
    """Presses Tab until a part has the focus."""
    for _ in range(40):
        if opened.ask("document.activeElement.dataset.part") == part:
            return
        opened.page.keyboard.press("Tab")
    raise AssertionError(f"{part} is never reached by Tab")


def test_pointers_turn_zoom_choose_and_pan_to_what_they_hold(fresh: Opened) -> None:
    box = fresh.page.locator('[data-part="stage"]').bounding_box()
    assert box is not None
    x = box["x"] + box["width"] / 2 + 60
    y = box["y"] + box["height"] / 2 - 40
    held = "sphere.directionAt(sphere.frame.x + {}, sphere.frame.y + {})"
    before = fresh.ask(held.format(60, -40))
    fresh.page.mouse.move(x, y)
    fresh.page.mouse.down()
    for step in range(1, 6):
        fresh.page.mouse.move(x - 20 * step, y + 10 * step)
    fresh.page.mouse.up()
    assert fresh.ask(held.format(-40, 10)) == pytest.approx(before, abs=0.02)
    assert fresh.ask("sphere.state.selected") == -1, "a drag chooses nothing"
    fresh.page.mouse.move(x, y)
    before = fresh.ask(held.format(60, -40))
    fresh.page.mouse.wheel(0, -600)
    fresh.wait("sphere.state.zoom > 2")
    assert fresh.ask(held.format(60, -40)) == pytest.approx(before, abs=0.02)
    fresh.page.mouse.click(x, y)
    fresh.wait(
        "sphere.state.selected === sphere.pick(sphere.frame.x + 60, sphere.frame.y - 40)"
        " || sphere.state.selected >= 0"
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


PICTURED: dict[str, dict[str, Any]] = {
    "start": {},
    "search": {"link": "find=let%20there%20be%20light"},
    "selection": {"link": "point=310&view=flat"},
    "dark": {"link": "colour=radius", "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}},
}


@pytest.mark.parametrize("name", PICTURED)
def test_views_are_pictured_and_fit_their_window(
    opened_page: Open, points: PagePoints, name: str
) -> None:
    opened = opened_page(points, **PICTURED[name])
    opened.drawn()
    assert opened.picture(name).stat().st_size > 20_000
    wide = opened.ask("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], "nothing is wider than the window"
    covered = opened.ask("""() => {
      const canvas = document.querySelector('[data-part=points]');
      const gl = canvas.getContext('webgl2');
      sphere.redraw();
      const pixels = new Uint8Array(4 * canvas.width * canvas.height);
      gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      return pixels.filter((value, i) => i % 4 === 3 && value > 0).length;
    }""")
    assert covered > 1500
    assert opened.errors == []


def test_nothing_moves_under_reduced_motion(fresh: Opened, placed: np.ndarray) -> None:
    behind = int(np.argmin(placed[:, 0]))
    fresh.ask("i => { sphere.select(i, true); }", behind)
    middle = fresh.ask("sphere.directionAt(sphere.frame.x, sphere.frame.y)")
    np.testing.assert_allclose(middle, placed[behind], atol=1e-3)


def test_patches_of_a_document_are_walked_to_its_ends(fresh: Opened, points: PagePoints) -> None:
    first = points.documents[0][1]
    fresh.ask("i => sphere.select(i)", first)
    fresh.page.click('[data-part="next"]')
    fresh.wait(f"sphere.state.selected === {first + 1}")
    fresh.page.click('[data-part="previous"]')
    fresh.page.click('[data-part="previous"]')
    assert fresh.ask("sphere.state.selected") == first
    assert fresh.text("live") == "Beginning of the document"


def test_characters_that_patches_cut_are_decoded_as_python_does(points: PagePoints) -> None:
    cut = [patch(points, i) for i in range(len(points))]
    assert any("\ufffd" in one.decode("utf-8", "replace") for one in cut[8:])
    assert patched(b"abc", 4, 0) == patched(b"abc", 4, 0)
