"""Every (model, tag) pair of open_clip, now with the towers of timm and of transformers.

In an environment with open_clip, timm, transformers and seesay:

    python benchmarks/2026-11-29-families/peers.py TEMPORARY > benchmarks/2026-11-29-families/open_clip.md

As `../2026-11-28-families/peers.py`, whose folders, texts and comparison these are: towers have one block (in each
stage) of the shape that the name has. A tower of transformers has the sizes that its name stands for, with one block
and few ids. TEMPORARY/rows.json keeps the rows that are done, and the same command goes on.
"""

import contextlib
import functools
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

os.environ["HF_HUB_OFFLINE"] = "1"
# Where torchvision is of another build than torch, it is told of two operators before.
with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401

HERE = Path(__file__).parent
BEFORE = HERE.with_name("2026-11-28-families")


def imported(path: Path, name: str):
    """The module in a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


imported(BEFORE / "kinds.py", "kinds")
before = imported(BEFORE / "peers.py", "before")
own_kinds = imported(HERE / "kinds.py", "own_kinds")

import open_clip  # noqa: E402 - told of two operators before
import timm  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from open_clip import hf_model  # noqa: E402
from open_clip.push_to_hf_hub import save_for_hf  # noqa: E402
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer  # noqa: E402

import seesay  # noqa: E402
from seesay.model.layouts import open_clip_siglip, open_clip_towers  # noqa: E402

LAYERS = 1
IDS = 300  # of the small vocabularies that a tower of transformers is given
CREATE = timm.create_model
# config.json of these names on the hub, but for the layers and the ids.
SIZES = {
    "roberta-base": (768, 12, 3072),
    "xlm-roberta-base": (768, 12, 3072),
    "xlm-roberta-large": (1024, 16, 4096),
    "facebook/nllb-200-distilled-600M": (1024, 16, 4096),
    "facebook/nllb-200-distilled-1.3B": (1024, 16, 8192),
}


def create(name: str, **named: object) -> torch.nn.Module:
    """timm's tower with one block, or one in each stage."""
    if name.startswith("convnext"):
        return CREATE(name, **named, depths=(1, 1, 1, 1))
    if name.startswith("fastvit"):
        return CREATE(name, **named, layers=(1,) * (5 if name.endswith(("mci3", "mci4")) else 4))
    return CREATE(name, **named, depth=1)


def text_settings(name: str) -> transformers.PreTrainedConfig:
    """transformers' configuration of that name, with one block and few ids."""
    width, heads, hidden = SIZES[name]
    if "nllb" in name:
        return transformers.M2M100Config(
            d_model=width,
            encoder_layers=LAYERS,
            decoder_layers=1,
            encoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            vocab_size=IDS,
        )
    kind = transformers.XLMRobertaConfig if "xlm" in name else transformers.RobertaConfig
    return kind(
        hidden_size=width,
        num_hidden_layers=LAYERS,
        num_attention_heads=heads,
        intermediate_size=hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        vocab_size=IDS,
    )


