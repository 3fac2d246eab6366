#!/bin/sh
# The report over every eval-* set of a data folder with the model in the box: sh run.sh DATA WORK [MODEL ...]
set -eu
here=$(dirname "$0"); data=$1; work=$2; shift 2
[ $# -gt 0 ] || set -- box
mkdir -p "$work"
python "$here/prepare.py" "$data" "$work"
seesay evaluate "$@" "$data"/eval-* "$work"/*-halves --shots 1,2,4,8,16 \
    --shift eval-shift-photo32=eval-shift-emoji32 --baseline "$work/baseline.json" \
    --report "$work/report.html" --json "$work/result.json" --results "$work/results"
# What is kept here holds no picture of the sets: thumbnails are WebP, figures are PNG.
sed -E 's/<img src="data:image\/webp[^>]*>//' "$work/report.html" >"$here/report.html"
