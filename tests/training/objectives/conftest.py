"""What tests of objectives share."""

import pytest

from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.training.distributed import Peers
from seesay.training.guards import RunningStatistics
from seesay.training.objectives import OBJECTIVES
from seesay.training.spread import Spread
from seesay.training.step import Stepper


@pytest.fixture
def stepper_of():
    """A step of an objective by name, on one process, over pictures of 16 px."""
    return _stepper_of


def _stepper_of(name, clip, *, micro_batch=None):
    peers = Peers(Runtime(device="cpu", cores=1))
    return Stepper(
        spread=Spread(clip=clip, forward=clip, peers=peers),
        peers=peers,
        preprocess=Preprocess(size=16),
        objective=OBJECTIVES[name],
        statistics=RunningStatistics(clip),
        seed=1,
        micro_batch=micro_batch,
        share_repeats=False,
    )
