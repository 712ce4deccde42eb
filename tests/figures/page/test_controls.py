"""Keys, pointers and links: whatever they do to the view."""

from collections.abc import Callable

import pytest

from browsers import Opened
from sphere_ebm.figures.page import PagePoints

Open = Callable[..., Opened]


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
