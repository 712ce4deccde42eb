"""What prose and comments name exists: files, names, rooms."""

import functools
import importlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PROSE = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "data")),
    *PAGES,
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]
CODE = [file for folder in ("src", "benchmarks", "data") for file in (ROOT / folder).rglob("*.py")]
ELSEWHERE = ("bytelatent/", "data/Rdata.rdb")
"""Files of other projects that ours are compared with or made from."""
NOT_YET = ("benchmarks/results",)
"""Made when something runs."""


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_names_that_are_mentioned_exist(page: Path) -> None:
    text = _prose(page)
    assert missing_files(text) == []
    assert missing_names(text) == []


def test_files_and_names_that_comments_and_docstrings_mention_exist() -> None:
    missing = {}
    for file in CODE:
        text = file.read_text(encoding="utf-8")
        gone = missing_files(text) + missing_names(text)
        if gone:
            missing[file.relative_to(ROOT).as_posix()] = gone
    assert missing == {}


def test_files_and_names_that_do_not_exist_are_found() -> None:
    text = """tests/harmonics/test_zonal.py, `sampling/nodes.py`, fit.py, docs/none.md, data/texts,
    `sphere_ebm.ingest.surroundings`, `sphere_ebm.sampling.sample_chains`, `benchmarks.speed`,
    `sphere_ebm.place`, sampling/run.py, `python -m benchmarks.laws`, data/luke.safetensors,
    `sphere_ebm.maps.estimator.SphereMap.fit`, `sphere_ebm.maps.SphereMap.walk`."""
    assert missing_files(text) == [
        "docs/none.md",
        "fit.py",
        "sampling/nodes.py",
        "tests/harmonics/test_zonal.py",
    ]
    assert missing_names(text) == [
        "benchmarks.speed",
        "sphere_ebm.ingest.surroundings",
        "sphere_ebm.maps.SphereMap.walk",
        "sphere_ebm.sampling.sample_chains",
    ]


def _prose(page: Path) -> str:
    """What is written on a page; of a notebook its sources, not its outputs."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def missing_files(text: str) -> list[str]:
    """Paths below the repository's folders, and Python files named by part of their path."""
    folders = r"(?:src|tests|benchmarks|docs|data|notebooks)/[\w./-]*[\w/]"
    scripts = r"[\w/-]+\.py\b"
    found = set(re.findall(rf"(?<![\w/.*<-])(?:{folders}|{scripts})", text))
    ours = [path for path in found if not path.startswith((*ELSEWHERE, *NOT_YET))]
    return sorted(path for path in ours if not _is_somewhere(path))


def _is_somewhere(path: str) -> bool:
    return (ROOT / path).exists() or any(f"/{file}".endswith(f"/{path}") for file in _our_files())


@functools.cache
def _our_files() -> tuple[str, ...]:
    folders = ("src", "tests", "benchmarks", "docs", "data", "notebooks")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    return tuple(file.relative_to(ROOT).as_posix() for file in files)


def missing_names(text: str) -> list[str]:
    """Dotted names of this package and of the benchmarks that cannot be imported."""
    found = set(re.findall(r"(?<![\w/.-])(?:sphere_ebm|benchmarks)(?:\.[a-zA-Z_]\w*)+", text))
    return sorted(name for name in found if not _is_a_name(name))


@functools.cache
def _is_a_name(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to what a module or a class of it holds."""
    package, _, rest = dotted.partition(".")
    if package == "benchmarks":
        return (ROOT / "benchmarks" / f"{rest.split('.')[0]}.py").is_file()
    found: object = importlib.import_module(package)
    path = package
    for part in rest.split("."):
        path = f"{path}.{part}"
        of_package = "__path__" in vars(found)
        if of_package and importlib.util.find_spec(path) is not None:
            found = importlib.import_module(path)
        elif part in dir(found):
            found = vars(found).get(part)
        else:
            return False
    return True


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """The script that draws the rooms."""
    spec = importlib.util.spec_from_file_location("drawing", DOCS / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_and_the_picture_of_rooms_are_those_of_the_code(drawing: ModuleType) -> None:
    now = drawing.block(drawing.read_rooms())
    cure = "run `python docs/draw_architecture.py`"
    assert drawing.written(drawing.PAGE.read_text(encoding="utf-8")) == now, cure
    with Image.open(drawing.PICTURE) as picture:
        assert picture.info["Description"] == now, cure
    assert drawing.PICTURE.stat().st_size < 150_000


def test_every_room_is_explained(drawing: ModuleType) -> None:
    explained = re.findall(
        r"^\| `(\w+)` \|", drawing.PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(explained) == sorted(drawing.read_rooms())


def test_rooms_are_read_from_every_kind_of_import(drawing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "__init__.py").write_text("from sphere_ebm.low.part import Thing as Thing\n")
    (tmp_path / "low" / "part.py").write_text("import json\n\nclass Thing: ...\n")
    (tmp_path / "by_name.py").write_text("from sphere_ebm import Thing\n")
    (tmp_path / "late.py").write_text("def f():\n    import sphere_ebm.by_name\n")
    (tmp_path / "high.py").write_text(
        "from sphere_ebm.low.part import Thing\nimport sphere_ebm.late"
    )
    rooms = drawing.read_rooms(tmp_path)
    assert rooms == {
        "by_name": {"low"},
        "high": {"late", "low"},
        "late": {"by_name"},
        "low": set(),
    }
    assert drawing.floors_of(rooms) == {"low": 0, "by_name": 1, "late": 2, "high": 3}
    assert drawing.direct(rooms)["high"] == {"late"}, "low follows from late"


def test_rooms_in_a_circle_have_no_floors(drawing: ModuleType) -> None:
    circle = {"a": frozenset("b"), "b": frozenset("a"), "c": frozenset()}
    with pytest.raises(ValueError, match="in a circle, or such rooms: a, b"):
        drawing.floors_of(circle)
