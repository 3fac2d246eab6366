"""Images as a model takes them: read, resized, cropped and normalised as its weights were trained.

Two ways make the square a model takes: Pillow's, and a faster one within one level of it.

H, W = height and width of an image, S = side the model takes, B = images in a batch.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from seesay.data.decode import decode, open_image
from seesay.data.decoding_limits import MAX_PIXELS
from seesay.data.image_sources import Source
from seesay.data.jpeg import DecodedImage, decoding
from seesay.formulas.patches import LEAST_PATCH, laid_out, shape_in_patches, square_side

# Beyond this many pixels the whole resized image is not made any more, only the centre of it (see `_resize_centre`).
MAX_RESIZED_PIXELS = 1 << 24


# Looked up when first used: torch takes a moment to find an operator by its name.
_OPERATORS: dict[str, Callable] = {
    "bicubic": lambda: torch.ops.aten._upsample_bicubic2d_aa,
    "bilinear": lambda: torch.ops.aten._upsample_bilinear2d_aa,
}


def centre_by_pillow(image_HW3: np.ndarray, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """(S, S, 3): shorter side to `size`, longer side to int(size * long / short), then the centre, as `crop` says."""
    return np.array(_resize_and_crop(Image.fromarray(image_HW3), size, resample=_by_name(interpolation), crop=crop))


def squash_by_pillow(image_HW3: np.ndarray, size: int, *, interpolation: str) -> np.ndarray:
    """(S, S, 3): the whole image, whatever its aspect ratio."""
    return np.array(Image.fromarray(image_HW3).resize((size, size), _by_name(interpolation)))


def centre_by_torch(image: DecodedImage, size: int, *, interpolation: str, crop: str) -> np.ndarray:
    """As `centre_by_pillow`, (S, S, 3), by torch's antialiased resize of bytes."""
    resized_long, offset = _long_side(image.height, image.width, size, crop=crop)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return centre_by_pillow(image.pixels_HW3, size, interpolation=interpolation, crop=crop)
    if image.width > image.height:
        return _by_torch(image, (size, resized_long), interpolation=interpolation)[:, offset : offset + size]
    return _by_torch(image, (resized_long, size), interpolation=interpolation)[offset : offset + size]


def squash_by_torch(image: DecodedImage, size: int, *, interpolation: str) -> np.ndarray:
    """As `squash_by_pillow`, (S, S, 3), by torch's antialiased resize of bytes."""
    return _by_torch(image, (size, size), interpolation=interpolation)


def _by_torch(image: DecodedImage, resized: tuple[int, int], *, interpolation: str) -> np.ndarray:
    """The whole image at the sides `resized`.

    torch's own function takes no scale that is not the ratio of the sides, so the operator behind it is called.
    """
    resize = _OPERATORS[interpolation]()
    image_13HW = torch.from_numpy(image.pixels_HW3).permute(2, 0, 1)[None]
    down, across = (image.shrink * side / full for side, full in zip(resized, (image.height, image.width), strict=True))
    # The order of the two passes decides what is cut off at 0 and 255 between them. torch goes across and then down;
    # so does Pillow, but not (found by trial with Pillow 13) where much more height than width is lost.
    lost = image.height - resized[0]
    if lost > max(0, 2 * (image.width - resized[1])):
        image_13HW = resize(image_13HW, [resized[0], image_13HW.shape[3]], False, down, None)
        down = None
    return resize(image_13HW, list(resized), False, down, across)[0].permute(1, 2, 0).numpy()


def _by_name(interpolation: str) -> Image.Resampling:
    return Image.Resampling[interpolation.upper()]


# How much of the pixels that are too many lies before the centre: of an odd number torchvision cuts half off to the
# nearest even one, and every class of transformers the smaller half.
_BEFORE: dict[str, Callable[[int], int]] = {
    "torchvision": lambda spare: round(spare / 2.0),
    "transformers": lambda spare: spare // 2,
}


def _long_side(height: int, width: int, size: int, *, crop: str) -> tuple[int, int]:
    """The longer side after the resize, and how much of it lies before the centre."""
    short, long = sorted((height, width))
    resized_long = int(size * long / short)
    return resized_long, _BEFORE[crop](resized_long - size)


