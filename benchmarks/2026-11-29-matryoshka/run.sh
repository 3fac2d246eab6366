#!/bin/sh
# Rows that may be cut: the same small model with and without objective.widths, two seeds, and its accuracy at each width.
#     sh benchmarks/2026-11-29-matryoshka/run.sh ../shared/data OUT > benchmarks/2026-11-29-matryoshka/log.txt
DATA=$1
OUT=$2
for seed in 0 1; do
    for widths in none '[32,64]'; do
        run=$OUT/$widths-$seed
        set -- --model conv-tiny --batch-size 256 --seed $seed --steps 1500 --set 'schedule.sizes=[[32,1.0]]' --set check.every=0.25
        [ "$widths" = none ] || set -- "$@" --set "objective.widths=$widths"
        seesay train "$DATA/train-rsicd" "$DATA/train-rsicd2" "$DATA/train-tinyimagenet" --out "$run" --workers 0 "$@"
        for width in 128 64 32; do
            echo "widths $widths, seed $seed, rows of $width"
            seesay evaluate "$run/model" "$DATA/eval-rsicd30" "$DATA/eval-tinyimagenet-val" "$DATA/eval-cifar10" --width $width
        done
    done
done
