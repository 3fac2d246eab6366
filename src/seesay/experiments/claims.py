"""What a comparison shows, in sentences: factors, claims of the paper, and learning rates to doubt."""

from collections.abc import Iterator

from seesay.experiments.comparison import UNITS, Comparison, Factor

# Radford et al. 2021, figure 2: how many times fewer images the first needs than the second.
CLAIMS = (("contrastive-bow", "bag-of-words", 4.0), ("bag-of-words", "caption", 3.0))


def summary_lines(comparison: Comparison) -> Iterator[str]:
    """What `seesay compare` prints: a line for each two objectives, each claim of the paper, each rate to doubt."""
    for factor in comparison.efficiency:
        if factor.over == "images":
            yield factor_line(factor)
    yield from claim_lines(comparison)
    yield from rate_lines(comparison)


def factor_line(factor: Factor) -> str:
    """A factor as a sentence."""
    if factor.factor is None:
        return f"{factor.slow} and {factor.fast} cannot be compared over {UNITS[factor.over]}: {factor.reason}."
    interval = factor.interval95
    range_words = (
        f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}" if interval else f"no interval: {factor.reason}"
    )
    return (
        f"{factor.slow} needs {factor.factor:.2f} times as many {UNITS[factor.over]} as {factor.fast} for the same "
        f"accuracy ({range_words})."
    )


def factor_words(factor: Factor) -> str:
    """A factor with its 95 % interval for a table, or why there is none."""
    if factor.factor is None:
        return f"none: {factor.reason}"
    if factor.interval95 is None:
        return f"{factor.factor:.2f} (no interval: {factor.reason})"
    return f"{factor.factor:.2f} [{factor.interval95[0]:.2f}, {factor.interval95[1]:.2f}]"


def claim_lines(comparison: Comparison) -> list[str]:
    """Each claim of the paper's figure 2 about two objectives of this comparison, and whether it holds here."""
    lines = []
    for fast, slow, claimed in CLAIMS:
        if fast not in comparison.objectives or slow not in comparison.objectives:
            continue
        factor = comparison.factor(fast, slow, over="images")
        if factor is not None:
            lines.append(f"Paper: {fast} needs {claimed:g} times fewer images than {slow}. {verdict(factor, claimed)}")
    return lines or ["The paper's Figure 2 makes no claim about two of these objectives."]


def verdict(factor: Factor, claimed: float) -> str:
    """One sentence: whether `factor` agrees with the paper's."""
    if factor.factor is None:
        return f"Not shown here: {factor.reason}."
    if factor.interval95 is None:
        return f"Not shown here: the factor is {factor.factor:.2f}, but it has no interval ({factor.reason})."
    low, high = factor.interval95
    measured = f"{factor.factor:.2f} with an interval of [{low:.2f}, {high:.2f}]"
    if low <= 1 <= high:
        return f"Not shown here: the factor is {measured}, which includes 1."
    if high < 1:
        return f"Here it is the other way round: the factor is {measured}, below 1."
    if low <= claimed <= high:
        return f"Agrees: the factor is {measured}, which includes the paper's."
    size = "smaller" if high < claimed else "larger"
    return f"Agrees in direction only: the factor is {measured}, {size} than the paper's."


def rate_lines(comparison: Comparison) -> Iterator[str]:
    """Runs that diverged, objectives that have no runs for it, and best rates at the edge of those tried."""
    for name, step in comparison.diverged.items():
        yield f"Run {name} diverged at step {step:,}: its loss or gradient was no longer finite."
    for name, objective in comparison.objectives.items():
        rate = f"{name}: the best rate, {objective.learning_rate or 0:g}, is the"
        if objective.has_diverged:
            yield f"{name} has no runs: every learning rate diverged. Add lower learning_rates."
        elif objective.rate_is == "only":
            yield f"{rate} only one tried: another may be better."
        elif objective.rate_is:
            other = "higher" if objective.rate_is == "highest" else "lower"
            yield f"{rate} {objective.rate_is} tried: a {other} one may be better."
