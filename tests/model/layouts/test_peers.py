"""transformers and open_clip, where they are installed, load what we write, write what we load, and embed as we do."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts.vocabulary import tokenizer_files
from seesay.nets.clip import build_clip

# Their own warnings are not ours to mend.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("operators")]
TEXTS = ["a red dog", "", "blue " * 30]
LIMIT = 1e-5


@pytest.fixture
def open_clip():
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    return pytest.importorskip("open_clip")


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def inputs(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (3, 3, S, S) and ids padded with 0 to the context."""
    side, context = model.preprocess.size, model.tokenizer.context
    rows = model.tokenizer(TEXTS)
    return (
        torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)),
        torch.tensor([row + [0] * (context - len(row)) for row in rows]),
    )


def compare(model: Model, images: torch.Tensor, texts: torch.Tensor) -> None:
    pixels, _ = inputs(model)
    torch.testing.assert_close(F.normalize(images, dim=-1), model.clip.embed_images(pixels), rtol=0, atol=LIMIT)
    torch.testing.assert_close(F.normalize(texts, dim=-1), model.encode_texts(TEXTS), rtol=0, atol=LIMIT)


VITS = [
    {},
    {"activation": "gelu", "text_activation": "gelu"},
    {"activation": "gelu_tanh", "text_activation": "gelu_tanh"},
    {"mlp_width": 69, "text_mlp_width": 50},
]


@torch.inference_mode()
@pytest.mark.parametrize("change", VITS, ids=str)
def test_transformers_embeds_what_we_wrote_as_we_do(change: dict, make_vit, transformers, tmp_path: Path):
    model = make_vit(**change)
    model.save(tmp_path / "model", "hf")
    peer, told = transformers.CLIPModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    pixels, ids = inputs(model)
    rows = (peer.eval().get_image_features(pixel_values=pixels), peer.get_text_features(input_ids=ids))
    compare(model, *(getattr(row, "pooler_output", row) for row in rows))


@torch.inference_mode()
@pytest.mark.parametrize("change", [*VITS, None], ids=str)
def test_open_clip_embeds_what_we_wrote_as_we_do(
    change: dict | None, make_vit: Callable, resnet: Model, open_clip, tmp_path: Path
):
    model = resnet if change is None else make_vit(**change)
    model.save(tmp_path / "model", "open_clip")
    peer = open_clip.create_model(f"local-dir:{tmp_path / 'model'}", precision="fp32", device="cpu").eval()
    pixels, ids = inputs(model)
    compare(model, peer.encode_image(pixels), peer.encode_text(ids))


@torch.inference_mode()
def test_open_clip_scores_a_sigmoid_trained_model_as_we_do(vit: Model, open_clip, tmp_path: Path):
    architecture = vit.architecture.model_copy(update={"scoring": "sigmoid"})
    clip = build_clip(architecture, seed=0)
    clip.logit_bias.fill_(-7.25)
    Model(clip, architecture, vit.tokenizer, preprocess=vit.preprocess).save(tmp_path / "model", "open_clip")
    model = load(tmp_path / "model")
    peer = open_clip.create_model(f"local-dir:{tmp_path / 'model'}", precision="fp32", device="cpu").eval()
    pixels, ids = inputs(model)
    image_BD, text_BD, scale, bias = peer(pixels, ids)
    assert float(bias) == model.logit_bias == -7.25 and float(scale) == pytest.approx(model.logit_scale)
    torch.testing.assert_close(image_BD, model.clip.embed_images(pixels), rtol=0, atol=LIMIT)
    torch.testing.assert_close(text_BD, model.encode_texts(TEXTS), rtol=0, atol=LIMIT)


@torch.inference_mode()
@pytest.mark.slow
def test_open_clip_and_timm_read_the_siglip_that_we_wrote(
    make_siglip: Callable, open_clip, transformers, tmp_path: Path
):
    """As large as timm's smallest name has it."""
    tower = {"width": 768, "layers": 12, "heads": 12, "mlp_width": None, "activation": "gelu_tanh"}
    text = {f"text_{name}": value for name, value in tower.items()} | {"text_layers": 2}
    made = make_siglip(image_size=256, patch=32, **tower, **text)
    tokenizer = FileTokenizer(made.tokenizer.text, context=made.tokenizer.context, cleaner="canonicalize")
    Model(made.clip, made.architecture, tokenizer, preprocess=made.preprocess).save(tmp_path / "model", "open_clip")
    model = load(tmp_path / "model")
    peer = open_clip.create_model(f"local-dir:{tmp_path / 'model'}", precision="fp32", device="cpu").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")(TEXTS)
    pixels = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    image_BD, text_BD, scale, bias = peer(pixels, ids)
    assert float(bias) == model.logit_bias and float(scale) == pytest.approx(model.logit_scale)
    torch.testing.assert_close(image_BD, model.clip.embed_images(pixels), rtol=0, atol=LIMIT)
    torch.testing.assert_close(text_BD, model.encode_texts(TEXTS), rtol=0, atol=LIMIT)


