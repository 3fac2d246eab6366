"""Results of `seesay evaluate` as tables and remarks for people; all shares in percent."""

from collections.abc import Sequence
from typing import Any

from seesay.cli.tables import percent, say, table, with_interval

ZERO_SHOT_COLUMNS = ["set", "n", "task", "top-1 [95 %]", "top-5", "mean per class", "chance"]
RETRIEVAL_COLUMNS = ["set", "n", "captions", "task", "R@1", "R@5", "R@10 [95 %]", "chance"]
SHIFT_COLUMNS = ["model", "natural", "top-1", "shifted", "top-1", "gap [95 %]", "effective robustness [95 %]"]
COMPARISON_COLUMNS = ["set", "score", "first", "second", "difference [95 %]", "p", "test"]


def report_words(result: dict[str, Any]) -> None:
    """That the classes of a set were asked about in the paper's words, where they were."""
    if result.get("templates_from", "").startswith("the paper"):
        names = ", and its class names" if result["class_names_from"] == result["templates_from"] else ""
        count = len(result["templates"])
        told = f"{count} templates" if count > 1 else f"template {result['templates'][0]!r}"
        say(f"{result['set']}: {told} of {result['templates_from']}{names}; --templates takes others.")


def report_remarks(result: dict[str, Any]) -> None:
    """What was left out, and classes that can never be told apart."""
    from seesay.data.class_names import SAME_NAME

    if result["skipped"]:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in result["skipped_by_reason"].items())
        say(f"{result['set']}: skipped {result['skipped']} of {result['skipped'] + result['n']} images: {reasons}")
    if result.get("same_names"):
        named = ", ".join(map(repr, result["same_names"]))
        say(f"{result['set']}: more than one class is called {named}; {SAME_NAME}.")


def as_tables(results: Sequence[dict[str, Any]], *, several: bool) -> str:
    """One table per task, for the tasks that were measured, set by set; of several models each row names its own."""
    sets = list(dict.fromkeys(result["set"] for result in results))
    results = sorted(results, key=lambda result: sets.index(result["set"]))
    before = ["model"] if several else []

    def named(result: dict[str, Any], row: list[str]) -> list[str]:
        return [result["model"], *row] if several else row

    zero_shot = [named(result, zero_shot_row(result)) for result in results if result["task"] == "zero-shot"]
    retrieval = [
        named(result, row) for result in results if result["task"] == "retrieval" for row in retrieval_rows(result)
    ]
    tables = []
    if zero_shot:
        tables.append(table([*before, *ZERO_SHOT_COLUMNS], zero_shot, left=1 + several))
    if retrieval:
        tables.append(table([*before, *RETRIEVAL_COLUMNS], retrieval, left=1 + several))
    return "\n".join(tables)


def zero_shot_row(result: dict[str, Any]) -> list[str]:
    return [
        result["set"],
        str(result["n"]),
        result["task"],
        with_interval(result["top1"], result["interval95"]),
        percent(result["top5"]),
        percent(result["mean_per_class"]),
        percent(result["chance"]),
    ]


def retrieval_rows(result: dict[str, Any]) -> list[list[str]]:
    """A row for each direction; chance is that of R@10."""
    return [
        [
            result["set"],
            str(result["n"]),
            str(result["captions"]),
            direction.replace("_", " "),
            percent(result[direction]["r1"]),
            percent(result[direction]["r5"]),
            with_interval(result[direction]["r10"], result[f"interval95_{direction}"]["r10"]),
            percent(result[f"chance_{direction}"]["r10"]),
        ]
        for direction in ("text_to_image", "image_to_text")
    ]


def shift_table(shifts: Sequence[dict[str, Any]]) -> str:
    """Accuracy on both sets, and what is lost; empty without shifts."""
    if not shifts:
        return ""
    rows = [
        [
            shift["model"],
            shift["natural"],
            percent(shift["accuracy_natural"]),
            shift["shifted"],
            percent(shift["accuracy_shifted"]),
            with_interval(shift["gap"], shift["interval95_gap"]),
            with_interval(shift["effective_robustness"], shift["interval95_effective_robustness"])
            if "effective_robustness" in shift
            else "-",
        ]
        for shift in shifts
    ]
    return "\n" + table(SHIFT_COLUMNS, rows)


def comparison_table(tests: Sequence[dict[str, Any]]) -> str:
    """Pairs of models on the same images; the difference is the second's share less the first's."""
    if not tests:
        return ""
    rows = [
        [
            test["set"],
            test["score"].replace("_", " "),
            f"{test['first']} {percent(test['share_first'])}",
            f"{test['second']} {percent(test['share_second'])}",
            with_interval(test["difference"], test["interval95"]),
            f"{test['p']:.2g}",
            test["test"],
        ]
        for test in tests
    ]
    return "\n" + table(COMPARISON_COLUMNS, rows, left=2)
