"""The files of an exported model: two graphs, perhaps in 8-bit integers, and the tokenizer and preparation beside them.

N = images or texts, L = longest of them in ids, S = side in pixels.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from seesay.base.errors import SeesayError, UsageError
from seesay.data.file_tokenizer import AnyTokenizer, FileTokenizer
from seesay.model.bundle import Model
from seesay.model.confidence import CONFIDENCE
from seesay.model.engines import pad_of
from seesay.model.layouts.hf_images import preprocess_file
from seesay.model.layouts.hf_tokenizer import file_tokenizer_files
from seesay.model.layouts.vocabulary import tokenizer_files
from seesay.model.onnx_graphs import IMAGE_INPUT, OUTPUT, TEXT_INPUT
from seesay.model.onnx_images import image_graph
from seesay.model.onnx_texts import text_graph
from seesay.tasks.export_cleaning import NOT_CLEANED, SPECIALS_READ, with_cleaning


class Layout(NamedTuple):
    """The engine whose runtime reads it, the names of the two files, and their inputs and outputs by other names."""

    engine: str
    image: str
    text: str
    names: dict[str, dict[str, str]]
    suffix: str = ".onnx"


LAYOUTS = {
    "onnx": Layout("onnx", "image", "text", {}),
    "openvino": Layout("openvino", "image", "text", {}, ".xml"),
    "transformers.js": Layout(
        "onnx",
        "onnx/vision_model",
        "onnx/text_model",
        {
            "image": {IMAGE_INPUT: "pixel_values", OUTPUT: "image_embeds"},
            "text": {TEXT_INPUT: "input_ids", OUTPUT: "text_embeds"},
        },
    ),
}
# What that library puts behind a name where its dtype is q8.
JS_INT8 = "_quantized"
# Layouts whose programs look for CLIP's special tokens, which a caption that spells them then has as well.
SPECIALS_KEPT = ("transformers.js",)
# Texts of a batch for calibration: a guess.
TEXTS_AT_ONCE = 16


def graph_paths(to: str, *, int8: bool) -> dict[str, str]:
    """The file of each side in an exported folder."""
    layout = LAYOUTS[to]
    mark = JS_INT8 if int8 and to == "transformers.js" else ""
    return {"image": f"{layout.image}{mark}{layout.suffix}", "text": f"{layout.text}{mark}{layout.suffix}"}


def graphs_of(model: Model) -> dict[str, bytes]:
    """Both graphs in float32, as ONNX files."""
    return {
        "image": image_graph(model.name, model.clip, width=model.width),
        "text": text_graph(model.name, model.clip, model.tokenizer, width=model.width),
    }


def drawn_from_folders(photos: Sequence[Path], count: int) -> list[Path]:
    """At most `count` photos, as many of each folder as far as it has them; the same at each call."""
    drawn, of_folder = [], Counter[Path]()
    for at in np.random.default_rng(0).permutation(len(photos)):
        drawn.append((of_folder[photos[at].parent], photos[at]))
        of_folder[photos[at].parent] += 1
    return [photo for _, photo in sorted(drawn, key=lambda item: item[0])[:count]]


def renamed(graph: bytes, names: dict[str, str]) -> bytes:
    """An ONNX file with other names of inputs and outputs."""
    import onnx

    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]
    return model.SerializeToString()


def write_graphs(folder: Path, graphs: dict[str, Any], to: str, *, int8: bool) -> None:
    """The files of that layout of those sides, ONNX files or models of OpenVINO's; it has its weights in a file .bin
    beside."""
    layout, paths = LAYOUTS[to], graph_paths(to, int8=int8)
    for side, graph in graphs.items():
        path = folder / paths[side]
        path.parent.mkdir(exist_ok=True)
        if to == "openvino":
            import openvino  # pyright: ignore[reportMissingImports]

            model = openvino.Core().read_model(graph) if isinstance(graph, bytes) else graph
            # Its own choice would be to round the weights to float16.
            openvino.save_model(model, path, compress_to_fp16=False)
        else:
            path.write_bytes(renamed(graph, layout.names.get(side, {})))


def write_beside(folder: Path, model: Model, to: str) -> None:
    """The tokenizer and the preparation of images, as transformers has them, and what transformers.js asks for."""
    processor = "SiglipImageProcessor" if model.preprocess.resize == "squash" else "CLIPImageProcessor"
    files = preprocess_file(model.preprocess, processor=processor)
    tokenizer = model.tokenizer
    if isinstance(tokenizer, FileTokenizer):
        files |= file_tokenizer_files(tokenizer, pad=pad_of(model.clip))
    elif tokenizer.learned:
        raise UsageError(
            f"{model.name} has {tokenizer.learned} learned words of a prompt, for which a tokenizer.json has no place; "
            "export the model that it was made of."
        )
    else:
        files |= {name: data for name, data in tokenizer_files(tokenizer).items() if name.startswith("tokenizer")}
    files["tokenizer.json"] = _vocabulary(files["tokenizer.json"].decode(), tokenizer, to).encode()
    if to == "transformers.js":
        # Every family: the classes of that library only call the two files.
        config = {"model_type": "clip", "projection_dim": model.architecture.embed_dim}
        config |= {
            "text_config": {"model_type": "clip_text_model"},
            "vision_config": {"model_type": "clip_vision_model"},
        }
        files["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _vocabulary(text: str, tokenizer: AnyTokenizer, to: str) -> str:
    """The text of tokenizer.json with the model's cleaning of captions, and CLIP's special tokens as plain words."""
    if isinstance(tokenizer, FileTokenizer):
        return with_cleaning(text, tokenizer.cleaner)
    cleaned = with_cleaning(text, "lower")
    return cleaned if to in SPECIALS_KEPT else json.dumps(json.loads(cleaned) | {"added_tokens": []})


def refuse_other_ids(model: Model, folder: Path, texts: Sequence[str]) -> None:
    """`SeesayError` where the tokenizer.json that was written has other ids of texts than the model."""
    written, tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8"), model.tokenizer
    if isinstance(tokenizer, FileTokenizer):
        rules = {name: rule for name, rule in tokenizer.rules.items() if name != "cleaner"}
        rows = FileTokenizer(written, context=tokenizer.context, **rules)(texts)
    else:
        whole = Tokenizer.from_str(written)
        whole.enable_truncation(tokenizer.context)
        rows = [row.ids for row in whole.encode_batch(list(texts))]
    others = [text for text, row, right in zip(texts, rows, tokenizer(texts), strict=True) if row != right]
    if others:
        raise SeesayError(
            f"nothing is written: tokenizer.json has other ids than {model.name} of {len(others)} of {len(texts)} "
            f"texts, as of {others[0][:40]!r}; report this model."
        )


def padded_ids(model: Model, texts: Sequence[str]) -> list[np.ndarray]:
    """Ids (N, L) of texts, a few at a time, filled up as the text graph takes them."""
    pad = pad_of(model.clip)
    batches = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        rows = model.tokenizer(texts[first : first + TEXTS_AT_ONCE])
        longest = max(map(len, rows))
        batches.append(np.array([row + [pad] * (longest - len(row)) for row in rows], dtype=np.int64))
    return batches


def facts_of(model: Model, to: str, *, int8: bool) -> dict[str, Any]:
    """What a program needs to answer from the folder alone."""
    layout, paths = LAYOUTS[to], graph_paths(to, int8=int8)
    from seesay.model.onnx_graphs import OPSET

    rules = model.tokenizer.rules if isinstance(model.tokenizer, FileTokenizer) else {"cleaner": "lower"}
    specials = not isinstance(model.tokenizer, FileTokenizer) and to in SPECIALS_KEPT
    named = {side: layout.names.get(side, {}) for side in ("image", "text")}
    return {
        "format": 1,
        "model": model.name,
        "layout": to,
        "precision": "int8" if int8 else "float32",
        "opset": OPSET,
        "embed_dim": model.width or model.architecture.embed_dim,
        "image": {
            "file": paths["image"],
            "kind": model.architecture.image.kind,
            "input": named["image"].get(IMAGE_INPUT, IMAGE_INPUT),
            "shape": ["N", 3, model.preprocess.size, model.preprocess.size],
            "crop": model.preprocess.crop,
            "output": named["image"].get(OUTPUT, OUTPUT),
        },
        "text": {
            "file": paths["text"],
            "kind": model.architecture.text.kind,
            "input": named["text"].get(TEXT_INPUT, TEXT_INPUT),
            "shape": ["N", "L"],
            "output": named["text"].get(OUTPUT, OUTPUT),
            "context": model.tokenizer.context,
            "pad": pad_of(model.clip),
            "not_cleaned": [*(NOT_CLEANED if "cleaner" in rules else ()), *((SPECIALS_READ,) if specials else ())],
        },
        "templates": list(model.templates),
        "scoring": model.architecture.scoring,
        "logit_scale": model.logit_scale,
        "logit_bias": model.logit_bias,
        "tokenizer_rules": {name: rule for name, rule in rules.items() if name != "cleaner"},
        "facts": {name: model.facts[name] for name in ("weights", "vocabulary", CONFIDENCE) if name in model.facts},
    }


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def remove_files(folder: Path) -> None:
    """Remove the files in a folder and its folders, which stay."""
    for file in [file for file in folder.rglob("*") if file.is_file()]:
        file.unlink()
