"""What a run chooses for itself, from the data and the machine, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.base.errors import UsageError
from seesay.base.records import PairSource
from seesay.data.augment import Augment
from seesay.data.tokenizer import clean
from seesay.nets.architecture import Architecture, ConvNetConfig, VisionTransformerConfig
from seesay.nets.presets import preset
from seesay.training.objectives import objective_of, usual
from seesay.training.settings import DataSettings, OptimizerSettings, ScheduleSettings, TowerSettings, TrainSettings

PAPER_WARMUP_STEPS = 2000
WARMUP_SHARE = 0.05
PAIRS_SEEN = 1_000_000
MOST_EPOCHS = 100
MANY_REPEATS = 0.01
SMALL_DATA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the plan needs to know of pairs and machine.

    `begun_in` is the precision of a run that goes on. `is_faster_in_bfloat16` is None where it was not measured.
    """

    pairs: int
    captions: int
    median_side: int
    device: str
    cores: int
    can_fork: bool
    is_faster_in_bfloat16: bool | None = None
    begun_in: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings without gaps, the architecture they name (its vocabulary still open), and a reason per choice."""

    settings: TrainSettings
    architecture: Architecture
    reasons: tuple[str, ...]


Chances = np.ndarray | Sequence[tuple[float, float]]


def choose(settings: TrainSettings, facts: DataFacts, *, repeats: Chances = (), image_repeats: Chances = ()) -> Plan:
    """Fill every gap in `settings`; what was given stays as it is.

    `repeats` is what `caption_chances` gave, `image_repeats` what `image_chances` gave.
    Raises `UsageError` for an unknown size and for fewer pairs than a batch.
    """
    name = settings.model or _model_for(facts)
    objective = objective_of(settings.objective or usual(preset(name)))
    architecture = objective.architecture(preset(name))
    batch_size = settings.batch_size or _batch_for(facts)
    if facts.pairs < batch_size:
        raise UsageError(
            f"{facts.pairs} pairs are fewer than batch_size {batch_size}; set it to {facts.pairs} or less."
        )
    has_length = settings.steps or settings.epochs or settings.minutes
    repeated = repeated_share(repeats, batch_size), repeated_share(image_repeats, batch_size)
    filled = settings.model_copy(
        update={
            "model": name,
            "objective": objective.name,
            "device": facts.device,
            "batch_size": batch_size,
            "epochs": settings.epochs if has_length else max(1, min(MOST_EPOCHS, round(PAIRS_SEEN / facts.pairs))),
            "data": _data(settings.data, facts, crops=objective.crops, repeated=sum(repeated)),
            "towers": _towers(settings.towers, facts),
            "optimizer": _optimizer(settings.optimizer, is_small=facts.pairs < SMALL_DATA),
        }
    )
    filled = filled.model_copy(update={"schedule": _schedule(filled, facts.pairs, architecture)})
    _refuse_sizes(filled.schedule, architecture, name=name)
    if filled.towers.patch_dropout and not isinstance(architecture.image, VisionTransformerConfig):
        raise UsageError(
            f"towers.patch_dropout is {filled.towers.patch_dropout:g}, but the image tower of {name} has no patches; "
            "set it to 0, or choose a ViT."
        )
    return Plan(
        settings=filled,
        architecture=architecture,
        reasons=_reasons(filled, facts, given=settings.towers, repeated=repeated),
    )


def steps_of(settings: TrainSettings, pairs: int) -> int | None:
    """The number of steps of a run, or None if it is given in minutes."""
    if settings.minutes:
        return None
    if settings.steps:
        return settings.steps
    return math.ceil((settings.epochs or 1) * pairs / (settings.batch_size or 1))


def caption_chances(pairs: PairSource) -> np.ndarray:
    """(N, 2) for the N captions of all pairs: how often each is drawn (these sum to 1), and the chance that a visit to
    another pair draws the same words."""
    numbers: dict[str, int] = {}
    count_P = np.empty(len(pairs), dtype=np.int64)
    words: list[int] = []
    for index in range(len(pairs)):
        captions = pairs.captions(index)
        count_P[index] = len(captions)
        words += [numbers.setdefault(clean(caption), len(numbers)) for caption in captions]
    words_N, pair_N = np.array(words, dtype=np.int64), np.repeat(np.arange(len(pairs)), count_P)
    weight_N = 1 / count_P[pair_N]
    drawn_N = np.bincount(words_N, weights=weight_N, minlength=len(numbers))[words_N]
    # A pair may have the same words twice: all of them are its own.
    _, same_N = np.unique(pair_N * max(1, len(numbers)) + words_N, return_inverse=True)
    own_N = np.bincount(same_N, weights=weight_N)[same_N]
    others_N = np.maximum(0.0, drawn_N - own_N) / max(1, len(pairs) - 1)
    return np.stack([weight_N / len(pairs), others_N], axis=1)


def image_chances(image_id_M: np.ndarray) -> np.ndarray:
    """(M, 2) for M pictures drawn at random: the weight of each, and the chance that another pair has the same.

    Exact where all were drawn. Of a sample of 512 the chance is right in the mean: pictures that repeat in 1 % of a
    batch of 128 give about ten equal pairs in it, and those of a batch of 1,024 give one.
    """
    count_M = np.unique(image_id_M, return_inverse=True, return_counts=True)
    again_M = count_M[2][count_M[1]] - 1
    drawn = len(image_id_M)
    return np.stack([np.full(drawn, 1 / max(1, drawn)), again_M / max(1, drawn - 1)], axis=1)


def repeated_share(chances: Chances, batch_size: int) -> float:
    """The expected share of a batch that stands in it again, by `chances`: sum of weight (1 - (1 - chance)^(B - 1))."""
    weight_N, chance_N = np.asarray(chances, dtype=np.float64).reshape(-1, 2).T
    return float(weight_N @ (1 - (1 - chance_N) ** (batch_size - 1)))


def _data(given: DataSettings, facts: DataFacts, *, crops: Augment | None, repeated: float) -> DataSettings:
    is_small = facts.pairs < SMALL_DATA
    strong = Augment(scale=0.5, stretch=1.3, flip=0.5, colour=0.2, coarse=0.2)
    chosen: dict[str, Any] = {
        "share_repeats": repeated > MANY_REPEATS,
        "workers": max(0, facts.cores - 2) if facts.can_fork else 0,
        "augment": crops or (strong if is_small else Augment()),
        "vocab_size": min(49_408, max(1024, facts.captions // 15 // 256 * 256)),
    }
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _towers(given: TowerSettings, facts: DataFacts) -> TowerSettings:
    measured = "bfloat16" if facts.is_faster_in_bfloat16 else "float32"
    precision = given.precision or facts.begun_in or measured
    return given.model_copy(update={"precision": precision})


def _optimizer(given: OptimizerSettings, *, is_small: bool) -> OptimizerSettings:
    chosen: dict[str, float] = {"learning_rate": 1e-3 if is_small else 5e-4, "weight_decay": 0.1 if is_small else 0.2}
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _schedule(settings: TrainSettings, pairs: int, architecture: Architecture) -> ScheduleSettings:
    steps = steps_of(settings, pairs)
    chosen: dict[str, Any] = {
        "warmup": min(WARMUP_SHARE, PAPER_WARMUP_STEPS / steps) if steps else WARMUP_SHARE,
        "sizes": _sizes_for(architecture),
    }
    given = settings.schedule
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _refuse_sizes(schedule: ScheduleSettings, architecture: Architecture, *, name: str) -> None:
    side = architecture.image.image_size
    others = [size for size, _ in schedule.sizes or () if size != side]
    if others and not isinstance(architecture.image, ConvNetConfig):
        raise UsageError(f"schedule.sizes has {others[0]}, but model {name} takes {side} px alone; leave sizes out.")


def _sizes_for(architecture: Architecture) -> tuple[tuple[int, float], ...]:
    """A convolutional tower learns most of what it learns at two thirds of its size, at under half the cost."""
    side = architecture.image.image_size
    if isinstance(architecture.image, ConvNetConfig) and side >= 48:
        return ((side * 2 // 3 // 8 * 8, 0.7), (side, 0.3))
    return ((side, 1.0),)


def _model_for(facts: DataFacts) -> str:
    if facts.pairs >= SMALL_DATA:
        return "ViT-B/32"
    return "conv-tiny" if facts.median_side <= 40 else "conv-small"


def _batch_for(facts: DataFacts) -> int:
    if facts.pairs >= SMALL_DATA:
        return 1024
    fitting = [size for size in (16, 32, 64, 128) if size * 32 <= facts.pairs]
    return fitting[-1] if fitting else max(2, min(16, facts.pairs))


def _reasons(
    settings: TrainSettings, facts: DataFacts, *, given: TowerSettings, repeated: tuple[float, float]
) -> tuple[str, ...]:
    """One line per choice, for people."""
    data, optimizer, schedule = settings.data, settings.optimizer, settings.schedule
    steps = steps_of(settings, facts.pairs)
    length = f"{steps:,} steps" if steps else f"{settings.minutes:g} minutes"
    visits = f", {steps * (settings.batch_size or 1) / facts.pairs:.1f} visits to each pair" if steps else ""
    crops = ", ".join(f"{key} {value:g}" for key, value in (data.augment or Augment()).model_dump().items() if value)
    sizes = ", ".join(f"{side} px for {share:.0%}" for side, share in schedule.sizes or ())
    counted = "counted as matches" if data.share_repeats else "counted as mismatches"
    return (
        f"model    {settings.model} on {settings.device}: {facts.pairs:,} pairs of about {facts.median_side} px",
        f"learns   {settings.objective}",
        f"products {settings.towers.precision}{_why_precision(facts, given)}",
        f"batch    {settings.batch_size}: as large as leaves many steps for this many pairs",
        f"length   {length}{visits}",
        f"rate     {optimizer.learning_rate:g}: warm-up over {schedule.warmup:.1%} of the run, then a cosine to 0",
        f"decay    {optimizer.weight_decay:g} on weights, none on gains and biases",
        f"sizes    {sizes}: most is learned at the smaller size, at half the cost"
        if len(schedule.sizes or ()) > 1
        else f"sizes    {sizes}",
        f"crops    {crops}: the less data, the more they differ",
        f"words    at most {data.vocab_size:,} ids, learned from {facts.captions:,} captions",
        f"repeats  {repeated[0]:.1%} of captions and {repeated[1]:.1%} of images stand again in their batch: {counted}",
    )


def _why_precision(facts: DataFacts, given: TowerSettings) -> str:
    if given.precision:
        return ", as was asked for"
    if facts.begun_in:
        return ", as the run began"
    if facts.is_faster_in_bfloat16 is None:
        return ""
    return "; bfloat16 was measured to be " + ("faster here" if facts.is_faster_in_bfloat16 else "no faster here")
