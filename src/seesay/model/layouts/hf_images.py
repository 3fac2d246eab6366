"""How transformers says that images are prepared, in one of two files; the steps have to be CLIP's.

Up to its version 4 that is `preprocessor_config.json`, from 5 on a section of `processor_config.json`. Followed to the
last bit are its classes that resize with Pillow, of the name that the file has: those that resize with torchvision (its
`Fast` ones of version 4, and 5's own where torchvision is installed) crop alike, and round differently.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from seesay.base.errors import RefusedInput
from seesay.base.wording import should_be
from seesay.data.images import Preprocess
from seesay.model.layouts.config_file import checked_as, read_json

CONFIG_NAME = "preprocessor_config.json"
WHOLE_NAME, SECTION = "processor_config.json", "image_processor"
FILE_NAMES = (CONFIG_NAME, WHOLE_NAME)
# Pillow's numbers.
INTERPOLATIONS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
# Classes whose steps are CLIP's, or all but its crop: their names without the ends that say who resizes.
CLASSES = ("CLIP", "ChineseCLIP", "Siglip", "ViT", "Bit")
CLASS_NAME = re.compile(r"(\w+?)(ImageProcessor|FeatureExtractor)(Fast|Pil)?")


class Steps(BaseModel):
    """What decides about pixels, beside their sides. A switch that is left out is on."""

    model_config = ConfigDict(strict=True, extra="ignore")

    do_resize: bool = True
    resample: int
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    image_processor_type: str | None = None
    feature_extractor_type: str | None = None

    @property
    def steps(self) -> dict[str, Any]:
        """What decides about pixels, whatever the class that was saved is called."""
        return self.model_dump(exclude={"image_processor_type", "feature_extractor_type"})


StepsT = TypeVar("StepsT", bound=Steps)


class _Processor(Steps):
    """The sides: a crop is on where only CLIP's own size asks for it.

    Old files give a side as one number: as `size` it was the shorter side.
    """

    size: int | dict[str, int]
    do_center_crop: bool | None = None
    crop_size: int | dict[str, int] | None = None


def read_preprocess(folder: Path) -> Preprocess:
    """How the folder's model wants its images; `RefusedInput` for steps that seesay does not take."""
    path, processor = read_steps(folder, _Processor, classes=CLASSES)
    resize, size = _resize(processor, path)
    try:
        return Preprocess(
            size=size,
            resize=resize,
            interpolation=INTERPOLATIONS[processor.resample],
            mean=processor.image_mean,
            std=processor.image_std,
            crop="transformers" if resize == "shortest" else "torchvision",
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RefusedInput(f"{path}: {where} does not fit, {should_be(first)}; fetch the model again.") from error


def read_steps(folder: Path, kind: type[StepsT], *, classes: tuple[str, ...]) -> tuple[Path, StepsT]:
    """The file that says it, and what it says as a `kind`; `RefusedInput` for classes and steps that are others."""
    path, content = _described(folder, kind)
    processor = checked_as(kind, content, path=path)
    _refuse_other_class(processor, path, classes)
    off = [name for name in ("do_resize", "do_rescale", "do_normalize") if not getattr(processor, name)]
    if off or not abs(processor.rescale_factor * 255 - 1) <= 1e-6 or processor.resample not in INTERPOLATIONS:
        raise RefusedInput(
            f"{path} does not resize (bicubic or bilinear), scale to 0..1 and normalise, which seesay always does"
            f"{': ' + ', '.join(off) + ' is off' if off else ''}; such weights cannot be used exactly."
        )
    return path, processor


def _described(folder: Path, kind: type[Steps]) -> tuple[Path, Any]:
    """`RefusedInput` for two files that differ in what decides about pixels."""
    path, whole = folder / CONFIG_NAME, folder / WHOLE_NAME
    section = read_json(whole).get(SECTION) if whole.is_file() else None
    if section is None:
        return path, read_json(path)
    if path.is_file():
        # transformers 5 reads the one and 4 the other.
        one, other = (
            checked_as(kind, content, path=file) for content, file in ((section, whole), (read_json(path), path))
        )
        if one.steps != other.steps:
            raise RefusedInput(f"{whole} and {CONFIG_NAME} beside it prepare images in two ways; remove one of them.")
    return whole, section


def _refuse_other_class(processor: Steps, path: Path, classes: tuple[str, ...]) -> None:
    """Others read the same keys and do something else, as ConvNext's, which resizes to more and crops that."""
    name = processor.image_processor_type or processor.feature_extractor_type
    found = CLASS_NAME.fullmatch(name) if name else None
    if name and (found is None or found[1] not in classes):
        raise RefusedInput(
            f"{path} names the class {name[:60]!r}, whose steps seesay does not have; of transformers' image "
            f"processors it has those of {', '.join(classes)} here."
        )


def _resize(processor: _Processor, path: Path) -> tuple[Any, int]:
    """("shortest" or "squash", side)."""
    size = {"shortest_edge": processor.size} if isinstance(processor.size, int) else processor.size
    crop = _square(processor.crop_size) if isinstance(processor.crop_size, dict) else processor.crop_size
    # A null is off to some classes of transformers and on to others, so it is enough only where nothing is cropped.
    may_crop = processor.do_center_crop or "do_center_crop" not in processor.model_fields_set
    if size.keys() == {"shortest_edge"} and may_crop and (processor.crop_size is None or crop == size["shortest_edge"]):
        return "shortest", size["shortest_edge"]
    square = _square(size)
    is_uncropped = processor.do_center_crop is False or (
        processor.do_center_crop is None and processor.crop_size is None
    )
    if square is not None and (is_uncropped or crop == square):
        return "squash", square
    cropped = processor.crop_size if processor.do_center_crop else "nothing"
    raise RefusedInput(
        f"{path} resizes to {processor.size} and crops to {cropped}; seesay makes the shorter side or the whole image "
        "as large as the crop, so such weights cannot be used exactly."
    )


def _square(size: dict[str, int]) -> int | None:
    sides = set(size.values())
    return sides.pop() if size.keys() == {"height", "width"} and len(sides) == 1 else None


def preprocess_file(preprocess: Preprocess, *, processor: str) -> dict[str, bytes]:
    """The file that `read_preprocess` reads, for transformers' image processor of that class."""
    size = preprocess.size
    is_cropped = preprocess.resize == "shortest"
    config = {
        "image_processor_type": processor,
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size} if is_cropped else {"height": size, "width": size},
        "resample": {name: number for number, name in INTERPOLATIONS.items()}[preprocess.interpolation],
        "do_center_crop": is_cropped,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    return {CONFIG_NAME: (json.dumps(config, indent=2) + "\n").encode()}
