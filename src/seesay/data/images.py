"""Images as a model takes them: read, resized, cropped and normalised as its weights were trained.

H, W = height and width of an image, S = side the model takes, B = images in a batch.
"""

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from seesay.data.decode import decode, open_image
from seesay.data.decoding_limits import MAX_PIXELS
from seesay.data.image_sources import Source
from seesay.data.jpeg import DecodedImage, decoding
from seesay.data.resizing import exact_centre, exact_whole, fast_centre, fast_whole, long_side
from seesay.formulas.patches import LEAST_PATCH, laid_out, shape_in_patches, square_side

__all__ = ["MAX_PIXELS", "MODES", "FastPreprocess", "Preprocess", "decode", "open_image"]

# Of the images CLIP was trained on, as its released code has them (openai/CLIP, clip.py).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# The fast mode shrinks an image while it is decoded, but to no less than this many times the side the model takes
# (`benchmarks/2026-11-21-pixels`).
FINEST = 2


class Preprocess(BaseModel):
    """How a model wants its images: side in pixels, the way of resizing, and the mean and spread of its colours.

    "shortest" makes the shorter side `size` and takes the centre square; "squash" ignores the aspect ratio;
    "patches" keeps it, in at most `patches` of side `patch`, laid into a square (`formulas/patches.py`).
    `crop` names the program whose centre is taken: they differ by one pixel where an odd number of them is too many.
    Mean and standard deviation are of RGB in 0..1; the defaults are CLIP's (section 2.3 of its released code).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(gt=0)]
    resize: Literal["shortest", "squash", "patches"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = CLIP_STD
    crop: Literal["torchvision", "transformers"] = "torchvision"
    patch: Annotated[int, Field(ge=LEAST_PATCH, le=64)] | None = None
    patches: Annotated[int, Field(ge=1, le=16_384)] | None = None

    @model_validator(mode="after")
    def _holds_its_patches(self):
        if (self.resize == "patches") != (self.patch is not None) or (self.patch is None) != (self.patches is None):
            raise ValueError('patch and patches go with resize "patches", and with nothing else')
        if self.patch and self.patches and self.size != square_side(self.patch, self.patches):
            raise ValueError(
                f"size is {self.size}, and {self.patches} patches of {self.patch} px lie in another square"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is as usual: files and fingerprints of before have no place for it."""
        values = write(self)
        for name in ("crop", "patch", "patches"):
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return values

    def read(self, source: Source) -> torch.Tensor:
        """`pixels` of whatever `open_image` takes, (3, S, S); raises what it raises."""
        with decoding(source) as image:
            return self.pixels(image)

    def pixels(self, image: DecodedImage | np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8 of a decoded image, or of pixels (H, W, 3).

        Pillow's antialiased resize of the whole, then the centre: byte for byte as `crop` does on a Pillow image.
        """
        image = DecodedImage.whole(image) if isinstance(image, np.ndarray) else image
        if self.patch and self.patches:
            high, wide = shape_in_patches(image.height, image.width, patch=self.patch, patches=self.patches)
            resized_HW3 = self._whole(image, high * self.patch, wide * self.patch)
            return _planes(laid_out(resized_HW3, patch=self.patch, patches=self.patches))
        return _planes(self._whole(image, self.size, self.size) if self.resize == "squash" else self._centre(image))

    def _whole(self, image: DecodedImage, height: int, width: int) -> np.ndarray:
        return exact_whole(image, height, width, interpolation=self.interpolation)

    def _centre(self, image: DecodedImage) -> np.ndarray:
        return exact_centre(image, self.size, interpolation=self.interpolation, crop=self.crop)

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Top, left, bottom and right of what `pixels` is made of, in pixels of an image of those sides."""
        if self.resize != "shortest":
            return 0.0, 0.0, float(height), float(width)
        resized_long, offset = long_side(height, width, self.size, crop=self.crop)
        scale = max(height, width) / resized_long
        first, last = offset * scale, (offset + self.size) * scale
        return (0.0, first, float(height), last) if width > height else (first, 0.0, last, float(width))

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
        """As `Preprocess.read`, (3, S, S); a JPEG is decoded shrunk while it stays `FINEST` times what is needed."""
        with decoding(source, lambda height, width: min(height, width) / (FINEST * self.size)) as image:
            return self.pixels(image)

    def _whole(self, image: DecodedImage, height: int, width: int) -> np.ndarray:
        return fast_whole(image, height, width, interpolation=self.interpolation)

    def _centre(self, image: DecodedImage) -> np.ndarray:
        return fast_centre(image, self.size, interpolation=self.interpolation, crop=self.crop)


MODES: dict[str, type[Preprocess]] = {"exact": Preprocess, "fast": FastPreprocess}


def _planes(square_SS3: np.ndarray) -> torch.Tensor:
    # By numpy: torch would start threads for these few bytes, in each of the threads that decode.
    return torch.from_numpy(np.ascontiguousarray(square_SS3.transpose(2, 0, 1)))
