"""The one bench on which tests make a training step: a `Stepper` for a model, alone or among processes."""

from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.nets.clip import Clip
from seesay.training.objectives import OBJECTIVES
from seesay.training.objectives.base import Objective
from seesay.training.process_group import ProcessGroup
from seesay.training.sharding import ParallelModel, parallelize
from seesay.training.step import Stepper

ALL = 2**30


def stepper_for(
    clip: Clip,
    objective: str | Objective = "contrastive",
    *,
    micro_batch: int | None = None,
    processes: ProcessGroup | None = None,
    parallel: str = "ddp",
    preprocess: Preprocess | None = None,
    seed: int = 1,
    **settings: bool,
) -> Stepper:
    """A step of `clip` for that objective, shared as `parallel` says; `micro_batch` None: all at once."""
    return Stepper(
        parallel=shared(clip, processes, parallel),
        preprocess=preprocess or Preprocess(size=16),
        objective=OBJECTIVES[objective] if isinstance(objective, str) else objective,
        seed=seed,
        micro_batch=ALL if micro_batch is None else micro_batch,
        **settings,
    )


def shared(clip: Clip, processes: ProcessGroup | None = None, parallel: str = "ddp") -> ParallelModel:
    """The model as the processes share it; as one process holds it where none are given."""
    return parallelize(clip, processes or ProcessGroup(Runtime(device="cpu", cores=1)), parallel=parallel)  # type: ignore[arg-type]
