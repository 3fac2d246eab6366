"""One layout to another, proven: what was written is read back and has to embed as the original does.

N = fixed inputs, D = embedding width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from seesay.base.errors import SeesayError, UsageError
from seesay.base.publish import publish_folder, storage_errors
from seesay.model.bundle import Model, load_folder

ALLOWED_DIFFERENCE = 1e-5
TEXTS = ("a photo of a cat", "", "Two dogs on a beach, seen from far above; 1 of them swims.", "Käse & 猫 " * 40)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The largest difference between any two numbers before and after: of unit rows, or what takes their place.

    A model that predicts captions has no rows of texts; `texts` are their log-likelihoods for the images.
    """

    images: float
    texts: float


def convert(model: Model, folder: Path, layout: str) -> Proof:
    """Write `model` to `folder` in that layout, read it back, and compare what both say to fixed inputs.

    `UsageError` if the folder is there and holds something, or the layout has no such towers. `SeesayError` if the
    rows differ by more than 1e-5, `RefusedInput` if they are not of unit length; then nothing is left at `folder`.
    """
    with storage_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; name a new folder.")
    proofs = []

    def write(place: Path) -> None:
        model.write_files(place, layout)
        proofs.append(compare(model, load_folder(place)))
        # A difference that is no number is not allowed either.
        if not all(difference <= ALLOWED_DIFFERENCE for difference in (proofs[0].images, proofs[0].texts)):
            raise SeesayError(
                f"{folder} is not written: its embeddings would differ by {proofs[0].images:.1e} (images) and "
                f"{proofs[0].texts:.1e} (texts), more than {ALLOWED_DIFFERENCE:.0e}; report this model."
            )

    publish_folder(folder, write)
    return proofs[0]


def compare(one: Model, other: Model) -> Proof:
    """The largest differences over a few images and captions that are always the same."""
    return Proof(
        images=_largest(one.encode_images(_images()), other.encode_images(_images())),
        texts=_largest(_of_texts(one), _of_texts(other)),
    )


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
