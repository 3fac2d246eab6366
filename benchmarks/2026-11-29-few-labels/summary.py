"""Tables from the results of run.py, or of few_classes.py.

python benchmarks/2026-11-29-few-labels/summary.py result.json > benchmarks/2026-11-29-few-labels/result.md
"""

import json
import sys
from pathlib import Path

import numpy as np
import scipy.stats

METHODS = ("zero-shot", "plain", "from words", "tip-adapter")


def main(paths: list[str]) -> None:
    rows = [row for path in paths for row in json.loads(Path(path).read_text()) if row["shots"]]
    if "classes" in rows[0]:
        few_classes(rows)
        return
    print(
        "Mean accuracy in percent over draws; difference to the better of zero-shot and the plain probe, in points, and"
    )
    print("the p value of a paired t-test over draws against that one. Sets with * chose the constants.\n")
    print("| set | shots | draws | zero-shot | plain probe | from words | Tip-Adapter | difference | p | scale |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        means = {method: 100 * np.mean(row[method]) for method in METHODS}
        better = max(("zero-shot", "plain"), key=lambda method: means[method])
        p = row["p_zero_shot"] if better == "zero-shot" else row["p_plain"]
        values = " | ".join(f"{means[method]:.1f}" for method in METHODS)
        star = "*" if row["chosen_on"] else ""
        difference = means["from words"] - means[better]
        print(
            f"| {row['set']}{star} | {row['shots']} | {len(row['plain'])} | {values} | {difference:+.1f} | {p:.2g} | "
            f"{np.mean(row['scale']):.2f} |"
        )
    for title, some in (
        ("All sets", rows),
        ("The sets that chose no constant", [row for row in rows if not row["chosen_on"]]),
    ):
        over_sets(title, some)


def few_classes(rows: list[dict]) -> None:
    print(
        "Mean accuracy in percent over draws of classes and images; difference to the better of zero-shot and the plain"
    )
    print("probe, in points, and the p value of a paired t-test over draws against that one.\n")
    print("| set | classes | shots | draws | zero-shot | plain probe | from words | difference | p |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        means = {method: 100 * np.mean(row[method]) for method in METHODS[:3]}
        better = max(("zero-shot", "plain"), key=lambda method: means[method])
        values = " | ".join(f"{mean:.1f}" for mean in means.values())
        print(
            f"| {row['set']} | {row['classes']} | {row['shots']} | {len(row['plain'])} | {values} | "
            f"{means['from words'] - means[better]:+.1f} | {row[f'p_{better}']:.2g} |"
        )


def over_sets(title: str, rows: list[dict]) -> None:
    print(f"\n{title}, means over sets; p: paired t-test over sets.\n")
    print("| shots | sets | zero-shot | plain probe | from words | Tip-Adapter | p, zero-shot | p, plain | least |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shots in sorted({row["shots"] for row in rows}):
        some = [row for row in rows if row["shots"] == shots]
        means = {method: np.array([100 * np.mean(row[method]) for row in some]) for method in METHODS}
        least = (means["from words"] - np.maximum(means["zero-shot"], means["plain"])).min()
        p = [float(scipy.stats.ttest_rel(means["from words"], means[other]).pvalue) for other in ("zero-shot", "plain")]
        values = " | ".join(f"{means[method].mean():.1f}" for method in METHODS)
        print(f"| {shots} | {len(some)} | {values} | {p[0]:.2g} | {p[1]:.2g} | {least:+.1f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
