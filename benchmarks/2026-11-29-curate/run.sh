#!/bin/sh
# Whether curation pays, over three seeds and then each filter alone, and the race with img2dataset: some 15 minutes of two idle cores.
#
#     sh benchmarks/2026-11-29-curate/run.sh ../shared/data WORK PYTHON
#
# PYTHON is that of an environment with img2dataset. Results go beside this file; what was printed, into the logs.
set -e
here=$(dirname "$0")
mkdir -p "$2"
export OMP_NUM_THREADS=2
python "$here/fetch_peer.py" "$3" 2000 "$2/fetch" 6 > "$here/fetch_peer.log" 2> "$2/fetch_peer.err"
python "$here/pays.py" "$1" "$2/pays" --pairs 4000 --steps 300 --out "$here/pays.json" > "$here/pays.log" 2> "$2/pays.err"
python "$here/pays.py" "$1" "$2/pays" --pairs 4000 --steps 150 --seeds 0 --only match,rules,score,dedup \
    --out "$here/pays-alone.json" > "$here/pays-alone.log" 2> "$2/pays-alone.err"
