"""`sphere-ebm ask`: what to read of a map, printed for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import Command
from sphere_ebm.cli import ask as cli_ask
from sphere_ebm.labelling.ask import Answer, Quoted
from sphere_ebm.retrieval.budgets import BudgetConfig

FOUND = Quoted("a tale", 1234, b"sand\n and gravel", 16.0, 0.75, 0.5, 3.0, 2.5)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks of the library, which finds one passage."""
    received: dict[str, Any] = {}

    def finding(
        folder: Path, query: str, embedder: Any, config: BudgetConfig, **more: Any
    ) -> Answer:
        received.update(folder=folder, query=query, config=config, **more)
        return Answer((FOUND,), 16.0)

    monkeypatch.setattr(cli_ask, "ask", finding)
    return received


def test_passages_are_printed_with_score_document_and_place(
    command: Command, given: dict[str, Any]
) -> None:
    done = command("ask", "some map", "sand", "--budget", "4000")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "0.750  a tale, byte 1,234  (28.6°, 171.9°)",
        "    sand and gravel",
        "1 passage, 16 of 4,000 bytes",
    ]
    assert given["config"] == BudgetConfig(total=4000)
    assert (given["folder"], given["query"]) == (Path("some map"), "sand")
    assert (given["unit"], given["by_region"]) == ("bytes", False)


def test_a_program_gets_one_object_and_points_have_pieces_of_their_own(
    command: Command, given: dict[str, Any]
) -> None:
    done = command(
        "ask", "map", "sand", "--unit", "points", "--largest", "9", "--by-region", "--json"
    )
    answer = json.loads(done.out)
    assert (answer["unit"], answer["spent"], answer["query"]) == ("points", 16, "sand")
    assert answer["passages"] == [
        {
            "document": "a tale",
            "start": 1234,
            "text": "sand\n and gravel",
            "units": 16,
            "score": 0.75,
            "theta": 0.5,
            "phi": 3.0,
            "radius": 2.5,
        }
    ]
    assert given["config"] == BudgetConfig(smallest=2, largest=9)
    assert given["by_region"]


def test_wrong_usage_and_folders_without_a_map_are_refused(
    command: Command, tmp_path: Path
) -> None:
    done = command("ask", tmp_path, "anything", "--budget", "0")
    assert done.code == 2
    assert "`total` must be an integer >= 1" in done.err
    done = command("ask", tmp_path, "anything", "--json")
    assert done.code == 3
    assert "make a map there first" in json.loads(done.out)["error"]
