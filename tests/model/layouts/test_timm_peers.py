"""open_clip's models with an image tower of timm, where both are installed; and the one line where timm is not."""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.build import build
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.explain import relevance
from seesay.model.hub import load
from seesay.model.layouts.vocabulary import tokenizer_files
from seesay.nets.architecture import Architecture, BagOfWordsConfig, TimmImageConfig
from seesay.nets.clip import build_clip, empty_clip

# Their own warnings are not ours to mend.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("operators")]
TEXTS = ["a red dog", "", "blue " * 30]
LIMIT = 1e-5
# As the configurations of open_clip 3.3.0 put towers together, with small ones of the same kinds.
TOWERS = {
    "convnext": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 96},
    "convnext-large": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "mlp", "image_size": 64},
    "mobileclip": {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64},
    "mobileclip-b": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160},
    "eva": {"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "timm_proj": None, "image_size": 224},
    "none": {"timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "none", "image_size": 160},
    "bias": {"timm_model_name": "test_resnet", "timm_proj": "linear", "timm_proj_bias": True, "image_size": 64},
    "left-out": {"timm_model_name": "test_efficientnet", "image_size": 64},
}


class Vocabulary:
    """In the place of open_clip's tokenizer, which its writer only asks to save itself."""

    def __init__(self, tokenizer: CaptionTokenizer):
        self.tokenizer = tokenizer

    def save_pretrained(self, folder: str) -> None:
        for name, data in tokenizer_files(self.tokenizer).items():
            (Path(folder) / name).write_bytes(data)


@pytest.fixture
def timm():
    pytest.importorskip("torchvision", reason="timm needs torchvision", exc_type=ImportError)
    return pytest.importorskip("timm")


@pytest.fixture
def written(timm, vit: Model, tmp_path: Path):
    """A folder by open_clip's own writer, and the model that is in it."""
    open_clip = pytest.importorskip("open_clip")
    from open_clip.push_to_hf_hub import save_for_hf

    def write(vision: dict, **text: object):
        config = {
            "embed_dim": 64 if vision.get("timm_proj") == "none" else 24,
            "vision_cfg": vision,
            "text_cfg": {"context_length": 8, "vocab_size": vit.tokenizer.vocab_size, "width": 16, "heads": 2}
            | {"layers": 2, **text},
        }
        torch.manual_seed(0)
        peer = open_clip.CustomTextCLIP(**config).eval()
        with torch.no_grad():
            for tensor in peer.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.02 * torch.rand(tensor.shape))
        prepared = {"size": vision["image_size"], "mean": (0.5, 0.4, 0.3), "std": (0.3, 0.3, 0.3)}
        open_clip.model.set_model_preprocess_cfg(peer, prepared | {"interpolation": "bilinear"})
        folder = tmp_path / "model"
        save_for_hf(peer, Vocabulary(vit.tokenizer), config | {"custom_text": True}, str(folder), True)
        return folder, peer

    return write


def inputs(model: Model, pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    side, context = model.preprocess.size, model.tokenizer.context
    rows = model.tokenizer(TEXTS)
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    return pixels, torch.tensor([row + [pad] * (context - len(row)) for row in rows])


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, F.normalize(theirs, dim=-1), rtol=0, atol=LIMIT)


