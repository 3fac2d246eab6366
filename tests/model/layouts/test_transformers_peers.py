"""open_clip's models with a text tower of transformers, where both are installed; and the one line where it is not."""

import json
import sys
from pathlib import Path

import open_clip_folders
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.convert import convert
from seesay.model.hub import load
from seesay.model.layouts import open_clip_siglip, open_clip_towers
from seesay.nets.architecture import Architecture, TransformersTextConfig, VisionTransformerConfig
from seesay.nets.clip import empty_clip

# Their own warnings are not ours to mend.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("operators")]
TEXTS = ["a red dog", "", "blue " * 30, "two red cats <pad> on a </s> mat"]
LIMIT = 1e-5
VISION = {"image_size": 16, "layers": 1, "width": 32, "head_width": 8, "patch_size": 8}
SIGLIP = {"image_size": 32, "timm_model_name": "vit_base_patch16_siglip_384", "timm_pool": "map", "timm_proj": "none"}
IDS, POSITIONS = 80, 40
# The names and options of open_clip's configurations, the sizes small.
TOWERS = {
    "roberta": ("roberta-base", {"hf_pooler_type": "mean_pooler"}),
    "xlm-roberta": ("xlm-roberta-base", {}),
    "xlm-roberta-layer": ("xlm-roberta-base", {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}),
    "mt5": ("google/mt5-base", {"hf_pooler_type": "mean_pooler"}),
    "nllb": ("facebook/nllb-200-distilled-600M", {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}),
    "no-head": ("xlm-roberta-base", {"hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": None}),
}


@pytest.fixture
def transformers():
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=ImportError)
    return pytest.importorskip("transformers")


@pytest.fixture
def small(monkeypatch) -> None:
    """Published towers that are small, and timm's of SigLIP too."""
    for name, (family, *_) in open_clip_towers.TEXT_TOWERS.items():
        monkeypatch.setitem(open_clip_towers.TEXT_TOWERS, name, (family, 32, 2, 4, 48, IDS, POSITIONS))
    monkeypatch.setattr(open_clip_siglip, "SIZES", dict.fromkeys(open_clip_siglip.SIZES, (32, 1, 4, 128)))


def settings(transformers, name: str):
    """transformers' configuration of that name, as published but for its sizes."""
    if "mt5" in name:
        return transformers.MT5Config(
            d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2, num_heads=4, vocab_size=IDS
        )
    if "nllb" in name:
        sizes = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_layers": 2}
        sizes |= {"decoder_attention_heads": 4, "decoder_ffn_dim": 48, "max_position_embeddings": POSITIONS}
        return transformers.M2M100Config(d_model=32, vocab_size=IDS, scale_embedding=True, **sizes)
    kind = transformers.XLMRobertaConfig if "xlm" in name else transformers.RobertaConfig
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    sizes |= {"max_position_embeddings": POSITIONS, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return kind(vocab_size=IDS, **sizes)


def t5() -> tuple[Tokenizer, dict]:
    words = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    whole = Tokenizer(models.Unigram())
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=list(words.values()), unk_token=words["unk_token"], show_progress=False
    )
    whole.train_from_iterator(open_clip_folders.WORDS, trainer)
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return whole, {"tokenizer_class": "T5Tokenizer", **words}


@pytest.fixture
def written(small, transformers, tmp_path: Path, monkeypatch):
    """A folder by open_clip's own writer, the model in it and its tokenizer."""
    open_clip = pytest.importorskip("open_clip")
    from open_clip import hf_model
    from open_clip.push_to_hf_hub import save_for_hf

    def write(kind: str, vision: dict = VISION, **model: object):
        name, options = TOWERS[kind]
        text = {"hf_model_name": name, "hf_tokenizer_name": name, "context_length": 12, **options}
        width = 32 if kind == "no-head" or vision is SIGLIP else 24
        config = {"embed_dim": width, "vision_cfg": vision, "text_cfg": text, **model}
        torch.manual_seed(0)
        with monkeypatch.context() as patched:
            patched.setattr(hf_model.AutoConfig, "from_pretrained", lambda name: settings(transformers, name))
            if vision is SIGLIP:
                import timm

                create = timm.create_model
                sizes = {"embed_dim": 32, "depth": 1, "num_heads": 4, "mlp_ratio": 4, "img_size": 32}
                patched.setattr(timm, "create_model", lambda name, **named: create(name, **named, **sizes))
            built = config | {"text_cfg": text | {"hf_model_pretrained": False}}
            peer = open_clip.CustomTextCLIP(**built).eval()
        with torch.no_grad():
            for tensor in peer.state_dict().values():
                tensor.add_(0.1 * torch.rand(tensor.shape))
        prepared = {"size": vision["image_size"], "mean": (0.5, 0.4, 0.3), "std": (0.3, 0.3, 0.3)}
        open_clip.model.set_model_preprocess_cfg(peer, prepared | {"interpolation": "bicubic"})
        own = tmp_path / "tokenizer"
        whole, words = t5() if "mt5" in kind else open_clip_folders.xlm()
        specials = {key: word for key, word in words.items() if key != "tokenizer_class"}
        transformers.PreTrainedTokenizerFast(tokenizer_object=whole, **specials).save_pretrained(own)
        tokenizer = open_clip.tokenizer.HFTokenizer(str(own), context_length=12)
        folder = tmp_path / "model"
        save_for_hf(peer, tokenizer, config, str(folder), True)
        return folder, peer, tokenizer

    return write


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, F.normalize(theirs, dim=-1), rtol=0, atol=LIMIT)


