"""transformers' own models with two towers: folders by its own writers, read by us, and both sides' rows.

In an environment with transformers, open_clip (for the vocabulary) and seesay:

    cd benchmarks/2026-11-29-families; python transformers_peers.py TEMPORARY > transformers.md

Towers have one block of the shape that the class has where nothing is said; weights are random.
"""

import contextlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from PIL import Image

import seesay

TEXTS = ["a red dog", "", "blue " * 90, "A Red,  dog!", "snake_case &amp; café", "two cats on the mat."]
PASSES = 1e-5
# For the tower that takes them in their own shape.
NOISE = np.random.default_rng(0)
SIDES = [(480, 640), (640, 480), (300, 300), (20, 700), (700, 20), (33, 61)]
IMAGES = [Image.fromarray(NOISE.integers(0, 256, (*sides, 3), dtype=np.uint8)) for sides in SIDES]
BEFORE = Path(__file__).parent.with_name("2026-11-28-families")


def kinds():
    """`../2026-11-28-families/kinds.py`."""
    spec = importlib.util.spec_from_file_location("kinds", BEFORE / "kinds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOKENIZERS = kinds()
ONE = {"num_hidden_layers": 1}
SMALL = {"vocab_size": 100}
CLIPS = {"image_size": 224, "patch_size": 32, **ONE}
# Name, configuration and class, and how the folder's vocabulary is written.
CASES = {
    "CLIP": (transformers.CLIPConfig(text_config=ONE, vision_config=ONE), transformers.CLIPModel, "clips_own"),
    "CLIP, vision tower alone": (
        transformers.CLIPVisionConfig(**CLIPS),
        transformers.CLIPVisionModelWithProjection,
        "clips_own",
    ),
    "SigLIP": (
        transformers.SiglipConfig(text_config=ONE | SMALL, vision_config=ONE),
        transformers.SiglipModel,
        "unigram",
    ),
    "SigLIP 2 (of fixed size)": (
        transformers.SiglipConfig(
            text_config=ONE | SMALL | {"hidden_size": 768}, vision_config=ONE | {"image_size": 256}
        ),
        transformers.SiglipModel,
        "unigram",
    ),
    "SigLIP 2 NaFlex": (
        transformers.Siglip2Config(text_config=ONE | SMALL, vision_config=ONE),
        transformers.Siglip2Model,
        "unigram",
    ),
    "CLIPSeg, its CLIP part": (
        transformers.CLIPSegConfig(text_config=ONE, vision_config=ONE),
        transformers.CLIPSegModel,
        "clips_own",
    ),
    "CLIPSeg": (
        transformers.CLIPSegConfig(text_config=ONE, vision_config=ONE | {"num_hidden_layers": 10}),
        transformers.CLIPSegForImageSegmentation,
        "clips_own",
    ),
    "AltCLIP": (
        transformers.AltCLIPConfig(text_config=ONE | SMALL, vision_config=ONE),
        transformers.AltCLIPModel,
        "xlm",
    ),
    "ChineseCLIP": (
        transformers.ChineseCLIPConfig(text_config=ONE | SMALL, vision_config=ONE),
        transformers.ChineseCLIPModel,
        "bert",
    ),
}


def naflex_processor():
    """That of SigLIP 2 which resizes with Pillow."""
    return transformers.models.siglip2.image_processing_pil_siglip2.Siglip2ImageProcessorPil()


def write(config, kind, vocabulary: str, folder: Path):
    """The folder by `save_pretrained` of the model, its tokenizer and its image processor."""
    torch.manual_seed(0)
    peer = kind(config).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    peer.save_pretrained(folder)
    getattr(TOKENIZERS, vocabulary)(folder)
    side = getattr(config, "vision_config", config).image_size if "Siglip2" not in kind.__name__ else None
    if "Siglip2" in kind.__name__:
        naflex_processor().save_pretrained(folder)
    elif "Siglip" in kind.__name__:
        processor = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil
        processor(size={"height": side, "width": side}).save_pretrained(folder)
    else:
        processor = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil
        sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        processor(**sizes).save_pretrained(folder)
    return peer


def compared(config, kind, vocabulary: str, folder: Path) -> tuple[float, float]:
    """The largest differences of images' and texts' rows; 0 for texts where there is no tower for them."""
    peer = write(config, kind, vocabulary, folder)
    ours = seesay.load(folder)
    peer = getattr(peer, "clip", peer)
    if ours.preprocess.resize == "patches":
        pixels = torch.stack([ours.preprocess.read(image) for image in IMAGES])
        given, pixels = naflex_processor()(images=IMAGES, return_tensors="pt"), ours.preprocess.normalise(pixels)
    else:
        pixels = torch.randn(2, 3, ours.preprocess.size, ours.preprocess.size)
        given = {"pixel_values": pixels}
    context = ours.tokenizer.context
    if not hasattr(peer, "get_text_features"):
        with torch.no_grad():
            image = F.normalize(peer(pixel_values=pixels).image_embeds, dim=-1)
        return float((ours.clip.embed_images(pixels) - image).abs().max().detach()), 0.0
    rows = ours.tokenizer(TEXTS)
    pad = getattr(ours.architecture.text, "pad", 0)
    ids = torch.tensor([row + [pad] * (context - len(row)) for row in rows])
    # CLIP's own tower pools the end token, and sees nothing behind it.
    with torch.no_grad():
        image = peer.get_image_features(**given)
        text = peer.get_text_features(input_ids=ids)
    image, text = (F.normalize(getattr(row, "pooler_output", row), dim=-1) for row in (image, text))
    image_difference = (ours.clip.embed_images(pixels) - image).abs().max()
    return float(image_difference.detach()), float((ours.encode_texts(TEXTS) - text).abs().max())


def main(temporary: Path) -> None:
    """A row for each class."""
    print("| model | images | texts | outcome |\n|---|---|---|---|")
    for name, (config, kind, vocabulary) in CASES.items():
        folder = temporary / "model"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            images, texts = compared(config, kind, vocabulary, folder)
        except seesay.SeesayError as error:
            print(f"| {name} | | | refused: {str(error).replace(str(folder), 'FOLDER')} |", flush=True)
            continue
        words = "loads" if max(images, texts) <= PASSES else "**differs**"
        print(f"| {name} | {images:.1e} | {texts:.1e} | {words} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