@torch.inference_mode()
@pytest.mark.parametrize("kind", TOWERS)
def test_we_embed_what_open_clip_wrote_as_it_does_also_from_our_own_layout(kind: str, written, tmp_path: Path):
    folder, peer = written(TOWERS[kind])
    model = load(folder)
    assert model.preprocess.mean == (0.5, 0.4, 0.3) and model.preprocess.interpolation == "bilinear"
    pixels, ids = inputs(model)
    close(model.clip.embed_images(pixels), peer.encode_image(pixels))
    close(model.encode_texts(TEXTS), peer.encode_text(ids))
    # What a probe reads leads to the same rows.
    features = model.clip.features(pixels)
    torch.testing.assert_close(model.clip.embed_features(features), model.clip.embed_images(pixels), rtol=0, atol=LIMIT)
    convert(folder, tmp_path / "ours", to="seesay")
    again = load(tmp_path / "ours")
    assert again.architecture == model.architecture
    assert torch.equal(again.clip.embed_images(pixels), model.clip.embed_images(pixels))


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["convnext", "mobileclip-b", "none"])
def test_open_clip_embeds_what_we_write_of_it_as_we_do(kind: str, written, tmp_path: Path):
    import open_clip

    model = load(written(TOWERS[kind])[0])
    model.save(tmp_path / "again", "open_clip")
    peer = open_clip.create_model(f"local-dir:{tmp_path / 'again'}", precision="fp32", device="cpu").eval()
    pixels, ids = inputs(model)
    close(model.clip.embed_images(pixels), peer.encode_image(pixels))
    close(model.encode_texts(TEXTS), peer.encode_text(ids))


@torch.inference_mode()
@pytest.mark.parametrize("padding", ["0", "as the tokenizer says"])
def test_texts_whose_positions_all_see_one_another_are_filled_up_as_open_clip_does(padding: str, written):
    """MobileCLIP: open_clip's own tokenizer fills up with 0, transformers', where it is named, with the end token."""
    named = {"hf_tokenizer_name": "."} if padding != "0" else {}
    folder, peer = written(TOWERS["convnext"], no_causal_mask=True, **named)
    model = load(folder)
    end = model.tokenizer.vocab_size - 1
    assert model.architecture.text.pad == (end if named else 0)
    _, ids = inputs(model, pad=end if named else 0)
    close(model.encode_texts(TEXTS), peer.encode_text(ids))
    close(model.encode_texts(TEXTS[:1]), peer.encode_text(ids[:1]))


def test_weights_of_another_tower_are_refused_by_name(written):
    folder, _ = written(TOWERS["convnext"])
    description = folder / "open_clip_config.json"
    config = json.loads(description.read_text())

    def change(**vision: object) -> None:
        other = config["model_cfg"] | {"vision_cfg": config["model_cfg"]["vision_cfg"] | vision}
        description.write_text(json.dumps(config | {"model_cfg": other}))

    for vision, message in (
        ({"timm_model_name": "test_convnext2"}, r"does not fit its architecture: .*visual\.trunk\."),
        ({"timm_model_name": "test_convnex"}, "knows no tower 'test_convnex'. Nearest: test_convnext"),
        ({"timm_pool": "sum"}, "cannot build test_convnext with the pooling 'sum'"),
        ({"timm_proj": "none"}, "has 64 features with nothing behind it, and the model an embedding of 24"),
        ({"timm_model_name": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224 takes images of 224 px, and .* with 96"),
    ):
        change(**vision)
        with pytest.raises(RefusedInput, match=message):
            load(folder)


def test_the_tower_needs_no_network_and_no_memory_before_the_file_is_known_to_fit(timm):
    architecture = Architecture(
        embed_dim=1024,
        image=TimmImageConfig(image_size=224, name="eva02_tiny_patch14_224", head="classifier", pool="token"),
        text=BagOfWordsConfig(context=8, vocab_size=99, width=16),
    )
    clip, drawn = empty_clip(architecture), build_clip(architecture, seed=0)
    assert {tensor.device.type for tensor in clip.state_dict().values()} == {"meta"}
    clip.fill(drawn.state_dict())
    assert {buffer.device.type for buffer in clip.buffers()} == {"cpu"}
    pixels = torch.randn(2, 3, 224, 224)
    assert torch.equal(clip.eval().embed_images(pixels), drawn.eval().embed_images(pixels))


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "maxvit_tiny_tf_224", "vit_base_patch16_dinov3"])
@pytest.mark.slow
def test_tables_that_are_in_no_file_are_those_of_timm(name: str, timm):
    image = TimmImageConfig(image_size=256 if "dino" in name else 224, name=name, pool="")
    architecture = Architecture(embed_dim=64, image=image, text=BagOfWordsConfig(context=8, vocab_size=99, width=16))
    clip, drawn = empty_clip(architecture), build_clip(architecture, seed=0)
    clip.fill(drawn.state_dict())
    pixels = torch.randn(1, 3, image.image_size, image.image_size)
    assert torch.equal(clip.eval().embed_images(pixels), drawn.eval().embed_images(pixels))