@torch.inference_mode()
@pytest.mark.parametrize("kind", TOWERS)
def test_we_embed_what_open_clip_wrote_as_it_does_also_from_our_own_layout(kind: str, written, tmp_path: Path):
    folder, peer, tokenizer = written(kind)
    model = load(folder)
    rows = peer.encode_text(tokenizer(TEXTS))
    close(model.encode_texts(TEXTS), rows)
    # However many captions, and however long, are worked on together.
    close(model.encode_texts(TEXTS[:1]), rows[:1])
    pixels = torch.randn(2, 3, 16, 16)
    close(model.clip.embed_images(pixels), peer.encode_image(pixels))
    convert(folder, tmp_path / "ours", to="seesay")
    again = load(tmp_path / "ours")
    assert again.architecture == model.architecture
    assert torch.equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))
    with pytest.raises(UsageError, match="text towers of transformers are not written in open_clip's layout"):
        model.save(tmp_path / "other", "open_clip")


@pytest.mark.parametrize("kind", ["roberta", "mt5", "nllb"])
def test_its_words_are_explained_as_those_of_our_own_towers(kind: str, written):
    folder, *_ = written(kind)
    image = torch.randint(0, 255, (3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = load(folder).explain(image, "two red cats").words
    assert [word.text for word in words] == ["two", "red", "cats"]
    assert max(abs(word.weight) for word in words) == pytest.approx(1)


@torch.inference_mode()
def test_siglips_image_tower_stands_beside_it(written):
    """As nllb-clip-base-siglip has it, whose pairs are scored by a sigmoid."""
    pytest.importorskip("timm")
    folder, peer, tokenizer = written("nllb", SIGLIP, init_logit_bias=-10)
    model = load(folder)
    close(model.encode_texts(TEXTS), peer.encode_text(tokenizer(TEXTS)))
    pixels = torch.randn(2, 3, 32, 32)
    close(model.clip.embed_images(pixels), peer.encode_image(pixels))
    assert model.logit_bias == pytest.approx(float(peer.logit_bias))
    assert model.logit_scale == pytest.approx(float(peer.logit_scale.exp()))


def test_what_older_versions_left_beside_the_weights_is_no_weight(written):
    from safetensors.torch import load_file, save_file

    folder, _, _ = written("xlm-roberta")
    weights = folder / "open_clip_model.safetensors"
    tensors = load_file(weights)
    expected = load(folder).encode_texts(TEXTS)
    save_file({**tensors, "text.transformer.embeddings.position_ids": torch.arange(POSITIONS)[None]}, weights)
    assert torch.equal(load(folder).encode_texts(TEXTS), expected)
    save_file({**tensors, "text.transformer.pooler.dense.bias": torch.zeros(32)}, weights)
    with pytest.raises(RefusedInput, match=r"unexpected text\.transformer\.pooler\.dense\.bias"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hf_model_name": "bert-base-uncased"},
            "transformers' 'bert-base-uncased', whose sizes are not in the folder",
        ),
        ({"hf_pooler_type": "max_pooler"}, "hf_pooler_type is 'max_pooler'"),
        ({"hf_model_name": "google/mt5-base"}, "fills captions up with id 1, and a text tower that takes 0"),
        ({"context_length": 70}, "positions 40 are too few for a context of 70"),
        ({"width": 32}, "text_cfg.width is 32"),
    ],
)
def test_another_text_tower_is_refused_in_one_line_also_without_transformers(
    change: dict, message: str, small, tmp_path: Path
):
    open_clip_folders.worldwide(tmp_path / "model")
    path = tmp_path / "model" / open_clip_folders.CONFIG
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] = {"hf_model_name": "xlm-roberta-base", "context_length": 12} | change
    path.write_text(json.dumps(config))
    with pytest.raises(RefusedInput, match=message):
        load(tmp_path / "model")


def test_without_transformers_the_line_says_what_to_install(small, tmp_path: Path, monkeypatch):
    monkeypatch.delitem(sys.modules, "seesay.nets.transformers_text", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    open_clip_folders.worldwide(tmp_path / "model")
    path = tmp_path / "model" / open_clip_folders.CONFIG
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"] = {"hf_model_name": "xlm-roberta-base", "context_length": 12}
    path.write_text(json.dumps(config))
    message = r"that of the package transformers, which is not installed; .* pip install 'seesay\[transformers\]'"
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "model")


def test_the_published_sizes_are_built_without_memory(transformers):
    for family, width, layers, heads, mlp_width, vocab_size, positions in open_clip_towers.TEXT_TOWERS.values():
        text = TransformersTextConfig(
            family=family,
            context=77,
            vocab_size=vocab_size,
            pad=0 if family == "mt5" else 1,
            width=width,
            layers=layers,
            heads=heads,
            mlp_width=mlp_width,
            positions=positions,
        )
        image = VisionTransformerConfig(image_size=16, patch=8, width=16, layers=1, heads=2)
        tensors = empty_clip(Architecture(embed_dim=64, image=image, text=text)).state_dict()
        assert {tensor.device.type for tensor in tensors.values()} == {"meta"}
        assert [vocab_size, width] in [list(tensor.shape) for tensor in tensors.values()]
