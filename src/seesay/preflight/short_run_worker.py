"""The process of a short run (`short_run.Job`): short runs at each size, then one batch that is to be overfit.

B = pairs in the batch, L = longest caption, S = side.
"""

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from seesay.base.errors import SeesayError, UsageError
from seesay.base.journal import EVENTS_NAME, read_events
from seesay.base.memory import peak_memory
from seesay.base.records import Batch, PairSource
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.data.augment import Augment
from seesay.data.loader import Crops, Draw
from seesay.data.pairs import open_pairs
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.nets.clip import Clip, build_clip
from seesay.training.objectives.base import GlobalBatch, Objective
from seesay.training.optimizer import optimizer_of
from seesay.training.plan import RunPlan
from seesay.training.process_group import ProcessGroup
from seesay.training.settings import CheckpointSettings, CheckSettings, LogSettings, TrainSettings
from seesay.training.train import train_model

# Guesses: a batch is overfit at 0.1 nats above its lowest loss; 64 pairs are enough to see it; the learning rate rises
# for ten steps; and epochs of two batches show the speed of cached images.
FITTED = 0.1
OVERFIT_PAIRS = 64
WARMUP = 10
CACHED_BATCHES = 2


def main() -> None:
    """Do the job on standard input."""
    _volunteer_for_oom()
    job = json.load(sys.stdin)
    settings = read_settings(TrainSettings, file=None, base=job["settings"])
    try:
        _report("started", bytes=peak_memory())
        model = _measure_all(job, settings)
        assert isinstance(model.tokenizer, CaptionTokenizer)
        crops = Crops(_open(job, settings), model.tokenizer, augment=Augment(), seed=settings.seed, cache=None)
        plan = RunPlan.of(settings, model.architecture, pairs=len(crops))
        _report("overfit", **overfit(model, crops, plan, seconds=job["seconds"] / 2, steps=job["overfit_steps"]))
        _report("done")
    except (SeesayError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or "memory" in str(error).lower()
        message = " ".join(str(error).split()) or type(error).__name__
        _report("failed", message=message, lacked_memory=is_memory, is_usage=isinstance(error, UsageError))


def _volunteer_for_oom() -> None:
    """When memory runs out, the system ends this process and none that somebody needs."""
    with suppress(OSError):  # not Linux, or not allowed: then the system chooses
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")


def _report(kind: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **values}) + "\n")
    sys.stdout.flush()


def _open(job: Mapping[str, Any], settings: TrainSettings) -> PairSource:
    columns = {"image_column": settings.data.image_column, "caption_column": settings.data.caption_column}
    return open_pairs(job["sources"], **columns)


def _measure_all(job: Mapping[str, Any], settings: TrainSettings) -> Model:
    """Each size in turn, the largest last, since memory is not given back; then epochs of cached images."""
    sizes, folder = sorted(job["sizes"]), Path(job["folder"])
    seconds = job["seconds"] / 2 / (len(sizes) + bool(job["with_cached"]))
    model = None
    for side in sizes:
        short = _shortened(settings, side=side, seconds=seconds)
        model = _measure(
            "steps", job["sources"], folder / f"run-{side}", short, side=side, validation=job["validation"]
        )
    assert model is not None
    if job["with_cached"]:
        few = folder / "few"
        _copy_some(_open(job, settings), few, count=CACHED_BATCHES * job["settings"]["batch_size"])
        short = _shortened(settings, side=sizes[-1], seconds=seconds)
        columns = {"image_column": None, "caption_column": None, "validation": 0.0}
        short = short.model_copy(update={"data": short.data.model_copy(update=columns)})
        _measure("cached", [str(few)], folder / "run-cached", short, side=sizes[-1], validation=[])
    return model


def _shortened(settings: TrainSettings, *, side: int, seconds: float) -> TrainSettings:
    """The settings of the run, for `seconds` at one side, without checks and checkpoints before its end."""
    return settings.model_copy(
        update={
            "steps": None,
            "epochs": None,
            "minutes": seconds / 60,
            "schedule": settings.schedule.model_copy(update={"sizes": ((side, 1.0),)}),
            "checkpoint": CheckpointSettings(every_minutes=1e6),
            "check": CheckSettings(every=1.0),
            "log": LogSettings(every_steps=1),
        }
    )


def _measure(
    kind: str, sources: list[str], out: Path, settings: TrainSettings, *, side: int, validation: list[str]
) -> Model:
    """Train, and report pairs seen and seconds passed at the end of each step, and the peak of memory."""
    started = time.monotonic()
    # Broken images are reported by the survey.
    model = train_model(sources, out=out, settings=settings, validation=validation, most_skipped=1.0)
    wall = time.monotonic() - started
    events = read_events(out / EVENTS_NAME)
    steps = [(event["pairs_seen"], event["seconds"]) for event in events if "event" not in event]
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    _report(
        kind,
        side=side,
        steps=steps,
        around=wall - (steps[-1][1] if steps else 0.0),
        # Apple's GPU has no memory of its own, and what it holds is not counted as the process's.
        bytes=peak_memory() + (torch.mps.driver_allocated_memory() if torch.backends.mps.is_available() else 0),
        gpu_bytes=on_gpu,
        parameters=sum(parameter.numel() for parameter in model.clip.parameters()),
    )
    return model


