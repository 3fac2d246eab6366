"""What a contest shows, in words: the factors, and which claims of the paper they bear out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Figure 2 of Radford et al. 2021: who needs how many times fewer images than whom.
CLAIMS = (("contrastive-bow", "bag-of-words", 4.0), ("bag-of-words", "caption", 3.0))
NAMES = {"images": "images", "flops": "FLOPs", "seconds": "seconds"}


def between(result: Mapping[str, Any], fast: str, slow: str, *, over: str) -> dict[str, Any] | None:
    """The efficiency of `fast` over `slow`, whichever of them the recipe names first; None where one is missing."""
    for found in result["efficiency"]:
        if found["over"] != over:
            continue
        if (found["fast"], found["slow"]) == (fast, slow):
            return dict(found)
        if (found["fast"], found["slow"]) == (slow, fast):
            factor, interval = found["factor"], found["interval95"]
            turned = {"factor": factor and 1 / factor, "interval95": interval and [1 / interval[1], 1 / interval[0]]}
            return {**found, "fast": fast, "slow": slow, **turned}
    return None


def factor_words(found: Mapping[str, Any]) -> str:
    """A factor with its interval, or why there is none."""
    if found["factor"] is None:
        return f"none: {found['reason']}"
    interval = found["interval95"]
    if interval is None:
        return f"{found['factor']:.2f} (no interval: {found['reason']})"
    return f"{found['factor']:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def factor_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A line for each two objectives, and one for each claim of the paper."""
    for found in result["efficiency"]:
        if found["over"] == "images":
            yield f"{found['slow']} needs so many times the images of {found['fast']}: {factor_words(found)}"
    yield from claim_lines(result)


def claim_lines(result: Mapping[str, Any]) -> list[str]:
    """Each claim of figure 2 that this contest could bear out, and whether it did."""
    lines = []
    for fast, slow, claimed in CLAIMS:
        found = between(result, fast, slow, over="images")
        if found is not None:
            lines.append(f"Paper: {fast} needs {claimed:g} times fewer images than {slow}. {verdict(found, claimed)}")
    return lines or ["The paper's Figure 2 makes no claim about two of these objectives."]


def verdict(found: Mapping[str, Any], claimed: float) -> str:
    factor, interval = found["factor"], found["interval95"]
    if factor is None:
        return f"Not shown here: {found['reason']}."
    if interval is None:
        return f"Not shown here: the factor is {factor:.2f}, but it has no interval ({found['reason']})."
    low, high = interval
    told = f"{factor:.2f} with an interval of [{low:.2f}, {high:.2f}]"
    if low <= 1 <= high:
        return f"Not shown here: the factor is {told}, which includes 1."
    if high < 1:
        return f"Here it is the other way round: the factor is {told}, below 1."
    if low <= claimed <= high:
        return f"Agrees: the factor is {told}, which includes the paper's."
    size = "smaller" if high < claimed else "larger"
    return f"Agrees in direction only: the factor is {told}, {size} than the paper's."


def final_accuracies(result: Mapping[str, Any], name: str) -> list[float]:
    """Accuracy at the end, of each seed with the chosen learning rate."""
    seeds: Mapping[str, Sequence[Mapping[str, float]]] = result["objectives"][name]["seeds"]
    return [points[-1]["accuracy"] for points in seeds.values()]


def ranked(result: Mapping[str, Any]) -> list[str]:
    """Objectives with finished runs, the best mean accuracy at the end first."""
    names = [name for name in result["objectives"] if final_accuracies(result, name)]
    return sorted(names, key=lambda name: -sum(own := final_accuracies(result, name)) / len(own))
