"""Largest differences of float32 rows, torch beside ONNX Runtime and OpenVINO. python parity.py OUT.json [NAME...]

The paper's nine sizes with their own patches, positions, heads and depth of blocks cut to two (of a ResNet's stages to
one), the four biggest at half their width, random weights; SigLIP B/16; and the box.
What OUT.json has of other names stays.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.data.images import Preprocess
from seesay.model.build import byte_pairs
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, SiglipImageConfig, SiglipTextConfig
from seesay.nets.clip import build_clip
from seesay.nets.presets import PAPER_SIZES, PRESETS

NARROW = ("RN50x16", "RN50x64", "ViT-L/14", "ViT-L/14@336")
TEXTS = ["a photo of a cat", "", "Two dogs on a beach, seen from far above; 1 of them swims."]
OUT, NAMES = Path(sys.argv[1]), sys.argv[2:]
torch.set_num_threads(1)


def architectures():
    for name in PAPER_SIZES:
        whole = PRESETS[name]
        image, half = whole.image, 2 if name in NARROW else 1
        layers = (1, 1, 1, 1) if image.kind == "resnet" else 2
        narrow = {"width": image.width // half, "heads": image.heads // half, "layers": layers}
        text = whole.text.model_copy(update={"layers": 2, "vocab_size": 4096})
        yield name, whole.model_copy(update={"image": image.model_copy(update=narrow), "text": text})
    blocks = {"width": 768, "layers": 2, "heads": 12}
    image = SiglipImageConfig(image_size=224, patch=16, **blocks)
    text = SiglipTextConfig(context=64, vocab_size=4096, pad=1, **blocks)
    yield "SigLIP B/16", Architecture(embed_dim=768, image=image, text=text, scoring="sigmoid")


def models():
    for name, architecture in architectures():
        if NAMES and name not in NAMES:
            continue
        clip, text = build_clip(architecture, seed=0), architecture.text
        tokenizer = byte_pairs(text.vocab_size, context=text.context)
        preprocess = Preprocess(size=architecture.image.image_size)
        yield Model(clip, architecture, tokenizer, preprocess=preprocess, name=name)
    if not NAMES or "box" in NAMES:
        yield seesay.load("box")


found = json.loads(OUT.read_text()) if OUT.exists() else []
for model in models():
    side = model.preprocess.size
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    found = [row for row in found if row["model"] != model.name]
    right = model.encode_images(images), model.encode_texts(TEXTS)
    for engine in ("onnx", "openvino"):
        own = model.with_engine(engine)
        rows = own.encode_images(images), own.encode_texts(TEXTS)
        differences = [float((one - other).abs().max()) for one, other in zip(rows, right, strict=True)]
        found.append({"model": model.name, "engine": engine, "images": differences[0], "texts": differences[1]})
        print(found[-1], flush=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
