"""Several processes are one run: the same sums, the same files, one voice, one end."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import torch

from seesay.base.errors import SeesayError, Stopped
from seesay.base.journal import read_events
from seesay.base.records import Batch, Tokens
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.data.images import Preprocess
from seesay.data.loader import Batches, Order
from seesay.data.tokenizer import pad
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip
from seesay.training.checkpoint import checkpoints
from seesay.training.distributed import Peers, joined
from seesay.training.guards import RunningStatistics
from seesay.training.optimizer import adamw
from seesay.training.settings import OptimizerSettings, TrainSettings
from seesay.training.spread import all_whole, spread
from seesay.training.start import train_model
from seesay.training.step import Stepper

pytestmark = pytest.mark.journey
TINY = Architecture(
    embed_dim=12,
    image=VisionTransformerConfig(image_size=16, patch=4, width=16, layers=2, heads=2),
    text=TextTransformerConfig(vocab_size=40, context=8, width=16, layers=2, heads=2),
)
ROWS = 12


def rows_of(first, last):
    """Some rows of one batch of twelve."""
    generator = torch.Generator().manual_seed(3)
    pixels_B3SS = torch.randint(0, 256, (ROWS, 3, 16, 16), dtype=torch.uint8, generator=generator)
    words = [[1, *range(2, 3 + row % 5), 10 + row, 39] for row in range(ROWS)]
    return Batch(
        pixels_B3SS=pixels_B3SS[first:last] if last > first else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
        tokens=pad(words[first:last] or [[1, 39]]),
        sample_B=torch.arange(100, 100 + ROWS)[first:last],
        image_id_B=torch.arange(100, 100 + ROWS)[first:last],
        caption_id_B=(torch.arange(ROWS) // 2)[first:last],
    )


class Doubled(Preprocess):
    """Pixels in float64: Adam makes a step of its own out of rounding where a gradient is zero."""

    def normalise(self, pixels_B3SS):
        return super().normalise(pixels_B3SS).double()


def weights_after(steps, peers, *, parts, parallel="ddp", micro_batch=None, scoring="softmax"):
    """Losses, norms and weights after some steps, of which each process makes its part."""
    architecture = TINY.model_copy(update={"scoring": scoring})
    clip = build_clip(architecture, seed=0).double()
    clip.image_tower.patch_dropout = 0.5
    clip.train()
    shared = spread(clip, peers, parallel=parallel)
    optimizer = adamw(clip, OptimizerSettings(learning_rate=1e-2, weight_decay=0.1))
    stepper = Stepper(
        spread=shared,
        peers=peers,
        preprocess=Doubled(size=16),
        statistics=RunningStatistics(clip),
        seed=1,
        micro_batch=micro_batch,
        share_repeats=scoring == "softmax",
    )
    rows = [last - first for first, last in parts]
    told = []
    for step in range(steps):
        told.append(stepper.gradients(rows_of(*parts[peers.rank]), rows, step=step))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return told, {name: tensor.cpu().numpy() for name, tensor in all_whole(clip.state_dict()).items()}


def one_of_many(rank, **given):
    with joined(Runtime.find("cpu"), timeout_seconds=30) as peers:
        return weights_after(3, peers, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"parts": [(0, 6), (6, 12)]},
        {"parts": [(0, 5), (5, 12)], "micro_batch": 2},
        {"parts": [(0, 6), (6, 12)], "parallel": "fsdp", "micro_batch": 3},
        {"parts": [(0, 2), (2, 12)], "micro_batch": 4},
        {"parts": [(0, 3), (3, 12)], "micro_batch": 4, "parallel": "fsdp"},
        {"parts": [(0, 12), (12, 12)]},
        {"parts": [(0, 12), (12, 12)], "micro_batch": 5},
        {"parts": [(0, 4), (4, 12)], "scoring": "sigmoid", "parallel": "fsdp"},
    ],
    ids=[
        "ddp",
        "uneven-in-pieces",
        "fsdp-in-pieces",
        "fewer-rows-than-pieces",
        "fsdp-fewer-rows-than-pieces",
        "one-without-pairs",
        "one-without-pairs-in-pieces",
        "sigmoid-fsdp",
    ],
)
def test_two_processes_make_the_steps_of_one(given, in_processes):
    single = {key: value for key, value in given.items() if key == "scoring"}
    told, weights = weights_after(3, Peers(Runtime(device="cpu", cores=1)), parts=[(0, ROWS)], **single)
    for result in in_processes(2, partial(one_of_many, **given)):
        other_told, other_weights = result
        assert [numbers for pair in other_told for numbers in pair] == pytest.approx(
            [numbers for pair in told for numbers in pair], rel=1e-9
        )
        for name, value in weights.items():
            assert abs(other_weights[name] - value).max() < 1e-9, name


def gathered(rank):
    with joined(Runtime.find("cpu"), timeout_seconds=30) as peers:
        rows = [2, 0, 3]
        own_BD = (torch.arange(rows[rank] * 2.0).view(-1, 2) + 10 * rank).requires_grad_()
        all_ND = peers.gather(own_BD, rows)
        (all_ND * (rank + 1)).sum().backward()
        told = peers.tell({"rank": rank}), peers.from_main(lambda: "main"), peers.numbers([rank, 0.5])
        tensor = torch.full((2,), float(rank))
        peers.average([tensor])
        return all_ND.tolist(), own_BD.grad.tolist(), told, tensor.tolist()


def test_rows_words_and_numbers_of_three_processes_come_in_their_order(in_processes):
    for rank, (rows, gradient, told, average) in enumerate(in_processes(3, gathered)):
        assert rows == [[0, 1], [2, 3], [20, 21], [22, 23], [24, 25]]
        assert gradient == [[6.0, 6.0]] * [2, 0, 3][rank]
        assert told == ([{"rank": n} for n in range(3)], "main", [[float(n), 0.5] for n in range(3)])
        assert average == [1.0, 1.0]


class Ids:
    """A loader's pairs without pictures: a batch is which samples stand in it."""

    seed = 4

    def __len__(self):
        return 30_011

    def __getitems__(self, draws):
        ids = torch.tensor([draw.sample for draw in draws])
        blank = torch.zeros(len(draws), 1, dtype=torch.int64)
        tokens = Tokens(ids_BL=blank, length_B=blank[:, 0])
        return Batch(pixels_B3SS=blank, tokens=tokens, sample_B=ids, image_id_B=ids, caption_id_B=ids)


