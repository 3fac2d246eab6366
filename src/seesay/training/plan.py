"""What a run chooses for itself, from the data and the machine, and why."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from seesay.base.errors import UsageError
from seesay.data.augment import Augment
from seesay.formulas.repeats import Chances, repeated_share
from seesay.formulas.schedule import Length, Minutes, Steps
from seesay.model.layouts.programs import export_line
from seesay.nets.architecture import Architecture, ConvNetConfig, VisionTransformerConfig
from seesay.nets.presets import preset, preset_name
from seesay.training.objectives import default_objective, objective_of, taught
from seesay.training.objectives.base import Objective
from seesay.training.settings import DataSettings, OptimizerSettings, ScheduleSettings, TowerSettings, TrainSettings

# Radford et al. 2021, table 18.
PAPER_WARMUP_STEPS = 2000
# A guess for runs shorter than the paper's.
WARMUP_SHARE = 0.05
# As many as the first model in the box saw in 39 minutes (benchmarks/2026-11-21-first-run: 764,160), rounded up.
PAIRS_SEEN = 1_000_000
# Guesses: from here on few images are seen too often, and a share of repeats costs more than it is worth to ignore.
MOST_EPOCHS = 100
MANY_REPEATS = 0.01
# A guess: below it the small models and strong augmentations of docs/decisions/0002 are taken.
SMALL_DATA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the plan needs to know of pairs and machine.

    `begun_with` is the precision of a run that goes on. `is_faster_in_bfloat16` is None where it was not measured.
    """

    pairs: int
    captions: int
    median_side: int
    device: str
    cores: int
    is_faster_in_bfloat16: bool | None = None
    begun_with: str | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizerPlan:
    """What makes the optimizer; `learning_rate` is the peak of the schedule."""

    kind: Literal["adamw", "muon"]
    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """How pairs become batches. `vocab_size` is the most that the tokenizer may learn."""

    share_repeats: bool
    workers: int
    timeout_seconds: float
    cache: bool
    augment: Augment
    vocab_size: int
    context: int


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """What is decided about a run: no value is None.

    `settings` are the run's settings with every choice filled in, as they are written to its folder; of these the loop
    reads only what has a default. `micro_batch` is the whole batch where none was asked for. `sizes`: (side of the
    crops in pixels, share of the run), in turn; `warmup` is a share of the run. The vocabulary of `architecture` is
    still open. `reasons`: one line per choice, for people.
    """

    settings: TrainSettings
    architecture: Architecture
    objective: Objective
    model: str
    device: str
    length: Length
    batch_size: int
    micro_batch: int
    precision: Literal["float32", "bfloat16"]
    data: DataPlan
    optimizer: OptimizerPlan
    warmup: float
    sizes: tuple[tuple[int, float], ...]
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, settings: TrainSettings, architecture: Architecture, *, pairs: int, reasons: tuple[str, ...] = ()
    ) -> "RunPlan":
        """The plan of a run on so many pairs, from settings without gaps: those of `choose`, or of a run folder.

        Raises ValueError that names the first setting that is still None.
        """
        data, optimizer, schedule = settings.data, settings.optimizer, settings.schedule
        batch_size = _decided("batch_size", settings.batch_size)
        return cls(
            settings=settings,
            architecture=architecture,
            objective=taught(objective_of(_decided("objective", settings.objective), settings.widths), settings),
            model=_decided("model", settings.model),
            device=_decided("device", settings.device),
            length=length_of(settings, pairs),
            batch_size=batch_size,
            micro_batch=batch_size if settings.micro_batch is None else min(settings.micro_batch, batch_size),
            precision=_decided("towers.precision", settings.towers.precision),
            data=DataPlan(
                share_repeats=_decided("data.share_repeats", data.share_repeats),
                workers=_decided("data.workers", data.workers),
                timeout_seconds=data.timeout_seconds,
                cache=data.cache,
                augment=_decided("data.augment", data.augment),
                vocab_size=_decided("data.vocab_size", data.vocab_size),
                context=architecture.text.context if data.context is None else data.context,
            ),
            optimizer=OptimizerPlan(
                kind=optimizer.kind,
                learning_rate=_decided("optimizer.learning_rate", optimizer.learning_rate),
                weight_decay=_decided("optimizer.weight_decay", optimizer.weight_decay),
                beta1=optimizer.beta1,
                beta2=optimizer.beta2,
                epsilon=optimizer.epsilon,
            ),
            warmup=_decided("schedule.warmup", schedule.warmup),
            sizes=_decided("schedule.sizes", schedule.sizes),
            reasons=reasons,
        )

    @property
    def is_divided(self) -> bool:
        """Whether a batch goes through the towers in several chunks."""
        return self.micro_batch < self.batch_size


