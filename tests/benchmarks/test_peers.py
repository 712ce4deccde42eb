"""The comparison with peers, on stubs, and the making of the set of 50 000.

Nothing here runs a peer or a model.
"""

import gzip
import re

import numpy as np
import pytest

NOUN = (
    "00033020 03 n 02 communication 0 social_contact 1 001 @ 00002137 n 0000 | something that is"
    ' communicated; a sign; "a communication"; "it failed"  \n'
)
ADJECTIVE = (
    "00014358 00 s 03 abounding 0 galore(ip) 0 rich 1 001 & 00013887 a 0000 | existing in"
    " abundance  \n"
)
VERB = "00001740 29 v 01 breathe 0 000 01 + 02 00 | existing in abundance  \n"


@pytest.fixture
def folder(write_set):
    """Two made-up sets, `tiny` and `wordnet-10k`, whose first three coordinates are directions and
    the rest noise.
    """
    rng = np.random.default_rng(0)
    for name in ("tiny", "wordnet-10k"):
        embeddings = np.concatenate(
            [rng.standard_normal((80, 3)), 0.1 * rng.standard_normal((80, 3))], axis=1
        )
        where = write_set(name, embeddings)
    return where


@pytest.fixture
def wordnet(tmp_path):
    """Debian's four files with one synset each.

    The adverb repeats the adjective's definition, as the verb does.
    """
    notice = "  1 This software\n  2 is provided  \n"
    for part, line in {
        "noun": NOUN,
        "verb": VERB,
        "adj": ADJECTIVE,
        "adv": VERB.replace("v 01", "r 01"),
    }.items():
        (tmp_path / f"data.{part}").write_text(notice + line, encoding="utf-8")
    return tmp_path


def near(benchmark, recall):
    return benchmark("peers").Neighbourhood(
        {15: recall, 50: recall}, {15: 0.9, 50: 0.9}, {15: 0.9, 50: 0.9}, 80, 0
    )


def raced(benchmark, key, recall, seconds, data="wordnet-10k"):
    name = benchmark("peer_methods").CONTENDERS[key].name
    return benchmark("peers").Race(data, name, 2 * seconds, (seconds,), near(benchmark, recall))


def sees(coordinates):
    """A method that maps by three of the coordinates.

    The first three are right, the last three are noise.
    """
    return lambda embeddings: (
        embeddings[:, coordinates]
        / np.linalg.norm(embeddings[:, coordinates], axis=1, keepdims=True)
    ).astype(np.float64)


@pytest.fixture
def stubs(benchmark, monkeypatch):
    """Ours, which is right; a peer that is noise; and a peer that nobody has installed."""
    methods = benchmark("peer_methods")
    peer = methods.Contender("noise", "noise", sees(slice(3, 6)), "numpy", "numpy")
    absent = methods.Contender(
        "absent", "absent peer", sees(slice(3)), "no_such_module_here", "no-such-package"
    )
    mine = methods.Contender("ours", methods.OURS.name, sees(slice(3)))
    peers = benchmark("peers")
    found = {contender.key: contender for contender in (mine, peer, absent)}
    monkeypatch.setattr(peers, "CONTENDERS", found)
    return found


def test_a_definition_ends_before_its_first_example(benchmark):
    gloss = benchmark("make_glosses").parse_line(NOUN)
    assert gloss.definition == "something that is communicated; a sign"
    assert (gloss.key, gloss.topic) == ("n00033020", 3)
    assert gloss.text == "communication, social contact: something that is communicated; a sign"


def test_two_words_are_kept_without_their_markers(benchmark):
    gloss = benchmark("make_glosses").parse_line(ADJECTIVE)
    assert gloss.words == ("abounding", "galore")
    assert gloss.key == "s00014358"


def test_no_definition_is_sampled_twice_and_a_seed_fixes_the_sample(benchmark, wordnet):
    make = benchmark("make_glosses")
    every = list(make.read_glosses(wordnet))
    assert [gloss.key[0] for gloss in every] == ["n", "v", "s", "r"]
    sample = make.sample_glosses(iter(every), 2, seed=0)
    assert {gloss.key for gloss in sample} == {"n00033020", "v00001740"}
    many = [make.Gloss(f"n{i}", 3, ("word",), f"definition {i}") for i in range(50)]
    draws = [
        [gloss.key for gloss in make.sample_glosses(iter(many), 20, seed)] for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 20


def test_a_set_that_was_made_can_be_loaded(benchmark, wordnet, tmp_path, monkeypatch, capsys):
    make = benchmark("make_glosses")
    datasets = benchmark("datasets")
    monkeypatch.setattr(
        make, "embed", lambda texts: np.array([[len(text)] * 3 for text in texts], np.float16)
    )
    output = tmp_path / "made"
    assert make.main(["--output", str(output), "--points", "2", "--wordnet", str(wordnet)]) == 0
    assert capsys.readouterr().out.strip() == str(output / "glosses-2.npz")
    data = datasets.load("glosses-2", output)
    with gzip.open(output / "glosses-2.texts.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    assert [len(row[2]) for row in rows] == data.embeddings[:, 0].tolist()
    with np.load(output / "glosses-2.npz") as arrays:
        assert (arrays["embeddings"].dtype, arrays["labels"].dtype) == (np.float16, np.int16)
        assert arrays["label_names"][arrays["labels"]].tolist() == [row[1] for row in rows]
    assert sorted(data.labels.tolist()) == [3, 29]
    assert (output / "LICENSE.wordnet").read_text(
        encoding="utf-8"
    ) == "This software\nis provided\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wordnet", "nowhere"], "data.noun is missing"),
        (["--points", "5"], "at most 2"),
        (["--points", "0"], "at least 1"),
    ],
)
def test_making_a_set_names_what_is_wrong(benchmark, wordnet, capsys, arguments, message):
    common = ["--output", str(wordnet / "made"), "--wordnet", str(wordnet)]
    with pytest.raises(SystemExit) as stop:
        benchmark("make_glosses").main([*common, *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "runs"), [(59.0, 3), (60.0, 3), (61.0, 1), (300.0, 1), (301.0, 0)]
)
def test_slow_methods_run_less_often(benchmark, first, runs):
    assert benchmark("peers").warm_runs(first, 3) == runs
    assert benchmark("peers").warm_runs(first, 1) == min(runs, 1)


