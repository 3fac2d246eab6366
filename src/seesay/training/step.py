"""One batch to gradients: pixels and words through the towers, in pieces or at once, and the loss over all rows.

B = pairs held here, N = pairs of all processes, D = embedding width, S = side in pixels.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seesay.base.records import Batch, Embedded, Predicted, Tokens
from seesay.data.images import Preprocess
from seesay.nets.clip import Predictor
from seesay.nets.draws import mixed, row_seeds
from seesay.training.distributed import Peers
from seesay.training.gradcache import backward, backward_apart, pieces_of
from seesay.training.guards import RunningStatistics
from seesay.training.objectives.face import AllPairs, Objective
from seesay.training.spread import Spread

BLANK_ROWS = 2


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """What turns a batch into gradients, `micro_batch` rows at a time (None: all at once)."""

    spread: Spread
    peers: Peers
    preprocess: Preprocess
    objective: Objective
    statistics: RunningStatistics
    seed: int
    micro_batch: int | None
    share_repeats: bool
    in_bfloat16: bool = False

    def gradients(self, batch: Batch, rows: Sequence[int], *, step: int, done: float = 0.0) -> tuple[float, float]:
        """Give every parameter the gradient of the mean loss over all processes' pairs; returns loss and norm.

        `rows` is how many pairs each process holds, `done` which share of the run is over. What a tower draws through
        `nets.draws` depends on (seed, step, sample) alone; what it draws from torch's generator, on (seed, step,
        process).
        """
        self.statistics.keep()
        self._seed_generators(step)
        seed_B = mixed(batch.sample_B ^ seed_of(self.seed, step))
        ids = (batch.image_id_B.to(self._device), batch.caption_id_B.to(self._device)) if self.share_repeats else None
        image_id_B, caption_id_B = ids or (None, None)
        pairs = AllPairs(peers=self.peers, rows=rows, image_id_B=image_id_B, caption_id_B=caption_id_B, done=done)

        @contextmanager
        def see(piece: slice) -> Iterator[Embedded | Predicted]:
            # Blank rows take the place of a piece without rows, and draw as well.
            with row_seeds(seed_B[piece] if len(seed_B[piece]) else _BLANK_SEEDS):
                yield self._see(batch, piece)

        # What is predicted pair by pair needs no other pair's embedding.
        apart = isinstance(self.spread.clip, Predictor)
        value = (backward_apart if apart else backward)(
            see,
            lambda seen: self.objective.loss(seen, pairs),
            pieces=pieces_of(rows[self.peers.rank], self.micro_batch, most=max(rows)),
            statistics=self.statistics,
            alone=self.spread.alone,
        )
        self.spread.complete_gradients()
        self.peers.average(self.statistics.buffers)
        return self.peers.mean(value), self.spread.gradient_norm()

    def _see(self, batch: Batch, piece: slice) -> Embedded | Predicted:
        """What the model makes of some rows; of blank ones where there are none, as others wait for their gradient."""
        pixels_B3SS, tokens = batch.pixels_B3SS[piece], batch.tokens
        tokens = Tokens(ids_BL=tokens.ids_BL[piece], length_B=tokens.length_B[piece])
        is_blank = not len(pixels_B3SS)
        if is_blank:
            pixels_B3SS, tokens = self._blank()
        pixels_B3SS = self.preprocess.normalise(pixels_B3SS.to(self._device, non_blocking=True))
        forward = self.spread.forward if torch.is_grad_enabled() else self.spread.clip
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.in_bfloat16):
            seen: Embedded | Predicted = forward(pixels_B3SS, tokens.to(self._device))
        if isinstance(seen, Predicted):
            return Predicted(loss_B=seen.loss_B[:0]) if is_blank else seen
        if self.in_bfloat16:
            seen = replace(seen, image_BD=seen.image_BD.float(), text_BD=seen.text_BD.float())
        return replace(seen, image_BD=seen.image_BD[:0], text_BD=seen.text_BD[:0]) if is_blank else seen

    def _blank(self) -> tuple[Tensor, Tokens]:
        side = self.preprocess.size
        pixels_B3SS = torch.zeros(BLANK_ROWS, 3, side, side, dtype=torch.uint8)
        ids_BL, length_B = torch.ones(BLANK_ROWS, 2, dtype=torch.int64), torch.full((BLANK_ROWS,), 2)
        return pixels_B3SS, Tokens(ids_BL=ids_BL, length_B=length_B)

    @property
    def _device(self) -> torch.device:
        return self.spread.device

    def _seed_generators(self, step: int) -> None:
        """Random state is a function of where the run is; nothing of it needs to be saved."""
        seed = seed_of(self.seed, step, self.peers.rank)
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(seed)


_BLANK_SEEDS = torch.zeros(BLANK_ROWS, dtype=torch.int64)


def seed_of(*numbers: int) -> int:
    """One number from several, as torch's int64 has it."""
    words = " ".join(str(number) for number in numbers).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little", signed=True)
