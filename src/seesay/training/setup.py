"""The parts of a run put together: the model, its optimizer, where it stands, its batches, and what it checks."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seesay.base.errors import RefusedInput, TooManySkipped, UsageError
from seesay.base.journal import Journal, ProgressLine, progress
from seesay.base.publish import refuse_unwritable
from seesay.base.records import PairSource
from seesay.base.runtime import Runtime
from seesay.base.settings import leaves
from seesay.data.evalsets import name_of_set
from seesay.data.images import Preprocess
from seesay.data.loader import Batches, Crops
from seesay.data.pixel_cache import PixelCache
from seesay.data.prompts import TEMPLATES
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.teacher import TeacherRows, teacher_sha256
from seesay.nets.batch_norm import has_batch_norm
from seesay.nets.block import Blocks
from seesay.nets.clip import CaptionPredictor, Clip, build_clip
from seesay.nets.tower import ComputesBuffers
from seesay.training.checkpoint import CHECKPOINTS, Position, load_moments, optimizer_tensors, restore_latest
from seesay.training.faults import SkipLog
from seesay.training.optimizer import next_learning_rate, optimizer_of
from seesay.training.pairs import TrainingPairs
from seesay.training.plan import OptimizerPlan, RunPlan
from seesay.training.process_group import ProcessGroup
from seesay.training.run_folder import TEACHER_FOLDER
from seesay.training.settings import TowerSettings
from seesay.training.sharding import ParallelModel, parallelize
from seesay.training.start import Towers, learner_from, lock
from seesay.training.state import TrainState
from seesay.training.trackers import open_trackers
from seesay.training.validation import Check, Validation

# Images are cached a third larger than the crops that are cut out of them (a guess).
CACHE_MARGIN = 1.35
# Weights and AdamW's two moments.
WITH_MOMENTS = 3


def build_model(
    plan: RunPlan,
    vocabulary: dict[str, Any] | None,
    *,
    name: str,
    start: Model | None = None,
    towers: Towers | None = None,
) -> Model:
    """The untrained model of the run, or `start` ready to learn; `vocabulary` is its own tokenizer as JSON.

    `towers` are those of other models, which take the place of random ones; theirs are the tokenizer, the templates and
    the way images are prepared.
    """
    if start is not None:
        model = learner_from(start, plan.settings, name=name).to(plan.device)
        set_up_towers(model.clip, plan.settings.towers)
        return model
    towers = towers or Towers()
    if towers.text is None:
        assert vocabulary is not None
    tokenizer = towers.text.tokenizer if towers.text else CaptionTokenizer.from_json(vocabulary or {})
    text = plan.architecture.text.model_copy(update={"vocab_size": tokenizer.vocab_size, "context": tokenizer.context})
    architecture = plan.architecture.model_copy(update={"text": text})
    clip = build_clip(architecture, seed=plan.settings.seed).to(plan.device)
    set_up_towers(clip, plan.settings.towers)
    plan.objective.set_up(clip)
    towers.fill(clip)
    lock(clip, plan.settings.start.how)
    return Model(
        clip,
        architecture,
        tokenizer,
        preprocess=towers.image.preprocess if towers.image else Preprocess(size=architecture.image.image_size),
        templates=towers.text.templates if towers.text else plan.objective.templates or TEMPLATES["short"],
        name=name,
    )


def set_up_towers(clip: Clip, settings: TowerSettings) -> None:
    """Give the towers their way of computing; none of it is part of the model that is saved.

    `UsageError` for blocks that are to be run again where no tower can; a `UserWarning` where one of both cannot.
    """
    if settings.patch_dropout:
        clip.image_tower.patch_dropout = settings.patch_dropout  # type: ignore[assignment]
    wanted = settings.activation_checkpointing
    unable = [tower for tower in (clip.image_tower, clip.text_tower) if not _recomputes(tower, wanted)]
    if wanted and unable:
        names = " and ".join(type(tower).__name__ for tower in unable)
        fault = f"towers.activation_checkpointing does nothing for {names}, which has no blocks that can be run again"
        if len(unable) == 2:
            raise UsageError(f"{fault}; leave it out.")
        warnings.warn(f"{fault}; only the other tower takes less memory.", stacklevel=2)
    if settings.compile:
        clip.image_tower.compile()


def _recomputes(tower: nn.Module, wanted: bool) -> bool:
    """Whether the backward pass runs blocks of the tower again from now on."""
    if isinstance(tower, ComputesBuffers):
        return tower.recompute_blocks(wanted)
    blocks = [module for module in tower.modules() if isinstance(module, Blocks)]
    for module in blocks:
        module.recompute = wanted
    return wanted and bool(blocks)


def fit_vocabulary(model: Model, pairs: PairSource) -> None:
    """Let a head that needs it learn which words the captions have; a run that goes on has it in its checkpoint."""
    clip, tokenizer = model.clip, model.tokenizer
    if isinstance(clip, CaptionPredictor) and clip.head.needs_vocabulary:
        assert isinstance(tokenizer, CaptionTokenizer)
        captions = [caption for index in range(len(pairs)) for caption in pairs.captions(index)]
        clip.head.fit_vocabulary(tokenizer(captions), tokenizer.spellings())


def begin_or_resume(
    model: Model,
    plan: RunPlan,
    pairs: PairSource,
    *,
    journal: Journal,
    skips: SkipLog,
    line: ProgressLine,
    processes: ProcessGroup,
) -> TrainState:
    """The run where it stands: at its start, or at its newest whole checkpoint, which one process reads for all."""
    optimizer = optimizer_of(model.clip, plan.optimizer)
    root = journal.folder / CHECKPOINTS
    position, faults = restore_latest(root, model.clip, optimizer) if processes.is_main else (Position(), [])
    if processes.is_main:
        refuse_unwritable(root, needed=WITH_MOMENTS * sum(tensor.nbytes for tensor in model.clip.state_dict().values()))
        if not position.step:
            fit_vocabulary(model, pairs)
    position = Position(**processes.broadcast_from_main(lambda: asdict(position)))
    for fault in faults:
        line.say(f"warning: {fault}")
    journal.cut_after(position.step)
    if position.step:
        rate = next_learning_rate(plan, position.step, position.seconds)
        line.say(f"going on after step {position.step:,} of {plan.length}, at rate {rate:.3g}")
        journal.event(event="resume", step=position.step, processes=processes.world_size)
    parallel, optimizer = _share(model, optimizer, plan, processes, is_restored=position.step > 0)
    tracked = plan.settings.log.to if processes.is_main else ()
    return TrainState(
        plan=plan,
        parallel=parallel,
        optimizer=optimizer,
        preprocess=model.preprocess,
        position=position,
        journal=journal,
        skips=skips,
        line=line,
        vocab_size=model.architecture.text.vocab_size,
        trackers=open_trackers(tracked, journal.folder, dict(leaves(plan.settings)), step=position.step),
        key=pairs.key,
    )


def _share(
    model: Model, optimizer: torch.optim.Optimizer, plan: RunPlan, processes: ProcessGroup, *, is_restored: bool
) -> tuple[ParallelModel, torch.optim.Optimizer]:
    """The main process's weights and moments on all processes, as `parallel` wants them laid out."""
    clip, parallel = model.clip, plan.settings.parallel
    if processes.world_size == 1:
        return parallelize(clip, processes, parallel=parallel), optimizer
    moments = optimizer_tensors(clip, optimizer) if is_restored else {}
    processes.broadcast_tensors([*clip.state_dict().values(), *moments.values()])
    shared = parallelize(clip, processes, parallel=parallel)
    # Sharding makes new parameters, which the optimizer has not seen.
    return shared, _restored_optimizer(clip, plan.optimizer, moments)


