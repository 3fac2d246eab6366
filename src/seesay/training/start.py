"""A run that begins with a model: what is chosen, which parameters are trained, the plain model again, and advice."""

import copy
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seesay.base.errors import UsageError
from seesay.base.settings import merged, read_settings
from seesay.data.prompts import fill
from seesay.data.tokenizer import CaptionTokenizer, learned_words
from seesay.model.bundle import Model
from seesay.model.cache import weights_sha256
from seesay.model.engines import refuse_altered
from seesay.model.hub import load
from seesay.model.layouts.seesay import MOST_LEARNED
from seesay.model.teacher import teacher_sha256
from seesay.model.zero_shot import ZeroShotClassifier
from seesay.nets.adapters import add_context, add_low_rank, has_adapters, plain_tensors
from seesay.nets.architecture import Architecture
from seesay.nets.class_encoder import ClassEncoder
from seesay.nets.clip import Clip, DualEncoder, empty_clip
from seesay.training.objectives import default_objective, objective_of
from seesay.training.objectives.base import PredictionObjective
from seesay.training.objectives.classes import Classes
from seesay.training.pairs import TrainingPairs
from seesay.training.plan import DataFacts
from seesay.training.settings import DistillationSettings, StartSettings, TrainSettings

# Wortsman et al. 2022, "Robust fine-tuning of zero-shot models": 3e-5, and crops of at least 0.9 of the image.
LEARNING_RATE = 3e-5
LEAST_CROP = 0.9
# Guesses (benchmarks/2026-11-29-finetune): a small model, and few numbers in place of many, take larger steps.
SMALL_MODEL = 20_000_000
LEARNING_RATE_OF_SMALL = 1e-4
LEARNING_RATE_OF = {"lora": 1e-3, "prompt": 2e-3}
# A guess: a teacher's answers weigh as much as the pairs.
TEACHER_WEIGHT = 1.0


def begin_with(settings: TrainSettings, given: Model | None = None) -> tuple[Model | None, TrainSettings]:
    """The model that a run begins with, or None, and the settings with what it and a teacher choose; raises as they."""
    start, how = open_start(settings.start, given), settings.start.how
    if start is None and how != "full" and not (settings.image_tower or settings.text_tower):
        raise UsageError(f"start.how is {how}, but the run begins with random weights; name a model with start.model.")
    settings = with_teacher(settings)
    return start, settings if start is None else with_start(settings, start)


def with_teacher(settings: TrainSettings) -> TrainSettings:
    """The settings with which teacher it is, and its weight; `UsageError` for another than they were made with."""
    given = settings.distillation
    if settings.teacher is None:
        usual = DistillationSettings()
        for name, value in given.model_dump(exclude_unset=True).items():
            if value != getattr(usual, name):
                raise UsageError(f"distillation.{name} is {value}, but there is no teacher; name one (--teacher).")
        return settings
    sha256 = teacher_sha256(load(settings.teacher))
    if given.sha256 not in (None, sha256):
        raise UsageError(
            f"teacher {settings.teacher} is another one ({sha256[:12]}) than distillation.sha256 names "
            f"({str(given.sha256)[:12]}); name the one that is meant, or leave out distillation.sha256."
        )
    chosen = {"sha256": sha256, "weight": TEACHER_WEIGHT if given.weight is None else given.weight}
    return settings.model_copy(update={"distillation": given.model_copy(update=chosen)})


@dataclass(frozen=True, kw_only=True)
class Towers:
    """Models whose tower of one side a run begins with, in the place of one with random weights."""

    image: Model | None = None
    text: Model | None = None

    @property
    def by_side(self) -> dict[str, Model]:
        """The models that are there, by "image" and "text"."""
        return {side: model for side, model in (("image", self.image), ("text", self.text)) if model is not None}

    def architecture(self, base: Architecture) -> Architecture:
        """`base` with the configurations of the towers; rows are as wide as the image tower's, if there is one."""
        if not self.by_side:
            return base
        width = next(iter(self.by_side.values())).architecture.embed_dim
        towers = {side: getattr(model.architecture, side).model_dump() for side, model in self.by_side.items()}
        try:
            return Architecture(**{**base.model_dump(), "embed_dim": width, **towers})
        except UsageError as error:
            raise UsageError(
                f"that {' and '.join(self.by_side)} tower is not for this model and objective: {error}"
            ) from error

    def fill(self, clip: Clip) -> None:
        """Give `clip` the towers' weights; a projection to rows of another width keeps its random ones."""
        for side, model in self.by_side.items():
            tower, weights = getattr(clip, f"{side}_tower"), getattr(model.clip, f"{side}_tower").state_dict()
            fitting = {name: own for name, own in tower.state_dict().items() if own.shape != weights[name].shape}
            tower.load_state_dict({**weights, **fitting})

    def lines(self, width: int) -> list[str]:
        """Where the towers of a model with rows of that width are from, for people."""
        lines = []
        for side, model in self.by_side.items():
            own = model.architecture.embed_dim
            fresh = "" if own == width else f", with a new projection to {width} numbers in place of that to {own}"
            lines.append(f"tower      {side}: that of {model.name}{fresh}")
        return lines


