#!/bin/sh
# What three new users do in their first hour, each step with its check, from the built wheel.
#
#   sh benchmarks/first_hour.sh [PYTHON]
#
# PYTHON (python3) makes a fresh environment and builds the wheel of this checkout; pip's own settings
# say where packages come from. HERE=1 takes the environment of PYTHON as it is instead. The exit code
# is 0 where every step passes, else that of the first which does not. Takes minutes, and 2 GB of disk.
set -eu

python=$(command -v "${1:-python3}")
case $python in
/*) ;;
*) python=$PWD/$python ;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
doing=nothing
ended() {
    code=$?
    rm -rf "$work"
    [ "$code" = 0 ] || printf 'first hour: FAILED at: %s\n' "$doing" >&2
}
trap ended EXIT
cd "$work"

step() {
    doing=$1
    printf 'first hour: %s\n' "$1" >&2
}

check() {
    # check WHAT PYTHON-EXPRESSION: the expression sees `held`, the JSON on standard input
    "$py" -c '
import json, sys
held = json.load(sys.stdin)
if not eval(sys.argv[2], {"held": held}):
    sys.exit(f"first hour: FAILED: {sys.argv[1]}")
' "$1" "$2"
}

expect() {
    # expect WHAT FOUND WANTED
    if [ "$2" != "$3" ]; then
        printf 'first hour: FAILED: %s is %s and not %s\n' "$1" "$2" "$3" >&2
        exit 1
    fi
}

if [ "${HERE:-}" = 1 ]; then
    py=$python
else
    step "build the wheel and install it into an empty environment"
    "$python" -m pip wheel --quiet --no-deps --wheel-dir dist "$root"
    "$python" -m venv env
    py=$work/env/bin/python
    "$py" -m pip install --quiet --constraint "$root/constraints.txt" \
        "$(echo dist/*.whl)[text,pdf,parquet,pandas]"
fi
run() {
    "$py" -m sphere_ebm "$@"
}

# 1. Someone who feeds a language model with passages.
step "a folder of texts, HTML and tables, with two files of one name"
mkdir -p notes/drafts
head -c 6000 "$root/data/texts/luke.txt" >notes/README.txt
head -c 6000 "$root/data/texts/elements.txt" >notes/drafts/README.txt
printf -- '---\ntitle: hidden\n---\nThe harbour froze in January, and the boats lay still.\n' >notes/a.md
printf '<html><script>var secret = 1</script><p>The lighthouse burns at night.</p></html>' >notes/b.html
printf 'id,price\n1,2.50\n2,3.75\n' >notes/prices.csv
printf ' \n\t\n' >notes/blank.txt
run map notes --output map --quiet --json --exclude '*.log' --steps 60 --replicas 0 --log run.log >map.json
check "every text is read, and tables of numbers and blank files are passed over" \
    'len(held["ingest"]["shards"]) == 4 and set(held["ingest"]["passed_over"]) == {".csv", ".txt"}' <map.json
grep -q 'ends' run.log || grep -q 'steps' run.log

step "documents have the names of their paths"
check "two files of one name stay two" \
    'sorted(one["text"] for one in held["sources"]) == ["README.txt", "a.md", "b.html", "drafts/README.txt"]' \
    <map/map.json

step "ask it"
run map --output map --show-neighbours "lighthouse burns" --json >asked.json
check "the passage is found, and every neighbour has its cosine" \
    'held["surroundings"]["found"]["document"] == "b.html" and all(
        -1.001 <= one["cosine"] <= 1.001 for one in held["surroundings"]["neighbours"])' <asked.json
run map --output map --show-neighbours "lighthouse burns" --rank cosine --count 3 >asked.txt
test "$(grep -c '°' asked.txt)" = 3

step "the same command keeps everything, and its options come back from the folder"
run map notes --config map/config.toml --output map --quiet --json >again.json
check "all labels are kept" 'held["kept"] == 4' <again.json

step "a run that is asked to end says how to go on, and goes on to the end"
"$py" -m sphere_ebm map notes --output ended --json --steps 4000 --replicas 0 --log ended.log \
    >ended.json 2>ended.txt &
job=$!
until grep -q 'steps: begins' ended.log 2>/dev/null; do
    kill -0 "$job"
    sleep 0.1
done
kill -TERM "$job"
code=0
wait "$job" || code=$?
expect "exit code of a run that was asked to end" "$code" 143
grep -q 'the same command continues' ended.txt
run map notes --output ended --quiet --json --steps 4000 --replicas 0 >ended.json
check "it ends as if nothing had been" 'len(held["labels"]) == 4' <ended.json

step "wrong usage, and nothing left behind"
code=0
run map notes --output wrong --neighbors 3 2>usage.txt || code=$?
expect "exit code of wrong usage" "$code" 2
expect "lines of wrong usage" "$(wc -l <usage.txt)" 2
head -n 1 usage.txt | grep -q -- '--neighbors'
code=0
run label nothing-here --output wrong --quiet 2>usage.txt || code=$?
expect "exit code where nothing can be done" "$code" 3
test ! -e wrong

step "a page to explore, and a table for other tools"
test -s map/map.html
run export map --to parquet --output map.parquet --quiet

# 2. Someone with embeddings from elsewhere.
step "a table with embeddings, texts, names and more, normalised, whose radii order a column"
"$py" - <<'EOF'
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

rng = np.random.default_rng(1)
rows = rng.standard_normal((300, 8)) + 3 * rng.standard_normal((6, 8))[np.arange(300) % 6]
rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
table = {
    "vector": rows.tolist(),
    "blurb": [f"the story of number {i}" for i in range(300)],
    "isbn": [f"{i:05d}" for i in range(300)],
    "year": [1500 + 7 * i % 300 for i in range(300)],
    "genre": [f"genre {i % 6}" for i in range(300)],
}
pq.write_table(pa.table(table), "books.parquet")
EOF
books() {
    run label books.parquet --embedding-column vector --text-column blurb --id-column isbn \
        --keep year --colour-by genre --quiet --steps 60 --replicas 0 "$@" 2>books.txt
}
books --output books
grep -q 'share their prominence' books.txt # the norms are all one: the seed orders the radii
for kind in year density; do
    books --output "by-$kind" --prominence $kind
    test ! -s books.txt
done
run export by-year --to csv --output books.csv --quiet
"$py" - <<'EOF'
import csv

import numpy as np

from sphere_ebm.labelling.export import map_table

with open("books.csv", encoding="utf-8") as file:
    held = list(csv.DictReader(file))
assert [row["isbn"] for row in held] == [f"{i:05d}" for i in range(300)]
assert {row["genre"] for row in held} == {f"genre {i}" for i in range(6)}
year = np.array([float(row["year"]) for row in held])
radius = np.array([float(row["r"]) for row in held])
assert np.corrcoef(year, radius)[0, 1] > 0.8
assert len(map_table("by-density")["r"]) == 300
EOF
run map --output books --show-neighbours "story of number 7" --json >found.json
check "rows go by their names" \
    'held["surroundings"]["found"]["document"] == "books 00007"' <found.json

step "embeddings with a third of exact copies"
"$py" - <<'EOF'
import warnings
from pathlib import Path

import numpy as np

from sphere_ebm import PlacementConfig, SphereMap, place
from sphere_ebm.errors import MapWarning

rng = np.random.default_rng(0)
centres = rng.standard_normal((20, 16))
points = (centres[rng.integers(20, size=600)] + rng.standard_normal((600, 16))).astype(np.float32)
config = PlacementConfig(replicas=0, steps=100)
alone = place(points, config=config)
copied = place(np.concatenate([points, points[rng.integers(5, size=300)]]), config=config)
caps = [one.quality().evenness.empty_cap for one in (alone, copied)]
assert caps[1] <= 1.5 * caps[0], caps
frame = copied.to_pandas()
assert len(frame) == 900 and frame["copies"].max() > 1
with warnings.catch_warnings():
    warnings.simplefilter("error", MapWarning)
    for strength in (0.25, 0.5, 2.0, 3.0, 8.0):
        place(points, config=PlacementConfig(replicas=0, lateral_strength=strength))
loaded = SphereMap.load("map")  # the map that the command has made
assert loaded.transform(loaded.placement_.embeddings[:3]).shape == (3, 3)
try:
    SphereMap(n_neighbors=3)
except TypeError as error:
    assert "try 'neighbours'" in str(error)
else:
    raise SystemExit("a wrong name was taken")
EOF

# 3. Someone who studies the physics.
step "a term of one's own, checked and sampled"
"$py" - "$root/docs/own-term.md" <<'EOF'
import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
names = {"__name__": "own_term"}
for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
    exec(compile(block, "own-term.md", "exec"), names)
EOF

step "all passed"
