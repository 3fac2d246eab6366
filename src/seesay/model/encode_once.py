"""What `encode` does, but only for what was not encoded before, whenever and by whichever process.

N = pictures that could be read, P = things made of prompts (classes, captions), C = classes, D = embedding width.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from seesay.base.errors import BrokenSample
from seesay.base.records import Skipped
from seesay.data.class_names import SAME_NAME, ClassName, Descriptions, repeated_names
from seesay.model.ahead import in_blocks
from seesay.model.bundle import Model
from seesay.model.encode import BLOCK, encode_image_set, reads_grid, score_image_set
from seesay.model.kept import Kept, content_of, image_side, key_of, text_side
from seesay.model.zero_shot import Classifier, prompt_rows

EncodeSet = Callable[..., tuple[Tensor, list[int], list[Skipped]]]


def encode_images_once(
    model: Model,
    read: Callable[[int], bytes],
    count: int,
    *,
    kept: Kept,
    progress: Callable[[int], None] = lambda done: None,
    kind: str = "images",
    encode: EncodeSet = encode_image_set,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, whose answer is kept under the weights, the preparation and the pictures' bytes.

    Another `encode`, such as `encode_feature_set`, needs a `kind` of its own, the folder in which it is kept.
    All bytes are read in either case: a picture that was changed without changing its size is a new picture.
    """
    if kept.folder is None:
        return encode(model, read, count, progress=progress)
    contents = content_of(
        item
        for block in in_blocks(lambda index: _bytes_or_reason(read, index), range(count), size=BLOCK)
        for item in block
    )
    key = key_of(image_side(model), contents)
    if (found := kept.read(kind, key)) is not None:
        # Which pictures broke, and why, is told by decoding those few again.
        broken = sorted(set(range(count)) - set(found["index"].tolist()))
        _, _, skipped = encode(model, lambda place: read(broken[place]), len(broken))
        progress(count)
        renamed = [Skipped(key=str(broken[int(s.key)]), reason=s.reason, detail=s.detail) for s in skipped]
        return found["image_ND"], found["index"].tolist(), renamed
    image_ND, index, skipped = encode(model, read, count, progress=progress)
    kept.write(kind, key, {"image_ND": image_ND, "index": torch.tensor(index, dtype=torch.int64)})
    return image_ND, index, skipped


def score_images_once(
    model: Model,
    classifier: Classifier,
    read: Callable[[int], bytes],
    count: int,
    *,
    kept: Kept,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, Tensor | None, list[int], list[Skipped]]:
    """As `encode_images_once`, with scores (N, C) before the rows (N, D).

    Where rows are grids there are none, neither in memory nor on disk, and pictures are encoded each time.
    """
    if reads_grid(model):
        score_NC, index, skipped = score_image_set(model, classifier, read, count, progress=progress)
        return score_NC, None, index, skipped
    image_ND, index, skipped = encode_images_once(model, read, count, kept=kept, progress=progress)
    return classifier.scores(image_ND), image_ND, index, skipped


def encode_prompts_once(model: Model, prompts: Sequence[Sequence[str]], *, kept: Kept) -> Tensor:
    """As `prompt_rows`, (P, D), whose answer is kept under the weights and the token ids of every prompt."""
    if kept.folder is None:
        return prompt_rows(model.encode_texts, prompts)
    # Token ids, and not the texts: they say what names, templates and tokenizer come to.
    ids = model.tokenizer([prompt for own in prompts for prompt in own])
    key = key_of(text_side(model), [len(own) for own in prompts], ids)
    if (found := kept.read("texts", key)) is not None:
        return found["row_PD"]
    row_PD = prompt_rows(model.encode_texts, prompts)
    kept.write("texts", key, {"row_PD": row_PD})
    return row_PD


def zero_shot_classifier(
    model: Model,
    class_names: Sequence[ClassName],
    templates: str | Path | Sequence[str] | None = None,
    *,
    descriptions: Descriptions | None = None,
) -> Classifier:
    """A classifier made of words, kept on disk: made once for the same weights, token ids and settings.

    A class is a name or a list of names, whose prompts are averaged together. `templates` is a name of
    `data.prompts.TEMPLATES` such as "imagenet80", a file, or a list; without it the model's own are used.
    `descriptions`, {class: [sentence, ...]} or a JSON file of that, takes the place of templates. Two classes with
    one name are a `UserWarning`: neither is ever right. Where things are kept, and how not to, is said in `kept`.
    """
    if twice := repeated_names(class_names):
        warnings.warn(f"more than one class is called {', '.join(map(repr, twice))}; {SAME_NAME}.", stacklevel=2)
    return model.classifier(
        class_names,
        templates,
        descriptions=descriptions,
        rows=lambda prompts: encode_prompts_once(model, prompts, kept=Kept.find()),
    )


def _bytes_or_reason(read: Callable[[int], bytes], index: int) -> bytes | str:
    try:
        return read(index)
    except BrokenSample as error:
        return error.reason