def built(config: dict) -> torch.nn.Module:
    """open_clip's model of a configuration, its weights drawn anew."""
    arguments = {name: config[name] for name in config if name != "custom_text"}
    if "hf_model_name" in config["text_cfg"]:
        arguments["text_cfg"] = config["text_cfg"] | {"hf_model_pretrained": False}
    kind = open_clip.model.CLIP
    if config.get("custom_text") or "hf_model_name" in config["text_cfg"]:
        kind = open_clip.model.CustomTextCLIP
    if "multimodal_cfg" in config:
        kind = open_clip.CoCa
    torch.manual_seed(0)
    with patch.object(hf_model.AutoConfig, "from_pretrained", text_settings):
        model = kind(**arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    return model


@functools.cache
def tokenizer_of(kind: Callable[[Path], None], context: int, rules: str, folder: Path):
    """The tokenizer that the folder is given, and the one that open_clip takes for it."""
    own = folder / f"{kind.__name__}-{context}"
    kind(own)
    written = HFTokenizer(str(own), context_length=context, **json.loads(rules))
    return written, SimpleTokenizer(context_length=context) if kind is before.clips_own else written


def kind_of(name: str) -> Callable[[Path], None]:
    """Which vocabulary stands for the published one of that name."""
    of_kind = {"": before.clips_own, "bert-base-uncased": before.bert, "facebook/xlm-v-base": before.xlm}
    of_kind |= {"roberta-base": own_kinds.roberta, "xlm-roberta-base": before.xlm, "xlm-roberta-large": before.xlm}
    of_kind |= {each: own_kinds.nllb for each in SIZES if "nllb" in each}
    return of_kind.get(name, before.unigram)


def write(name: str, tag: str, folder: Path):
    """A folder of that model by open_clip's writer; the model and its tokenizer."""
    config = before.shallow(open_clip.get_model_config(name))
    if "hf_model_name" in config["text_cfg"]:
        # What `shallow` gives to towers of open_clip's own.
        config["text_cfg"] = {key: config["text_cfg"][key] for key in config["text_cfg"] if key[:3] == "hf_"}
    if "multimodal_cfg" in config:
        config["multimodal_cfg"]["layers"] = 1
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
    open_clip.model.set_model_preprocess_cfg(model, preprocess)
    text = config["text_cfg"]
    written, tokenizer = tokenizer_of(
        kind_of(text.get("hf_tokenizer_name", "")),
        text.get("context_length", 77),
        json.dumps(text.get("tokenizer_kwargs", {})),
        folder.with_name("tokenizers"),
    )
    save_for_hf(model, written, config, str(folder), safe_serialization=True)
    return model, tokenizer


def loaded(folder: Path) -> seesay.Model:
    """The model in the folder; names whose sizes seesay knows have one block here, as what was written has."""
    sizes = {size: (width, 1, heads, hidden) for size, (width, _, heads, hidden) in open_clip_siglip.SIZES.items()}
    texts = {
        name: (family, width, LAYERS, heads, hidden, IDS, positions)
        for name, (family, width, _, heads, hidden, _, positions) in open_clip_towers.TEXT_TOWERS.items()
    }
    with (
        patch.object(open_clip_siglip, "SIZES", sizes),
        patch.object(open_clip_towers, "TEXT_TOWERS", texts),
    ):
        return seesay.load(folder)


def main(temporary: Path) -> None:
    """A row for each pair, and the sum."""
    temporary.mkdir(parents=True, exist_ok=True)
    store = temporary / "rows.json"
    known = json.loads(store.read_text()) if store.exists() else {}
    pairs = open_clip.list_pretrained()
    for name, tag in sorted(pairs, key=lambda pair: not before.is_of_others(open_clip.get_model_config(pair[0]))):
        if key_of(name, tag) not in known:
            with (
                patch.multiple(before, write=write, loaded=loaded, is_of_others=lambda config: False),
                patch.object(timm, "create_model", create),
            ):
                known[key_of(name, tag)] = before.outcome(name, tag, temporary / "model")
            store.write_text(json.dumps(known))
            print(name, tag, *known[key_of(name, tag)], file=sys.stderr, flush=True)
    print("| model | tag | images | texts | outcome |\n|---|---|---|---|---|")
    passed = 0
    for name, tag in pairs:
        images, texts, words = known[key_of(name, tag)]
        passed += words == "loads"
        print(f"| {name} | {tag} | {images} | {texts} | {words} |")
    print(f"\n{passed} of {len(pairs)} load with differences of at most {before.PASSES:g}.")


def key_of(name: str, tag: str) -> str:
    """What a row depends on."""
    published = open_clip.get_pretrained_cfg(name, tag)
    return json.dumps([name, published.get("mean"), published.get("interpolation"), published.get("resize_mode")])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
