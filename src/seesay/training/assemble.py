"""The parts of a run put together: the model, its optimizer, where it stands, its batches, and what it checks."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from seesay.base.journal import Journal, ProgressLine
from seesay.base.publish import refuse_unwritable
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime
from seesay.base.settings import leaves
from seesay.data.augment import Augment
from seesay.data.images import Preprocess
from seesay.data.loader import Batches, Crops
from seesay.data.pixel_cache import PixelCache
from seesay.data.prompts import TEMPLATES
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.block import Blocks
from seesay.nets.clip import Clip, Predictor, build_clip
from seesay.training.checkpoint import CHECKPOINTS, Position, load_moments, optimizer_tensors, restore_latest
from seesay.training.distributed import Peers
from seesay.training.guards import has_batch_norm
from seesay.training.loop import Run
from seesay.training.objectives import objective_of
from seesay.training.optimizer import adamw
from seesay.training.plan import Plan, steps_of
from seesay.training.settings import TowerSettings, TrainSettings
from seesay.training.skips import SkipLog
from seesay.training.spread import Spread, spread
from seesay.training.trackers import open_trackers
from seesay.training.validation import Validation

CACHE_MARGIN = 1.35
WITH_MOMENTS = 3

Check = Callable[[Model], Mapping[str, float]]


def model_of(out: Path, plan: Plan, words: dict[str, Any], pairs: PairSource, *, is_main: bool) -> Model:
    """The untrained model of the run; `words` is its tokenizer as JSON.

    What a head has to know of the captions only the main process works out; `run_of` gives it to the others.
    """
    objective = objective_of(plan.settings.objective or "")
    tokenizer = CaptionTokenizer.from_json(words)
    text = plan.architecture.text.model_copy(update={"vocab_size": tokenizer.vocab_size, "context": tokenizer.context})
    architecture = plan.architecture.model_copy(update={"text": text})
    clip = build_clip(architecture, seed=plan.settings.seed).to(plan.settings.device or "cpu")
    set_up(clip, plan.settings.towers)
    objective.set_up(clip)
    if is_main and isinstance(clip, Predictor) and clip.head.wants_words:
        captions = [caption for index in range(len(pairs)) for caption in pairs.captions(index)]
        clip.head.learn_words(tokenizer(captions), tokenizer.spellings())
    return Model(
        clip,
        architecture,
        tokenizer,
        preprocess=Preprocess(size=architecture.image.image_size),
        templates=objective.templates or TEMPLATES["short"],
        name=out.name,
    )


def set_up(clip: Clip, settings: TowerSettings) -> None:
    """Give the towers their way of working; none of it is part of the model that is saved."""
    if settings.patch_dropout:
        clip.image_tower.patch_dropout = settings.patch_dropout  # type: ignore[assignment]
    for module in clip.modules():
        if isinstance(module, Blocks):
            module.recompute = settings.activation_checkpointing
    if settings.compile:
        clip.image_tower.compile()


def run_of(
    model: Model, plan: Plan, pairs: PairSource, *, journal: Journal, skips: SkipLog, line: ProgressLine, peers: Peers
) -> Run:
    """The run where it stands: at its start, or at its newest whole checkpoint, which one process reads for all."""
    optimizer = adamw(model.clip, plan.settings.optimizer)
    root = journal.folder / CHECKPOINTS
    position, faults = restore_latest(root, model.clip, optimizer) if peers.is_main else (Position(), [])
    if peers.is_main:
        refuse_unwritable(root, needed=WITH_MOMENTS * sum(tensor.nbytes for tensor in model.clip.state_dict().values()))
    position = Position(**peers.from_main(lambda: asdict(position)))
    for fault in faults:
        line.say(f"warning: {fault}")
    journal.cut_after(position.step)
    if position.step:
        line.say(f"going on after step {position.step:,}")
        journal.event(event="resume", step=position.step, processes=peers.ranks)
    shared, optimizer = _share(model, optimizer, plan.settings, peers, is_restored=position.step > 0)
    tracked = plan.settings.log.to if peers.is_main else ()
    return Run(
        clip=model.clip,
        optimizer=optimizer,
        preprocess=model.preprocess,
        settings=plan.settings,
        steps=steps_of(plan.settings, len(pairs)),
        position=position,
        journal=journal,
        skips=skips,
        line=line,
        trackers=open_trackers(tracked, journal.folder, dict(leaves(plan.settings)), step=position.step),
        peers=peers,
        spread=shared,
        objective=objective_of(plan.settings.objective or ""),
        vocab_size=model.architecture.text.vocab_size,
        key=pairs.key,
    )


def _share(
    model: Model, optimizer: torch.optim.Optimizer, settings: TrainSettings, peers: Peers, *, is_restored: bool
) -> tuple[Spread, torch.optim.Optimizer]:
    """The main process's weights and moments on all processes, as `parallel` wants them laid out."""
    if peers.ranks == 1:
        return spread(model.clip, peers, parallel=settings.parallel), optimizer
    moments = optimizer_tensors(model.clip, optimizer) if is_restored else {}
    peers.copy_from_main([*model.clip.state_dict().values(), *moments.values()])
    shared = spread(model.clip, peers, parallel=settings.parallel)
    # Sharding makes new parameters, which the optimizer has not seen.
    optimizer = adamw(model.clip, settings.optimizer)
    if is_restored:
        load_moments(model.clip, optimizer, moments)
    return shared, optimizer


def batches_of(model: Model, settings: TrainSettings, pairs: PairSource, runtime: Runtime) -> Batches:
    sizes = settings.schedule.sizes or ((model.preprocess.size, 1.0),)
    side = round(CACHE_MARGIN * max(size for size, _ in sizes))
    # Each process on this machine keeps its own.
    is_cached = settings.data.cache and PixelCache.fits(len(pairs) * runtime.local_ranks, side)
    objective = objective_of(settings.objective or "")
    crops = Crops(
        pairs,
        model.tokenizer,
        augment=settings.data.augment or Augment(),
        seed=settings.seed,
        cache=PixelCache(len(pairs), side) if is_cached else None,
        captions=objective.captions,
    )
    return Batches(crops, batch_size=settings.batch_size or 2)


def checks_of(
    run: Run, model: Model, validation_pairs: PairSource | None, checks: Mapping[str, Check]
) -> dict[str, Callable]:
    """What is measured while the run goes on; each is a function of nothing."""
    measured: dict[str, Callable] = {}
    if validation_pairs is not None:
        validation = Validation(
            model, validation_pairs, batch_size=run.settings.batch_size or 2, objective=run.objective
        )
        run.skips.note(validation.skipped)
        measured["validation"] = validation.measure
    for name, check in checks.items():
        measured[name] = lambda check=check: check(model)
    return measured


def warn_of_batch_norm(run: Run) -> None:
    """Say where a batch in parts is not the same sums as the batch in one."""
    batch_size, micro_batch = run.settings.batch_size or 2, run.settings.micro_batch
    is_divided = run.peers.ranks > 1 or (micro_batch is not None and micro_batch < batch_size)
    if is_divided and has_batch_norm(run.clip):
        run.line.say(
            f"warning: model {run.settings.model} normalises over the pairs it sees at once: each process and each "
            "micro-batch by its own, so the gradients are not those of the batch in one piece; take a vit-* or ViT-* "
            "where they must be."
        )
