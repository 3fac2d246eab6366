"""Everything that can be set about a run. `None`: `training.plan` chooses from the data, and prints its choice."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from seesay.base.settings import Settings
from seesay.data.augment import Augment
from seesay.nets.architecture import MATRIX_KINDS, TOWERS, MatrixKind, PrefixWidth, Tower

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
# Ten years, a guess at more than anybody means: clocks and timers take these numbers, and overflow far above.
Minutes = Annotated[float, Field(gt=0, le=5_256_000)]
Seconds = Annotated[float, Field(gt=0, le=315_360_000)]

CHANGEABLE = (
    "device",
    "micro_batch",
    "parallel",
    "stuck_minutes",
    "data.workers",
    "data.timeout_seconds",
    "checkpoint.",
    "log.",
    "check.",
    "towers.activation_checkpointing",
    "towers.compile",
    # What counts is the sha256 of each.
    "start.model",
    "teacher",
    "distillation.rows",
)


class DataSettings(Settings):
    """The pairs and how they become batches.

    `validation` is the share of pairs held out when no validation pairs are given, 1,000 at most; without one it is a
    hundredth, and more of fewer pairs: 500, but no more than a tenth. `share_repeats`: equal captions
    or images inside a batch count as matches. `captions_per_image`: a step's loss is the mean over so many captions of
    each image, which costs the text tower's time alone. A batch that is not there after `timeout_seconds` ends the run.
    `blocked_hashes` names a file with the SHA-256 of images, one a line, whose pairs are left out.
    """

    image_column: str | None = None
    caption_column: str | None = None
    validation: Annotated[float, Field(ge=0, lt=0.5)] | None = None
    vocab_size: Annotated[int, Field(ge=514, le=65_536)] | None = None
    context: Annotated[int, Field(ge=3, le=1024)] | None = None
    share_repeats: bool | None = None
    captions_per_image: Annotated[int, Field(ge=1, le=16)] = 1
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    timeout_seconds: Seconds = 120.0
    cache: bool = True
    augment: Augment | None = None
    blocked_hashes: str | None = None


class TowerSettings(Settings):
    """How the towers compute.

    `patch_dropout` is the share of a vision transformer's patches that a step leaves out. With
    `activation_checkpointing` the backward pass runs blocks again instead of keeping what is inside. `compile` is for
    the image tower: captions differ in shape from batch to batch. `precision` is that of matrix multiplications:
    without one, bfloat16 where the device was measured to be faster with it.
    """

    patch_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    activation_checkpointing: bool = False
    compile: bool = False
    precision: Literal["float32", "bfloat16"] | None = None


class OptimizerSettings(Settings):
    """AdamW with the paper's betas and epsilon for ViTs; no decay on gains and biases.

    With `kind` "muon" matrices and kernels behind the first layer are stepped by Muon (Jordan et al. 2024), scaled so
    that the same rates and decay suit it.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = None
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    epsilon: Annotated[float, Field(gt=0, le=1e-2)] = 1e-6


class ScheduleSettings(Settings):
    """Linear warm-up over `warmup` of the run, then a cosine to 0. `sizes`: [side, share of the run], in turn."""

    warmup: Annotated[float, Field(ge=0, le=0.1)] | None = None
    sizes: tuple[tuple[Annotated[int, Field(ge=8, le=2048)], Annotated[float, Field(gt=0, le=1)]], ...] | None = None

    @model_validator(mode="after")
    def _fill_the_run(self):
        if self.sizes and abs(sum(share for _, share in self.sizes) - 1) > 1e-6:
            raise ValueError(
                f"sizes fill {sum(share for _, share in self.sizes):g} of the run; make the shares add up to 1"
            )
        return self


class CheckpointSettings(Settings):
    """When the run is saved so that it can go on: by the clock, and every so many steps (0: by the clock alone).

    The last `keep` checkpoints stay on disk.
    """

    every_minutes: Minutes = 10.0
    every_steps: Annotated[int, Field(ge=0)] = 0
    keep: Annotated[int, Field(ge=2)] = 2


class CheckSettings(Settings):
    """How often, as a share of the run, validation and zero-shot checks are made; or after the steps in `at`, if any.

    One is made at the end in any case. The run ends early once `patience` checks in a row had no lower validation loss
    than the best one (0: never).
    """

    every: Annotated[float, Field(gt=0, le=1)] = 0.1
    at: tuple[Positive, ...] = ()
    patience: Annotated[int, Field(ge=0)] = 0


class LogSettings(Settings):
    """`events.jsonl` is always written; `to` names the trackers that are fed beside it."""

    every_steps: Positive = 10
    to: tuple[Literal["tensorboard", "wandb"], ...] = ()


