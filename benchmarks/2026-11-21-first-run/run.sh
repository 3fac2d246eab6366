#!/usr/bin/env bash
# Trains the model in the box and measures it. Needs: the folder with train-* and eval-*; two quiet cores; 45 minutes.
#   bash benchmarks/2026-11-21-first-run/run.sh ../shared/data runs/box
set -euo pipefail
data=$1 out=$2 here=$(dirname "$0")

seesay train "$data"/train-* --recipe "$here"/box.toml --out "$out" \
    --check "$data"/eval-tinyimagenet-val --check "$data"/eval-cifar10 2>&1 | tee "$out.log"
python "$here/pack_box.py" "$out" "$data" --box src/seesay/model/box --result "$here/result.json"
