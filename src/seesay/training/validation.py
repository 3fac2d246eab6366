"""What is measured while a run goes on: the loss on pairs it never learns from, accuracy on a labelled set.

B = pairs of a batch, N = images of the set, S = side in pixels.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Embedded, Outputs, PairSource
from seesay.base.runtime import Runtime
from seesay.base.streams import say
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.sources import count_reasons
from seesay.model.bundle import Model
from seesay.model.encode import read_pixels
from seesay.training.objectives.base import GlobalBatch, Objective
from seesay.training.process_group import ProcessGroup

Check = Callable[[Model], Mapping[str, float]]
# Images that are encoded at once.
BLOCK = 256


class Validation:
    """Pixels and first captions of the validation pairs, read once and cached; `skipped` names what is broken."""

    def __init__(self, model: Model, pairs: PairSource, *, batch_size: int, objective: Objective):
        self.model = model
        self.batch_size = batch_size
        self.objective = objective
        self._pixels, read, skipped = read_pixels(model, lambda index: pairs[index].image, len(pairs))
        self._captions = [pairs.captions(index)[0] for index in read]
        self.skipped = [
            replace(item, key=pairs.key(int(item.key)), location=pairs.location(int(item.key))) for item in skipped
        ]

    def measure(self) -> dict[str, float]:
        """`loss`, the objective's own in batches of the run's size, and `match`.

        That is the share of images nearest to their own caption in the batch, equal captions not counted as one. A
        model that predicts captions has none.
        """
        size = min(self.batch_size, len(self._pixels))
        if size < 2:
            return {}
        # At the end of a run, where every objective has its final form; each repeat counts as a mismatch.
        batch = GlobalBatch(processes=ProcessGroup(Runtime(device="cpu", cores=1)), rows=[size], done=1.0)
        losses, hits = [], 0
        for outputs in self._outputs(size):
            losses.append(float(self.objective.loss(outputs, batch).detach()))
            if isinstance(outputs, Embedded):
                hits += matches_in_batch(outputs)
        loss = {"loss": sum(losses) / len(losses)}
        return {**loss, "match": hits / (size * len(losses))} if self.model.embeds_texts else loss

    @torch.inference_mode()
    def _outputs(self, size: int) -> Iterator[Outputs]:
        model = self.model
        for first in range(0, len(self._pixels) - size + 1, size):
            pixels_B3SS = model.preprocess.normalise(torch.stack(self._pixels[first : first + size]).to(model.device))
            tokens = model.tokenizer.tokens(self._captions[first : first + size]).to(model.device)
            yield model.clip(pixels_B3SS, tokens)


def matches_in_batch(outputs: Embedded) -> int:
    """How many images of a batch are nearest to their own caption in it."""
    best_B = (outputs.image_BD @ outputs.text_BD.T).argmax(1)
    return int((best_B == torch.arange(len(best_B), device=best_B.device)).sum())


class ZeroShotCheck:
    """Top-1 of a labelled set; the images are decoded once and cached.

    `templates` are the model's own if none are given. `most`: so many images, evenly spread over the set. `n` is how
    many could be read, once it has measured.
    """

    def __init__(self, source: str | Path, *, most: int | None = None, templates: Sequence[str] | None = None):
        opened = open_evalset(source)
        if not isinstance(opened, LabelledSet):
            raise UsageError(f"check set {source} has captions, not classes; give it as validation pairs (--val).")
        self.labelled = opened
        self.templates = templates
        count = len(opened) if most is None else min(most, len(opened))
        self.chosen = [index * len(opened) // count for index in range(count)]
        self._pixels: Tensor | None = None
        self._labels: list[int] = []

    @property
    def largest_share(self) -> float:
        """What always naming the most frequent class would get right."""
        most = Counter(self.labelled.label(index) for index in self.chosen).most_common(1)[0][1]
        return most / len(self.chosen)

    @property
    def n(self) -> int:
        """How many images could be read; 0 before anything was measured."""
        return len(self._labels)

    def measure(self, model: Model) -> dict[str, float]:
        """{"top1": share}; `RefusedInput` where not one image of the set can be read."""
        pixels_N3SS, label_N = self._read(model), torch.tensor(self._labels)
        classifier = model.classifier(self.labelled.class_names, self.templates)
        # An image's row may be a whole grid, so none outlives its block.
        blocks = [classifier.scores(model.encode_pixels(block)).argmax(1) for block in pixels_N3SS.split(BLOCK)]
        return {"top1": float((torch.cat(blocks) == label_N).float().mean())}

    def _read(self, model: Model) -> Tensor:
        if self._pixels is None:
            name, count = self.labelled.name, len(self.chosen)
            pixels, read, skipped = read_pixels(model, lambda number: self.labelled.image(self.chosen[number]), count)
            if not pixels:
                raise RefusedInput(f"none of the {count} images of {name} can be read ({count_reasons(skipped)}).")
            if skipped:
                message = f"check {name}: {len(skipped)} of {count} images left out: {count_reasons(skipped)}"
                say(message)
            self._labels = [self.labelled.label(self.chosen[number]) for number in read]
            self._pixels = torch.stack(pixels)
        return self._pixels
