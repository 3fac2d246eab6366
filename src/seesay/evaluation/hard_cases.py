"""The paper's hard cases: what CLIP is known to be weak at, and what it scored there.

Zero-shot and linear-probe accuracies are those of ViT-L/14 at 336 px (Radford et al. 2021, tables 10 and 11).
The sets of those tables have other images and classes than ours, so they say how hard the task is and not what to
reach.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HardCase:
    """A task, the words by which its sets are known, and what the paper measured on a set of that kind."""

    task: str
    words: tuple[str, ...]
    paper_set: str
    paper_zero_shot: float
    paper_probe: float
    classes: int


HARD_CASES = (
    HardCase(
        task="counting",
        words=("count", "clevr"),
        paper_set="CLEVR counts",
        paper_zero_shot=0.248,
        paper_probe=0.603,
        classes=8,
    ),
    HardCase(
        task="handwritten digits",
        words=("mnist",),
        paper_set="MNIST",
        paper_zero_shot=0.883,
        paper_probe=0.992,
        classes=10,
    ),
    HardCase(
        task="texture",
        words=("dtd", "texture"),
        paper_set="DTD",
        paper_zero_shot=0.557,
        paper_probe=0.830,
        classes=47,
    ),
    HardCase(
        task="satellite and aerial",
        words=("eurosat", "resisc", "rsicd", "satellite"),
        paper_set="EuroSAT",
        paper_zero_shot=0.596,
        paper_probe=0.981,
        classes=10,
    ),
)


def hard_case_of(set_name: str) -> HardCase | None:
    """The hard case that a set is one of, recognised by its name; None for an ordinary set."""
    name = set_name.lower()
    return next((case for case in HARD_CASES if any(word in name for word in case.words)), None)