class StartSettings(Settings):
    """The model that a run begins with, and which of its parameters are trained.

    `model` is a folder or name, and `sha256` that of its weights, noted when the run begins. `how`: "full" trains all
    parameters, "lock-image" and "lock-text" all but those of one tower, "image" the image tower before the zero-shot
    classifier of `classes` in `templates`, "lora" low-rank updates of matrices, "prompt" vectors in place of a
    template's words (`seesay finetune` alone). `rank`, `alpha`, `targets` (kinds of matrices) and `towers` are those of
    "lora", `context` how many vectors "prompt" has, without it as many as the model's first template has words before
    the name. `keep` is what it weighs that images and texts which are not learned keep their answers (`seesay finetune`
    alone), and `guard_sha256` says which of a guard's these are, noted when the run begins.
    """

    model: str | None = None
    how: Literal["full", "image", "lora", "prompt", "lock-image", "lock-text"] = "full"
    sha256: str | None = None
    rank: Annotated[int, Field(ge=1, le=4096)] = 8
    alpha: Annotated[float, Field(gt=0, le=4096)] = 16.0
    targets: Annotated[tuple[MatrixKind, ...], Field(min_length=1)] = MATRIX_KINDS
    towers: Annotated[tuple[Tower, ...], Field(min_length=1)] = TOWERS
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    context: Annotated[int, Field(ge=1, le=256)] | None = None
    keep: Annotated[float, Field(ge=0, le=1e6)] | None = None
    guard_sha256: str | None = None


class DistillationSettings(Settings):
    """How a run learns from the teacher as well.

    `weight` is what the teacher's answers weigh beside the pairs, which weigh 1. Similarities are divided by
    `temperature` on both sides. `rows` is the folder that keeps what the teacher makes of the pairs, and `sha256` says
    which teacher that is, noted when the run begins.
    """

    weight: Annotated[float, Field(ge=0, le=1e6)] | None = None
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    rows: str | None = None
    sha256: str | None = None


class TrainSettings(Settings):
    """One run. Of `steps`, `epochs` and `minutes` at most one is given.

    `objective` is a name in `training.objectives`; without one CLIP's own, with the text tower of `model`. `widths` (or
    `objective.widths`): it is learned for rows cut to so many numbers as well. `teacher` is a model whose answers are
    learned too; `image_tower` and `text_tower` are models whose tower of that side the run begins with.
    `micro_batch`: at most so many pairs go through the towers at once, on each process; all of them if None.
    `parallel`: what several processes (`torchrun`) do with the weights: each holds all of them ("ddp"), or each holds
    a part ("fsdp"). A process that is not heard of for `parallel_timeout_seconds` ends the run, and so do
    `stuck_minutes` without a step, a check or a checkpoint.
    """

    aliases: ClassVar[Mapping[str, str]] = {"objective.widths": "widths"}

    model: str | None = None
    objective: str | None = None
    widths: Annotated[tuple[PrefixWidth, ...], Field(min_length=1)] | None = None
    teacher: str | None = None
    image_tower: str | None = None
    text_tower: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str | None = None
    batch_size: Annotated[int, Field(ge=2)] | None = None
    micro_batch: Positive | None = None
    parallel: Literal["ddp", "fsdp"] = "ddp"
    parallel_timeout_seconds: Seconds = 120.0
    stuck_minutes: Minutes = 60.0
    steps: Positive | None = None
    epochs: Positive | None = None
    minutes: Minutes | None = None
    data: DataSettings = DataSettings()
    towers: TowerSettings = TowerSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    check: CheckSettings = CheckSettings()
    log: LogSettings = LogSettings()
    start: StartSettings = StartSettings()
    distillation: DistillationSettings = DistillationSettings()

    @property
    def has_statistics(self) -> bool:
        """Whether the image tower was trained before the run, so that its normalisations keep what they know."""
        return self.start.sha256 is not None or self.image_tower is not None

    @property
    def learns_words(self) -> bool:
        """Whether the run makes a tokenizer of its captions, and has none of a model that it begins with."""
        return self.start.sha256 is None and self.text_tower is None

    @model_validator(mode="after")
    def _one_length(self):
        given = [name for name in ("steps", "epochs", "minutes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given; keep one")
        if self.micro_batch is not None and self.data.captions_per_image > 1:
            raise ValueError("data.captions_per_image is more than 1, which needs whole batches; leave micro_batch out")
        if self.parallel == "fsdp" and self.optimizer.kind == "muon":
            raise ValueError("parallel is fsdp, which holds parts of a matrix, but Muon needs it whole; set it to ddp")
        return self