def test_the_first_run_counts_only_where_there_is_no_other(benchmark):
    peers = benchmark("peers")
    assert peers.Race("tiny", "peer", 400.0, (), near(benchmark, 0.2)).median == 400.0
    assert peers.Race("tiny", "peer", 40.0, (3.0, 1.0, 2.0), near(benchmark, 0.2)).median == 2.0


@pytest.mark.parametrize(
    ("recall", "seconds", "passed"),
    [(0.375, 4.0, [True, True]), (0.374, 4.0, [False, True]), (0.4, 4.1, [True, False])],
)
def test_time_is_compared_with_the_fastest_peer_that_comes_near_the_best(
    benchmark, recall, seconds, passed
):
    races = [
        raced(benchmark, "ours", recall, seconds),
        raced(benchmark, "opentsne-3d", 0.3, 45.0),
        raced(benchmark, "umap-3d", 0.25, 4.0),
        raced(benchmark, "pacmap-3d", 0.23, 1.0),
    ]
    checks = benchmark("peers").race_checks(races)
    assert [check.passed for check in checks] == passed
    assert ["openTSNE" in checks[0].target, "umap-learn 3-D" in checks[1].target] == [True, True]


def test_the_targets_are_those_of_the_issue(benchmark):
    peers = benchmark("peers")
    assert peers.RECALL_RATIOS == {"wordnet-10k": 1.25, "glosses-50k": 2.0}
    assert peers.NEAR_BEST == 0.8
    assert set(peers.DEFAULT_SETS) == set(peers.RECALL_RATIOS)


def test_there_is_no_target_without_a_peer_or_without_us(benchmark):
    peers = benchmark("peers")
    mine = raced(benchmark, "ours", 0.4, 1.0)
    peer = raced(benchmark, "umap-3d", 0.2, 1.0)
    assert [len(peers.race_checks(races)) for races in ([mine], [peer], [mine, peer])] == [0, 0, 2]
    elsewhere = [raced(benchmark, key, 0.4, 1.0, data="tiny") for key in ("ours", "umap-3d")]
    assert peers.race_checks(elsewhere) == []


def test_methods_take_turns_after_the_first_run(benchmark, folder, monkeypatch):
    peers = benchmark("peers")
    methods = benchmark("peer_methods")
    datasets = benchmark("datasets")
    calls: list[str] = []

    def stub(key):
        def method(embeddings):
            calls.append(key)
            return sees(slice(3))(embeddings)

        return methods.Contender(key, key, method)

    races = peers.race([stub("a"), stub("b")], datasets.load("tiny", folder), 2, None)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert [len(race.warm) for race in races] == [2, 2]


def test_a_report_has_a_row_per_method_a_figure_and_a_line_for_what_is_missing(
    benchmark, folder, stubs, capsys
):
    output = folder / "new" / "peers.md"
    common = ["--data", str(folder), "--repeats", "2", "--no-memory", "--methods", *stubs]
    benchmark("peers").main([*common, "--sets", "tiny", "wordnet-10k", "--output", str(output)])
    text = output.read_text(encoding="utf-8")
    progress = capsys.readouterr()
    assert text == progress.out
    assert progress.err.count("skipped: absent peer (pip install no-such-package)") == 1
    assert "not installed, skipped: absent peer" in text
    table = text[text.index("## Recall") :]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\|.*\|$", table, re.M)
    ]
    assert [row[:2] for row in rows[2:]] == [
        [name, method]
        for name in ("tiny", "wordnet-10k")
        for method in ("sphere_ebm `place`", "noise")
    ]
    assert all(float(mine[2]) > 2 * float(noise[2]) for mine, noise in (rows[2:4], rows[4:6]))
    assert [row[7] for row in rows[2:]] == ["2 warm"] * 4
    assert (output.parent / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert "(peers.png)" in text


def test_a_missed_target_fails_the_command(benchmark, folder, stubs, monkeypatch):
    peers = benchmark("peers")
    monkeypatch.setitem(peers.RECALL_RATIOS, "wordnet-10k", 1000.0)
    output = folder / "peers.md"
    common = [
        "--data",
        str(folder),
        "--sets",
        "wordnet-10k",
        "--repeats",
        "1",
        "--no-memory",
        "--methods",
        *stubs,
    ]
    assert peers.main([*common, "--output", str(output)]) == 1
    assert "**FAIL**" in output.read_text(encoding="utf-8")
    without_peers = [*common[:-3], "ours", "--output", str(output)]
    assert peers.main(without_peers) == 0


def test_wrong_usage_is_named(benchmark, folder, stubs, capsys):
    peers = benchmark("peers")
    for arguments, message in (
        (["--sets", "gone"], "gone.npz is missing"),
        (["--methods", "absent"], "none of the methods"),
        (["--methods", "nobody"], "invalid choice"),
        (["--repeats", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            peers.main(["--data", str(folder), "--sets", "tiny", *arguments])
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_a_layout_becomes_directions_from_its_centre(benchmark):
    layout = np.array([[3.0, 5.0, 1.0], [7.0, 5.0, 1.0]], np.float32)
    directions = benchmark("peer_methods").to_directions(layout)
    assert directions.tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    assert layout[0, 0] == 3.0
