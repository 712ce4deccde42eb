"""The house keeps its plan: names, imports between rooms, and how many modules lie loose."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sphere_ebm

SOURCE = Path(sphere_ebm.__file__).parent
MODULES = sorted(
    found.name for found in pkgutil.walk_packages(sphere_ebm.__path__, f"{sphere_ebm.__name__}.")
)
HEAVY = ("jax", "numpy", "matplotlib")
MOST_LINES = 45
"""Of a function, its docstring not counted."""


def imported_by(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides the room that it comes from"
            names = [node.module or ""]
            if node.module == "sphere_ebm":
                names = [f"sphere_ebm.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "sphere_ebm")


def imports_between_rooms() -> dict[str, set[str]]:
    """For each folder of the package the other folders that its files import from."""
    rooms = {folder.name for folder in SOURCE.iterdir() if (folder / "__init__.py").exists()}
    found = {room: set[str]() for room in rooms}
    for room in rooms:
        for path in (SOURCE / room).rglob("*.py"):
            for name in imported_by(path):
                first = [*name.split("."), ""][1]
                # a public name stands for the module that defines it
                home = sphere_ebm._HOMES.get(first, first).split(".")[0]
                found[room] |= {home} & rooms - {room}
    return found


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Rooms that cannot be put in an order in which each imports only from those before it."""
    left = {room: set(others) for room, others in imports.items()}
    while True:
        free = {room for room, others in left.items() if not others & set(left)}
        if not free:
            return sorted(left)
        left = {room: others for room, others in left.items() if room not in free}


def last_name(expression: ast.expr) -> str:
    """What `a.b.C[T]` or `C` is called where it is defined: `C`."""
    while isinstance(expression, ast.Subscript):
        expression = expression.value
    return expression.attr if isinstance(expression, ast.Attribute) else ast.unparse(expression)


def breaks_abstract_or_final(classes: list[ast.ClassDef]) -> list[str]:
    """Names of classes that are neither abstract nor final, and of final ones with a subclass."""
    final = {
        each.name
        for each in classes
        if any(last_name(mark) == "final" for mark in each.decorator_list)
    }
    bases = {each.name: {last_name(base) for base in each.bases} for each in classes}
    neither = [
        each.name
        for each in classes
        if each.name not in final
        and not each.name.lstrip("_").startswith("Abstract")
        and not bases[each.name] & {"NamedTuple", "Protocol"}
    ]
    return sorted([*neither, *(final & set().union(*bases.values()))])


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From its first line to its last, the docstring not counted."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    last = function.end_lineno or function.lineno
    docstring = ((first.end_lineno or 0) - first.lineno + 1) if documented else 0
    return last - function.lineno + 1 - docstring


def long_functions(text: str) -> list[str]:
    """Names of functions, methods too, that have more than `MOST_LINES`."""
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > MOST_LINES
    ]


def modules_hidden(names: list[str]) -> list[str]:
    """Dotted names that do not lead to their module by attributes, because something hides it."""
    hidden = []
    for name in names:
        module = importlib.import_module(name)
        found = sphere_ebm
        for part in name.split(".")[1:]:
            found = getattr(found, part)
        if found is not module:
            hidden.append(name)
    return hidden


def test_no_function_hides_a_module():
    assert len(MODULES) > 100
    runnable = [name for name in MODULES if not name.endswith("__main__")]
    for name in runnable:
        importlib.import_module(name)
    assert modules_hidden(runnable) == []


def test_a_hidden_module_would_be_found(monkeypatch):
    monkeypatch.setattr(sphere_ebm.labelling, "label", sphere_ebm.label)
    assert modules_hidden(["sphere_ebm.labelling.label"]) == ["sphere_ebm.labelling.label"]


@pytest.mark.parametrize("name", sphere_ebm.__all__)
def test_a_public_name_is_what_its_home_defines(name):
    found = getattr(sphere_ebm, name)
    assert name in dir(sphere_ebm)
    if name == "__version__":
        assert found
        return
    home = importlib.import_module(f"sphere_ebm.{sphere_ebm._HOMES[name]}")
    assert vars(home)[name] is found
    assert found.__module__ == home.__name__


def test_public_names_are_listed_once_and_have_a_home():
    assert sorted(sphere_ebm.__all__) == sorted({*sphere_ebm._HOMES, "__version__"})


def test_every_room_is_there_without_importing_it_first():
    rooms = {name.split(".")[1] for name in MODULES} - {"__main__"}
    assert rooms == sphere_ebm._ROOMS
    assert rooms <= set(dir(sphere_ebm))


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        sphere_ebm.no_such_name  # noqa: B018


def printed_by_a_fresh_process(code: str) -> set[str]:
    """Words that `code` prints in an interpreter that has imported nothing yet."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def imported_by_statement(statement: str) -> set[str]:
    """Top-level modules that are loaded after `statement`."""
    return printed_by_a_fresh_process(
        f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    )


def test_public_names_and_rooms_are_listed_before_they_are_used():
    listed = printed_by_a_fresh_process("import sphere_ebm; print(*dir(sphere_ebm))")
    assert {*sphere_ebm.__all__, *sphere_ebm._ROOMS} <= listed


def test_importing_the_package_imports_no_library():
    assert not set(HEAVY) & imported_by_statement("import sphere_ebm; dir(sphere_ebm)")


def test_a_public_name_brings_what_it_needs():
    assert {"numpy"} <= imported_by_statement("import sphere_ebm; sphere_ebm.read_labels")


def test_rooms_import_each_other_without_a_circle():
    imports = imports_between_rooms()
    assert sum(map(len, imports.values())) > 20
    assert circle(imports) == []


def test_a_circle_would_be_found():
    imports = imports_between_rooms()
    imports["geometry"] |= {"cli"}
    assert {"geometry", "cli"} <= set(circle(imports))


def test_few_modules_lie_loose_at_the_root():
    loose = {path.name for path in SOURCE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(loose) <= 3, f"give them a room: {sorted(loose)}"


def test_every_class_is_abstract_or_final():
    classes = [
        node
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 100
    assert breaks_abstract_or_final(classes) == []


def test_no_function_is_longer_than_what_can_be_seen_at_once():
    found = {
        f"{path.relative_to(SOURCE).as_posix()}: {name}"
        for path in SOURCE.rglob("*.py")
        for name in long_functions(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(("statements", "found"), [(MOST_LINES - 1, []), (MOST_LINES, ["f"])])
def test_a_long_function_would_be_found(statements, found):
    body = "    x = 1\n" * statements
    assert long_functions(f'def f():\n    """One.\n\n    Two.\n    """\n{body}') == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("class _AbstractTerm(Module): ...\n@typing.final\nclass Term(_AbstractTerm): ...", []),
        ("class Pair(NamedTuple): ...\nclass Named(Protocol[T]): ...", []),
        ("@dataclass\nclass Open: ...", ["Open"]),
        ("@final\nclass Closed: ...\n@final\nclass More(room.Closed[int]): ...", ["Closed"]),
    ],
)
def test_a_class_that_is_neither_or_subclassed_though_final_would_be_found(text, found):
    assert breaks_abstract_or_final(list(ast.iter_child_nodes(ast.parse(text)))) == found
