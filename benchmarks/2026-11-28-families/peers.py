"""Every (model, tag) pair of open_clip: a folder by its own writer, read by us, and both sides' rows beside each other.

In an environment with open_clip, timm, transformers and seesay:

    python benchmarks/2026-11-28-families/peers.py TEMPORARY > benchmarks/2026-11-28-families/open_clip.md

Weights are random and towers have one block (a ResNet one in each stage) of the shape that the name has: what is
compared is what is read from a folder and what is done with it, not a checkpoint. Vocabularies are CLIP's own, of
open_clip, and small ones of the kinds that the others have, since no hub can be reached.
"""

import contextlib
import copy
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

os.environ["HF_HUB_OFFLINE"] = "1"

# Where torchvision is of another build than torch, it is told of two operators before.
with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401
import open_clip
import timm
import torch
from kinds import bert, clips_own, unigram, xlm
from open_clip import model as peer
from open_clip.push_to_hf_hub import save_config_for_hf, save_for_hf
from open_clip.tokenizer import HFTokenizer

import seesay
from seesay.model.layouts import open_clip_siglip

TEXTS = ["a red dog", "", "blue " * 90, "A Red,  dog!", "snake_case &amp; cafÃ©", "two cats on the mat."]
# What specials are called, in the middle of a caption.
TEXTS += ["a </s> dog", "a [SEP] dog", "<s> [CLS] <pad> mat"]
PASSES = 1e-5
SMALL = 100  # ids of the small vocabularies


def shallow(config: dict) -> dict:
    """The configuration with one block in each tower, and a small vocabulary where it is not CLIP's own."""
    config = copy.deepcopy(config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if isinstance(vision.get("layers"), list):
        vision["layers"] = [1, 1, 1, 1]
    elif "layers" in vision:
        vision["layers"] = 1
    text["layers"] = 1
    if "hf_tokenizer_name" in text:
        text["vocab_size"] = SMALL
    return config


def built(config: dict) -> torch.nn.Module:
    """open_clip's model of a configuration, its weights drawn anew."""
    is_custom = config.get("custom_text") or "hf_model_name" in config["text_cfg"]
    kind = peer.CustomTextCLIP if is_custom else peer.CLIP
    arguments = {name: config[name] for name in config if name != "custom_text"}
    create = timm.create_model
    torch.manual_seed(0)
    with patch.object(timm, "create_model", lambda name, **named: create(name, **named, depth=1)):
        model = kind(**arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return model


def write(name: str, tag: str, folder: Path) -> tuple[torch.nn.Module, HFTokenizer]:
    """A folder of that model by open_clip's writer; the model and its tokenizer."""
    config = shallow(open_clip.get_model_config(name))
    text = config["text_cfg"]
    model = built(config)
    published = open_clip.get_pretrained_cfg(name, tag)
    squash = "siglip" in config["vision_cfg"].get("timm_model_name", "")
    preprocess = {
        "size": config["vision_cfg"].get("image_size", 224),
        "mean": published.get("mean") or open_clip.OPENAI_DATASET_MEAN,
        "std": published.get("std") or open_clip.OPENAI_DATASET_STD,
        "interpolation": published.get("interpolation") or "bicubic",
        "resize_mode": published.get("resize_mode") or ("squash" if squash else "shortest"),
    }
    peer.set_model_preprocess_cfg(model, preprocess)
    own = folder.with_name("tokenizer")
    of_kind = {"": clips_own, "bert-base-uncased": bert, "facebook/xlm-v-base": xlm}
    of_kind.get(text.get("hf_tokenizer_name", ""), unigram)(own)
    context = text.get("context_length", 77)
    tokenizer = HFTokenizer(str(own), context_length=context, **text.get("tokenizer_kwargs", {}))
    save_for_hf(model, tokenizer, config, str(folder), safe_serialization=True)
    return model, tokenizer


def is_of_others(config: dict) -> bool:
    """Whether a tower is another library's, or there is a third one: such a description alone is to be refused."""
    image = config["vision_cfg"].get("timm_model_name", "vit_")
    is_built = image.startswith("vit_") and "hf_model_name" not in config["text_cfg"]
    return not is_built or "multimodal_cfg" in config


def described(name: str, folder: Path) -> None:
    """The description of a model that is not built here, by open_clip's writer."""
    folder.mkdir(parents=True)
    visual = SimpleNamespace(image_mean=open_clip.OPENAI_DATASET_MEAN, image_std=open_clip.OPENAI_DATASET_STD)
    config = open_clip.get_model_config(name)
    save_config_for_hf(SimpleNamespace(visual=visual), folder / "open_clip_config.json", model_config=config)


def compared(name: str, tag: str, folder: Path) -> tuple[float, float]:
    """The largest differences of images' and texts' rows."""
    model, tokenizer = write(name, tag, folder)
    ours = loaded(folder)
    pixels = torch.randn(2, 3, ours.preprocess.size, ours.preprocess.size)
    with torch.no_grad():
        image = model.encode_image(pixels, normalize=True)
        text = model.encode_text(tokenizer(TEXTS), normalize=True)
    image_difference = (ours.clip.embed_images(pixels) - image).abs().max()
    return float(image_difference), float((ours.encode_texts(TEXTS) - text).abs().max())


def loaded(folder: Path) -> seesay.Model:
    """The model in the folder; the sizes of SigLIPs have one block here, as what was written has."""
    sizes = {size: (width, 1, heads, hidden) for size, (width, _, heads, hidden) in open_clip_siglip.SIZES.items()}
    with patch.object(open_clip_siglip, "SIZES", sizes):
        return seesay.load(folder)


def main(temporary: Path) -> None:
    """A row for each pair, and the sum."""
    pairs, passed, known = open_clip.list_pretrained(), 0, {}
    print("| model | tag | images | texts | outcome |\n|---|---|---|---|---|")
    for name, tag in pairs:
        published = open_clip.get_pretrained_cfg(name, tag)
        key = json.dumps([name, published.get("mean"), published.get("interpolation"), published.get("resize_mode")])
        if key not in known:
            known[key] = outcome(name, tag, temporary / "model")
        images, texts, words = known[key]
        passed += words == "loads"
        print(f"| {name} | {tag} | {images} | {texts} | {words} |", flush=True)
    print(f"\n{passed} of {len(pairs)} load with differences of at most {PASSES:g}.")


def outcome(name: str, tag: str, folder: Path) -> tuple[str, str, str]:
    """Both differences and "loads", or why not."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if is_of_others(open_clip.get_model_config(name)):
            described(name, folder)
            loaded(folder)
        images, texts = compared(name, tag, folder)
    except seesay.SeesayError as error:
        return "", "", "refused: " + str(error).replace(str(folder), "FOLDER")
    except Exception as error:  # noqa: BLE001 - a row of the table
        return "", "", f"could not be made here: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    words = "loads" if max(images, texts) <= PASSES else "**differs**"
    return f"{images:.1e}", f"{texts:.1e}", words


if __name__ == "__main__":
    main(Path(sys.argv[1]))
