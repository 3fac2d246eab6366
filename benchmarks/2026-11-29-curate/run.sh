#!/bin/sh
# The races and comparisons of this folder: some 20 minutes of two idle cores, and 27 CPU minutes of one (pays.py).
#
#     sh benchmarks/2026-11-29-curate/run.sh ../shared/data WORK PYTHON
#
# PYTHON is that of an environment with img2dataset. Results go beside this file; what was printed, into the logs.
set -e
here=$(dirname "$0")
mkdir -p "$2"
export OMP_NUM_THREADS=1
python "$here/shrink.py" > "$here/shrink.log"
python "$here/freed_memory.py" 1000 3 > "$here/freed_memory.log"
python "$here/fetch_peer.py" "$3" 3000 "$2/peer" 5 512 > "$here/fetch_peer.log" 2> "$2/fetch_peer.err"
python "$here/fetch_peer.py" "$3" 3000 "$2/peer" 5 300,400,512,700,1000 > "$here/fetch_peer_sizes.log" 2> "$2/fetch_peer.err"
python "$here/fetch.py" 1000 "$2/fetch" 0.8 > "$here/fetch.log" 2> "$2/fetch.err"
python "$here/dead_hosts.py" "$2/dead" --latency 0.8 > "$here/dead_hosts.log" 2> "$2/dead_hosts.err"
python "$here/pays.py" "$1" "$2/pays" --pairs 20000 --steps 800 --out "$here/pays.json" > "$here/pays.log" 2> "$2/pays.err"
