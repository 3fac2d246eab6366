#!/bin/sh
# The report of docs/report.png: the model in the box beside the one before it. From the repository: sh run.sh DATA WORK
set -eu
here=$(cd "$(dirname "$0")" && pwd); data=$(cd "$1" && pwd); work=$2; before=$here/../2026-11-21-report
mkdir -p "$work"
git archive 5e425ec^ src/seesay/model/box | tar -x -C "$work" --strip-components=3
mv "$work/box" "$work/box-before"
cd "$work"
python - "$before" "$data" <<'END'
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from prepare import halve, open_evalset
for name in ("cifar10", "dtd10", "mnist"):
    halve(open_evalset(Path(sys.argv[2], f"eval-{name}")), Path(f"{name}-halves"))
END
seesay evaluate box box-before \
    "$data"/eval-caltech101 "$data"/eval-cifar10 "$data"/eval-dtd10 "$data"/eval-food20 "$data"/eval-mnist \
    "$data"/eval-shift-photo32 "$data"/eval-shift-emoji32 ./*-halves --shots 1,4,16 \
    --shift eval-shift-photo32=eval-shift-emoji32 --baseline "$before/baseline.json" \
    --report report.html --json result.json
cp result.json "$here/result.json"
