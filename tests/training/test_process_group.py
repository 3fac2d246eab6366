"""Several processes are one run: the same sums, the same words, the same order of samples."""

import threading
from contextlib import closing
from functools import partial

import pytest
import torch
from steppers import stepper_for

from seesay.base.records import Batch, Tokens
from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.data.loader import Batches, Order
from seesay.data.tokenizer import pad
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip
from seesay.training import process_group
from seesay.training.optimizer import optimizer_of
from seesay.training.process_group import ProcessGroup, ProcessLost, is_collective_failure, open_process_group
from seesay.training.settings import OptimizerSettings
from seesay.training.sharding import full_tensors

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


def weights_after(steps, processes, *, parts, parallel="ddp", micro_batch=None, scoring="softmax"):
    """Losses, norms and weights after some steps, of which each process makes its part."""
    architecture = TINY.model_copy(update={"scoring": scoring})
    clip = build_clip(architecture, seed=0).double()
    clip.image_tower.patch_dropout = 0.5
    clip.train()
    stepper = stepper_for(
        clip,
        "sigmoid" if clip.logit_bias is not None else "contrastive",
        micro_batch=micro_batch,
        processes=processes,
        parallel=parallel,
        preprocess=Doubled(size=16),
        share_repeats=scoring == "softmax",
    )
    # After the model is shared: sharding makes new parameters.
    optimizer = optimizer_of(clip, OptimizerSettings(learning_rate=1e-2, weight_decay=0.1))
    rows = [last - first for first, last in parts]
    told = []
    for step in range(steps):
        told.append(stepper.gradients(rows_of(*parts[processes.rank]), rows, step=step))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return told, {name: tensor.cpu().numpy() for name, tensor in full_tensors(clip.state_dict()).items()}


def one_of_many(rank, **given):
    with open_process_group(Runtime.find("cpu"), timeout_seconds=30) as processes:
        return weights_after(3, processes, **given)


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
    told, weights = weights_after(3, ProcessGroup(Runtime(device="cpu", cores=1)), parts=[(0, ROWS)], **single)
    for result in in_processes(2, partial(one_of_many, **given)):
        other_told, other_weights = result
        assert [numbers for pair in other_told for numbers in pair] == pytest.approx(
            [numbers for pair in told for numbers in pair], rel=1e-9
        )
        for name, value in weights.items():
            assert abs(other_weights[name] - value).max() < 1e-9, name


def gathered(rank):
    with open_process_group(Runtime.find("cpu"), timeout_seconds=30) as processes:
        rows = [2, 0, 3]
        own_BD = (torch.arange(rows[rank] * 2.0).view(-1, 2) + 10 * rank).requires_grad_()
        all_ND = processes.all_gather(own_BD, rows)
        (all_ND * (rank + 1)).sum().backward()
        told = (
            processes.all_gather_object({"rank": rank}),
            processes.broadcast_from_main(lambda: "main"),
            processes.all_gather_floats([rank, 0.5]),
        )
        tensor = torch.full((2,), float(rank))
        processes.all_reduce_mean([tensor])
        return all_ND.tolist(), own_BD.grad.tolist(), told, tensor.tolist()


def test_rows_words_and_numbers_of_three_processes_come_in_their_order(in_processes):
    for rank, (rows, gradient, told, mean) in enumerate(in_processes(3, gathered)):
        assert rows == [[0, 1], [2, 3], [20, 21], [22, 23], [24, 25]]
        assert gradient == [[6.0, 6.0]] * [2, 0, 3][rank]
        assert told == ([{"rank": n} for n in range(3)], "main", [[float(n), 0.5] for n in range(3)])
        assert mean == [1.0, 1.0]


class Ids:
    """A loader's pairs without images: a batch is which samples stand in it."""

    seed = 4

    def __len__(self):
        return 30_011

    def read(self, draws):
        ids = torch.tensor([draw.sample for draw in draws])
        blank = torch.zeros(len(draws), 1, dtype=torch.int64)
        tokens = Tokens(ids_BL=blank, length_B=blank[:, 0])
        return Batch(pixels_B3SS=blank, tokens=tokens, sample_B=ids, image_id_B=ids, caption_id_B=ids)


def read_ids(count, *, part, workers, batch_size=10):
    batches = Batches(Ids(), batch_size=batch_size)
    with closing(batches):
        stream = batches.starting_at(0, size_at=lambda _: 8, workers=workers, part=part)
        return [next(stream).image_id_B.tolist() for _ in range(count)]


def is_the_same_order(count, *, world_size, workers):
    order = Order(len(Ids()), Ids.seed)
    expected = [[sample for sample, _ in order.samples(step, 10)] for step in range(count)]
    parts = [read_ids(count, part=(rank, world_size), workers=workers) for rank in range(world_size)]
    assert [[sample for part in step for sample in part] for step in zip(*parts, strict=True)] == expected


@pytest.mark.parametrize(("world_size", "workers"), [(1, 2), (2, 1), (4, 0), (4, 4)])
def test_processes_and_workers_read_the_parts_of_the_same_batches(world_size, workers):
    is_the_same_order(40, world_size=world_size, workers=workers)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ten_thousand_batches_have_the_same_ids_for_any_number_of_processes_and_workers(world_size, workers):
    """F-T3. Three visits and a part of the fourth; every visit sees each sample once."""
    is_the_same_order(10_000, world_size=world_size, workers=workers)
    order = Order(len(Ids()), Ids.seed)
    seen = [sample for step in range(10_000) for sample, visit in order.samples(step, 10) if visit == 2]
    assert sorted(seen) == list(range(len(Ids())))


class StoppedStore:
    """The store of a main process that was stopped: what is sent waits in a buffer, and nothing is answered."""

    def __init__(self):
        self.waited = threading.Event()

    def set(self, key, value):
        pass

    def check(self, keys):
        return self.waited.wait(5)


def test_a_main_process_that_is_stopped_is_named_by_the_next(monkeypatch):
    """torch asks its store for ever: whoever waited for the main process, or asked how it ended, never came back."""
    monkeypatch.setattr(process_group, "LAST_WORDS_SECONDS", 0.05)
    monkeypatch.setattr(process_group, "GONE_SECONDS", 0.05)
    store = StoppedStore()
    ends = []
    for rank in (1, 2):
        runtime = Runtime(device="cpu", cores=1, rank=rank, local_rank=rank, world_size=3, local_world_size=3)
        processes = ProcessGroup(runtime, store)
        processes._names = [f"pid {number} on here" for number in range(3)]
        with pytest.raises(RuntimeError, match="nobody answered") as silence:
            processes.all_gather_object(None)
        ends.append(processes.final_error(silence.value))
        own = ValueError("what nobody else can say")
        assert processes.final_error(own) is own
    store.waited.set()
    assert isinstance(ends[0], ProcessLost) and str(ends[0]).startswith("process 0 (pid 0 on here) died or does not")
    assert isinstance(ends[1], SystemExit) and ends[1].code == 1


@pytest.mark.parametrize(
    "words",
    [
        "[third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 20000ms for recv operation",
        "Connection closed by peer [127.0.0.1]:39120",
        "Application timeout caused pair closure",
        "nobody answered in 45 seconds",
    ],
)
def test_whatever_gloo_calls_it_another_process_was_lost(words):
    """Which of its messages comes first is a race: the third was seen in 2 of 20 stops and named nobody."""
    assert is_collective_failure(RuntimeError(words))
    assert not is_collective_failure(ValueError(words)) and not is_collective_failure(RuntimeError("a bad shape"))