def _copy_some(pairs: PairSource, folder: Path, *, count: int) -> None:
    """Write some pairs that can be read into a folder, so that a short run has many epochs of them."""
    folder.mkdir()
    written = 0
    for index in range(len(pairs)):
        if written == count:
            break
        try:
            data = pairs[index].image
        except SeesayError:
            continue
        # What it is, is seen from its bytes.
        (folder / f"{written:06}.jpg").write_bytes(data)
        (folder / f"{written:06}.txt").write_text("\n".join(pairs.captions(index)), encoding="utf-8", newline="\n")
        written += 1


def overfit(model: Model, crops: Crops, plan: RunPlan, *, seconds: float, steps: int) -> dict[str, Any]:
    """Train a new model like `model` on one batch in every step, at the run's peak learning rate.

    Ends where the loss `is_fitted` or is not finite, after `seconds`, or after `steps` with the objective's final form.
    An objective that changes during a run changes here at the same share of the steps; only losses of its final form
    are reported.
    """
    batch = _one_batch(crops, side=model.preprocess.size, count=min(OVERFIT_PAIRS, plan.batch_size))
    pairs = len(batch.image_id_B)
    if pairs < 2:
        return {"pairs": pairs, "losses": [], "minimum_loss": None}
    objective = plan.objective
    clip = _untrained_like(model, objective, seed=plan.settings.seed)
    optimizer = optimizer_of(clip, plan.optimizer)
    minimum_loss = objective.minimum_loss(batch)
    losses: list[float] = []
    is_overfit = False
    started = time.monotonic()
    for made in itertools.count():
        for group in optimizer.param_groups:
            group["lr"] = plan.optimizer.learning_rate * min(1.0, (made + 1) / WARMUP)
        only_batch = _only_batch(batch, clip, shares=plan.data.share_repeats, done=made / max(1, steps))
        pixels_B3SS = model.preprocess.normalise(batch.pixels_B3SS.to(model.device))
        loss = objective.loss(clip(pixels_B3SS, batch.tokens.to(model.device)), only_batch)
        is_over = time.monotonic() - started > seconds
        if objective.is_final_form(only_batch) or is_over:
            losses.append(float(loss.detach()))
            is_overfit = is_fitted(losses[0], losses[-1], minimum_loss, overfit_tolerance=objective.overfit_tolerance)
            if is_overfit or not math.isfinite(losses[-1]) or is_over or len(losses) > steps:
                break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        clip.hold_logit_scale()
    return {
        "pairs": pairs,
        "losses": [loss if math.isfinite(loss) else None for loss in losses],
        "minimum_loss": minimum_loss,
        "chance_loss": objective.chance_loss(pairs, model.architecture.text.vocab_size),
        "is_overfit": is_overfit,
        "seconds": time.monotonic() - started,
    }


def _untrained_like(model: Model, objective: Objective, *, seed: int) -> Clip:
    """An untrained model like `model`, with the same vocabulary."""
    clip = build_clip(model.architecture, seed=seed).to(model.device).train()
    objective.set_up(clip)
    for name, buffer in clip.text_tower.named_buffers():
        buffer.copy_(model.clip.text_tower.get_buffer(name))
    return clip


def _only_batch(batch: Batch, clip: Clip, *, shares: bool, done: float) -> GlobalBatch:
    """The batch as the only one of the only process, with the share `done` of all steps made."""
    device = clip.logit_scale.device
    return GlobalBatch(
        processes=ProcessGroup(Runtime(device=device.type, cores=1)),
        rows=[len(batch.image_id_B)],
        ids=(batch.image_id_B.to(device), batch.caption_id_B.to(device)) if shares else None,
        done=done,
    )


def is_fitted(first: float, last: float, minimum_loss: float, *, overfit_tolerance: float) -> bool:
    """Whether `last` is near `minimum_loss`: within `FITTED`, or that share of the way from `first`."""
    return last < minimum_loss + max(FITTED, overfit_tolerance * (first - minimum_loss))


def _one_batch(crops: Crops, *, side: int, count: int) -> Batch:
    """A batch of the first pairs that can be read, in random order."""
    generator = torch.Generator().manual_seed(crops.seed % 2**63)
    order = torch.randperm(len(crops), generator=generator).tolist()
    readable: list[Draw] = []
    batch = crops.read([])
    for first in range(0, len(order), count):
        draws = [Draw(sample, 0, side) for sample in order[first : first + count]]
        seen = set(crops.read(draws).sample_B.tolist())
        readable += [draw for draw in draws if draw.sample in seen][: count - len(readable)]
        batch = crops.read(readable)
        if len(readable) == count:
            break
    return batch


if __name__ == "__main__":
    # What a run prints goes to standard error, and standard output has measurements only.
    measurements = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(measurements, "w", encoding="utf-8", newline="\n")
    main()