def read_ids(count, *, part, workers, batch_size=10):
    batches = Batches(Ids(), batch_size=batch_size)
    with closing(batches):
        stream = batches.starting_at(0, size_at=lambda _: 8, workers=workers, part=part)
        return [next(stream).image_id_B.tolist() for _ in range(count)]


def is_the_same_order(count, *, ranks, workers):
    order = Order(len(Ids()), Ids.seed)
    expected = [[sample for sample, _ in order.places(step, 10)] for step in range(count)]
    parts = [read_ids(count, part=(rank, ranks), workers=workers) for rank in range(ranks)]
    assert [[sample for part in step for sample in part] for step in zip(*parts, strict=True)] == expected


MANY_WORKERS = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@MANY_WORKERS
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 1), (4, 0), (4, 4)])
def test_processes_and_workers_read_the_parts_of_the_same_batches(ranks, workers):
    is_the_same_order(40, ranks=ranks, workers=workers)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@MANY_WORKERS
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ten_thousand_batches_have_the_same_ids_for_any_number_of_processes_and_workers(ranks, workers):
    """F-T3. Three visits and a part of the fourth; every visit sees each sample once."""
    is_the_same_order(10_000, ranks=ranks, workers=workers)
    order = Order(len(Ids()), Ids.seed)
    seen = [sample for step in range(10_000) for sample, visit in order.places(step, 10) if visit == 2]
    assert sorted(seen) == list(range(len(Ids())))


WORDS = ["batch_size=8", "model=vit-small", "data.validation=0.1", "data.workers=0", "log.every_steps=1", "seed=3"]


def trained(rank, pairs: Path, out: Path, *words: str, stop_at: int | None = None, error=None):
    """Train in this process; the last one is asked to stop during the check after step `stop_at`."""
    settings = read_settings(TrainSettings, file=None, overrides=[*WORDS, *words])
    is_last = rank == int(os.environ.get("WORLD_SIZE", "1")) - 1
    steps = []

    def check(_):
        steps.append(len(steps))
        if is_last and stop_at is not None:
            signal.raise_signal(signal.SIGTERM)
        if error is not None and is_last:
            raise error
        return {}

    torch.set_num_threads(1)
    model = train_model([pairs], out=out, settings=settings, checks={"ask": check})
    return model.facts.get("training", {}).get("steps")


def losses(out):
    return {e["step"]: e["loss"] for e in read_events(out / "events.jsonl") if "event" not in e}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_from_one_process_to_two_and_back_and_stays_the_same_run(coloured_pairs, tmp_path, in_processes):
    pairs, out, words = coloured_pairs(), tmp_path / "run", ["steps=9", "check.every=0.34", "towers.precision=float32"]
    trained(0, pairs, tmp_path / "unbroken", *words)
    with pytest.raises(Stopped, match="stopped after step 4, saved"):
        trained(0, pairs, out, *words, stop_at=4)
    ends = in_processes(2, partial(_trained_twice, pairs=pairs, out=out, words=[*words, "parallel=fsdp"]))
    assert ends[0][0] == "Stopped" and "stopped after step 7, saved" in ends[0][1]
    assert ends[1] == ("SystemExit", "75"), "one process speaks for both"
    trained(0, pairs, out, *words)
    assert list(losses(out)) == list(range(1, 10))
    assert losses(out) == pytest.approx(losses(tmp_path / "unbroken"), rel=1e-4)
    events = read_events(out / "events.jsonl")
    assert [event["processes"] for event in events if event.get("event") == "resume"] == [2, 1]
    assert events[-1]["event"] == "done"


