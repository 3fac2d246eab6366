"""What transformers 5.24 does to a folder: weights in several files with an index, and a nested processor."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

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
