"""Images and texts to matrices: decoded in threads, encoded in blocks, what is broken named and left out.

N = images or texts, B = those of a block, C = classes, W = width of the image tower, D = embedding width.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.base.errors import BrokenSample, RefusedInput, UsageError
from seesay.base.memory import keep_freed_memory
from seesay.base.printable import printable
from seesay.base.records import Skipped, Tokens
from seesay.data.sources import count_reasons
from seesay.data.tokenizer import pad
from seesay.formulas.similarity import prefix
from seesay.nets.clip import Clip, DualEncoder
from seesay.nets.linear import faster_products
from seesay.nets.text import TextTransformer

# `Model` calls the first half of this file; the second half calls `Model`.
if TYPE_CHECKING:
    from seesay.model.bundle import Model
    from seesay.model.zero_shot import Classifier

# Images encoded at once where nothing else is asked. A guess: enough for a core to be busy, and little to hold.
BATCH_SIZE = 64
# In what matrices are multiplied: by name, as `Model.with_precision` takes it.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A guess; benchmarks/2026-11-21-text-speed has the speed that comes of it.
TOKENS_AT_ONCE = 2048
# Skipped images that a warning names, a guess at what fits two lines.
SHOWN_SKIPPED = 5
Encode = Callable[[Tensor], Tensor]
# What becomes of an image that cannot be used: the end of the work, a warning, or a call for each.
OnError = Literal["raise", "skip"] | Callable[[Skipped], object]
Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch_blocks(work: Callable[[Item], Result], items: Iterable[Item], *, size: int) -> Iterator[list[Result]]:
    """`work(item)` for every item, in order, in lists of `size`; while one is in use, the next is being made.

    The items themselves are taken by the caller's thread. The first exception in their order is raised in its turn;
    what has not begun by then is left undone, and no thread outlives the iterator.
    """
    waiting_items = iter(items)
    first = list(islice(waiting_items, size))
    if len(first) < min(2, size):
        # Starting threads for one image takes longer than decoding it.
        yield from ([work(item)] for item in first)
        return
    own: set[int] = set()
    pool = ThreadPoolExecutor(max_workers=os.cpu_count(), initializer=lambda: own.add(threading.get_ident()))
    try:
        waiting = [pool.submit(work, item) for item in first]
        while waiting:
            following = [pool.submit(work, item) for item in islice(waiting_items, size)]
            yield [future.result() for future in waiting]
            waiting = following
    finally:
        # An iterator that was abandoned may be collected by one of its own threads, which cannot wait for itself.
        pool.shutdown(wait=threading.get_ident() not in own, cancel_futures=True)


@contextmanager
def rounding(model: "Model") -> Iterator[None]:
    """Inside, matrices are multiplied in the model's precision, and a number beyond it is no damage to the weights.

    In float32 by the faster library, but for an engine whose rows are to be the same bits in any batch.
    """
    dtype = PRECISIONS[model.precision]
    keep_freed_memory()
    try:
        with (
            torch.autocast(model.device.type, dtype, enabled=dtype != torch.float32),
            faster_products(dtype == torch.float32 and model.engine != "torch-exact"),
        ):
            yield
    except RefusedInput as error:
        if dtype != torch.float16:
            raise
        raise RefusedInput(f"in float16, whose numbers end at 65,504: {error} Or use bfloat16 or float32.") from error


@torch.inference_mode()
def embed_rows(
    clip: DualEncoder,
    rows: Sequence[Sequence[int]],
    *,
    context: int,
    embed: Callable[[Tokens], Tensor] | None = None,
) -> Tensor:
    """Token ids of N >= 1 texts to (N, D) float32 unit rows on the CPU; raises as `check_unit_length` does.

    `embed` takes the place of the model's own towers.
    """
    device, embed = clip.logit_scale.device, embed or clip.embed_texts
    distinct = sorted(set(map(tuple, rows)))
    least = 0 if isinstance(clip.text_tower, TextTransformer) else context
    blocks = [check_unit_length(embed(pad(block).to(device)).cpu()) for block in _blocks(distinct, least)]
    index_of = {row: index for index, row in enumerate(distinct)}
    return torch.cat(blocks)[[index_of[tuple(row)] for row in rows]]


def check_unit_length(rows_BD: Tensor) -> Tensor:
    """The rows (B, D) in float32; `RefusedInput` if one is not of unit length, which finite weights too may give.

    Numbers above 1e19 have squares above what float32 holds: divided by that infinite length they are a row of zeros.
    """
    length_B = check_finite(rows_BD.norm(dim=-1))
    # Far more than rounding, in bfloat16 too, and far less than a row of zeros is off.
    if len(length_B) and not (least := float(length_B.min())) > 0.9:
        raise RefusedInput(
            f"the model's embeddings have length {least:g} in place of 1, since its tower's outputs are too large or "
            "too small to be measured; its weights are damaged, fetch or train it again."
        )
    # Rows that were rounded have lengths that were.
    return rows_BD if rows_BD.dtype == torch.float32 else F.normalize(rows_BD.float(), dim=-1)


def check_width(model: "Model", width: int | None) -> int | None:
    """`width` as it is; `UsageError` where rows have not so many numbers, a `UserWarning` where they were not trained
    to be cut there."""
    if width is None:
        return None
    whole, widths = model.architecture.embed_dim, model.architecture.widths or ()
    if not model.embeds_texts:
        raise UsageError(f"{model.name} predicts captions, and has no rows that could be cut to width {width}.")
    if isinstance(width, bool) or not isinstance(width, Integral):
        raise UsageError(f"width is {width!r}; give a whole number of 1 to {whole}.")
    if not 1 <= width <= whole:
        raise UsageError(f"width is {width}, and a row of {model.name} has {whole} numbers; give 1 to {whole}.")
    if width not in (*widths, whole):
        trained = (
            f"widths {', '.join(map(str, widths))}" if widths else "its whole width alone (--set objective.widths)"
        )
        warnings.warn(f"{model.name} was trained for {trained}; rows cut to {width} answer worse.", stacklevel=3)
    return width


def row_width(model: "Model") -> int:
    """How many numbers a row of a model has that embeds texts."""
    return model.width or model.architecture.embed_dim


def refuse_cut(model: "Model", verb: str) -> None:
    """`UsageError` for a model whose rows are cut, which no file and no other program would do."""
    if row_width(model) < model.architecture.embed_dim:
        raise UsageError(f"{model.name} has rows cut to width {model.width}; {verb} with_width(None) of it.")


def cut(model: "Model", row_NX: Tensor) -> Tensor:
    """Rows (N, X) as long as the model's `width` wants them, of unit length again."""
    return row_NX if model.width is None else prefix(row_NX, model.width)


