"""What a check before a run found: numbers, what they mean, and a hint where something is wrong."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "stop"]
LEVELS: tuple[Level, ...] = ("ok", "warning", "stop")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the result: the topic, what was found with its number, and what to do ("" where all is well)."""

    topic: str
    level: Level
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """Counts of images; sides are in pixels, the shorter of each image.

    `equal` and `alike` count those of which the same bytes, or nearly the same pixels, are there before them;
    `repeated_in_batch` is the expected share of a batch whose bytes stand in it again.
    """

    of: int
    looked_at: int
    broken: int
    broken_by_reason: Mapping[str, int]
    broken_keys: tuple[str, ...]
    equal: int
    alike: int
    equal_keys: tuple[tuple[str, ...], ...]
    alike_keys: tuple[tuple[str, ...], ...]
    median_side: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    model_side: int
    below_model_side: float
    seconds_each: float
    repeated_in_batch: float = 0.0

    @property
    def broken_share(self) -> float:
        return self.broken / max(1, self.looked_at)


@dataclass(frozen=True, kw_only=True)
class CaptionReport:
    """Counts of captions, and their lengths in tokens of the run's own tokenizer, start and end included.

    `enough_for_most`: the length that 99 of 100 do not exceed.
    """

    count: int
    most_per_pair: int
    same: int
    wordless: int
    empty: int
    file_names: int
    file_name_examples: tuple[str, ...]
    vocabulary: int
    context: int
    median_length: int
    longest: int
    enough_for_most: int
    cut_share: float
    repeated_in_batch: float
    shares_targets: bool


@dataclass(frozen=True, kw_only=True)
class OverfitReport:
    """One batch trained on again and again: its losses, the loss of guessing, and the least that its repeats allow.

    The last two are None where the objective does not know them.
    """

    pairs: int
    steps: int
    chance_loss: float | None
    first: float
    last: float | None
    minimum_loss: float | None
    seconds: float
    learned: bool


@dataclass(frozen=True, kw_only=True)
class MemoryReport:
    """Bytes. `needed` is for the whole run: what was measured, and the cached images that the short run did not read.

    `weights`, `gradients` and `moments` are worked out from the parameters; `program` is what Python and its packages
    take; `rest` is what was measured beside these: activations, pairs, images, buffers. `batch_size` is the one that
    was measured, smaller than the run's if that did not fit; `micro_batch` is the one to use, None if none is needed.
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
    batch_size: int
    needed: int
    available: int
    micro_batch: int | None
    checkpoints: int
    disk_free: int


@dataclass(frozen=True, kw_only=True)
class SideSpeed:
    """Pairs per second at one side of the crops: in the first epoch, and of cached images; slowest and fastest part."""

    side: int
    steps: int
    first_epoch: float
    cached: float | None
    slowest: float
    fastest: float


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """Seconds of the whole run, start and checks included, with the range; `steps` is what the run will make.

    `around_seconds`: before the first step and after the last; `check_seconds`: all checks on the way."""

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
    """Everything that was found. A part that could not be measured is None, and a finding says why."""

    name: str
    pairs: int
    held_out: int
    unusable: Mapping[str, int]
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
