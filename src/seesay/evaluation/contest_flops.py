"""How many floating point operations a step of a run takes, counted over a real one. S = side of the crops."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from seesay.base.records import PairSource
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.model.hub import load
from seesay.training.assemble import batches_of, set_up
from seesay.training.distributed import Peers
from seesay.training.guards import RunningStatistics
from seesay.training.objectives import objective_of
from seesay.training.optimizer import size_at
from seesay.training.settings import TrainSettings
from seesay.training.spread import spread
from seesay.training.start import MODEL_FOLDER, SETTINGS_NAME
from seesay.training.step import Stepper


def flops_by_step(folder: Path, pairs: PairSource) -> list[int]:
    """FLOPs of the finished run in `folder` up to each of its steps; the first is 0, before any.

    Forward and backward pass of its first batch are counted once for each side of its crops: products of matrices,
    convolutions and attention, a product and a sum as two. Captions of other batches may be a little longer.
    """
    settings = read_settings(TrainSettings, file=folder / SETTINGS_NAME)
    sizes, steps = settings.schedule.sizes or (), settings.steps or 0
    by_side = {side: step_flops(folder, settings, pairs, side=side) for side, _ in sizes}
    return list(accumulate((by_side[side] for side in sides_of(sizes, steps)), initial=0))


def sides_of(sizes: Sequence[tuple[int, float]], steps: int) -> list[int]:
    """The side of the crops of each step."""
    return [size_at(step / steps, sizes) for step in range(steps)]


def step_flops(folder: Path, settings: TrainSettings, pairs: PairSource, *, side: int) -> int:
    runtime = Runtime(device="cpu", cores=1)
    peers, model = Peers(runtime), load(folder / MODEL_FOLDER)
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"cache": False})})
    batches = batches_of(model, settings, pairs, runtime)
    batch = next(batches.starting_at(0, size_at=lambda _: side, workers=0))
    set_up(model.clip, settings.towers)
    clip = model.clip.train().requires_grad_(True)
    stepper = Stepper(
        spread=spread(clip, peers, parallel="ddp"),
        peers=peers,
        preprocess=model.preprocess,
        objective=objective_of(settings.objective or ""),
        statistics=RunningStatistics(clip),
        seed=settings.seed,
        micro_batch=settings.micro_batch,
        share_repeats=bool(settings.data.share_repeats),
    )
    # The counter knows attention on a CPU only as the products it is made of.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        stepper.gradients(batch, [len(batch.sample_B)], step=1)
    return counter.get_total_flops()
