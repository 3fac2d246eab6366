"""SigLIP 2 for images of any shape, as transformers keeps it, and beside it where it is installed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers_folders import NAFLEX_TEXT, NAFLEX_VISION, naflex

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.images import FastPreprocess, Preprocess
from seesay.model.hub import load
from seesay.nets.naflex import shares
from seesay.training.settings import StartSettings
from seesay.training.start import open_start

SIDES = [(30, 60), (60, 30), (40, 40), (1, 300), (300, 1), (2, 2), (33, 61)]
IMAGES = [np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8) for sides in SIDES]
TEXTS = ["a red dog", "", "blue " * 30]


@pytest.fixture
def folder(siglip, tmp_path: Path) -> Path:
    naflex(tmp_path / "model", siglip)
    return tmp_path / "model"


def test_images_of_any_shape_are_embedded_alone_as_they_are_together(folder: Path, tmp_path: Path):
    model = load(folder)
    rows = model.encode_images(IMAGES)
    for image, row in zip(IMAGES, rows, strict=True):
        torch.testing.assert_close(model.encode_images([image])[0], row, rtol=0, atol=1e-6)
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    model.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert again.preprocess == model.preprocess and torch.equal(again.encode_images(IMAGES), rows)


@pytest.mark.parametrize(
    ("name", "where", "value", "told"),
    [
        ("config.json", "vision_config", NAFLEX_VISION | {"num_patches": 24}, "24 positions .* no square"),
        ("config.json", "vision_config", NAFLEX_VISION | {"patch_size": 9}, "prepares images of"),
        ("config.json", "vision_config", NAFLEX_VISION | {"vision_use_head": False}, "vision_use_head"),
        ("config.json", "vision_config", NAFLEX_VISION | {"num_patches": -4}, "no square"),
        ("preprocessor_config.json", "max_num_patches", 0, "at most 0 patches of 8 px"),
        ("preprocessor_config.json", "max_num_patches", 10**9, "at most 1000000000 patches"),
        ("preprocessor_config.json", "patch_size", 3, "patches of 3 px"),
        ("preprocessor_config.json", "image_processor_type", "CLIPImageProcessor", "names the class"),
        ("preprocessor_config.json", "do_resize", False, "do_resize is off"),
    ],
)
def test_a_file_that_says_something_else_is_refused_in_a_line(name, where, value, told, folder: Path):
    said = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(said | {where: value}))
    with pytest.raises(RefusedInput, match=told) as refused:
        load(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


def test_what_needs_squares_says_so(folder: Path, tmp_path: Path):
    model = load(folder)
    with pytest.raises(UsageError, match="training crops squares"):
        open_start(StartSettings(), model)
    with pytest.raises(UsageError, match="in its own shape"):
        model.explain(IMAGES[0], "a red dog")
    for layout in ("hf", "open_clip"):
        with pytest.raises(UsageError, match="in the layout seesay"):
            model.save(tmp_path / layout, layout)
    with pytest.raises(UsageError, match="not patches of an image"):
        model.clip.embed_images(torch.zeros(1, 3, model.preprocess.size, model.preprocess.size))


def test_the_fast_way_is_within_two_levels_of_the_exact_one(folder: Path):
    exact = load(folder).preprocess
    fast = FastPreprocess(**exact.model_dump())
    for image in IMAGES:
        assert (fast.pixels(image).int() - exact.pixels(image).int()).abs().max() <= 2
    assert exact.seen(30, 60) == (0.0, 0.0, 30.0, 60.0)
    with pytest.raises(ValueError, match="another square"):
        Preprocess(size=16, resize="patches", patch=8, patches=20)


@pytest.mark.parametrize(("new", "old"), [(5, 5), (3, 7), (9, 4), (2, 8)])
def test_a_table_is_resized_as_torch_resizes_it(new: int, old: int):
    table = torch.randn(1, 1, old, old)
    expected = F.interpolate(table, (new, new), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    torch.testing.assert_close(shares(new, old) @ table[0, 0] @ shares(new, old).T, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("operators")
def test_we_embed_what_transformers_wrote_as_it_does(siglip, tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    peer = transformers.Siglip2Model(
        transformers.Siglip2Config(text_config=NAFLEX_TEXT, vision_config=NAFLEX_VISION)
    ).eval()
    for tensor in peer.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.randn(tensor.shape)
    peer.save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=siglip.tokenizer._tokenizer, pad_token="</s>", model_max_length=8
    ).save_pretrained(tmp_path)
    kind = transformers.models.siglip2.image_processing_pil_siglip2.Siglip2ImageProcessorPil
    processor = kind(patch_size=8, max_num_patches=20)
    processor.save_pretrained(tmp_path)
    model = load(tmp_path)
    inputs = processor(images=[Image.fromarray(image) for image in IMAGES], return_tensors="pt")
    rows, pad = model.tokenizer(TEXTS), model.architecture.text.pad
    with torch.no_grad():
        image = peer.get_image_features(**inputs).pooler_output
        text = peer.get_text_features(
            input_ids=torch.tensor([row + [pad] * (8 - len(row)) for row in rows])
        ).pooler_output
    torch.testing.assert_close(F.normalize(image, dim=-1), model.encode_images(IMAGES), rtol=0, atol=1e-5)
    torch.testing.assert_close(F.normalize(text, dim=-1), model.encode_texts(TEXTS), rtol=0, atol=1e-5)