def test_a_size_of_timms_is_built_and_saved(timm, tmp_path: Path):
    model = build("timm:test_convnext")
    assert model.preprocess.size == timm.get_pretrained_cfg("test_convnext").input_size[-1]
    model.save(tmp_path / "model")
    pixels = torch.randint(0, 255, (2, 3, model.preprocess.size, model.preprocess.size), dtype=torch.uint8)
    assert torch.equal(load(tmp_path / "model").encode_pixels(pixels), model.encode_pixels(pixels))
    with pytest.raises(UsageError, match=r"knows no tower 'test_convnex'\. Nearest: test_convnext"):
        build("timm:test_convnex")


def test_blocks_of_timm_are_run_again_for_the_same_gradients_or_refused(timm):
    architecture = build("timm:test_vit").architecture
    grads = []
    for wanted in (False, True):
        tower = build_clip(architecture, seed=0).image_tower.train()
        assert tower.recompute_blocks(wanted) is wanted and tower.trunk.grad_checkpointing is wanted
        tower(torch.linspace(-1, 1, 3 * 160 * 160).view(1, 3, 160, 160)).square().sum().backward()
        grads.append(torch.cat([parameter.grad.flatten() for parameter in tower.trunk.parameters()]))
    assert torch.equal(*grads)


def test_towers_of_timm_are_explained_by_maps_or_attention_or_refused(timm):
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    for name in ("test_convnext", "mobilenetv3_small_050", "test_vit", "beit_base_patch16_224"):
        model = build(f"timm:{name}")
        tower = model.clip.image_tower
        with torch.no_grad():
            for key, value in tower.named_parameters():
                if key.endswith("relative_position_bias_table"):
                    value.normal_()
        pixels_1 = model.preprocess.read(image)[None]
        row_1D, grid_1GG = relevance(model, pixels_1, model.encode_texts(["a cat"]))
        assert grid_1GG.isfinite().all() and 0 < float(grid_1GG.max()) <= 1
        # What is explained is the model itself, its masks and biases of attention included.
        assert torch.allclose(row_1D, model.encode_pixels(pixels_1), atol=1e-5)
    with pytest.raises(UsageError, match="neither maps nor attention over the whole image"):
        build("timm:swin_tiny_patch4_window7_224").explain(image, "a cat")


@pytest.mark.parametrize("fault", ["missing", "broken"])
def test_without_timm_the_line_says_what_to_install(fault: str, monkeypatch):
    monkeypatch.delitem(sys.modules, "seesay.nets.timm_tower", raising=False)
    image = TimmImageConfig(image_size=224, name="convnext_base")
    architecture = Architecture(embed_dim=64, image=image, text=BagOfWordsConfig(context=8, vocab_size=99, width=16))
    if fault == "missing":
        monkeypatch.setitem(sys.modules, "timm", None)
        message = r"that of the package timm, which is not installed; .* pip install 'seesay\[timm\]'"
        with pytest.raises(UsageError, match=message):
            empty_clip(architecture)
        with pytest.raises(UsageError, match=message):
            build("timm:convnext_base")
    else:
        # As torchvision of another torch's build fails.
        broken = RuntimeError("operator torchvision::nms does not exist")
        with (
            patch("builtins.__import__", side_effect=broken),
            pytest.raises(UsageError, match=r"timm cannot be imported here \(operator torchvision::nms"),
        ):
            empty_clip(architecture)
