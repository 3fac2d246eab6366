"""The layout of transformers for SigLIP 2 with images of any shape (NaFlex): `config.json` of model_type "siglip2".

Tensors have the names of `hf_siglip`, and the text tower is its own. How many patches an image has at most is said by
the image processor and not by the tower, whose table of positions is resized to whatever comes.
"""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from seesay.base.errors import RefusedInput
from seesay.data.images import Preprocess
from seesay.formulas.patches import square_side
from seesay.model.layouts.config_file import checked_as, read_config, read_json
from seesay.model.layouts.hf_clip import CONFIG_NAME, WEIGHTS_NAME
from seesay.model.layouts.hf_images import INTERPOLATIONS, Steps, read_steps
from seesay.model.layouts.hf_siglip import SiglipTower, Text, read_with, text_values
from seesay.model.layouts.hf_towers import blocks
from seesay.model.layouts.parts import Parts
from seesay.nets.architecture import Architecture

__all__ = ["CONFIG_NAME", "MODEL_TYPE", "WEIGHTS_NAME", "is_in", "read"]

MODEL_TYPE = "siglip2"
IMAGE_PROCESSOR = "Siglip2"


class _Vision(SiglipTower):
    num_channels: Literal[3] = 3
    num_patches: int = 256
    patch_size: int = 16
    vision_use_head: Literal[True] = True


class _Config(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    text_config: Text = Text()
    vision_config: _Vision = _Vision()


class _Processor(Steps):
    patch_size: int = 16
    max_num_patches: int = 256


def is_in(folder: Path) -> bool:
    """Whether such a SigLIP 2 is described there."""
    path = folder / CONFIG_NAME
    return path.is_file() and read_json(path).get("model_type") == MODEL_TYPE


def read(folder: Path, *, tokenizer: Path | None = None) -> Parts:
    """The model in a folder of transformers' Siglip2Model, with the tokenizer in `tokenizer` or the folder's own."""
    path = folder / CONFIG_NAME
    config = checked_as(_Config, read_config(path), path=path)
    preprocess = _preprocess(folder)
    values = _architecture(config, patches=preprocess.patches, path=path)
    checked_as(Architecture, values, path=path)
    return read_with(folder, tokenizer, values, preprocess)


def _preprocess(folder: Path) -> Preprocess:
    path, processor = read_steps(folder, _Processor, classes=(IMAGE_PROCESSOR,))
    patch, patches = processor.patch_size, processor.max_num_patches
    try:
        return Preprocess(
            size=square_side(patch, max(patches, 0)),
            resize="patches",
            interpolation=INTERPOLATIONS[processor.resample],
            mean=processor.image_mean,
            std=processor.image_std,
            patch=patch,
            patches=patches,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise RefusedInput(
            f"{path} makes at most {patches} patches of {patch} px: {first['msg']}; fetch the model again."
        ) from error


def _architecture(config: _Config, *, patches: int | None, path: Path) -> dict[str, Any]:
    """The towers, as values that are still to be checked; the tokenizer then says what `pad` is."""
    text, vision = config.text_config, config.vision_config
    grid = math.isqrt(max(vision.num_patches, 0))
    if grid * grid != vision.num_patches:
        raise RefusedInput(
            f"{path} has a table of {vision.num_patches} positions (num_patches), which is no square; fetch it again."
        )
    image = {"kind": "naflex-image", "patch": vision.patch_size, "patches": patches, "grid": grid}
    return {
        "embed_dim": text.projection_size or text.hidden_size,
        "scoring": "sigmoid",
        "image": image | blocks(vision),
        "text": text_values(text),
    }
