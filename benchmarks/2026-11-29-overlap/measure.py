"""Copies that were hidden among the training images: how many are found, how much of what is found is right.

    python benchmarks/2026-11-29-overlap/measure.py --data ../shared/data --hidden hidden --hashes hashes.npz --out .

For the detector what `seesay overlap` says with the thresholds that it chose. An image of a set is found if it has a
match, and rightly so if the nearest one is the copy that was made of it. Beside it 64-bit hashes, of imagededup and
of `data.duplicates`: an image is found if the nearest hash is within d bits, rightly if the copy is among the nearest;
d is the largest with a precision of 99 %, once for all sets together and once for each set by itself, which no user
could know. Writes result.json, result.md and page.html.

N = images of the sets, M = images searched.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

import seesay

PRECISION = 0.99
MOST_BITS = 24
# Digits, and a few shapes on grey.
ALIKE = ("eval-mnist", "eval-counting-nlvr")


def recall_of(rank_N: np.ndarray, is_right_N: np.ndarray, copies: int) -> tuple[float, float, float]:
    """Recall, precision and rank of the loosest cut of ranks (low is near) that is precise enough."""
    best = (0.0, 1.0, -1.0)
    for cut in np.unique(rank_N):
        is_found_N = rank_N <= cut
        precision = is_right_N[is_found_N].mean()
        if precision >= PRECISION:
            best = (is_right_N[is_found_N].sum() / copies, precision, float(cut))
    return best


def nearest_hash(asked_N: np.ndarray, key_M: np.ndarray, copy_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least distance in bits (N,), and whether the image's own copy, at `copy_N`, is as near as that."""
    least_N, own_N = np.empty(len(asked_N), np.int64), np.full(len(asked_N), 99)
    for first in range(0, len(asked_N), 64):
        part = slice(first, first + 64)
        bits = np.bitwise_count(asked_N[part, None] ^ key_M)
        least_N[part] = bits.min(1)
        has_copy = copy_N[part] >= 0
        own_N[part][has_copy] = bits[has_copy, copy_N[part][has_copy]]
    return least_N, own_N == least_N


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidden", type=Path, default=Path("hidden"))
    parser.add_argument("--hashes", type=Path)
    parser.add_argument("--same", type=Path, help="[[set, key], ...] whose match is the same image by eye")
    parser.add_argument("--read", action="store_true", help="make the tables from the result.json that is there")
    parser.add_argument("--out", type=Path, default=Path("."))
    arguments = parser.parse_args()
    truth = json.loads((arguments.hidden / "truth.json").read_text())
    copy_of = {(own["set"], own["eval"]): own for own in truth}
    result = arguments.out / "result.json"
    if not arguments.read:
        evals = [path for path in sorted(arguments.data.glob("eval-*")) if path.name != "eval-shift-photo32"]
        trains = [*sorted(arguments.data.glob("train-*")), arguments.hidden / "copies.tar"]
        start = time.process_time(), time.perf_counter()
        found = seesay.overlap(list(map(str, trains)), list(map(str, evals)), report=arguments.out / "page.html")
        print(f"{time.process_time() - start[0]:.0f} CPU seconds, {time.perf_counter() - start[1]:.0f} by the clock")
        result.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    same = {tuple(pair) for pair in json.loads(arguments.same.read_text())} if arguments.same else set()
    lines = table_lines(json.loads(result.read_text()), copy_of, same)
    if arguments.hashes:
        lines += ["", *hash_lines(np.load(arguments.hashes), copy_of)]
    (arguments.out / "result.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def table_lines(result: dict, copy_of: dict, same: set[tuple[str, str]]) -> list[str]:
    """A row for each set, one for all, and one for all but those whose images are alike by nature; and the ways."""
    lines = [
        "| set | n | copies | found | right | same by eye | recall | precision | by eye | threshold | said recall |"
    ]
    lines.append("|---" * 11 + "|")
    by_way: dict[str, list[bool]] = defaultdict(list)
    totals = {"all": np.zeros(5, np.int64), "all but those two": np.zeros(5, np.int64)}
    for own in result["sets"]:
        name = own["set"]
        nearest: dict[str, str] = {}
        for pair in own["pairs"]:  # the most similar first
            nearest.setdefault(pair["eval"], pair["train"])
        right = {key for key, train in nearest.items() if is_copy(copy_of.get((name, key)), train)}
        copies = [copy for (own_set, _), copy in copy_of.items() if own_set == name]
        for copy in copies:
            by_way[copy["way"]].append(copy["eval"] in right)
        wrong = [(name, key, train) for key, train in nearest.items() if key not in right]
        for set_name, key, train in wrong:
            print("wrong", set_name, key, train, "(same by eye)" if (set_name, key) in same else "")
        counts = own["n"], len(copies), len(nearest), len(right), sum((name, key) in same for name, key, _ in wrong)
        totals["all"] += counts
        totals["all but those two"] += counts if name not in ALIKE else 0
        lines.append(row_of(name, counts, f"{own['threshold']:.3f} | {100 * own['sample']['recall']:.1f}"))
    lines += [row_of(name, tuple(total.tolist()), " | ") for name, total in totals.items()]
    lines += ["", "| way | copies | recall |", "|---|---|---|"]
    return [*lines, *(f"| {way} | {len(own)} | {100 * np.mean(own):.1f} |" for way, own in sorted(by_way.items()))]


def is_copy(copy: dict | None, train: str) -> bool:
    return copy is not None and train.endswith(f"/{copy['copy']}")


def row_of(name: str, counts: tuple[int, ...], rest: str) -> str:
    n, copies, found, right, same = counts
    shares = [
        f"{100 * hits / of:.1f}" if of else "-" for hits, of in ((right, copies), (right, found), (right + same, found))
    ]
    return f"| {name} | {n:,} | {copies} | {found} | {right} | {same} | {' | '.join(shares)} | {rest} |"


def hash_lines(hashes: np.lib.npyio.NpzFile, copy_of: dict) -> list[str]:
    is_eval = hashes["side"] == "eval"
    eval_keys, train_keys = hashes["key"][is_eval], hashes["key"][~is_eval]
    place = {key.rpartition("/")[2]: at for at, key in enumerate(train_keys) if "/copy-" in key}
    names = np.array([key.partition("/")[0] for key in eval_keys])
    copy_N = np.array(
        [
            place[copy_of[tuple(key.split("/", 1))]["copy"]] if tuple(key.split("/", 1)) in copy_of else -1
            for key in eval_keys
        ]
    )
    lines = [
        "| hash of 64 bits | recall at 99 %, one d | d | recall at 99 %, the best d of each set |",
        "|---|---|---|---|",
    ]
    for method in [name for name in hashes.files if name not in ("side", "key")]:
        least_N, is_own_N = nearest_hash(hashes[method][is_eval], hashes[method][~is_eval], copy_N)
        least_N = np.where(least_N > MOST_BITS, 64, least_N)
        copies = int((copy_N >= 0).sum())
        recall, _, cut = recall_of(least_N, is_own_N, copies)
        each = 0.0
        for name in np.unique(names):
            own = names == name
            each += recall_of(least_N[own], is_own_N[own], copies)[0]
        lines.append(f"| {method} | {100 * recall:.1f} | {cut:.0f} | {100 * each:.1f} |")
    return lines


if __name__ == "__main__":
    main()
