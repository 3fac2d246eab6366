"""Pairs that the run never learns from: their loss, and how often an image picks its own caption."""

from dataclasses import replace

import torch

from seesay.base.records import PairSource, Predicted
from seesay.formulas.contrastive import contrastive_loss
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.nets.clip import Predictor


class Validation:
    """Pixels and first captions of the validation pairs, read once and kept; `skipped` names what is broken."""

    def __init__(self, model: Model, pairs: PairSource, *, batch_size: int):
        self.model = model
        self.batch_size = batch_size
        self._pixels, kept, skipped = read_pixels(model, lambda index: pairs[index].image, len(pairs))
        self._captions = [pairs.captions(index)[0] for index in kept]
        self.skipped = [
            replace(item, key=pairs.key(int(item.key)), place=pairs.place(int(item.key))) for item in skipped
        ]

    def measure(self) -> dict[str, float]:
        """`loss` in batches of the run's size, and `match`: the share of images nearest to their own caption there.

        A model that predicts captions has no `match`, and its loss is the head's.
        """
        size = min(self.batch_size, len(self._pixels))
        if size < 2:
            return {}
        if isinstance(self.model.clip, Predictor):
            parts = [slice(first, first + size) for first in range(0, len(self._pixels) - size + 1, size)]
            return {"loss": sum(float(self._predicted(part).loss_B.mean()) for part in parts) / len(parts)}
        scale = torch.tensor(self.model.logit_scale)
        losses, hits, seen = [], 0, 0
        for first in range(0, len(self._pixels) - size + 1, size):
            image_BD = self.model.encode_pixels(torch.stack(self._pixels[first : first + size]))
            text_BD = self.model.encode_texts(self._captions[first : first + size])
            losses.append(float(contrastive_loss(image_BD, text_BD, scale)))
            hits += int(((image_BD @ text_BD.T).argmax(1) == torch.arange(size)).sum())
            seen += size
        return {"loss": sum(losses) / len(losses), "match": hits / seen} if losses else {}

    @torch.inference_mode()
    def _predicted(self, part: slice) -> Predicted:
        model = self.model
        pixels_B3SS = model.preprocess.normalise(torch.stack(self._pixels[part]).to(model.device))
        predicted = model.clip(pixels_B3SS, model.tokenizer.tokens(self._captions[part]).to(model.device))
        assert isinstance(predicted, Predicted)
        return predicted