def check_rows(clip: Clip, row_BX: Tensor) -> Tensor:
    """Rows of images (B, X) in float32; `RefusedInput` for what rows of such a model cannot be."""
    return check_unit_length(row_BX) if clip.embeds_texts else check_finite(row_BX).float()


def check_finite(values: Tensor) -> Tensor:
    """The values, of any shape, as they are; `RefusedInput` if one of them is not finite."""
    if not values.isfinite().all():
        raise RefusedInput("the model's embeddings are not numbers; its weights are damaged, fetch or train it again.")
    return values


def _blocks(distinct: Sequence[tuple[int, ...]], least: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """Sorted rows in blocks of `TOKENS_AT_ONCE` tokens, those shared with the row before left out.

    A tower that cannot share works on `least` tokens for every row.
    """
    first, tokens = 0, 0
    for index, row in enumerate(distinct):
        before = distinct[index - 1] if index > first else ()
        shared = next(
            (position for position, (a, b) in enumerate(zip(before, row, strict=False)) if a != b), len(before)
        )
        tokens += max(least, len(row) - shared)
        if tokens > TOKENS_AT_ONCE and index > first:
            yield distinct[first:index]
            first, tokens = index, max(least, len(row))
    yield distinct[first:]


def encode_any(model: "Model", images: Iterable, *, on_error: OnError) -> Tensor:
    """`Model.encode_images` for arguments that are checked: (N, D), with a row of NaN for an image that is skipped."""
    blocks, index, skipped = [], [], []
    work = partial(_any_pixels, model, is_raised=on_error == "raise")
    for block in prefetch_blocks(work, enumerate(images), size=model.batch_size):
        good, broken = _sorted_out(block)
        if good:
            blocks.append(model.encode_pixels(torch.stack([pixels for _, pixels in good])))
        index += [number for number, _ in good]
        skipped += broken
    embeddings = torch.cat(blocks) if blocks else torch.empty(0, row_width(model))
    if not skipped:
        return embeddings
    _report(skipped, len(index) + len(skipped), on_error)
    rows_NX = torch.full((len(index) + len(skipped), embeddings.shape[1]), torch.nan)
    rows_NX[index] = embeddings
    return rows_NX


def encode_image_set(
    model: "Model",
    read: Callable[[int], bytes],
    count: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
    encode: Encode | None = None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Images 0..count-1, as `read` gives their bytes, to ((N, D) unit rows, their indices, what was skipped).

    `progress` is called with the number of images done since the last call. `encode` takes the place of
    `model.encode_pixels`, and its rows that of unit rows.
    """
    blocks, read_ones, skipped = [], [], []
    for image_BD, own, broken in encode_blocks(model, read, range(count), encode=encode):
        if own:
            blocks.append(image_BD)
        read_ones += own
        skipped += broken
        progress(len(own) + len(broken))
    embeddings = torch.cat(blocks) if blocks else torch.empty(0, row_width(model))
    return embeddings, read_ones, skipped


def score_image_set(
    model: "Model",
    classifier: "Classifier",
    read: Callable[[int], bytes],
    count: int,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, with the classifier's scores (N, C) in place of rows, which end with their block."""

    def scores(pixels_B3SS: Tensor) -> Tensor:
        return classifier.scores(model.encode_pixels(pixels_B3SS))

    return encode_image_set(model, read, count, progress=progress, encode=scores)


def encode_blocks(
    model: "Model", read: Callable[[int], bytes], indices: Iterable[int], *, encode: Encode | None = None
) -> Iterator[tuple[Tensor, list[int], list[Skipped]]]:
    """The images of these numbers as `encode_image_set` gives them, (N, D) a batch at a time: nothing piles up."""
    for block in prefetch_blocks(lambda index: _pixels(model, read, index), indices, size=model.batch_size):
        good, broken = _sorted_out(block)
        image_BD = torch.empty(0, row_width(model))
        if good:
            image_BD = (encode or model.encode_pixels)(torch.stack([pixels for _, pixels in good]))
        yield image_BD, [index for index, _ in good], broken


def read_pixels(
    model: "Model", read: Callable[[int], bytes], count: int
) -> tuple[list[Tensor], list[int], list[Skipped]]:
    """As `encode_image_set`, but the uint8 pixels (3, S, S) themselves, for what is encoded again and again."""
    blocks = prefetch_blocks(lambda index: _pixels(model, read, index), range(count), size=model.batch_size)
    good, skipped = _sorted_out([item for block in blocks for item in block])
    return [pixels for _, pixels in good], [index for index, _ in good], skipped


def _pixels(model: "Model", read: Callable[[int], bytes], index: int) -> tuple[int, Tensor | Skipped]:
    try:
        return index, model.preprocess.read(read(index))
    except BrokenSample as error:
        return index, Skipped(key=str(index), reason=error.reason, detail=error.detail)


def _any_pixels(model: "Model", numbered: tuple[int, Any], *, is_raised: bool) -> tuple[int, Tensor | Skipped]:
    index, image = numbered
    is_path = isinstance(image, str | os.PathLike)
    try:
        return index, model.preprocess.read(image)
    except BrokenSample as error:
        if is_raised:
            name = str(image) if is_path else f"image {index}"
            raise BrokenSample(error.reason, f"{name}: {error.detail}" if error.detail else name) from error
        reason, detail = error.reason, error.detail
    except UsageError as error:
        if is_raised:
            raise
        reason, detail = ("missing file" if is_path and not os.path.exists(image) else "not an image"), str(error)
    return index, Skipped(key=str(index), reason=reason, detail=detail, location=str(image) if is_path else "")


def _report(skipped: Sequence[Skipped], count: int, on_error: OnError) -> None:
    """Each to the function that was given, or all of them in one warning."""
    if callable(on_error):
        for item in skipped:
            on_error(item)
        return
    shown = ", ".join(item.location or f"image {item.key}" for item in skipped[:SHOWN_SKIPPED])
    more = ", ..." if len(skipped) > SHOWN_SKIPPED else ""
    message = f"skipped {len(skipped)} of {count} images, whose rows are NaN: {count_reasons(skipped)} ({shown}{more})."
    # The line that called `Model.encode_images`, which called `encode_any`.
    warnings.warn(printable(message), stacklevel=4)


def _sorted_out(numbered: list[tuple[int, Tensor | Skipped]]) -> tuple[list[tuple[int, Tensor]], list[Skipped]]:
    good = [(index, item) for index, item in numbered if isinstance(item, Tensor)]
    return good, [item for _, item in numbered if isinstance(item, Skipped)]


@torch.inference_mode()
def features_of(model: "Model", pixels_B3SS: Tensor) -> Tensor:
    """uint8 pixels of the model's size to (B, W) float32 on the CPU, not of unit length.

    `RefusedInput` if one is no number.
    """
    with rounding(model):
        pixels = model.preprocess.normalise(pixels_B3SS.to(model.device))
        return check_finite((model.encoder or model.clip).features(pixels).float().cpu())


def encode_feature_set(
    model: "Model", read: Callable[[int], bytes], count: int, *, progress: Callable[[int], None] = lambda done: None
) -> tuple[Tensor, list[int], list[Skipped]]:
    """As `encode_image_set`, with features (N, W) in place of embeddings."""
    return encode_image_set(model, read, count, progress=progress, encode=partial(features_of, model))


@torch.inference_mode()
def embeddings_of(model: "Model", features_NW: Tensor) -> Tensor:
    """Features to what `Model.encode_images` would have given, (N, D) float32 on the CPU.

    Not where a head `reads_grid`: features are the grid's mean.
    """
    with rounding(model):
        return cut(
            model,
            check_rows(model.clip, (model.encoder or model.clip).embed_features(features_NW.to(model.device)).cpu()),
        )
