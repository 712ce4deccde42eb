import pytest

from sphere_ebm.librarian.config import LibrarianConfig


def test_json_brings_a_configuration_back():
    config = LibrarianConfig(student="direct", context=2, seed=7, weigh_by_spread=False)
    assert LibrarianConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(("context", "reach"), [(0, 0), (2, 60), (19, 600)])
def test_the_context_says_how_far_a_student_sees(context, reach):
    assert LibrarianConfig(context=context).reach == reach


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"student": "wise"}, "`student` must be one of static"),
        ({"context": 5}, "`context` must be one of 0, 2, 19 patches; got 5"),
        ({"near": 700}, "`near` must be at most `far`=600"),
        ({"drop": 1.0}, "`drop` must be a number in"),
        ({"batch": 0}, "`batch` must be an integer >= 1; got 0"),
        ({"learning_rate": 0}, "`learning_rate` must be a number > 0"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(given, told, unchecked):
    with pytest.raises(ValueError, match=told):
        LibrarianConfig(**given)


@pytest.mark.parametrize("text", ["[1]", '{"pupils": 3}'])
def test_json_of_something_else_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON object|pupils"):
        LibrarianConfig.from_json(text)