def _resize_and_crop(image: Image.Image, size: int, *, resample: Image.Resampling, crop: str) -> Image.Image:
    long = max(image.size)
    resized_long, offset = _long_side(image.height, image.width, size, crop=crop)
    if size * resized_long > MAX_RESIZED_PIXELS:
        return _resize_centre(
            image, size, resample=resample, start=offset * long / resized_long, span=size * long / resized_long
        )
    is_wide = image.width > image.height
    resized = image.resize((resized_long, size) if is_wide else (size, resized_long), resample)
    left, top = (offset, 0) if is_wide else (0, offset)
    return resized.crop((left, top, left + size, top + size))


def _resize_centre(
    image: Image.Image, size: int, *, resample: Image.Resampling, start: float, span: float
) -> Image.Image:
    """The `span` pixels from `start` of the longer side, as they would be after a resize of the whole.

    A strip of 1 x 60,000 would become 224 x 13 million. The two passes are made one by one, across and then down,
    because that is Pillow's order for the whole. Within one level, as Pillow takes the box in single precision.
    """
    # Bicubic looks at two pixels of the coarser grid on either side.
    margin = 2 * max(1.0, span / size) + 1
    first, last = max(0, int(start - margin)), min(max(image.size), int(start + span + margin) + 1)
    begin, end = start - first, start - first + span
    if image.width > image.height:
        part = image.crop((first, 0, last, image.height))
        across = part.resize((size, image.height), resample, box=(begin, 0, end, image.height))
        return across.resize((size, size), resample)
    part = image.crop((0, first, image.width, last))
    across = part.resize((size, last - first), resample)
    return across.resize((size, size), resample, box=(0, begin, size, end))


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
            return self.pixels(image.pixels_HW3)

    def pixels(self, image_HW3: np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8: Pillow's antialiased resize, then the centre, pixel for pixel as `crop` does on PIL."""
        if self.patch and self.patches:
            height, width = self._sides(*image_HW3.shape[:2])
            resized = Image.fromarray(image_HW3).resize((width, height), _by_name(self.interpolation))
            return self._laid_out(np.array(resized))
        if self.resize == "squash":
            return _planes(squash_by_pillow(image_HW3, self.size, interpolation=self.interpolation))
        return _planes(centre_by_pillow(image_HW3, self.size, interpolation=self.interpolation, crop=self.crop))

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of an image of those sides once it is whole patches."""
        assert self.patch and self.patches
        high, wide = shape_in_patches(height, width, patch=self.patch, patches=self.patches)
        return high * self.patch, wide * self.patch

    def _laid_out(self, resized_HW3: np.ndarray) -> torch.Tensor:
        assert self.patch and self.patches
        return _planes(laid_out(resized_HW3, patch=self.patch, patches=self.patches))

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Top, left, bottom and right of what `pixels` is made of, in pixels of an image of those sides."""
        if self.resize != "shortest":
            return 0.0, 0.0, float(height), float(width)
        resized_long, offset = _long_side(height, width, self.size, crop=self.crop)
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
            return self._resized(image)

    def pixels(self, image_HW3: np.ndarray) -> torch.Tensor:
        """(3, S, S) uint8, by torch's antialiased resize."""
        return self._resized(DecodedImage.whole(image_HW3))

    def _resized(self, image: DecodedImage) -> torch.Tensor:
        if self.resize == "patches":
            sides = self._sides(image.height, image.width)
            return self._laid_out(_by_torch(image, sides, interpolation=self.interpolation))
        if self.resize == "squash":
            return _planes(squash_by_torch(image, self.size, interpolation=self.interpolation))
        return _planes(centre_by_torch(image, self.size, interpolation=self.interpolation, crop=self.crop))


MODES: dict[str, type[Preprocess]] = {"exact": Preprocess, "fast": FastPreprocess}


def _planes(square_SS3: np.ndarray) -> torch.Tensor:
    # By numpy: torch would start threads for these few bytes, in each of the threads that decode.
    return torch.from_numpy(np.ascontiguousarray(square_SS3.transpose(2, 0, 1)))
