"""CLIPA and MetaCLIP's worldwide models in open_clip's layout: other pooling, and text towers of other vocabularies."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.images import Preprocess
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts.mapping import to_theirs
from seesay.model.layouts.open_clip_tensors import links
from seesay.nets.architecture import Architecture, SiglipTextConfig, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip

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


def written(folder: Path, config: dict, tokenizer: tuple[Tokenizer, dict], architecture: Architecture) -> Model:
    """A folder with those files and the weights of a model of that architecture, which is returned."""
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


@pytest.fixture
def clipa(tmp_path: Path):
    """The folder and the towers of a small CLIPA."""
    image = VisionTransformerConfig(
        image_size=16, patch=8, width=32, layers=2, heads=4, activation="gelu", pool="patches", pre_norm=False
    )
    text = SiglipTextConfig(context=8, vocab_size=80, width=16, layers=2, heads=2, activation="gelu", pad=0, eps=1e-5)
    architecture = Architecture(embed_dim=24, image=image, text=text)
    return tmp_path / "clipa", written(tmp_path / "clipa", CLIPA, bert(), architecture)


@pytest.fixture
def worldwide(tmp_path: Path):
    """The folder and the towers of a small worldwide model."""
    image = VisionTransformerConfig(image_size=16, patch=8, width=32, layers=2, heads=4, activation="gelu")
    text = TextTransformerConfig(context=8, vocab_size=80, width=16, layers=2, heads=2, activation="gelu")
    architecture = Architecture(embed_dim=24, image=image, text=text)
    return tmp_path / "world", written(tmp_path / "world", WORLDWIDE, xlm(), architecture)


@pytest.mark.parametrize("kind", ["clipa", "worldwide"])
def test_it_is_the_model_that_was_written_also_from_our_own_layout(kind: str, request, tmp_path: Path):
    folder, clip = request.getfixturevalue(kind)
    found = load(folder)
    assert all(torch.equal(tensor, found.clip.state_dict()[name]) for name, tensor in clip.state_dict().items())
    found.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert (again.architecture, again.tokenizer.to_json()) == (found.architecture, found.tokenizer.to_json())
    texts = ["a red dog", "a [SEP] blue </s> mat", ""]
    assert torch.equal(again.encode_texts(texts), found.encode_texts(texts))


def test_the_patches_of_a_clipa_are_averaged_before_the_norm(clipa):
    tower = load(clipa[0]).clip.image_tower.double()
    pixels = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    patches = tower.patches(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_token.expand(2, 1, -1), patches], dim=1) + tower.positions
    for block in tower.blocks:
        heads = [part.unflatten(-1, (4, 8)).transpose(1, 2) for part in block.attention.qkv(block.ln_1(x)).chunk(3, -1)]
        weights = (heads[0] @ heads[1].transpose(-1, -2) / 8**0.5).softmax(-1)
        x = x + block.attention.out((weights @ heads[2]).transpose(1, 2).flatten(2))
        x = x + block.proj(torch.nn.functional.gelu(block.fc(block.ln_2(x))))
    right = tower.ln_post(x[:, 1:].mean(1)) @ tower.projection
    torch.testing.assert_close(tower(pixels), right, rtol=0, atol=1e-12)


def test_captions_of_a_clipa_have_id_0_for_their_separator_and_behind_their_end(clipa):
    found = load(clipa[0])
    (row,) = found.tokenizer(["a red [SEP] dog"])
    assert row[0] == 2 and row.count(0) == 2 and row[-1] == 0 and 3 not in row
    assert (found.architecture.text.pad, found.architecture.text.eps) == (0, 1e-5)
    assert found.tokenizer(["A  Red dog"]) == found.tokenizer(["a red dog"])


def test_a_caption_of_a_worldwide_model_ends_at_its_first_end_token(worldwide):
    found = load(worldwide[0])
    one, other = found.tokenizer(["a red </s> dog", "a red"])
    assert one == other and one[-1] == 2 and one[0] == 0
    assert torch.equal(*found.encode_texts(["a red </s> dog", "a red"]))


@pytest.mark.parametrize(
    ("kind", "section", "values", "message"),
    [
        ("clipa", "vision_cfg", {"final_ln_after_pool": False}, "pool_type 'avg' without final_ln_after_pool"),
        ("clipa", "vision_cfg", {"pool_type": "none"}, "vision_cfg.pool_type"),
        ("clipa", "vision_cfg", {"no_ln_pre": False}, r"missing visual\.ln_pre"),
        ("clipa", "text_cfg", {"no_causal_mask": False}, "pool_type 'last' and no_causal_mask False"),
        ("clipa", "text_cfg", {"pool_type": "first"}, "text_cfg.pool_type"),
        ("worldwide", "text_cfg", {"no_causal_mask": True}, "pool_type 'eos' and no_causal_mask True"),
        ("worldwide", "text_cfg", {"vocab_size": 50}, r"token_embedding\.weight is \(80, 16\), expected \(50, 16\)"),
        ("worldwide", "text_cfg", {"tokenizer_kwargs": {"strip_sep_token": True}}, "no sep_token"),
    ],
)
def test_what_is_put_together_otherwise_is_refused(kind: str, section: str, values: dict, message: str, request):
    folder, _ = request.getfixturevalue(kind)
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"][section].update(values)
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(RefusedInput, match=message):
        load(folder)


def test_a_class_token_behind_the_norm_or_before_it_is_the_same(worldwide):
    folder, clip = worldwide
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["vision_cfg"]["final_ln_after_pool"] = True
    (folder / CONFIG).write_text(json.dumps(config))
    assert torch.equal(load(folder).clip.image_tower.ln_post.weight, clip.image_tower.ln_post.weight)


def test_a_vit_that_pools_otherwise_goes_to_open_clip_and_back_and_not_to_transformers(vit: Model, tmp_path: Path):
    image = vit.architecture.image.model_copy(update={"pool": "patches", "pre_norm": False})
    architecture = vit.architecture.model_copy(update={"image": image})
    model = Model(build_clip(architecture, seed=0), architecture, vit.tokenizer, preprocess=Preprocess(size=16))
    model.save(tmp_path / "model", "open_clip")
    found = load(tmp_path / "model")
    assert found.architecture.image == image
    with pytest.raises(UsageError, match="pools the class token of a ViT with a LayerNorm before"):
        model.save(tmp_path / "hf", "hf")


def test_a_usual_vit_is_written_without_the_new_words(vit: Model):
    assert not {"pool", "pre_norm"} & set(vit.architecture.model_dump()["image"])
