"""Images as a model takes them: read, resized, cropped and normalised as its weights were trained.

H, W = height and width of an image, S = side the model takes, B = images in a batch.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from seesay.data.decode import MAX_PIXELS, Source, decode, open_image, read_path
from seesay.data.jpeg import DecodedImage, decode_shrunk
from seesay.data.resize import centre_by_pillow, centre_by_torch, squash_by_pillow, squash_by_torch

__all__ = ["MAX_PIXELS", "MODES", "FastPreprocess", "Preprocess", "decode", "open_image"]

# Of the images CLIP was trained on, as its released code has them (openai/CLIP, clip.py).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# The fast mode shrinks an image while it is decoded, but to no less than this many times the side the model takes
# (`benchmarks/2026-11-21-pixels`).
FINEST = 2


class Preprocess(BaseModel):
    """How a model wants its images: side in pixels, the way of resizing, and the mean and spread of its colours.

    "shortest" makes the shorter side `size` and takes the centre square; "squash" ignores the aspect ratio.
    Mean and standard deviation are of RGB in 0..1; the defaults are CLIP's (section 2.3 of its released code).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(gt=0)]
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = CLIP_STD

    def read(self, source: Source) -> torch.Tensor:
        """`pixels` of whatever `open_image` takes, (3, S, S); raises what it raises."""
        return self.pixels(open_image(source))

    def pixels(self, image_HW3: np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8: Pillow's antialiased resize, then the centre, pixel for pixel as torchvision does on PIL."""
        resized = squash_by_pillow if self.resize == "squash" else centre_by_pillow
        return _planes(resized(image_HW3, self.size, interpolation=self.interpolation))

    def normalise(self, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) float32: (pixels / 255 - mean) / std, on the device the pixels are on."""
        mean_311 = torch.tensor(self.mean, device=pixels_B3SS.device).view(3, 1, 1)
        std_311 = torch.tensor(self.std, device=pixels_B3SS.device).view(3, 1, 1)
        # In place: new memory for each of the three steps would take longer than the steps.
        return pixels_B3SS.to(torch.float32).div_(255).sub_(mean_311).div_(std_311)


class FastPreprocess(Preprocess):
    """The same at a fraction of the time, and not to the last bit.

    Of an image that is not shrunk while it is decoded, no colour is more than 2 levels of 255 away from the exact
    mode, and nearly all by none (mean 0.003). Of a JPEG that is shrunk, up to 7 in photographs of 3000 x 2000 at
    224 px, mean 0.35; the cosine of the embeddings was 0.9994 or more (`benchmarks/2026-11-21-pixels`). What is
    refused, and why, is the same.
    """

    def read(self, source: Source) -> torch.Tensor:
        """As `Preprocess.read`, (3, S, S); a JPEG is decoded shrunk where it stays `FINEST` times as large as needed."""
        data = read_path(source)
        if not isinstance(data, bytes):
            return self.pixels(open_image(data))
        return self._resized(decode_shrunk(data, lambda height, width: min(height, width) / (FINEST * self.size)))

    def pixels(self, image_HW3: np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8, by torch's antialiased resize."""
        return self._resized(DecodedImage.whole(image_HW3))

    def _resized(self, image: DecodedImage) -> torch.Tensor:
        resized = squash_by_torch if self.resize == "squash" else centre_by_torch
        return _planes(resized(image, self.size, interpolation=self.interpolation))


MODES: dict[str, type[Preprocess]] = {"exact": Preprocess, "fast": FastPreprocess}


def _planes(square_SS3: np.ndarray) -> torch.Tensor:
    # By numpy: torch would start threads for these few bytes, in each of the threads that decode.
    return torch.from_numpy(np.ascontiguousarray(square_SS3.transpose(2, 0, 1)))