T = TypeVar("T")


def _decided(name: str, value: T | None) -> T:
    if value is None:
        raise ValueError(f"the plan of the run has no {name}: `choose` left it out")
    return value


def length_of(settings: TrainSettings, pairs: int) -> Length:
    """How long a run on so many pairs is; ValueError where settings do not say it."""
    if settings.minutes is not None:
        return Minutes(settings.minutes)
    if settings.steps is not None:
        return Steps(settings.steps)
    return Steps(math.ceil(_decided("epochs", settings.epochs) * pairs / _decided("batch_size", settings.batch_size)))


def choose(
    settings: TrainSettings,
    facts: DataFacts,
    *,
    repeats: Chances = (),
    image_repeats: Chances = (),
    start: Architecture | None = None,
    towers: Callable[[Architecture], Architecture] = lambda base: base,
) -> RunPlan:
    """Fill every gap in `settings`; what was given stays as it is.

    `repeats` and `image_repeats` are those of `caption_chances` and `image_chances`, `start` what the run begins with;
    `towers` puts those of others in a preset's place. `UsageError` for an unknown size and fewer pairs than a batch.
    """
    name = str(settings.model) if start else preset_name(settings.model or _model_for(facts))
    objective = objective_of(settings.objective or default_objective(start or towers(preset(name))), settings.widths)
    architecture = start or _with_widths(towers(objective.architecture(preset(name))), settings.widths)
    if settings.data.captions_per_image > 1 and objective.is_sum_over_pairs:
        raise UsageError(f"data.captions_per_image is for objectives that compare captions, not {objective.name}.")
    batch_size = settings.batch_size or _batch_for(facts)
    if facts.pairs < batch_size:
        raise UsageError(f"{facts.pairs} pairs are fewer than batch_size {batch_size}; take {facts.pairs} or less.")
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
    plan = RunPlan.of(filled, architecture, pairs=facts.pairs)
    return replace(plan, reasons=_reasons(plan, facts, given=settings.towers, repeated=repeated))


def _with_widths(whole: Architecture, widths: Sequence[int] | None) -> Architecture:
    """`whole`, whose rows may be cut to `widths`; `UsageError` for more than the rows have."""
    if widths and max(widths) > whole.embed_dim:
        raise UsageError(f"widths has {max(widths)}, but rows have {whole.embed_dim} numbers; give at most so many.")
    return Architecture(**{**whole.model_dump(), "widths": tuple(sorted(set(widths)))}) if widths else whole


