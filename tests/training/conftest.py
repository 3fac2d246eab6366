"""What tests of training share: pairs that a small model can learn, a run that stands at its start, its batches."""

import faulthandler
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from patience import PATIENCE
from steppers import shared

from seesay.base.journal import Journal, ProgressLine
from seesay.base.records import Batch
from seesay.base.settings import read_settings
from seesay.data.images import Preprocess
from seesay.data.tokenizer import pad
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.checkpoint import Position
from seesay.training.faults import SkipLog
from seesay.training.optimizer import optimizer_of
from seesay.training.plan import DataFacts, choose
from seesay.training.settings import TrainSettings
from seesay.training.state import TrainState


@pytest.fixture
def small_run(tmp_path):
    """A run that stands at its start."""
    settings = read_settings(
        TrainSettings,
        file=None,
        base={
            "model": "conv-tiny",
            "objective": "contrastive",
            "batch_size": 4,
            "steps": 100,
            "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.1},
            "data": {"share_repeats": False},
        },
    )
    facts = {"pairs": 100, "captions": 100, "median_side": 16, "device": "cpu", "cores": 1}
    plan = choose(settings, DataFacts(**facts))
    clip = build_clip(preset("conv-tiny"), seed=0)
    with Journal(tmp_path / "run") as journal, SkipLog(tmp_path / "run", 100) as skips:
        run = TrainState(
            plan=plan,
            parallel=shared(clip),
            optimizer=optimizer_of(clip, plan.optimizer),
            preprocess=Preprocess(size=16),
            position=Position(),
            journal=journal,
            skips=skips,
            line=ProgressLine("train"),
            vocab_size=1,
        )
        run.start_clock()
        yield run


@pytest.fixture
def batch():
    """Four random images with words; another seed, other ones."""

    def make(seed: int = 0) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        return Batch(
            pixels_B3SS=torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator),
            tokens=pad([[1, 2 + seed, 3 + index, 9] for index in range(4)]),
            sample_B=torch.arange(4),
            image_id_B=torch.arange(4),
            caption_id_B=torch.arange(4),
        )

    return make


@pytest.fixture
def in_processes():
    """Calls work(rank) in several processes of one run: forked, so cheap, as everything is imported already.

    Gives what each returned, or (the class's name, the words) of what it raised.
    """
    return _in_processes


@pytest.fixture
def places():
    """What `torchrun` puts into the environment of each process."""
    return _places


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _places(world_size: int, port: int | None = None) -> list[dict[str, str]]:
    port = port or free_port()
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        for rank in range(world_size)
    ]


def _in_processes(world_size: int, work: Callable[[int], Any], *, seconds: float = PATIENCE) -> list[Any]:
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for rank, environment in enumerate(_places(world_size)):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(work, rank, environment, there))
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        return [_told(pipe, seconds) for pipe in pipes]
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            process.join(2)
            process.kill()
            process.join()
            pipe.close()


def _told(pipe: Any, seconds: float) -> Any:
    try:
        return pipe.recv() if pipe.poll(seconds) else ("TimeoutError", "")
    except EOFError:
        return ("EOFError", "")


def _run(work: Callable[[int], Any], rank: int, environment: dict[str, str], pipe: Any) -> None:
    # A crash in native code says where it was: no exception is left to tell it.
    faulthandler.enable(sys.__stderr__)
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        pipe.send(work(rank))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the test wants to see it
        if type(error).__module__ == "builtins" and not isinstance(error, SystemExit):
            traceback.print_exc()
        pipe.send((type(error).__name__, str(error)))
    pipe.close()
