"""Models of the paper's two kinds, small enough to be made in every test, with every tensor moved from its start."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.layouts import open_clip_siglip
from seesay.model.layouts.hf_tokenizer import file_tokenizer_files
from seesay.model.layouts.mapping import to_theirs
from seesay.nets.architecture import (
    Architecture,
    ResNetConfig,
    SiglipImageConfig,
    SiglipTextConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import build_clip

WORDS = ["a photo of a red dog", "a photo of a blue dog", "two red cats on a blue mat"] * 3
TOKENIZER = CaptionTokenizer.train(WORDS, vocab_size=530, context=8)

# As open_clip 3.3.0 has it for ViT-B-16-SigLIP, but for the sizes of the text tower.
OPEN_CLIPS_SIGLIP = {
    "model_cfg": {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 48,
            "timm_model_name": "vit_base_patch16_siglip_224",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 8,
            "vocab_size": 60,
            "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 24,
            "heads": 3,
            "layers": 2,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-06},
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}


def make(image, *, preprocess: Preprocess | None = None, **text) -> Model:
    architecture = Architecture(
        embed_dim=24,
        image=image,
        text=TextTransformerConfig(
            context=8, vocab_size=TOKENIZER.vocab_size, **{"width": 16, "layers": 2, "heads": 2} | text
        ),
    )
    clip = build_clip(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in clip.state_dict().items():
        noise = torch.rand(tensor.shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor += 7
        elif name.endswith(("running_var", "norm_3.weight")):
            tensor.copy_(0.5 + noise)
        else:
            tensor += 0.2 * (noise - 0.5)
    return Model(
        clip,
        architecture,
        TOKENIZER,
        preprocess=preprocess or Preprocess(size=image.image_size, mean=(0.5, 0.4, 0.3)),
        name="model",
    )


def vit_with(**change) -> Model:
    """A ViT; what begins with `text_` is changed in the text tower."""
    text = {name.removeprefix("text_"): change.pop(name) for name in list(change) if name.startswith("text_")}
    preprocess = change.pop("preprocess", None)
    values = {"image_size": 16, "patch": 8, "width": 32, "layers": 3, "heads": 4} | change
    return make(VisionTransformerConfig(**values), preprocess=preprocess, **text)


@pytest.fixture
def make_vit() -> Callable[..., Model]:
    return vit_with


@pytest.fixture
def vit() -> Model:
    return vit_with()


@pytest.fixture(scope="session")
def saved_vit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of `vit` in a layout, saved once: to read, or to copy."""
    folder = tmp_path_factory.mktemp("saved")

    @functools.cache
    def save(layout: str) -> Path:
        vit_with().save(folder / layout, layout)  # type: ignore[arg-type]
        return folder / layout

    return save


@pytest.fixture
def saved(saved_vit: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of that layout, to do with as one likes."""
    return lambda layout: Path(shutil.copytree(saved_vit(layout), tmp_path / layout))


@pytest.fixture
def resnet() -> Model:
    return make(ResNetConfig(image_size=64, width=8, layers=(2, 1, 1, 2), heads=4))


def unigram() -> Tokenizer:
    """As T5's, which SigLIP's is: pieces with a mark in front, `</s>` at the end."""
    return Tokenizer.from_str(_unigram())


@functools.cache
def _unigram() -> str:
    whole = Tokenizer(models.Unigram())
    whole.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return whole.to_str()


def gemma() -> Tokenizer:
    """As Gemma's, which SigLIP 2's is: BPE over marked text, with bytes for what has no token."""
    return Tokenizer.from_str(_gemma())


@functools.cache
def _gemma() -> str:
    whole = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    whole.normalizer = normalizers.Replace(" ", "\u2581")
    whole.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=specials, show_progress=False)
    whole.train_from_iterator(WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return whole.to_str()


def siglip_with(**change) -> Model:
    """A SigLIP; what begins with `text_` is changed in the text tower. Patches leave two pixels over."""
    text = {name.removeprefix("text_"): change.pop(name) for name in list(change) if name.startswith("text_")}
    whole, pad = change.pop("tokenizer", (unigram(), 1))
    tokenizer = FileTokenizer(whole.to_str(), context=8)
    image = SiglipImageConfig(**{"width": 32, "layers": 2, "heads": 4, "image_size": 18, "patch": 8} | change)
    architecture = Architecture(
        embed_dim=image.width,
        scoring="sigmoid",
        image=image,
        text=SiglipTextConfig(
            **{"width": 24, "layers": 2, "heads": 3, "context": 8, "vocab_size": tokenizer.vocab_size, "pad": pad}
            | text
        ),
    )
    clip = build_clip(architecture, seed=0)
    generator = torch.Generator().manual_seed(1)
    for tensor in clip.state_dict().values():
        tensor += 0.2 * (torch.rand(tensor.shape, generator=generator) - 0.5)
    return Model(
        clip,
        architecture,
        tokenizer,
        preprocess=Preprocess(
            size=image.image_size, resize="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        name="model",
    )


@pytest.fixture
def make_siglip() -> Callable[..., Model]:
    return siglip_with


@pytest.fixture
def siglip() -> Model:
    return siglip_with()


@pytest.fixture
def vocabularies() -> dict[str, Tokenizer]:
    return {"unigram": unigram(), "gemma": gemma()}


@pytest.fixture
def small_siglip(monkeypatch) -> Model:
    """Towers as small as `OPEN_CLIPS_SIGLIP` says, once each size of timm's is small."""
    small = dict.fromkeys(open_clip_siglip.SIZES, (32, 2, 4, 128))
    monkeypatch.setattr(open_clip_siglip, "SIZES", small)
    return siglip_with(image_size=48, patch=16, activation="gelu", text_activation="gelu", text_vocab_size=60)


@pytest.fixture
def open_clip_siglip_folder(small_siglip: Model, tmp_path: Path) -> Path:
    tensors = to_theirs(open_clip_siglip.links(small_siglip.architecture), small_siglip.clip.state_dict())
    files = file_tokenizer_files(small_siglip.tokenizer, pad=small_siglip.architecture.text.pad)
    (tmp_path / "siglip").mkdir()
    for name, data in files.items():
        (tmp_path / "siglip" / name).write_bytes(data)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        tmp_path / "siglip" / open_clip_siglip.WEIGHTS_NAME,
    )
    (tmp_path / "siglip" / open_clip_siglip.CONFIG_NAME).write_text(json.dumps(OPEN_CLIPS_SIGLIP))
    return tmp_path / "siglip"
