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
from seesay.training.optimizer import size_at
from seesay.training.plan import RunPlan, Steps
from seesay.training.process_group import ProcessGroup
from seesay.training.run_folder import MODEL_FOLDER, SETTINGS_NAME
from seesay.training.settings import TrainSettings
from seesay.training.setup import batches_of, set_up_towers
from seesay.training.sharding import parallelize
from seesay.training.step import Stepper


def flops_by_step(folder: Path, pairs: PairSource) -> list[int]:
    """FLOPs of the finished run in `folder` up to each of its steps; the first is 0, before any.

    Forward and backward pass of its first batch are counted once for each side of its crops: products of matrices,
    convolutions and attention, a product and a sum as two. Captions of other batches may be a little longer.
    """
    settings = read_settings(TrainSettings, file=folder / SETTINGS_NAME)
    # Images that are read ahead for a cache would not be counted anyway.
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"cache": False})})
    plan = RunPlan.of(settings, load(folder / MODEL_FOLDER).architecture, pairs=len(pairs))
    assert isinstance(plan.length, Steps)
    by_side = {side: step_flops(folder, plan, pairs, side=side) for side, _ in plan.sizes}
    return list(accumulate((by_side[side] for side in sides_of(plan.sizes, plan.length.count)), initial=0))


def sides_of(sizes: Sequence[tuple[int, float]], steps: int) -> list[int]:
    """The side of the crops of each step."""
    return [size_at(step / steps, sizes) for step in range(steps)]


def step_flops(folder: Path, plan: RunPlan, pairs: PairSource, *, side: int) -> int:
    """FLOPs of one step of the run's model on its first batch, at that side of the crops."""
    runtime = Runtime(device="cpu", cores=1)
    model = load(folder / MODEL_FOLDER)
    batch = next(batches_of(model, plan, pairs, runtime).starting_at(0, size_at=lambda _: side, workers=0))
    set_up_towers(model.clip, plan.settings.towers)
    stepper = Stepper(
        parallel=parallelize(model.clip.train().requires_grad_(True), ProcessGroup(runtime), parallel="ddp"),
        preprocess=model.preprocess,
        objective=plan.objective,
        seed=plan.settings.seed,
        micro_batch=plan.micro_batch,
        share_repeats=plan.data.share_repeats,
    )
    # The counter knows attention on a CPU only as the products it is made of.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        stepper.gradients(batch, [len(batch.sample_B)], step=1)
    return counter.get_total_flops()