def open_towers(settings: TrainSettings) -> Towers:
    """The models of `image_tower` and `text_tower`, where these are named; `UsageError` for what has no such tower."""
    named = {"image": settings.image_tower, "text": settings.text_tower}
    given = [f"{side}_tower" for side, name in named.items() if name is not None]
    if given and (settings.start.model or settings.start.how not in ("full", "lock-image", "lock-text")):
        raise UsageError(
            f"{given[0]} is for a run without start.model; leave one of them out, and start.how full or lock-*."
        )
    if len(given) == len(named) and settings.model:
        raise UsageError(f"model is {settings.model}, but both towers are those of other models; leave it out.")
    if given and f"{settings.start.how.removeprefix('lock-')}_tower" not in (*given, "full_tower"):
        raise UsageError(f"start.how is {settings.start.how}, but that tower is of random weights; lock the other one.")
    if settings.text_tower and isinstance(objective_of(settings.objective or "contrastive"), PredictionObjective):
        raise UsageError(
            f"objective {settings.objective} predicts captions and has no place for text_tower; leave one of them out."
        )
    models = {side: load(name) for side, name in named.items() if name is not None}
    for side, model in models.items():
        if not isinstance(model.clip, DualEncoder) or model.architecture.projection != "linear":
            why = "a second projection behind it" if model.embeds_texts else "no rows to compare"
            raise UsageError(f"{side}_tower {model.name} has {why}; take a model whose towers end in one projection.")
        if side == "image":
            _refuse_other_shapes(model)
    widths = [model.architecture.embed_dim for model in models.values()]
    if settings.start.how == "lock-text" and len(set(widths)) > 1:
        new = f"rows have {widths[0]} numbers, and a new projection of text_tower's {widths[-1]} to these"
        raise UsageError(f"start.how is lock-text, but {new} would stay random; take towers of one width.")
    return Towers(**models)


def lock(clip: Clip, how: str) -> None:
    """Let a tower stay as it is, if `how` says so."""
    if how in ("lock-image", "lock-text"):
        nn.ModuleList(clip.image_parts() if how == "lock-image" else clip.text_parts()).requires_grad_(False)


# From 20,000 more one gets the model in the box (its card); a guess at where a run from nothing begins to pay.
FEW_PAIRS = 100_000
# A guess: handwriting and icons are smaller, and no trained model of them is there to start from.
PHOTO_SIDE = 48
SHOWN_SOURCES = 3
# A guess: of fewer so few are held out that what is lost of the old answers cannot be told.
FEW_TO_HOLD_OUT = 650
# Measured in benchmarks/2026-11-29-from-nothing, and the model in the box on the same set, as its card says.
REACHED = "12.7"
UNTOUCHED = "49.7"


def open_start(settings: StartSettings, model: Model | None = None) -> Model | None:
    """The model that a run begins with: the one that is given, or that of `start.model`; None for random weights.

    `UsageError` for a model that has no text tower, whose captions are not embedded, that is only to encode with, or
    whose images are no squares.
    """
    if model is None and settings.model is None:
        return None
    model = model or load(str(settings.model))
    if not isinstance(model.clip, DualEncoder):
        raise UsageError(
            f"{model.name} predicts captions and has no text tower to go on with; start from a model that embeds texts."
        )
    refuse_altered(model, "start from")
    _refuse_other_shapes(model)
    return model


