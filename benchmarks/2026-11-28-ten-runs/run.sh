#!/bin/bash
# Ten runs of `make test` in a row, niced, beside two busy loops:  run.sh CLONE OUT
# CLONE is a new clone; OUT gets a log for each run and the summary.
cd "$1" && make .venv/.ready || exit 1
for n in 1 2; do
  nice -n 15 python3 -c "while True: pass" &
  loops="$loops $!"
done
trap 'kill $loops' EXIT
for i in $(seq 1 10); do
  start=$(date +%s)
  before=$(cut -d' ' -f1-3 /proc/loadavg)
  nice -n 10 make test > "$2/run.$i.log" 2>&1
  code=$?
  line=$(grep -E 'passed|failed' "$2/run.$i.log" | tail -1)
  echo "run $i rc $code $(($(date +%s) - start)) s; load $before -> $(cut -d' ' -f1-3 /proc/loadavg); $line" >> "$2/summary"
done