def _trained_twice(rank, *, pairs, out, words):
    return trained(rank, pairs, out, *words, stop_at=7)


def test_processes_that_disagree_are_found_at_the_start_with_rank_and_key(coloured_pairs, tmp_path, in_processes):
    pairs = coloured_pairs(24)
    ends = in_processes(2, partial(_disagreeing, pairs=pairs, out=tmp_path / "run"))
    assert ends[0][0] == "RefusedInput" and ends[1] == ("SystemExit", "4")
    assert "process 1 (pid " in ends[0][1] and "has optimizer.learning_rate = 0.002, process 0 has 0.001" in ends[0][1]
    assert not (tmp_path / "run").exists()


def _disagreeing(rank, *, pairs, out):
    return trained(rank, pairs, out, "steps=4", f"optimizer.learning_rate={0.001 * (rank + 1)}")


def test_an_error_of_one_process_is_told_once_and_ends_all(coloured_pairs, tmp_path, in_processes):
    began = time.monotonic()
    ends = in_processes(2, partial(_failing, pairs=coloured_pairs(24), out=tmp_path / "run"))
    assert ends[1] == ("ValueError", "a mistake of our own")
    assert ends[0] == ("SystemExit", "1")
    assert time.monotonic() - began < 60


def _failing(rank, *, pairs, out):
    return trained(rank, pairs, out, "steps=8", "check.every=0.5", error=ValueError("a mistake of our own"))


def lost(rank, *, number):
    """The last process is killed or stopped in the middle of what all do together."""
    with joined(Runtime.find("cpu"), timeout_seconds=3) as peers:
        for count in range(10_000):
            peers.numbers([count])
            if peers.rank == peers.ranks - 1 and count == 50:
                os.kill(os.getpid(), number)
        return count


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_stopped_is_named_by_one_of_the_others(number, in_processes, monkeypatch):
    began = time.monotonic()
    monkeypatch.setattr("seesay.training.distributed.LAST_WORDS_SECONDS", 1.0)
    ends = in_processes(3, partial(lost, number=number), seconds=10)
    assert time.monotonic() - began < 60
    assert ends[0][0] == "PeerLost", ends
    assert ends[0][1].startswith("process 2 (pid ") and "died or does not answer" in ends[0][1]
    assert ends[1] == ("SystemExit", "1")


def waiting(rank):
    """The last process dies while the others wait for its word."""
    with joined(Runtime.find("cpu"), timeout_seconds=3) as peers:
        if rank == 1:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return peers.tell("here")


def test_a_process_that_dies_while_others_wait_for_its_word_is_named(monkeypatch, in_processes):
    monkeypatch.setattr("seesay.training.distributed.GONE_SECONDS", 2.0)
    monkeypatch.setattr("seesay.training.distributed.LIFE_SECONDS", 0.5)
    monkeypatch.setattr("seesay.training.distributed.LAST_WORDS_SECONDS", 1.0)
    ends = in_processes(2, waiting, seconds=40)
    assert ends[0][0] == "PeerLost" and "process 1 (pid " in ends[0][1]


def test_a_wrong_address_is_told_at_once_with_the_address(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "no-such-host.invalid"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "29511")
    told = pytest.raises(SeesayError, match=r"at MASTER_ADDR no-such-host\.invalid, MASTER_PORT 29511 \(")
    with told, joined(Runtime.find("cpu"), timeout_seconds=3):
        pass


def torchrun(pairs, out, *words):
    settings = [word for setting in [*WORDS, *words] for word in ("--set", setting)]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "seesay"]
    return subprocess.Popen(
        [*start, "train", str(pairs), "--out", str(out), *settings],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_torchrun_asked_to_stop_saves_once_and_the_same_command_goes_on(coloured_pairs, tmp_path):
    pairs, out = coloured_pairs(), tmp_path / "run"
    first = torchrun(pairs, out, "steps=400", "data.workers=1")
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until and not (
            (out / "events.jsonl").exists() and b'"step": 3,' in (out / "events.jsonl").read_bytes()
        ):
            time.sleep(0.02)
        first.send_signal(signal.SIGTERM)
        _, stderr = first.communicate(timeout=40)
    finally:
        first.kill()
    assert stderr.count("saved; the same command goes on") == 1
    stopped_at = int(re.search(r"stopped after step (\d+), saved", stderr)[1])
    assert [int(folder.name[5:]) for folder in checkpoints(out / "checkpoints")] == [stopped_at]
    again = torchrun(pairs, out, "steps=400", "data.workers=1")
    try:
        while (out / "events.jsonl").read_bytes().count(b'"resume"') < 1 and again.poll() is None:
            time.sleep(0.02)
        again.send_signal(signal.SIGTERM)
        _, stderr = again.communicate(timeout=40)
    finally:
        again.kill()
    assert f"going on after step {stopped_at}" in stderr