def _refuse_other_shapes(model: Model) -> None:
    if model.preprocess.resize == "patches":
        raise UsageError(
            f"{model.name} sees images in their own shape, and training crops squares; begin with a model for those."
        )


def with_start(settings: TrainSettings, start: Model) -> TrainSettings:
    """The settings with what a run that begins with `start` chooses otherwise; what was given stays as it is.

    `UsageError` for settings that contradict the model.
    """
    objective = Classes.name if settings.start.how == "image" else default_objective(start.architecture)
    for name, value, own in (("model", settings.model, start.name), ("objective", settings.objective, objective)):
        if value not in (None, own):
            raise UsageError(f"{name} is {value}, but the run begins with {start.name}, whose {name} is {own}.")
    if settings.parallel == "fsdp" and settings.start.how in ("lora", "prompt"):
        raise UsageError(f"parallel is fsdp, which cannot share what {settings.start.how} learns; set it to ddp.")
    if settings.optimizer.kind == "muon" and settings.start.how in ("lora", "prompt"):
        raise UsageError(
            f"optimizer.kind is muon, which steps whole matrices, and {settings.start.how} has none; set adamw."
        )
    widths = None if settings.start.how == "image" else start.architecture.widths
    if settings.widths not in (None, widths):
        raise UsageError(
            f"widths is {list(settings.widths)}, but the run begins with {start.name}, which learns rows of "
            f"{list(widths) if widths else 'one width'}; leave it out."
        )
    usual = LEARNING_RATE_OF_SMALL if is_small(start) else LEARNING_RATE
    chosen: dict[str, Any] = {
        "model": start.name,
        "objective": objective,
        **({"widths": list(widths)} if widths else {}),
        "data": {"augment": {"scale": LEAST_CROP}},
        "optimizer": {"learning_rate": LEARNING_RATE_OF.get(settings.start.how, usual), "weight_decay": 0.1},
        "schedule": {"sizes": [[start.architecture.image.image_size, 1.0]]},
        "start": {"sha256": weights_sha256(start.clip.state_dict())},
    }
    return read_settings(TrainSettings, file=None, base=merged(chosen, settings.model_dump(exclude_none=True)))


def is_small(model: Model) -> bool:
    """Whether a model has so few parameters that it takes larger steps."""
    return sum(parameter.numel() for parameter in model.clip.parameters()) < SMALL_MODEL


def learner_from(start: Model, settings: TrainSettings, *, name: str) -> Model:
    """A copy of `start` that trains what `start.how` says and nothing else; `start` itself stays as it is."""
    how = settings.start
    clip = copy.deepcopy(start.clip)
    assert isinstance(clip, DualEncoder)
    clip.requires_grad_(True)
    lock(clip, how.how)
    if how.how == "image":
        clip = _class_encoder(start, clip, how)
    elif how.how == "lora":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            add_low_rank(clip, rank=how.rank, alpha=how.alpha, kinds=how.targets, towers=how.towers)
    learner = copy.copy(start)
    learner.clip, learner.name, learner.facts = clip, name, {}
    return _with_context(learner, settings) if how.how == "prompt" else learner


