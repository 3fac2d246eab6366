"""The result of a check before a run: numbers, what they mean, and a hint where something is wrong."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from seesay.base.printable import printable
from seesay.base.values import html_table, to_pandas

Level = Literal["ok", "warning", "stop"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "stop")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the result: the topic, a message with its numbers, and a hint what to do ("" where all is well)."""

    topic: str
    level: Level
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """Counts of images; sides are in pixels, the shorter of each image.

    Of `total` images `examined` were decoded, or could not be (`broken`). `duplicates` have the bytes of an earlier
    image, `near_duplicates` nearly its pixels; the keys name at most 20 groups. `repeated_in_batch` is the expected
    share of a batch whose bytes are repeated in it, `below_model_side` the share with a side shorter than the model's.
    """

    total: int
    examined: int
    broken: int
    broken_by_reason: Mapping[str, int]
    broken_keys: tuple[str, ...]
    duplicates: int
    near_duplicates: int
    duplicate_keys: tuple[tuple[str, ...], ...]
    near_duplicate_keys: tuple[tuple[str, ...], ...]
    median_side: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    model_side: int
    below_model_side: float
    seconds_per_image: float
    repeated_in_batch: float = 0.0

    @property
    def broken_share(self) -> float:
        """Of the examined images, the share that cannot be decoded."""
        return self.broken / max(1, self.examined)


@dataclass(frozen=True, kw_only=True)
class CaptionReport:
    """Counts of captions, and their lengths in tokens of the run's own tokenizer, start and end included.

    `duplicates` have the words of an earlier caption, `wordless` no letter and no digit, `file_names` look like one.
    99 of 100 captions are not longer than `length_of_99_percent`; `truncated_share` are longer than `context`.
    `shares_repeats`: repeats in a batch count as matches.
    """

    count: int
    most_per_pair: int
    duplicates: int
    wordless: int
    empty: int
    file_names: int
    file_name_examples: tuple[str, ...]
    vocabulary: int
    context: int
    median_length: int
    longest: int
    length_of_99_percent: int
    truncated_share: float
    repeated_in_batch: float
    shares_repeats: bool


@dataclass(frozen=True, kw_only=True)
class OverfitReport:
    """One batch trained on in every step: its first and last loss, and whether the model could overfit it.

    `chance_loss` is that of random answers, `minimum_loss` the lowest that repeats in the batch allow; both are None
    where the objective cannot name them. `last_loss` is None where it is not finite.
    """

    pairs: int
    steps: int
    chance_loss: float | None
    first_loss: float
    last_loss: float | None
    minimum_loss: float | None
    seconds: float
    is_overfit: bool


@dataclass(frozen=True, kw_only=True)
class MemoryReport:
    """Bytes. `needed` is for the whole run: what was measured, and the cached images that the short run did not read.

    `weights`, `gradients` and `moments` (of AdamW) are computed from the number of parameters; `program` is what Python
    and its packages take; `rest` is the measured remainder: activations, pairs, images, buffers.
    `measured_batch_size` is smaller than the run's where that did not fit. `suggested_micro_batch` is None where none
    is needed, and 0 where not even one pair fits. `checkpoints` is what they take on the disk with `disk_free` bytes.
    """

    device: str
    parameters: int
    program: int
    weights: int
    gradients: int
    moments: int
    rest: int
    cached_images: int
    measured: int
    measured_batch_size: int
    needed: int
    available: int
    suggested_micro_batch: int | None
    checkpoints: int
    disk_free: int


@dataclass(frozen=True, kw_only=True)
class SideSpeed:
    """Pairs per second at one side of the crops, in pixels, measured over `steps` steps.

    `first_epoch` reads and decodes images, `cached` has them in memory (None if not measured). `slowest` and `fastest`
    are those of fifths of the first epoch.
    """

    side: int
    steps: int
    first_epoch: float
    cached: float | None
    slowest: float
    fastest: float


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """Seconds of the whole run of `steps` steps, start and checks included, with their range.

    `around_seconds`: before the first step and after the last; `check_seconds`: all checks during the run.
    """

    steps: int
    epochs: float
    seconds: float
    low_seconds: float
    high_seconds: float
    around_seconds: float
    check_seconds: float
    speeds: tuple[SideSpeed, ...]


@dataclass(frozen=True, kw_only=True)
class DoctorReport:
    """The whole result. A part that could not be measured is None, and a finding says why.

    `held_out` of the `pairs` are for validation; `unusable` counts by reason what is no pair; `notes` say how the
    source was read where there was a choice; `plan` is what the run would choose, and why, line by line.
    """

    name: str
    pairs: int
    held_out: int
    unusable: Mapping[str, int]
    notes: tuple[str, ...]
    plan: tuple[str, ...]
    images: ImageReport
    captions: CaptionReport
    overfit: OverfitReport | None
    memory: MemoryReport | None
    time: TimeReport | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Level:
        """The worst level of all findings."""
        worst = max((LEVELS.index(finding.level) for finding in self.findings), default=0)
        return LEVELS[worst]

    @property
    def broken_share(self) -> float:
        """Of the pairs, those that cannot be used: broken images, and what has no caption or no image."""
        unusable = sum(self.unusable.values())
        return (self.images.broken_share * self.pairs + unusable) / max(1, self.pairs + unusable)

    def to_json(self) -> dict[str, Any]:
        """The whole tree as plain values, with the verdict and the share that is broken."""
        return {"verdict": self.verdict, "broken_share": self.broken_share, **asdict(self)}

    def to_pandas(self) -> Any:
        """The findings as a pandas DataFrame, one row each. Raises `UsageError` without pandas."""
        return to_pandas([asdict(finding) for finding in self.findings])

    def __repr__(self) -> str:
        topics = [finding.topic for finding in self.findings if finding.level == self.verdict != "ok"]
        listed = f" ({', '.join(topics)})" if topics else ""
        return printable(f"<DoctorReport of {self.name}: {self.pairs:,} pairs, {self.verdict}{listed}>")

    def _repr_html_(self) -> str:
        rows = [(finding.topic, finding.level, finding.message, finding.hint) for finding in self.findings]
        return html_table(("check", "level", "result", "hint"), rows)
