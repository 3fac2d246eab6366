"""Pixels of transformers' own image processors, saved by themselves and read by us, over odd widths and heights.

In an environment with transformers (once 4, once 5), torchvision and seesay:

    cd benchmarks/2026-11-29-families; python crops.py TEMPORARY >> crops.md

Pixels are compared before they are normalised, as whole levels of 255, and after it. The row of a class that resizes
with torchvision is there to show what is not followed to the last bit.
"""

import contextlib
import json
import shutil
import sys
from pathlib import Path

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401
import numpy as np
import transformers
from PIL import Image

from seesay.data.images import Preprocess
from seesay.model.layouts.hf_images import read_preprocess

SIDES = (37, 224)
# Heights and widths: 60 of them odd in a side or in what is too much of it, the rest as they come.
RANDOM = np.random.default_rng(0)
SHAPES = [(int(h), int(w)) for h, w in RANDOM.integers(20, 400, (60, 2)) | 1]
SHAPES += [(int(h), int(w)) for h, w in RANDOM.integers(20, 400, (40, 2))]
CROPPED = lambda side: {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}  # noqa: E731
SQUASHED = lambda side: {"size": {"height": side, "width": side}}  # noqa: E731
UNCROPPED = lambda side: SQUASHED(side) | {"do_center_crop": False}  # noqa: E731


def classes():
    """Name -> class and its sizes; those of version 5 that resize with Pillow have modules of their own."""
    models = transformers.models
    if int(transformers.__version__.split(".")[0]) < 5:
        return {
            "CLIPImageProcessor": (transformers.CLIPImageProcessor, CROPPED),
            "CLIPImageProcessorFast": (transformers.CLIPImageProcessorFast, CROPPED),
            "CLIPFeatureExtractor": (transformers.CLIPFeatureExtractor, CROPPED),
            "SiglipImageProcessor": (transformers.SiglipImageProcessor, SQUASHED),
            "SiglipImageProcessorFast": (transformers.SiglipImageProcessorFast, SQUASHED),
            "ViTImageProcessor": (transformers.ViTImageProcessor, SQUASHED),
            "ChineseCLIPImageProcessor": (transformers.ChineseCLIPImageProcessor, UNCROPPED),
            "BitImageProcessor": (transformers.BitImageProcessor, CROPPED),
        }
    pil = {
        "CLIPImageProcessorPil": (models.clip.image_processing_pil_clip.CLIPImageProcessorPil, CROPPED),
        "SiglipImageProcessorPil": (models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil, SQUASHED),
        "ViTImageProcessorPil": (models.vit.image_processing_pil_vit.ViTImageProcessorPil, SQUASHED),
        "ChineseCLIPImageProcessorPil": (
            models.chinese_clip.image_processing_pil_chinese_clip.ChineseCLIPImageProcessorPil,
            CROPPED,
        ),
        "BitImageProcessorPil": (models.bit.image_processing_pil_bit.BitImageProcessorPil, CROPPED),
    }
    return pil | {
        "CLIPImageProcessor": (transformers.CLIPImageProcessor, CROPPED),
        "SiglipImageProcessor": (transformers.SiglipImageProcessor, SQUASHED),
    }


def nest(folder: Path) -> None:
    """As `AutoProcessor.save_pretrained` of version 5 keeps it."""
    path = folder / "preprocessor_config.json"
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": json.loads(path.read_text())}))
    path.unlink()


def row(name: str, processor, folder: Path) -> str:
    """What differs, over all shapes."""
    ours = read_preprocess(folder)
    as_before = Preprocess(**ours.model_dump() | {"crop": "torchvision"})
    exact = moved = largest = 0
    after = 0.0
    for height, width in SHAPES:
        image = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
        peer = np.asarray(
            processor(images=Image.fromarray(image), do_rescale=False, do_normalize=False)["pixel_values"][0]
        )
        pixels = ours.pixels(image)
        levels = np.abs(peer.astype(int) - pixels.numpy().astype(int)).max()
        exact, largest = exact + (levels == 0), max(largest, levels)
        moved += not np.array_equal(as_before.pixels(image), pixels)
        whole = np.asarray(processor(images=Image.fromarray(image))["pixel_values"][0])
        after = max(after, float(np.abs(ours.normalise(pixels[None])[0].numpy() - whole).max()))
    return f"| {name} | {exact} of {len(SHAPES)} | {largest} | {after:.0e} | {moved} |"


def main(temporary: Path) -> None:
    """A row for each class, size and file."""
    print(f"\ntransformers {transformers.__version__}\n")
    print("| class, side, file | equal | largest difference in levels | normalised | differ by torchvision's crop |")
    print("|---|---|---|---|---|")
    for name, (kind, sizes) in classes().items():
        for side in SIDES:
            shutil.rmtree(temporary, ignore_errors=True)
            processor = kind(**sizes(side))
            processor.save_pretrained(temporary)
            print(row(f"{name}, {side}, preprocessor_config.json", processor, temporary), flush=True)
        if int(transformers.__version__.split(".")[0]) >= 5:
            nest(temporary)
            print(row(f"{name}, {side}, processor_config.json", processor, temporary), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