def class_captions(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The caption that stands for each class where classes are learned: its name in the first template."""
    return fill(templates[:1], classes)


def _class_encoder(start: Model, clip: DualEncoder, settings: StartSettings) -> ClassEncoder:
    if len(settings.classes) < 2:
        raise UsageError("start.how is image, but start.classes names no classes; use `seesay finetune MODEL DATA`.")
    captions = class_captions(settings.classes, settings.templates)
    classifier = start.classifier(settings.classes, settings.templates)
    assert isinstance(classifier, ZeroShotClassifier)
    ids = start.tokenizer(captions)
    if len(set(map(tuple, ids))) < len(ids):
        raise UsageError(f"two classes are the same words to {start.name}; rename one of them.")
    nn.ModuleList(clip.text_parts()).requires_grad_(False)
    clip.logit_scale.requires_grad_(False)
    return ClassEncoder(clip, classifier.weights, ids)


def learned_template(start: Model, settings: StartSettings) -> str:
    """The template that "prompt" learns: words without letters, and the name behind them.

    `UsageError` for a tokenizer that has no room for such words, or for more of them than a model's file may have.
    """
    if not isinstance(start.tokenizer, CaptionTokenizer):
        raise UsageError(f"{start.name} has a tokenizer.json, which takes no learned words; choose another --how.")
    count = settings.context or max(1, len(_first_words(start)))
    if (learned := start.tokenizer.learned) + count > MOST_LEARNED:
        raise UsageError(
            f"{start.name} has {learned} learned words, and {count} more are above {MOST_LEARNED}; take fewer."
        )
    return " ".join([*learned_words(start.tokenizer.learned + count)[start.tokenizer.learned :], "{}"])


def _first_words(start: Model) -> list[int]:
    """The ids of what stands before the name in the model's first template."""
    return start.tokenizer([start.templates[0].partition("{}")[0]])[0][1:-1]


def _with_context(learner: Model, settings: TrainSettings) -> Model:
    """A model that learns rows of its token table alone: they begin as the words of its template, or as noise."""
    template, table = learned_template(learner, settings.start), learner.clip.text_tower.token_embedding
    assert isinstance(learner.tokenizer, CaptionTokenizer) and isinstance(table, nn.Embedding)
    count = len(template.split()) - 1
    # CoOp's start (Zhou et al. 2022) for what no word of the template stands for.
    noise_MW = 0.02 * torch.randn(
        count, table.embedding_dim, generator=torch.Generator().manual_seed(settings.seed % 2**63)
    )
    words = _first_words(learner)[:count]
    context_MW = torch.cat([table.weight.detach()[words].cpu(), noise_MW[len(words) :]])
    learner.clip.requires_grad_(False)
    add_context(table, context_MW.to(table.weight.device))
    tokenizer = learner.tokenizer
    learned = tokenizer.learned + count
    learner.tokenizer = CaptionTokenizer(tokenizer.merges, context=tokenizer.context, learned=learned)
    text = learner.architecture.text.model_copy(update={"vocab_size": learner.tokenizer.vocab_size})
    learner.architecture = learner.architecture.model_copy(update={"text": text})
    learner.templates = (template,)
    return learner


def with_first_context(start: Model, learned: Model) -> Model:
    """`start` with the context that `learned`, which a run saved, began with."""
    settings = read_settings(TrainSettings, file=None, base=learned.facts["training"]["settings"])
    return without_adapters(learner_from(start, settings, name=start.name))


def without_adapters(model: Model) -> Model:
    """The model with what its adapters have learned in its weights; itself where it has none."""
    if not has_adapters(model.clip):
        return model
    plain = copy.copy(model)
    plain.clip = empty_clip(model.architecture)
    plain.clip.fill(plain_tensors(model.clip))
    plain.clip.eval()
    return plain


def finetuning_advice(
    settings: TrainSettings, *, pairs: int, median_side: int, sources: Sequence[object], out: Path
) -> str:
    """What a trained model would do on so many pairs, with the command to type instead; "" where it is not due.

    That is for many pairs, for images smaller than photos (`median_side` in pixels), for a run that begins with a
    trained tower, and for one whose model or objective was chosen: who chose them knows what is to be learned from
    nothing. `sources` are as they were given.
    """
    is_chosen = any((settings.model, settings.objective, settings.image_tower, settings.text_tower))
    if pairs >= FEW_PAIRS or median_side < PHOTO_SIDE or is_chosen:
        return ""
    named = [shlex.quote(str(source)) for source in sources if isinstance(source, str | Path)]
    shown = " ".join(named) if 0 < len(named) <= SHOWN_SOURCES else "PAIRS"
    return (
        f"{pairs:,} pairs teach little from nothing: 2,000 of photos came to {REACHED} % on CIFAR-10, where the model "
        f"in the box has {UNTOUCHED} % untouched; to start from that: `seesay finetune box {shown} --out "
        f"{shlex.quote(f'{out}-finetuned')}`{' (so few need --val and --guard as well)' * (pairs < FEW_TO_HOLD_OUT)}"
    )


def advice_lines(settings: TrainSettings, facts: DataFacts, sources: Any, out: Path) -> tuple[str, ...]:
    """The advice as a line of a run, none where it is not due."""
    sources = () if isinstance(sources, TrainingPairs) else sources
    sizes = {"pairs": facts.pairs, "median_side": facts.median_side}
    text = finetuning_advice(settings, **sizes, sources=sources, out=out)
    return (f"advice     {text}",) if text else ()
