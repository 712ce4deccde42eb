"""Points in the browser: under the pointer, chosen, their neighbours and their texts."""

import numpy as np

from browsers import Opened
from pages import HOSTILE, patch, patched
from sphere_ebm.figures.page import PagePoints


def test_hostile_names_and_texts_run_no_script(fresh: Opened, points: PagePoints) -> None:
    for i, said in enumerate(HOSTILE):
        fresh.ask("i => sphere.select(i)", i)
        shown = fresh.page.text_content('[data-part="passage"] mark')
        assert shown == said.decode("utf-8", "replace")
    titles = fresh.page.locator(".document .title").all_text_contents()
    assert titles == [name for name, _ in points.documents]
    assert fresh.page.title() == "A </title><b>map"
    assert fresh.ask("window.hit") is None


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