def _restored_optimizer(clip: Clip, settings: OptimizerPlan, moments: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    optimizer = optimizer_of(clip, settings)
    if moments:
        load_moments(clip, optimizer, moments)
    return optimizer


def add_teacher(state: TrainState, pairs: TrainingPairs) -> None:
    """Give the steps what the run's teacher makes of the pairs, if it has one, and what the first model should keep.

    Rows of a teacher that are not made yet are made now, by all processes in equal parts; the main one writes them.
    `UsageError` for a run that should keep something and is told of nothing; `RefusedInput` for a teacher that is no
    longer the one that the run began with.
    """
    settings, processes = state.plan.settings, state.processes
    keep = settings.start.keep or 0.0
    if keep and pairs.old_answers is None:
        raise UsageError(f"start.keep is {keep:g}, which is for `seesay finetune`; leave it out.")
    state.stepper = replace(state.stepper, old_answers=pairs.old_answers, keep=keep)
    if settings.teacher is None:
        return
    folder = Path(settings.distillation.rows or state.journal.folder / TEACHER_FOLDER)
    rows = TeacherRows(folder=folder, pairs=pairs.training, sha256=str(settings.distillation.sha256))
    missing = processes.broadcast_from_main(rows.missing)
    began, unread = time.monotonic(), 0
    if missing:
        refuse_unwritable(folder)
        teacher = load(settings.teacher)
        if teacher_sha256(teacher) != rows.sha256:
            raise RefusedInput(
                f"teacher {settings.teacher} has changed since this began; name a copy that nobody writes."
            )
        teacher.to(state.parallel.device)
        with progress(len(missing), "teacher") if processes.is_main else nullcontext(lambda count: None) as advance:
            for number in missing:
                own = rows.make(teacher, number, part=(processes.rank, processes.world_size))
                counts = processes.all_gather_floats([float(len(row_XE)) for row_XE in own])
                gathered = [
                    processes.all_gather(row_XE, [int(count[side]) for count in counts])
                    for side, row_XE in enumerate(own)
                ]
                unread += int(gathered[0].isnan().any(1).sum())
                if processes.is_main:
                    rows.write(number, *gathered, scale=teacher.logit_scale)
                advance(1)
        processes.barrier()
    seconds = round(time.monotonic() - began, 1)
    made = {"files_made": len(missing), "files": rows.files, "images_not_read": unread}
    state.log_event("teacher", folder=str(folder), **made, seconds=seconds)
    state.stepper = replace(state.stepper, teacher=rows)


def batches_of(model: Model, plan: RunPlan, pairs: PairSource, runtime: Runtime) -> Batches:
    """The batches of the run without end, their images cached in memory where they fit."""
    side = cache_side(plan, len(pairs) * runtime.local_world_size)
    crops = Crops(
        pairs,
        model.tokenizer,
        augment=plan.data.augment,
        seed=plan.settings.seed,
        cache=PixelCache(len(pairs), side) if side else None,
        captions=plan.objective.captions,
        captions_per_image=plan.settings.data.captions_per_image,
    )
    return Batches(crops, batch_size=plan.batch_size)


def cache_side(plan: RunPlan, images: int) -> int:
    """The side in pixels at which so many images are cached in memory; 0 where they are not.

    Each process on a machine has its own cache: `images` are those of all.
    """
    side = round(CACHE_MARGIN * max(size for size, _ in plan.sizes))
    return side if plan.data.cache and PixelCache.fits(images, side) else 0


def checks_of(
    state: TrainState, model: Model, validation_pairs: PairSource | None, checks: Mapping[str, Check]
) -> dict[str, Callable]:
    """What is measured while the run goes on; each is a function of nothing."""
    measured: dict[str, Callable] = {}
    if validation_pairs is not None:
        plan = state.plan
        validation = Validation(model, validation_pairs, batch_size=plan.batch_size, objective=plan.objective)
        state.skips.note(validation.skipped)
        measured["validation"] = validation.measure
    for name, check in checks.items():
        measured[name] = lambda check=check: check(model)
    return measured


def warn_of_batch_norm(state: TrainState) -> None:
    """Say where a batch in chunks is not the same sums as the batch in one."""
    plan = state.plan
    learns_statistics = not plan.settings.has_statistics and has_batch_norm(state.clip)
    if (state.processes.world_size > 1 or plan.is_divided) and learns_statistics:
        state.line.say(
            f"warning: model {plan.model} normalises over the pairs it sees at once: each process and each "
            "micro-batch by its own, so the gradients are not those of the whole batch at once; take a vit-* or ViT-* "
            "where they must be."
        )


def named(sources: Sequence[str | Path]) -> list[str]:
    """Names for sets, each by its folder, or by the whole path where several are called alike."""
    last = [name_of_set(source) for source in sources]
    return [name if last.count(name) == 1 else str(source) for name, source in zip(last, sources, strict=True)]


def refuse_too_many_skipped(state: TrainState, pairs: TrainingPairs, *, most: float) -> None:
    """Raise `TooManySkipped` on all processes where a run that is done had to leave out too much."""
    seen = min(len(pairs.training), state.position.step * state.plan.batch_size)
    looked_at = seen + len(pairs.validation or ()) + len(pairs.training.problems)
    # Only the main process knows of what was left out before a stop.
    if message := state.processes.broadcast_from_main(lambda: state.skips.excess(looked_at, most)):
        raise TooManySkipped(f"the run is done and its model saved, but {message}; fix the data, or use it as it is.")
