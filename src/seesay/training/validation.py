"""Pairs that the run never learns from: their loss, and how often an image picks its own caption."""

from dataclasses import replace

import torch

from seesay.base.records import Embedded, PairSource, Predicted
from seesay.base.runtime import Runtime
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.nets.clip import Predictor
from seesay.training.distributed import Peers
from seesay.training.objectives.face import AllPairs, Objective


class Validation:
    """Pixels and first captions of the validation pairs, read once and kept; `skipped` names what is broken."""

    def __init__(self, model: Model, pairs: PairSource, *, batch_size: int, objective: Objective):
        self.model = model
        self.batch_size = batch_size
        self.objective = objective
        self._pixels, kept, skipped = read_pixels(model, lambda index: pairs[index].image, len(pairs))
        self._captions = [pairs.captions(index)[0] for index in kept]
        self.skipped = [
            replace(item, key=pairs.key(int(item.key)), place=pairs.place(int(item.key))) for item in skipped
        ]

    def measure(self) -> dict[str, float]:
        """`loss`, the objective's own in batches of the run's size, and `match`.

        That is the share of images nearest to their own caption in the batch, equal captions not counted as one. A
        model that predicts captions has none.
        """
        size = min(self.batch_size, len(self._pixels))
        if size < 2:
            return {}
        if isinstance(self.model.clip, Predictor):
            parts = [slice(first, first + size) for first in range(0, len(self._pixels) - size + 1, size)]
            return {"loss": sum(float(self._predicted(part).loss_B.mean()) for part in parts) / len(parts)}
        scale, bias = self.model.logit_scale, self.model.logit_bias
        peers = Peers(Runtime(device="cpu", cores=1))
        # At the end of a run, where every objective has the loss of its own; each repeat counts as a mismatch.
        pairs = AllPairs(peers=peers, rows=[size], done=1.0)
        losses, hits = [], 0
        for first in range(0, len(self._pixels) - size + 1, size):
            image_BD = self.model.encode_pixels(torch.stack(self._pixels[first : first + size]))
            text_BD = self.model.encode_texts(self._captions[first : first + size])
            seen = Embedded(
                image_BD=image_BD,
                text_BD=text_BD,
                scale=torch.tensor(scale),
                bias=None if bias is None else torch.tensor(bias),
            )
            losses.append(float(self.objective.loss(seen, pairs)))
            hits += int(((image_BD @ text_BD.T).argmax(1) == torch.arange(size)).sum())
        return {"loss": sum(losses) / len(losses), "match": hits / (size * len(losses))} if losses else {}

    @torch.inference_mode()
    def _predicted(self, part: slice) -> Predicted:
        model = self.model
        pixels_B3SS = model.preprocess.normalise(torch.stack(self._pixels[part]).to(model.device))
        predicted = model.clip(pixels_B3SS, model.tokenizer.tokens(self._captions[part]).to(model.device))
        assert isinstance(predicted, Predicted)
        return predicted
