"""Small models in open_clip's layout with the towers of CLIPA and of MetaCLIP's worldwide models."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from seesay.model.layouts.mapping import to_theirs
from seesay.model.layouts.open_clip_tensors import links
from seesay.nets.architecture import Architecture, SiglipTextConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import Clip, build_clip

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
WORDS = ["a red dog", "a blue dog", "two red cats on a blue mat"] * 3
# As open_clip 3.3.0 has them for ViT-L-14-CLIPA and ViT-H-14-worldwide, but for the sizes.
VISION = {"image_size": 16, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
CLIPA = {
    "embed_dim": 24,
    "vision_cfg": VISION | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "text_cfg": {
        "context_length": 8,
        "vocab_size": 80,
        "hf_tokenizer_name": "bert-base-uncased",
        "tokenizer_kwargs": {"strip_sep_token": True},
        "width": 16,
        "heads": 2,
        "layers": 2,
        "pool_type": "last",
        "no_causal_mask": True,
    },
}
WORLDWIDE = {
    "embed_dim": 24,
    "vision_cfg": VISION,
    "text_cfg": {
        "hf_tokenizer_name": "facebook/xlm-v-base",
        "pool_type": "eos",
        "eos_id": 2,
        "context_length": 8,
        "vocab_size": 80,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.3, 0.3], "interpolation": "bicubic", "resize_mode": "shortest"}


def bert() -> tuple[Tokenizer, dict]:
    words = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    whole = Tokenizer(models.WordPiece(unk_token=words["unk_token"]))
    whole.normalizer = normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    whole.train_from_iterator(
        WORDS, trainers.WordPieceTrainer(vocab_size=60, special_tokens=list(words.values()), show_progress=False)
    )
    whole.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return whole, {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **words}


def xlm() -> tuple[Tokenizer, dict]:
    words = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    whole = Tokenizer(models.Unigram())
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=list(words.values()), unk_token=words["unk_token"], show_progress=False
    )
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return whole, {"tokenizer_class": "XLMRobertaTokenizer", **words}


def written(folder: Path, config: dict, tokenizer: tuple[Tokenizer, dict], architecture: Architecture) -> Clip:
    """A folder with those files and the weights of towers of that architecture, which are returned."""
    clip = build_clip(architecture, seed=0)
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.2 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(1)) - 0.1)
        if isinstance(architecture.text, SiglipTextConfig):
            clip.text_tower.head.bias.zero_()
    tensors = to_theirs(links(architecture), clip.state_dict())
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    (folder / "tokenizer.json").write_text(tokenizer[0].to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer[1]))
    return clip.eval()


def clipa(folder: Path) -> Clip:
    """The towers of a small CLIPA, which are in the folder then."""
    image = VisionTransformerConfig(
        image_size=16, patch=8, width=32, layers=2, heads=4, activation="gelu", pool="patches", pre_norm=False
    )
    text = SiglipTextConfig(context=8, vocab_size=80, width=16, layers=2, heads=2, activation="gelu", pad=0, eps=1e-5)
    return written(folder, CLIPA, bert(), Architecture(embed_dim=24, image=image, text=text))


def worldwide(folder: Path) -> Clip:
    """The towers of a small worldwide model, which are in the folder then."""
    image = VisionTransformerConfig(image_size=16, patch=8, width=32, layers=2, heads=4, activation="gelu")
    text = TextTransformerConfig(context=8, vocab_size=80, width=16, layers=2, heads=2, activation="gelu")
    return written(folder, WORLDWIDE, xlm(), Architecture(embed_dim=24, image=image, text=text))
