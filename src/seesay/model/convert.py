"""One layout to another, proven: what was written is read back and has to embed as the original does.

N = fixed inputs, D = embedding width.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import SeesayError, UsageError
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_folder, refuse_unwritable, storage_errors
from seesay.model.bundle import Model
from seesay.model.engines import refuse_altered
from seesay.model.hub import load, load_folder
from seesay.model.reshape import reshape
from seesay.nets.architecture import Activation

# Guesses: between rounding, 1e-7 for unit rows in float32, and 1e-3, which could change an answer; and twenty times the
# rounding of weights with 11 or 8 bits, for those that are written so.
ALLOWED_DIFFERENCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}
TEXTS = ("a photo of a cat", "", "Two dogs on a beach, seen from far above; 1 of them swims.", "Käse & 猫 " * 40)


@dataclass(frozen=True, kw_only=True, repr=False)
class Proof:
    """The largest difference between any two numbers before and after: of unit rows, or what takes their place.

    A model that predicts captions has no rows of texts; `texts` are their log-likelihoods for the images. `crop` names
    the program whose centre of an image the new folder has, where the model had another's: it is one pixel beside.
    `reshaped`: the model is one of another size or context than the source, which answers otherwise. `left_out` is what
    the new folder does not keep, in words.
    """

    images: float
    texts: float
    crop: str | None = None
    reshaped: bool = False
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Proof: largest difference {self.images:.1e} (images), {self.texts:.1e} (texts)>"


@no_empty_names
def convert(
    source: Model | str | Path,
    destination: str | Path,
    *,
    to: Literal["seesay", "hf", "open_clip"] | None = None,
    tokenizer: str | Path | None = None,
    activation: Activation | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    image_size: int | None = None,
    context: int | None = None,
) -> Proof:
    """Write a model to the folder `destination` in the layout `to`, read it back, and compare both on fixed inputs.

    With `image_size` or `context` it is the model for images of another size or texts of another length
    (`model.reshape`), and "seesay" is the layout if none is named.

    `source` is a model, or what `seesay.load` takes together with `tokenizer` and `activation`; raises as that does.
    Weights are written as they are, or rounded to `dtype`. `UsageError` if the folder exists and is not empty, or the
    layout has no such towers. `SeesayError` if the rows differ by more than 1e-5 (rounded ones by more than
    `ALLOWED_DIFFERENCE`), `RefusedInput` if they are not of unit length; then nothing is left at `destination`.
    """
    if to is None and image_size is None and context is None:
        raise UsageError("--to is missing; name the layout to write: hf, open_clip or seesay.")
    layout = to or "seesay"
    if dtype is not None and dtype not in ALLOWED_DIFFERENCE:
        raise UsageError(f"dtype is {dtype!r}; a model is written in {', '.join(ALLOWED_DIFFERENCE)}.")
    allowed = ALLOWED_DIFFERENCE[dtype or "float32"]
    folder = Path(destination)
    with storage_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; name a new folder.")
        refuse_unwritable(folder.parent)
    given = source if isinstance(source, Model) else load(source, tokenizer=tokenizer, activation=activation)
    refuse_altered(given, "convert")
    model = given
    if image_size is not None or context is not None:
        model = reshape(model, image_size=image_size, context=context)
    proofs = []

    def write(path: Path) -> None:
        model.write_files(path, layout, dtype=None if dtype is None else getattr(torch, dtype))
        written = load_folder(path)
        proofs.append(replace(compare(model, written), left_out=tuple(_left_out(given, written))))
        # A difference that is no number is not allowed either.
        if not all(difference <= allowed for difference in (proofs[0].images, proofs[0].texts)):
            raise SeesayError(
                f"{folder} is not written: its embeddings would differ by {proofs[0].images:.1e} (images) and "
                f"{proofs[0].texts:.1e} (texts), more than {allowed:.0e}; report this model."
            )

    publish_folder(folder, write)
    return replace(proofs[0], reshaped=model.architecture != given.architecture)


def compare(one: Model, other: Model) -> Proof:
    """The largest differences over a few images and captions that are always the same."""
    return Proof(
        images=_largest(one.encode_images(_images()), other.encode_images(_images())),
        texts=_largest(_of_texts(one), _of_texts(other)),
        crop=other.preprocess.crop if other.preprocess.crop != one.preprocess.crop else None,
    )


def _left_out(one: Model, other: Model) -> Iterator[str]:
    """What `one` knows beside its weights and `other` does not."""
    if one.templates != other.templates:
        count = len(one.templates)
        yield f"its {count} templates" if count > 1 else "its template"
    if widths := set(one.architecture.widths or ()) - set(other.architecture.widths or ()):
        yield f"that rows may be cut to {', '.join(map(str, sorted(widths)))} numbers"
    if facts := [name for name in one.facts if name not in other.facts]:
        yield f"its facts {', '.join(facts)}"


def _of_texts(model: Model) -> Tensor:
    if not model.embeds_texts:
        return model.log_likelihoods(model.encode_images(_images()), model.prepare(TEXTS))
    return model.encode_texts(TEXTS)


def _images() -> list[np.ndarray]:
    """Noise, plain patches and a ramp, wide and high."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    patches = generator.integers(0, 256, (4, 3, 3), dtype=np.uint8).repeat(64, axis=0).repeat(64, axis=1)
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 200, 3))
    return [noise, patches, np.ascontiguousarray(ramp)]


def _largest(one_ND: Tensor, other_ND: Tensor) -> float:
    return float((one_ND - other_ND).abs().max())
