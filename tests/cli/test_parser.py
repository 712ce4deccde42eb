"""What was typed and what a file says: which of them counts, and what is wrong with it."""

from pathlib import Path

import pytest

from commands import Command
from sphere_ebm.cli.main import _parser
from sphere_ebm.cli.parser import parse

FILE = """
command = "label"
inputs = ["a.npy", "b"]
output = "out"
page = false
step-size = 1
interaction_length = 0.5
kernel = "gaussian"
seed = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "options.toml"
    path.write_text(FILE)
    return path


def test_a_file_gives_options_and_what_is_typed_counts_more(file: Path) -> None:
    taken = parse(*_parser(), ["label", "--config", str(file), "--seed", "4"])
    assert taken.inputs == ["a.npy", "b"]
    assert (taken.output, taken.page, taken.kernel) == (Path("out"), False, "gaussian")
    assert (taken.step_size, taken.interaction_length, taken.seed) == (1.0, 0.5, 4)
    assert isinstance(taken.step_size, float)
    typed = parse(*_parser(), ["label", "c", "-o", "d", f"--config={file}"])
    assert (typed.inputs, typed.output, typed.seed) == (["c"], Path("d"), 3)


@pytest.mark.parametrize(
    ("arguments", "content", "expected"),
    [
        (["page"], 'folder = "m"\ncolour_by = [["a", "b.csv"]]', {"colour_by": [["a", "b.csv"]]}),
        (["ask", "m"], 'query = "what"\nbudget = 9', {"query": "what", "budget": 9}),
        (["register", "m"], 'onto = "n"', {"onto": Path("n"), "map": Path("m")}),
        (["inspect"], 'file = "x"\njson = true', {"file": Path("x"), "json": True}),
        (
            ["update", "m", "new"],
            'output = "o"\nstrength = 2',
            {"strength": 2.0, "inputs": ["new"]},
        ),
    ],
)
def test_every_command_takes_a_file(
    tmp_path: Path, arguments: list[str], content: str, expected: dict[str, object]
) -> None:
    (tmp_path / "f.toml").write_text(content)
    taken = parse(*_parser(), [*arguments, "--config", str(tmp_path / "f.toml")])
    assert vars(taken) | expected == vars(taken)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("sed = 3", "label has no option `sed`; did you mean seed?"),
        ('command = "map"', "is for the command 'map', not for 'label'"),
        ("seed = 1.5", "`seed` must be an integer; got 1.5"),
        ("seed = true", "`seed` must be an integer; got True"),
        ('step_size = "1"', "`step_size` must be a number; got '1'"),
        ('page = "no"', "`page` must be true or false; got 'no'"),
        ('inputs = "a"', "`inputs` must be a list; got 'a'"),
        ('kernel = "square"', "`kernel` must be one of cauchy, gaussian, harmonic; got 'square'"),
        ("seed = -1", "`seed` must be"),
        ("seed =", "is no TOML file"),
    ],
)
def test_a_wrong_file_is_wrong_usage_and_says_where(
    command: Command, tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "f.toml").write_text(content)
    done = command("label", "x", "-o", tmp_path / "o", "--config", tmp_path / "f.toml")
    assert (done.code, done.out) == (2, "")
    assert says in done.err.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["label", "x", "-o", "o", "--neighbors", "3"], "--neighbors; did you mean --neighbours?"),
        (["quality", "a", "b"], "sphere-ebm quality: 'b' is one argument too many"),
        (["label", "x", "-o", "o", "--config", "none.toml"], "none.toml cannot be read"),
        (["label", "x", "-o", "o", "--conf", "f.toml"], "--config: write the option in full"),
        (["label", "x"], "the following arguments are required: --output/-o"),
    ],
)
def test_wrong_usage_says_what_matters_first(
    command: Command, arguments: list[str], says: str
) -> None:
    done = command(*arguments)
    first, second = done.err.splitlines()
    assert done.code == 2
    assert says in first
    assert second == f"see sphere-ebm {arguments[0]} --help"
