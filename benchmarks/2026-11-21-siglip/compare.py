"""SigLIP's embeddings and logits beside transformers' SiglipModel, both reading the very same folder.

    python compare.py --out result.json [--only base,so400m]

Needs an environment with seesay's dependencies and transformers. Every shape gets random weights, moved from their
start so that no norm is the identity. In one direction seesay writes the folder and transformers loads it, in the other
transformers saves what it loaded and seesay reads that. The same pixels and ids go through both, float32, one thread.
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

import torch
import torch.nn.functional as F

# torchvision's wheel is built for CUDA: beside a CPU torch it can be imported once these two operators have a schema.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor a, Tensor b, float c) -> Tensor", "qnms(Tensor a, Tensor b, float c) -> Tensor"):
    _OPERATORS.define(schema)

import transformers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

import seesay  # noqa: E402
from seesay.data.file_tokenizer import FileTokenizer  # noqa: E402
from seesay.data.images import Preprocess  # noqa: E402
from seesay.nets.architecture import Architecture, SiglipImageConfig, SiglipTextConfig  # noqa: E402
from seesay.nets.clip import build_clip  # noqa: E402

# name: side, patch, width, layers, heads, width of the MLP, ids. Layers of So400m: 27, made 4 here.
SHAPES = {
    "base": (224, 16, 768, 12, 12, 3072, 32_000),
    "so400m": (384, 14, 1152, 4, 16, 4304, 32_000),
}
CONTEXT, PAD = 64, 1
CAPTIONS = ["a photo of a cat", "", "two dogs on a beach seen from far above", "a cat " * 60]
LIMIT = 1e-5


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--only", default=",".join(SHAPES))
    chosen = options.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = []
    for name in chosen.only.split(","):
        started = time.perf_counter()
        rows.append({"name": name, **compare(name), "seconds": round(time.perf_counter() - started, 1)})
        print(json.dumps(rows[-1]), flush=True)
        gc.collect()
    packages = ("torch", "transformers", "numpy", "safetensors", "tokenizers")
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "limit": LIMIT,
        "held": all(value <= LIMIT for row in rows for value in row["largest_difference"].values())
        and all(all(row["bit_equal"].values()) for row in rows),
        "shapes": rows,
    }
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


@torch.inference_mode()
def compare(name: str) -> dict:
    """Largest differences of unit rows and of sigmoid scores, and whether folders come back bit-equal."""
    model = build(name)
    side = model.preprocess.size
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ids = torch.tensor([row + [PAD] * (CONTEXT - len(row)) for row in model.tokenizer(CAPTIONS)])
    with tempfile.TemporaryDirectory() as place:
        ours, theirs = Path(place) / "ours", Path(place) / "theirs"
        model.save(ours, "hf")
        equal = {"seesay -> hf -> seesay": is_same(model, seesay.load(ours))}
        peer, told = transformers.SiglipModel.from_pretrained(ours, dtype=torch.float32, output_loading_info=True)
        assert not told["missing_keys"] and not told["unexpected_keys"], told
        said = peer.eval()(input_ids=ids, pixel_values=pixels)
        peer.save_pretrained(theirs)
        for path in ours.glob("*.json"):
            if path.name != "config.json":
                (theirs / path.name).write_bytes(path.read_bytes())
        del peer
        equal["transformers -> seesay"] = is_same(model, seesay.load(theirs))
    image_BD, text_ND = model.clip.embed_images(pixels), model.encode_texts(CAPTIONS)
    logits_BN = model.logit_scale * image_BD @ text_ND.T + model.logit_bias
    return {
        "parameters": sum(parameter.numel() for parameter in model.clip.parameters()),
        "largest_difference": {
            "images": largest(F.normalize(said.image_embeds, dim=-1), image_BD),
            "texts": largest(F.normalize(said.text_embeds, dim=-1), text_ND),
            "logits, divided by the scale": largest(said.logits_per_image, logits_BN) / model.logit_scale,
            "probabilities": largest(said.logits_per_image.sigmoid(), logits_BN.sigmoid()),
        },
        "bit_equal": equal,
        "scale": model.logit_scale,
        "cosine_between_two_images": float(image_BD[0] @ image_BD[1]),
        "cosine_between_two_texts": float(text_ND[0] @ text_ND[2]),
    }


def build(name: str) -> seesay.Model:
    side, patch, width, layers, heads, mlp, ids = SHAPES[name]
    blocks = {"width": width, "layers": layers, "heads": heads, "mlp_width": None if mlp == 4 * width else mlp}
    architecture = Architecture(
        embed_dim=width,
        scoring="sigmoid",
        image=SiglipImageConfig(image_size=side, patch=patch, **blocks),
        text=SiglipTextConfig(context=CONTEXT, vocab_size=ids, pad=PAD, **blocks),
    )
    clip = build_clip(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for key, tensor in clip.state_dict().items():
        if not key.startswith("logit"):
            noise = torch.randn(tensor.shape, generator=generator)
            tensor += 0.02 * noise if tensor.ndim < 2 else 0.1 * tensor.std() * noise
    squash = Preprocess(size=side, resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
    return seesay.Model(clip, architecture, words(ids), preprocess=squash, name=name)


def words(ids: int) -> FileTokenizer:
    """Words of the captions with ids all over the vocabulary; how a vocabulary is learned is not compared here."""
    known = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = {"<pad>": 0, "</s>": PAD, "<unk>": 2}
    vocabulary |= {word: 3 + place * (ids - 4) // len(known) for place, word in enumerate(known)}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", PAD)])
    return FileTokenizer(whole.to_str(), context=CONTEXT)


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def is_same(model: seesay.Model, again: seesay.Model) -> bool:
    ours, theirs = model.clip.state_dict(), again.clip.state_dict()
    return (
        ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
        and again.architecture == model.architecture
        and again.preprocess == model.preprocess
        and again.tokenizer.to_json() == model.tokenizer.to_json()
    )


if __name__ == "__main__":
    main()
