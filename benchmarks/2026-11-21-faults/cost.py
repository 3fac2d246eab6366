"""F-T6: what guards, log and checkpoints add to a training step.

    OMP_NUM_THREADS=1 python cost.py [MODEL] [BATCH] [ROUNDS]

Rounds alternate between steps as they are and steps without guards: no copies of running statistics, no gradient norm,
no look for numbers that are not finite, no spike watch, no log lines. The cost of a checkpoint is its seconds per
default interval of ten minutes.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from seesay.base.journal import Journal, ProgressLine
from seesay.base.records import Batch
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.data.images import Preprocess
from seesay.data.tokenizer import pad
from seesay.nets.batch_norm import RunningStatistics
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training import loop
from seesay.training.checkpoint import Position, restore_latest
from seesay.training.faults import SkipLog, ended_when_stuck
from seesay.training.loop import save, train_step
from seesay.training.optimizer import optimizer_of
from seesay.training.plan import DataFacts, choose
from seesay.training.process_group import ProcessGroup
from seesay.training.run_log import SpikeWatch
from seesay.training.settings import TrainSettings
from seesay.training.sharding import ParallelModel, parallelize
from seesay.training.state import TrainState

STEPS = 6
GUARDS = (
    (RunningStatistics, "snapshot", lambda self: None),
    (ParallelModel, "gradient_norm", lambda self: 0.0),
    (SpikeWatch, "sees", lambda self, loss: None),
    (loop, "log_step", lambda state, loss, learning_rate: None),
)


def run_in(folder: Path, model: str, batch_size: int) -> TrainState:
    base = {"model": model, "batch_size": batch_size, "steps": 100_000, "log": {"every_steps": 1}}
    base |= {"optimizer": {"learning_rate": 1e-3, "weight_decay": 0.1}, "towers": {"precision": "bfloat16"}}
    base |= {"objective": "contrastive", "data": {"share_repeats": False}}
    settings = read_settings(TrainSettings, file=None, base=base)
    facts = DataFacts(pairs=100_000, captions=100_000, median_side=64, device="cpu", cores=1)
    plan = choose(settings, facts)
    clip = build_clip(preset(model), seed=0)
    run = TrainState(
        plan=plan,
        parallel=parallelize(clip, ProcessGroup(Runtime(device="cpu", cores=1)), parallel="ddp"),
        optimizer=optimizer_of(clip, plan.optimizer),
        preprocess=Preprocess(size=preset(model).image.image_size),
        position=Position(),
        vocab_size=6144,
        journal=Journal(folder).__enter__(),
        skips=SkipLog(folder, 100_000),
        line=ProgressLine("train"),
    )
    run.start_clock()
    return run


def batch_of(size: int, side: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=generator),
        tokens=pad([[1, *range(3, 10 + row % 6), 2] for row in range(size)]),
        sample_B=torch.arange(size),
        image_id_B=torch.arange(size),
        caption_id_B=torch.arange(size),
    )


def seconds_of(run: TrainState, batch: Batch) -> float:
    """Processor seconds a step, the log line of each included."""
    begun = time.process_time()
    with ended_when_stuck(60) as alive:
        for _ in range(STEPS):
            alive()
            train_step(run, batch)
    return (time.process_time() - begun) / STEPS


def main(model: str = "conv-small", batch_size: str = "128", rounds: str = "8") -> None:
    torch.set_num_threads(1)
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in GUARDS]
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(Path(folder), model, int(batch_size))
        batch = batch_of(int(batch_size), run.preprocess.size)
        seconds_of(run, batch)
        ratios, guarded = [], []
        for _ in range(int(rounds)):
            guarded.append(seconds_of(run, batch))
            for owner, name, nothing in GUARDS:
                setattr(owner, name, nothing)
            ratios.append(guarded[-1] / seconds_of(run, batch))
            for owner, name, honest in kept:
                setattr(owner, name, honest)
        saves = []
        for _ in range(5):
            begun = time.monotonic()
            save(run)
            saves.append(time.monotonic() - begun)
        begun = time.monotonic()
        restore_latest(Path(folder) / "checkpoints", run.clip, run.optimizer)
        restored = time.monotonic() - begun
    interval = 60 * TrainSettings().checkpoint.every_minutes
    result = {
        "model": model,
        "batch_size": int(batch_size),
        "rounds": int(rounds),
        "steps_a_round": STEPS,
        "processor_seconds_a_step": round(statistics.median(guarded), 4),
        "guards_ratio_median": round(statistics.median(ratios), 4),
        "guards_ratios": [round(ratio, 4) for ratio in ratios],
        "checkpoint_seconds_median": round(statistics.median(saves), 3),
        "checkpoint_share_of_ten_minutes": round(statistics.median(saves) / interval, 5),
        "restore_seconds": round(restored, 3),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
