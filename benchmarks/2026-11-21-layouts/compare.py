"""Our embeddings beside open_clip's and transformers', all of them reading the very same files.

    python compare.py --out result.json [--only RN50,ViT-B/32]

Needs an environment with seesay's dependencies, open_clip, transformers and timm. Every size gets random weights, moved
from their start as training would move them, so that no norm is the identity and no branch is closed. seesay writes the
folder, the peer loads it, and both embed the same pixels and the same token ids in float32 on the CPU.
"""

import argparse
import gc
import importlib.metadata
import json
import logging
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import open_clip  # noqa: E402
import transformers  # noqa: E402

import seesay  # noqa: E402
from seesay.base.records import Tokens  # noqa: E402

SIZES = ["RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336"]
CAPTIONS = ["a photo of a cat", "", "two dogs on a beach, seen from far above", "x " * 200]
LIMIT = 1e-5


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--only", default=",".join(SIZES))
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    rows = []
    for name in chosen.only.split(","):
        started = time.perf_counter()
        rows.append({"name": name, **compare(name), "seconds": round(time.perf_counter() - started, 1)})
        print(json.dumps(rows[-1]), flush=True)
        gc.collect()
    packages = ("torch", "open_clip_torch", "transformers", "timm", "numpy", "safetensors", "tokenizers")
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "limit": LIMIT,
        "held": all(value <= LIMIT for row in rows for value in row["largest_difference"].values())
        and all(all(row["bit_equal"].values()) for row in rows),
        "sizes": rows,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


@torch.inference_mode()
def compare(name: str) -> dict:
    """Largest differences between unit rows, and whether the folders come back bit-equal."""
    model = seesay.build(name)
    pictures_seen = model.preprocess.normalise(pictures(model.preprocess.size))
    move(model.clip)
    see(model.clip, pictures_seen)
    pixels = pictures_seen[:2]
    ids = padded(model.tokenizer(CAPTIONS), model.tokenizer.context)
    lengths = torch.tensor([len(row) for row in model.tokenizer(CAPTIONS)])
    ours = {
        "images": model.clip.embed_images(pixels),
        "texts": model.clip.embed_texts(Tokens(ids_BL=ids, length_B=lengths)),
    }
    processes = {"open_clip": by_open_clip}
    if name.startswith("ViT"):
        processes["hf"] = by_transformers
    differences, equal = {}, {}
    for layout, embed in processes.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            model.save(folder, layout)
            equal[f"seesay -> {layout} -> seesay"] = is_same(model, seesay.load(folder))
            theirs = embed(folder, pixels, ids)
        for side_name, rows in ours.items():
            differences[f"{layout}, {side_name}"] = (rows - F.normalize(theirs[side_name], dim=-1)).abs().max().item()
        del theirs
    exact = model.clip.double().embed_images(pixels.double())
    return {
        "parameters": sum(parameter.numel() for parameter in model.clip.parameters()),
        "largest_difference": differences,
        "images_from_float64": (ours["images"] - exact).abs().max().item(),
        "bit_equal": equal,
        "cosine_between_two_images": float((ours["images"][0] * ours["images"][1]).sum()),
        "cosine_between_two_texts": float((ours["texts"][0] * ours["texts"][2]).sum()),
    }


def pictures(side: int) -> torch.Tensor:
    """uint8 (8, 3, side, side): in turn noise and patches of plain colours, ever smaller ones."""
    generator = np.random.default_rng(0)
    made = []
    for count in (3, 5, 9, 16):
        made.append(generator.integers(0, 256, (3, side, side), dtype=np.uint8) // count)
        size = -(-side // count)
        patches = generator.choice(np.array([0, 255], dtype=np.uint8), (3, count, count))
        made.append(patches.repeat(size, axis=1).repeat(size, axis=2)[:, :side, :side])
    return torch.from_numpy(np.stack(made))


def move(clip: torch.nn.Module) -> None:
    """A step away from the start in every tensor, the same for the same shapes."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in clip.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("norm_3.weight"):
            tensor.copy_(0.3 + 0.1 * noise)
        else:
            tensor += 0.02 * noise if tensor.ndim < 2 else 0.1 * tensor.std() * noise


def see(clip: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Give batch norms the mean and variance of the pictures, without which a random ResNet is blind to them."""
    norms = [module for module in clip.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    clip.train()
    if norms:
        clip.embed_images(pixels)
    clip.eval()


def padded(rows: list[list[int]], context: int) -> torch.Tensor:
    return torch.tensor([row + [0] * (context - len(row)) for row in rows])


def by_open_clip(folder: Path, pixels: torch.Tensor, ids: torch.Tensor) -> dict:
    peer = open_clip.create_model(f"local-dir:{folder}", precision="fp32", device="cpu").eval()
    return {"images": peer.encode_image(pixels), "texts": peer.encode_text(ids)}


def by_transformers(folder: Path, pixels: torch.Tensor, ids: torch.Tensor) -> dict:
    peer, told = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"], told
    peer.eval()
    images, texts = peer.get_image_features(pixel_values=pixels), peer.get_text_features(input_ids=ids)
    return {side: getattr(rows, "pooler_output", rows) for side, rows in (("images", images), ("texts", texts))}


def is_same(model: seesay.Model, again: seesay.Model) -> bool:
    ours, theirs = model.clip.state_dict(), again.clip.state_dict()
    return (
        ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
        and again.architecture == model.architecture
        and again.preprocess == model.preprocess
        and again.tokenizer.merges == model.tokenizer.merges
    )


if __name__ == "__main__":
    main()