def _data(given: DataSettings, facts: DataFacts, *, crops: Augment | None, repeated: float) -> DataSettings:
    is_small = facts.pairs < SMALL_DATA
    strong = Augment(scale=0.5, stretch=1.3, flip=0.5, colour=0.2, coarse=0.2)
    chosen: dict[str, Any] = {
        "share_repeats": repeated > MANY_REPEATS,
        "workers": max(0, facts.cores - 2),
        "augment": crops or (strong if is_small else Augment()),
        "vocab_size": min(49_408, max(1024, facts.captions // 15 // 256 * 256)),
    }
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _towers(given: TowerSettings, facts: DataFacts) -> TowerSettings:
    precision = given.precision or facts.begun_with or ("bfloat16" if facts.is_faster_in_bfloat16 else "float32")
    return given.model_copy(update={"precision": precision})


def _optimizer(given: OptimizerSettings, *, is_small: bool) -> OptimizerSettings:
    chosen: dict[str, float] = {"learning_rate": 1e-3 if is_small else 5e-4, "weight_decay": 0.1 if is_small else 0.2}
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _schedule(settings: TrainSettings, pairs: int, architecture: Architecture) -> ScheduleSettings:
    length = length_of(settings, pairs)
    chosen: dict[str, Any] = {
        "warmup": min(WARMUP_SHARE, PAPER_WARMUP_STEPS / length.count) if isinstance(length, Steps) else WARMUP_SHARE,
        "sizes": _sizes_for(architecture),
    }
    given = settings.schedule
    return given.model_copy(update={key: value for key, value in chosen.items() if getattr(given, key) is None})


def _refuse_sizes(schedule: ScheduleSettings, architecture: Architecture, *, name: str) -> None:
    side = architecture.image.image_size
    others = [size for size, _ in schedule.sizes or () if size != side]
    if others and not isinstance(architecture.image, ConvNetConfig):
        raise UsageError(f"schedule.sizes has {others[0]}; {name} takes {side} px alone: leave it out or use conv-*.")


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
    return max((size for size in (16, 32, 64, 128) if size * 32 <= facts.pairs), default=max(2, min(16, facts.pairs)))


def _reasons(
    plan: RunPlan, facts: DataFacts, *, given: TowerSettings, repeated: tuple[float, float]
) -> tuple[str, ...]:
    """One line per choice, for people."""
    data, length = plan.data, plan.length
    muon = "; Muon for matrices" if plan.optimizer.kind == "muon" else ""
    epochs = f", {length.count * plan.batch_size / facts.pairs:.1f} epochs" if isinstance(length, Steps) else ""
    crops = ", ".join(f"{key} {value:g}" for key, value in data.augment.model_dump().items() if value)
    sizes = ", ".join(f"{side} px for {share:.0%}" for side, share in plan.sizes)
    why_sizes = ": most is learned at the smaller size, at half the cost" if len(plan.sizes) > 1 else ""
    counted = "counted as matches" if data.share_repeats else "counted as mismatches"
    counted = "of no matter, as each pair is learned by itself" if plan.objective.is_sum_over_pairs else counted
    learned = f"at most {data.vocab_size:,} ids, learned from {facts.captions:,} captions"
    known = plan.settings.text_tower or (plan.model if plan.settings.start.sha256 else None)
    words = f"that of {known}, with which the run begins" if known else learned
    return (
        f"model      {plan.model} on {plan.device}: {facts.pairs:,} pairs of about {facts.median_side} px",
        f"objective  {plan.objective.name}{_of_widths(plan.architecture)}{plan.objective.beside}",
        f"export     {export_line(plan.architecture)}",
        f"precision  {plan.precision}{_why_precision(facts, given)}",
        f"batch      {plan.batch_size}: as large as leaves many steps for this many pairs",
        f"length     {length}{epochs}",
        f"rate       {plan.optimizer.learning_rate:g}: warm-up over {plan.warmup:.1%} of the run, then a cosine to 0",
        f"decay      {plan.optimizer.weight_decay:g} on weights, none on gains and biases{muon}",
        f"sizes      {sizes}{why_sizes}; answers at {plan.architecture.image.image_size} px",
        f"crops      {crops}: the less data, the more they differ",
        f"vocabulary {words}",
        f"repeats    {repeated[0]:.1%} of captions, {repeated[1]:.1%} of images are repeated in their batch: {counted}",
    )


def _of_widths(architecture: Architecture) -> str:
    if not architecture.widths:
        return ""
    widths = sorted({*architecture.widths, architecture.embed_dim})
    return f", on rows cut to {', '.join(map(str, widths[:-1]))} of their {widths[-1]} numbers and on whole ones"


def _why_precision(facts: DataFacts, given: TowerSettings) -> str:
    if given.precision:
        return ", as requested"
    if facts.begun_with:
        return ", as the run began"
    if facts.is_faster_in_bfloat16 is None:
        return ""
    return "; bfloat16 was measured to be " + ("faster here" if facts.is_faster_in_bfloat16 else "no faster here")
