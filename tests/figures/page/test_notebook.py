"""The page in a notebook: the frame, and the widget with a stand-in for the notebook's channel."""

import base64
import json
from typing import Any

import numpy as np
import pytest

from builders import directions_at_random, still_placement
from sphere_ebm import SphereMap
from sphere_ebm.figures.page import PageView
from sphere_ebm.figures.page.notebook import MOST_SHOWN, _in_documents
from sphere_ebm.maps.placement import Placement

TEXTS = [f"text number {i}, {'red' if i % 3 else 'blue'}" for i in range(60)]
DOCUMENTS = ["even" if i % 2 == 0 else "odd" for i in range(60)]


@pytest.fixture(scope="module")
def placement() -> Placement:
    embeddings = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    return still_placement(directions_at_random(60, 4), embeddings=embeddings)


@pytest.fixture
def blank(chromium: Any) -> Any:
    """An empty page, and what goes wrong there."""
    context = chromium.new_context(offline=True, reduced_motion="reduce")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def test_the_frame_shows_the_map_and_keeps_to_itself(blank: Any, placement: Placement) -> None:
    view = placement.show(texts=TEXTS, documents=DOCUMENTS, height=500)
    assert isinstance(view, PageView)
    blank.set_content(f"<textarea></textarea>{view._repr_html_()}")
    frame = blank.frames[1]
    frame.wait_for_selector("[data-ready=true]")
    assert frame.evaluate("sphere.levels.n") == 60
    assert frame.evaluate("sphere.facts.documents") == [["even", 30], ["odd", 30]]
    blank.focus("textarea")
    blank.keyboard.type("a/b?")
    assert blank.input_value("textarea") == "a/b?"
    assert blank.evaluate("try { frames[0].sphere } catch (error) { error.name }") == (
        "SecurityError"
    )


CHANNEL = """async ([source, state]) => {
  const model = {
    state, listeners: {}, saved: 0,
    get(name) { return this.state[name]; },
    set(name, value) { this.state[name] = value; },
    save_changes() { this.saved++; },
    on(event, listener) { (this.listeners[event] ??= []).push(listener); },
    off(event, listener) {
      this.listeners[event] = this.listeners[event].filter(other => other !== listener);
    },
    // What Python sends.
    receive(name, value) {
      this.state[name] = value;
      for (const listener of this.listeners[`change:${name}`] ?? []) listener();
    },
  };
  const view = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
  state.order = view(state.order);
  for (const name of Object.keys(state.columns)) state.columns[name] = view(state.columns[name]);
  const module = await import(`data:text/javascript;base64,${source}`);
  window.model = model;
  window.leave = await module.default.render({ model, el: document.getElementById('cell') });
  window.sphere = document.querySelector('.sphere-page').sphere;
}"""


def coded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_the_widget_and_python_tell_each_other(blank: Any, placement: Placement) -> None:
    pytest.importorskip("anywidget")
    widget = placement.show(texts=TEXTS, documents=DOCUMENTS, widget=True)
    state = {name: getattr(widget, name) for name in ("markup", "facts", "height", "selected")}
    state |= {"query": widget.query, "matches": widget.matches, "order": coded(widget.order)}
    state["columns"] = {name: coded(raw) for name, raw in widget.columns.items()}
    blank.set_content("<input id='other'><div id='cell'></div>")
    blank.add_style_tag(content=str(widget._css))
    blank.evaluate(CHANNEL, [coded(str(widget._esm).encode()), state])
    blue = [i for i in [*range(0, 60, 2), *range(1, 60, 2)] if i % 3 == 0]

    def until(expression: str) -> None:
        blank.wait_for_function(expression, polling=20)

    blank.evaluate("sphere.select(1)")
    until("model.get('selected') === 2")
    blank.evaluate("model.receive('selected', 3)")
    until("sphere.state.selected === 31")
    mark = "document.querySelector('[data-part=passage] mark').textContent"
    until(f"{mark}.startsWith('text number 3,')")
    blank.fill('[data-part="search"]', "BLUE")
    until("model.get('matches').length === 20")
    assert blank.evaluate("[model.get('matches'), model.get('query')]") == [blue, "BLUE"]
    blank.evaluate("model.receive('query', 'number 5,')")
    until("model.get('matches').length === 1")
    assert blank.evaluate("model.get('matches')") == [5]
    blank.evaluate("model.receive('matches', [7, 8])")
    until("sphere.state.matches.length === 2")
    assert blank.evaluate("sphere.state.matches") == [33, 4]
    blank.focus("#other")
    blank.keyboard.type("/+1")
    assert blank.input_value("#other") == "/+1"
    assert blank.evaluate("sphere.state.zoom") == 1
    blank.fill('[data-part="search"]', "number 41,")
    blank.press('[data-part="search"]', "Enter")
    until("model.get('selected') === 41")
    blank.focus("[data-part=stage]")
    assert blank.evaluate("document.activeElement.dataset.lmSuppressShortcuts") == "true"
    blank.evaluate("leave()")
    blank.evaluate("model.receive('selected', 9)")
    assert blank.evaluate("sphere.state.selected") == 50
    widget.close()


def test_a_fitted_map_is_shown_as_its_placement_is(placement: Placement) -> None:
    sphere = SphereMap()
    with pytest.raises(AttributeError, match="call `fit` first"):
        sphere.show()
    sphere._take(placement)
    assert sphere.show(title="x").page == placement.show(title="x").page
    held = placement.show(title="x").page.decode()
    facts = json.loads(held.partition('id="facts">')[2].partition("</script>")[0])
    assert facts["points"] == 60
    assert "text" not in facts["columns"]
    assert "neighbours" in facts["columns"]
    assert "renderWidget" not in held


def test_what_does_not_fit_is_refused(placement: Placement) -> None:
    with pytest.raises(ValueError, match="`texts` must have one entry for each of the 60 points"):
        placement.show(texts=["one"])
    with pytest.raises(ValueError, match="`documents` must have"):
        placement.show(documents=["one"])
    many = still_placement(np.tile(np.array([[1.0, 0, 0]]), (MOST_SHOWN + 1, 1)))
    with pytest.raises(ValueError, match=r"up to 100000 points; got 100001\. Write a page instead"):
        many.show()


def test_texts_that_stand_for_themselves_do_not_run_into_one_another(placement: Placement) -> None:
    assert running_text(placement, TEXTS).count("\n") == 60
    patches = ["a ", *TEXTS[1:]]
    assert running_text(placement, patches) == "".join(patches)


def running_text(placement: Placement, texts: list[str]) -> str:
    """What the page reads on, from point to point."""
    text = _in_documents(placement, texts, None)[1].text
    assert text is not None
    return text.tobytes().decode()
