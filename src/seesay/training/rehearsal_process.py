"""The process of a rehearsal (`rehearsal.Job`): short runs at each size, then one batch learned by heart.

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
from seesay.training.distributed import Peers
from seesay.training.objectives import objective_of, usual
from seesay.training.objectives.face import AllPairs, Objective
from seesay.training.optimizer import adamw
from seesay.training.settings import CheckpointSettings, CheckSettings, LogSettings, TrainSettings
from seesay.training.start import train_model

FITTED = 0.1
OVERFIT_PAIRS = 64
WARMUP = 10
KEPT_BATCHES = 2
SUFFIXES = {b"\xff\xd8\xff": "jpg", b"\x89PN": "png", b"GIF": "gif", b"RIF": "webp"}


def main() -> None:
    """Do the job on standard input."""
    _be_the_first_to_go()
    job = json.load(sys.stdin)
    settings = read_settings(TrainSettings, file=None, base=job["settings"])
    try:
        _tell("started", bytes=peak_memory())
        model = _measure_all(job, settings)
        assert isinstance(model.tokenizer, CaptionTokenizer)
        crops = Crops(_open(job, settings), model.tokenizer, augment=Augment(), seed=settings.seed, cache=None)
        _tell("overfit", **overfit(model, crops, settings, seconds=job["seconds"] / 2, steps=job["overfit_steps"]))
        _tell("done")
    except (SeesayError, MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError) or "memory" in str(error).lower()
        message = " ".join(str(error).split()) or type(error).__name__
        _tell("failed", message=message, lacked_memory=is_memory, is_usage=isinstance(error, UsageError))


def _be_the_first_to_go() -> None:
    """When memory runs out, the system ends this process and none that somebody needs."""
    with suppress(OSError):  # not Linux, or not allowed: then the system chooses
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _tell(kind: str, **values: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **values}) + "\n")
    sys.stdout.flush()


def _open(job: Mapping[str, Any], settings: TrainSettings) -> PairSource:
    columns = {"image_column": settings.data.image_column, "caption_column": settings.data.caption_column}
    return open_pairs(job["places"], **columns)


def _measure_all(job: Mapping[str, Any], settings: TrainSettings) -> Model:
    """Each size in turn, the largest last, since what memory was taken is kept; then visits to pictures kept."""
    sizes, folder = sorted(job["sizes"]), Path(job["folder"])
    seconds = job["seconds"] / 2 / (len(sizes) + bool(job["with_kept"]))
    model = None
    for side in sizes:
        short = _shortened(settings, side=side, seconds=seconds)
        model = _measure("steps", job["places"], folder / f"run-{side}", short, side=side, validation=job["validation"])
    assert model is not None
    if job["with_kept"]:
        few = folder / "few"
        _copy_some(_open(job, settings), few, count=KEPT_BATCHES * (settings.batch_size or 2))
        short = _shortened(settings, side=sizes[-1], seconds=seconds)
        columns = {"image_column": None, "caption_column": None, "validation": 0.0}
        short = short.model_copy(update={"data": short.data.model_copy(update=columns)})
        _measure("kept", [str(few)], folder / "run-kept", short, side=sizes[-1], validation=[])
    return model


def _shortened(settings: TrainSettings, *, side: int, seconds: float) -> TrainSettings:
    """The run as it is, but for `seconds` at one side, without checks and checkpoints before its end."""
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
    kind: str, places: list[str], out: Path, settings: TrainSettings, *, side: int, validation: list[str]
) -> Model:
    """Run it, and tell pairs seen and seconds passed at the end of each step, and the most memory that was held."""
    started = time.monotonic()
    # What is broken, the check of the pictures tells.
    model = train_model(places, out=out, settings=settings, validation=validation, most_left_out=1.0)
    wall = time.monotonic() - started
    events = read_events(out / EVENTS_NAME)
    steps = [(event["pairs_seen"], event["seconds"]) for event in events if "event" not in event]
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    _tell(
        kind,
        side=side,
        steps=steps,
        around=wall - (steps[-1][1] if steps else 0.0),
        bytes=peak_memory(),
        gpu_bytes=on_gpu,
        parameters=sum(parameter.numel() for parameter in model.clip.parameters()),
    )
    return model


def _copy_some(pairs: PairSource, folder: Path, *, count: int) -> None:
    """Write some pairs that can be read into a folder, so that a short run visits them again and again."""
    folder.mkdir()
    written = 0
    for index in range(len(pairs)):
        if written == count:
            break
        try:
            data = pairs[index].image
        except SeesayError:
            continue
        if suffix := SUFFIXES.get(data[:3]):
            (folder / f"{written:06}.{suffix}").write_bytes(data)
            (folder / f"{written:06}.txt").write_text("\n".join(pairs.captions(index)), encoding="utf-8")
            written += 1


def overfit(model: Model, crops: Crops, settings: TrainSettings, *, seconds: float, steps: int) -> dict[str, Any]:
    """Train a new model like `model` on one batch, always the same, at the run's peak rate.

    Ends where the loss `is_fitted`, or is no number, or time or `steps` with the objective's own loss are up. What a
    run begins with, this begins with, for as great a share; those losses are not told.
    """
    batch = _one_batch(crops, side=model.preprocess.size, count=min(OVERFIT_PAIRS, settings.batch_size or 2))
    pairs = len(batch.image_id_B)
    if pairs < 2:
        return {"pairs": pairs, "losses": [], "floor": None}
    objective = objective_of(settings.objective or usual(model.architecture))
    clip = _started_anew(model, objective, seed=settings.seed)
    optimizer = adamw(clip, settings.optimizer)
    floor = objective.floor(batch)
    losses: list[float] = []
    started = time.monotonic()
    for made in itertools.count():
        for group in optimizer.param_groups:
            group["lr"] = (settings.optimizer.learning_rate or 0.0) * min(1.0, (made + 1) / WARMUP)
        alone = _alone(batch, clip, shares=bool(settings.data.share_repeats), done=made / max(1, steps))
        pixels_B3SS = model.preprocess.normalise(batch.pixels_B3SS.to(model.device))
        loss = objective.loss(clip(pixels_B3SS, batch.tokens.to(model.device)), alone)
        is_over = time.monotonic() - started > seconds
        if objective.is_own(alone) or is_over:
            losses.append(float(loss.detach()))
            is_learned = is_fitted(losses[0], losses[-1], floor, left=objective.left)
            if is_learned or not math.isfinite(losses[-1]) or is_over or len(losses) > steps:
                break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        clip.hold_logit_scale()
    return {
        "pairs": pairs,
        "losses": [loss if math.isfinite(loss) else None for loss in losses],
        "floor": floor,
        "guess": objective.guess(pairs, model.architecture.text.vocab_size),
        "learned": is_learned,
        "seconds": time.monotonic() - started,
    }


def _started_anew(model: Model, objective: Objective, *, seed: int) -> Clip:
    """An untrained model like `model`, which knows the same words."""
    clip = build_clip(model.architecture, seed=seed).to(model.device).train()
    objective.set_up(clip)
    for name, buffer in clip.text_tower.named_buffers():
        buffer.copy_(model.clip.text_tower.get_buffer(name))
    return clip


def _alone(batch: Batch, clip: Clip, *, shares: bool, done: float) -> AllPairs:
    """The batch as the only one of the only process, with a share `done` of all steps made."""
    device = clip.logit_scale.device
    return AllPairs(
        peers=Peers(Runtime(device=device.type, cores=1)),
        rows=[len(batch.image_id_B)],
        image_id_B=batch.image_id_B.to(device) if shares else None,
        caption_id_B=batch.caption_id_B.to(device) if shares else None,
        done=done,
    )


def is_fitted(first: float, last: float, floor: float, *, left: float) -> bool:
    """Whether no more than `left` of the way down to the floor is left, or no more than `FITTED`."""
    return last < floor + max(FITTED, left * (first - floor))


def _one_batch(crops: Crops, *, side: int, count: int) -> Batch:
    """A batch of the first pairs that can be read, in random order."""
    generator = torch.Generator().manual_seed(crops.seed % 2**63)
    order = torch.randperm(len(crops), generator=generator).tolist()
    kept: list[Draw] = []
    batch = crops.__getitems__([])
    for first in range(0, len(order), count):
        draws = [Draw(sample, 0, side) for sample in order[first : first + count]]
        seen = set(crops.__getitems__(draws).sample_B.tolist())
        kept += [draw for draw in draws if draw.sample in seen][: count - len(kept)]
        batch = crops.__getitems__(kept)
        if len(kept) == count:
            break
    return batch


if __name__ == "__main__":
    # What a run prints is for people, and standard output is for findings.
    told_to = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(told_to, "w", encoding="utf-8")
    main()
