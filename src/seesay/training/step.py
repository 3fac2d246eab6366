"""One batch to gradients: forward, loss over the pairs of all processes, backward.

B = pairs held here, N = pairs of all processes, D = embedding width, S = side in pixels.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from seesay.base.records import Batch, Embedded, Outputs, Predicted, Tokens
from seesay.data.images import Preprocess
from seesay.formulas.contrastive import forgetting_loss
from seesay.model.teacher import TeacherRows
from seesay.nets.batch_norm import RunningStatistics
from seesay.nets.clip import DualEncoder
from seesay.nets.row_random import row_seeds, splitmix64
from seesay.training import gradient_cache
from seesay.training.objectives.base import GlobalBatch, Objective
from seesay.training.pairs import OldRows
from seesay.training.sharding import ParallelModel

# Two, since batch normalisation needs more than one.
BLANK_ROWS = 2


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """What turns a batch into gradients; on each process at most `micro_batch` pairs go through the towers at once."""

    parallel: ParallelModel
    preprocess: Preprocess
    objective: Objective
    seed: int
    micro_batch: int
    share_repeats: bool = False
    captions_per_image: int = 1
    in_bfloat16: bool = False
    teacher: TeacherRows | None = None
    old_answers: OldRows | None = None
    keep: float = 0.0
    statistics: RunningStatistics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", RunningStatistics(self.parallel.clip))

    def gradients(self, batch: Batch, rows: Sequence[int], *, step: int, done: float = 0.0) -> tuple[float, float]:
        """Give every parameter the gradient of the mean loss over all processes' pairs; returns loss and norm.

        `rows` is how many pairs each process holds, `done` which share of the run is over. What a tower draws through
        `nets.row_random` depends on (seed, step, sample) alone; what it draws from torch's generator, on (seed, step,
        process).
        """
        processes = self.parallel.processes
        self.statistics.snapshot()
        self._seed_generators(step)
        global_batch = self._global_batch(batch, rows, done=done)
        seed_B = splitmix64(batch.sample_B ^ seed_of(self.seed, step))
        drifted = self._backward_of_old_answers(step, sum(rows))
        if max(rows) <= self.micro_batch:
            with self._row_seeds(seed_B):
                loss = self._loss(self._forward(batch), batch, global_batch)
                loss.backward()
        else:
            loss = self._backward_in_chunks(batch, global_batch, seed_B)
        self.parallel.average_unsharded_gradients()
        processes.all_reduce_mean(self.statistics.buffers)
        return processes.mean(loss.detach() + drifted), self.parallel.gradient_norm()

    def _backward_of_old_answers(self, step: int, count: int) -> Tensor:
        """Begin the gradient with that of `count` rows of a side that should stay as they are; returns their loss."""
        device, clip = self.parallel.device, self.parallel.clip
        total = torch.zeros((), device=device)
        if self.old_answers is None or not self.keep:
            return total
        assert isinstance(clip, DualEncoder)
        part = self.parallel.processes.rank, self.parallel.processes.world_size
        old = self.old_answers
        pixels_R3SS, tokens, image_RD, text_RD = old.drawn(step, count, part=part)
        others = old.text_MD.to(device), old.image_ND.to(device)
        for rows in gradient_cache.chunks_of(len(pixels_R3SS), self.micro_batch, most=len(pixels_R3SS)):
            share = (rows.stop - rows.start) / len(pixels_R3SS)
            seed_R = splitmix64(torch.arange(rows.start, rows.stop) ^ seed_of(self.seed, step, *part))
            pixels = self.preprocess.normalise(pixels_R3SS[rows].to(device))
            # Nothing is sent to others before the backward pass of the batch.
            with self.parallel.no_sync(), self._row_seeds(seed_R):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.in_bfloat16):
                    found = clip.embed_images(pixels), clip.embed_texts(tokens[rows].to(device))
                before = image_RD[rows].to(device), text_RD[rows].to(device)
                sides = zip((row.float() for row in found), before, others, strict=True)
                loss = self.keep * share * sum(forgetting_loss(*side, old.scale) for side in sides)
                loss.backward()
            total += loss.detach()
        return total

    def _loss(self, outputs: Outputs, batch: Batch, global_batch: GlobalBatch) -> Tensor:
        """The objective's loss; with several captions of each image its mean over the first of all, the second, ..."""
        count, B = self.captions_per_image, len(batch.image_id_B)
        if count == 1:
            return self.objective.loss(outputs, global_batch)
        assert isinstance(outputs, Embedded)
        losses = []
        for rows in (slice(number * B, (number + 1) * B) for number in range(count)):
            ids = global_batch.ids and (global_batch.ids[0], global_batch.ids[1][rows])
            part = replace(outputs, text_BD=outputs.text_BD[rows])
            teacher = global_batch.teacher
            teacher = teacher and replace(teacher, text_BD=teacher.text_BD[rows])
            losses.append(self.objective.loss(part, replace(global_batch, ids=ids, teacher=teacher)))
        return torch.stack(losses).mean()

    def _backward_in_chunks(self, batch: Batch, global_batch: GlobalBatch, seed_B: Tensor) -> Tensor:
        """The same gradients for a batch that does not fit into memory at once; returns the loss."""

        @contextmanager
        def forward(chunk: slice) -> Iterator[Outputs]:
            with self._row_seeds(seed_B[chunk]):
                yield self._forward(_rows_of(batch, chunk))

        rows = global_batch.rows
        # What is predicted pair by pair needs no other pair's embedding.
        is_sum = self.objective.is_sum_over_pairs
        backward = gradient_cache.backward_per_chunk if is_sum else gradient_cache.backward
        return backward(
            forward,
            lambda outputs: self.objective.loss(outputs, global_batch),
            chunks=gradient_cache.chunks_of(rows[self.parallel.processes.rank], self.micro_batch, most=max(rows)),
            statistics=self.statistics,
            no_sync=self.parallel.no_sync,
        )

    def _forward(self, batch: Batch) -> Outputs:
        """What the model makes of a batch; of blank rows where it has none, as others wait for their gradient."""
        pixels_B3SS, tokens, device = batch.pixels_B3SS, batch.tokens, self.parallel.device
        is_blank = not len(pixels_B3SS)
        if is_blank:
            pixels_B3SS, tokens = self._blank()
        pixels_B3SS = self.preprocess.normalise(pixels_B3SS.to(device, non_blocking=device.type == "cuda"))
        forward = self.parallel.forward if torch.is_grad_enabled() else self.parallel.clip
        with torch.autocast(device.type, torch.bfloat16, enabled=self.in_bfloat16):
            outputs: Outputs = forward(pixels_B3SS, tokens.to(device))
        if isinstance(outputs, Embedded) and self.in_bfloat16:
            outputs = replace(outputs, image_BD=outputs.image_BD.float(), text_BD=outputs.text_BD.float())
        return _without_rows(outputs) if is_blank else outputs

    def _global_batch(self, batch: Batch, rows: Sequence[int], *, done: float) -> GlobalBatch:
        device = self.parallel.device
        ids = (batch.image_id_B.to(device), batch.caption_id_B.to(device)) if self.share_repeats else None
        teacher = None if self.teacher is None else self.teacher.of(batch, device)
        return GlobalBatch(processes=self.parallel.processes, rows=rows, ids=ids, done=done, teacher=teacher)

    @contextmanager
    def _row_seeds(self, seed_B: Tensor) -> Iterator[None]:
        # Blank rows take the place of a chunk without rows, and draw as well.
        with row_seeds(seed_B if len(seed_B) else torch.zeros(BLANK_ROWS, dtype=torch.int64)):
            yield

    def _blank(self) -> tuple[Tensor, Tokens]:
        side = self.preprocess.size
        pixels_B3SS = torch.zeros(BLANK_ROWS, 3, side, side, dtype=torch.uint8)
        ids_BL, length_B = torch.ones(BLANK_ROWS, 2, dtype=torch.int64), torch.full((BLANK_ROWS,), 2)
        return pixels_B3SS, Tokens(ids_BL=ids_BL, length_B=length_B)

    def _seed_generators(self, step: int) -> None:
        """Random state is a function of where the run is; nothing of it needs to be saved."""
        seed = seed_of(self.seed, step, self.parallel.processes.rank)
        torch.default_generator.manual_seed(seed)
        if self.parallel.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        if self.parallel.device.type == "mps":
            torch.mps.manual_seed(seed)


def seed_of(*numbers: int) -> int:
    """One number from several, as torch's int64 has it."""
    words = " ".join(str(number) for number in numbers).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little", signed=True)


def _rows_of(batch: Batch, chunk: slice) -> Batch:
    return replace(batch, pixels_B3SS=batch.pixels_B3SS[chunk], tokens=batch.tokens[chunk])


def _without_rows(outputs: Outputs) -> Outputs:
    """The outputs of blank rows with none of them left; the graph behind them stays."""
    if isinstance(outputs, Predicted):
        return Predicted(loss_B=outputs.loss_B[:0])
    assert isinstance(outputs, Embedded)
    return replace(outputs, image_BD=outputs.image_BD[:0], text_BD=outputs.text_BD[:0])
