"""What lies around a passage, as it is printed."""

import math

import numpy as np
import pytest

from sphere_ebm.cli.around import around_dict, print_around
from sphere_ebm.labelling.passage import Surroundings
from sphere_ebm.labelling.texts import Neighbour

PLACE = np.array([1, 0, 0], np.float32)


def neighbour(degrees: float, cosine: float, *, far: bool = False) -> Neighbour:
    place = ("a.txt", 1200, b"quick ", b"the\n", b"brown fox")
    return Neighbour(math.radians(degrees), *place, cosine=cosine, far=far)


def printed(capsys: pytest.CaptureFixture[str], around: Surroundings) -> list[str]:
    print_around("the GPU of a compiler", around)
    return capsys.readouterr().out.splitlines()


def test_angles_stand_beside_cosines_and_far_ones_are_marked_and_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    near = (neighbour(0.5, 0.61), neighbour(0.9, -0.06, far=True))
    lines = printed(capsys, Surroundings(PLACE, None, near, 0.61, 0.4))
    assert lines[0] == "around 'the GPU of a compiler' (placed as a newcomer):"
    assert lines[1].startswith("  0.50°   0.61      a.txt 1,200  ")
    assert lines[2].startswith("  0.90°  -0.06 far  a.txt 1,200  ")
    assert lines[1].endswith("the [quick ]brown fox")
    assert lines[3].startswith("far: near on the map, but in the embedding no nearer than by ch")
    assert "--rank cosine" in lines[3]
    assert len(lines) == 4


def test_a_passage_that_fits_nowhere_is_told_so_before_its_neighbours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    around = Surroundings(PLACE, None, (neighbour(2, 0.1, far=True),), 0.31, 0.46)
    lines = printed(capsys, around)
    assert "fits nowhere" in lines[1]
    assert "cosine 0.31" in lines[1]
    assert "95 % of the map's have one at 0.46 or more" in lines[1]
    assert not around_dict(around)["fits"]
    found = Surroundings(PLACE, neighbour(0, 1.0), (neighbour(2, 0.1, far=True),), 0.31, 0.46)
    lines = printed(capsys, found)
    assert lines[0] == "around 'the GPU of a compiler' (a.txt, byte 1,200):"
    assert "nowhere" not in "".join(lines), "it is a part of the map"


def test_where_nothing_is_near_nothing_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, Surroundings(PLACE, None, (), 0.9, math.nan))
    assert lines[1:] == ["  nothing lies within 60° of it"]
    assert around_dict(Surroundings(PLACE, None, (), 0.9, math.nan))["usual_cosine"] is None
