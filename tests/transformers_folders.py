"""What transformers 5.24 and sentence-transformers leave: several files, one tower, added tokens, a wrapper, NaFlex."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer

from seesay.model.bundle import Model
from seesay.model.layouts import hf_siglip
from seesay.model.layouts.mapping import to_theirs
from seesay.nets.architecture import Architecture, NaflexImageConfig
from seesay.nets.clip import build_clip

INDEX, FILES = "model.safetensors.index.json", ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def split(folder: Path, name: str = "model.safetensors") -> None:
    """The weights in two files and their index, as `save_pretrained(max_shard_size=...)` of transformers 5.24 does."""
    tensors = load_file(folder / name)
    (folder / name).unlink()
    names = sorted(tensors)
    parts = names[: len(names) // 3], names[len(names) // 3 :]
    files = [file.replace("model", name.removesuffix(".safetensors"), 1) for file in FILES]
    for file, part in zip(files, parts, strict=True):
        save_file({key: tensors[key] for key in part}, folder / file)
    placed = {key: file for file, part in zip(files, parts, strict=True) for key in part}
    index = {"metadata": {"total_size": 1, "total_parameters": 1}, "weight_map": placed}
    (folder / f"{name}.index.json").write_text(json.dumps(index, indent=2))


def nest(folder: Path, **change) -> None:
    """`AutoProcessor.save_pretrained` of transformers 5.24: one file in place of the other."""
    section = json.loads((folder / "preprocessor_config.json").read_text()) | change
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": section, "processor_class": "CLIPProcessor"})
    )


SIDES = {"vision": ("vision_model.", "visual_projection."), "text": ("text_model.", "text_projection.")}


def halved(folder: Path, side: str, *, projection: bool = True) -> Path:
    """One tower of a folder of transformers, as its class for that tower saves it."""
    config = json.loads((folder / "config.json").read_text())
    section = config[f"{side}_config"]
    tensors = load_file(folder / "model.safetensors")
    prefixes = SIDES[side] if projection else SIDES[side][:1]
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}, folder / "new")
    (folder / "new").replace(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(section))
    return folder


def with_added_tokens(folder: Path, words: list[str]) -> None:
    """As `add_tokens` and `resize_token_embeddings` of transformers leave a folder."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] += len(words)
    (folder / "config.json").write_text(json.dumps(config))
    tensors, name = load_file(folder / "model.safetensors"), "text_model.embeddings.token_embedding.weight"
    tensors[name] = torch.cat([tensors[name], torch.full((len(words), tensors[name].shape[1]), 0.3)])
    save_file(tensors, folder / "model.safetensors")


NAFLEX_TOWER = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 70}
NAFLEX_VISION = NAFLEX_TOWER | {"hidden_size": 32, "num_patches": 25, "patch_size": 8}
NAFLEX_TEXT = NAFLEX_TOWER | {
    "hidden_size": 24,
    "projection_size": 32,
    "vocab_size": 99,
    "max_position_embeddings": 8,
}
NAFLEX_STEPS = {
    "image_processor_type": "Siglip2ImageProcessor",
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 2,
    "patch_size": 8,
    "max_num_patches": 20,
}


def naflex(folder: Path, siglip: Model) -> None:
    """A folder as Siglip2Model and its processor leave it, with random weights and that model's tokenizer."""
    siglip.save(folder, "hf")
    text = siglip.architecture.text.model_copy(update={"vocab_size": 99, "heads": 2, "mlp_width": 70})
    image = NaflexImageConfig(width=32, layers=2, heads=2, mlp_width=70, patch=8, patches=20, grid=5)
    architecture = Architecture(embed_dim=32, scoring="sigmoid", image=image, text=text)
    tensors = to_theirs(hf_siglip.links(architecture), build_clip(architecture, seed=0).state_dict())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = {"model_type": "siglip2", "text_config": NAFLEX_TEXT, "vision_config": NAFLEX_VISION}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(NAFLEX_STEPS))


def wrapped(folder: Path, modules: list[tuple[str, str]]) -> None:
    """The list of modules of a SentenceTransformer."""
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