def test_transformers_reads_our_vocabulary_as_the_same_ids(vit: Model, transformers, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    texts = ["a red dog", "A Blue  mat!", "two 22 cats", "", "Käse"]
    assert peer(texts, truncation=True)["input_ids"] == vit.tokenizer(texts)


def test_open_clip_takes_our_vocabulary_and_not_its_own(vit: Model, open_clip, transformers, tmp_path: Path):
    vit.save(tmp_path / "model", "open_clip")
    peer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")
    for text, ids in zip(TEXTS, vit.tokenizer(TEXTS), strict=True):
        found = peer([text])[0].tolist()
        assert found[: len(ids)] == ids
        assert torch.tensor(found).argmax() == len(ids) - 1


def test_transformers_prepares_images_with_our_numbers(vit: Model, transformers, tmp_path: Path):
    vit.save(tmp_path / "model", "hf")
    said = json.loads((tmp_path / "model" / "preprocessor_config.json").read_text())
    peer = transformers.CLIPImageProcessor.from_pretrained(tmp_path / "model").to_dict()
    for name in ("image_mean", "image_std", "resample", "do_center_crop", "size", "crop_size"):
        found = peer[name]
        assert type(said[name])(found) == said[name], name


@dataclass
class Vocabulary:
    """In the place of open_clip's tokenizer, which its writer only asks to save itself."""

    tokenizer: CaptionTokenizer

    def save_pretrained(self, folder: str) -> None:
        for name, data in tokenizer_files(self.tokenizer).items():
            (Path(folder) / name).write_bytes(data)


VISION = {"image_size": 64, "width": 32, "head_width": 8}
WRITTEN = {
    # As RN50.json of open_clip has it.
    "resnet": VISION | {"layers": [1, 1, 1, 1], "patch_size": None},
    "vit": VISION | {"layers": 2, "patch_size": 16},
    "clipa": VISION
    | {"layers": 2, "patch_size": 16, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
}


@torch.inference_mode()
@pytest.mark.parametrize("kind", WRITTEN)
def test_what_open_clips_own_writer_leaves_is_read(kind: str, vit: Model, open_clip, tmp_path: Path):
    from open_clip.push_to_hf_hub import save_for_hf

    text = {"context_length": 8, "vocab_size": vit.tokenizer.vocab_size, "width": 16, "heads": 2, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": WRITTEN[kind], "text_cfg": text}
    peer = open_clip.CLIP(**config).eval()
    prepared = {"size": 64, "mean": (0.5, 0.4, 0.3), "std": (0.3, 0.3, 0.3), "interpolation": "bicubic"}
    open_clip.model.set_model_preprocess_cfg(peer, prepared)
    save_for_hf(peer, Vocabulary(vit.tokenizer), config, str(tmp_path / "model"), safe_serialization=True)
    model = load(tmp_path / "model")
    pixels, ids = inputs(model)
    compare(model, peer.encode_image(pixels), peer.encode_text(ids))


@torch.inference_mode()
def test_what_transformers_own_writer_leaves_in_several_files_is_read(vit: Model, transformers, tmp_path: Path):
    vit.save(tmp_path / "ours", "hf")
    peer = transformers.CLIPModel.from_pretrained(tmp_path / "ours").eval()
    peer.save_pretrained(tmp_path / "theirs", max_shard_size="40KB")
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "theirs")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    model = load(tmp_path / "theirs")
    assert model.preprocess == vit.preprocess and model.tokenizer(TEXTS) == vit.tokenizer(TEXTS)
    pixels, ids = inputs(model)
    rows = (peer.get_image_features(pixel_values=pixels), peer.get_text_features(input_ids=ids))
    compare(model, *(getattr(row, "pooler_output", row) for row in rows))
