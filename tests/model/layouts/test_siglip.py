"""SigLIP in Hugging Face's layout and in ours: what is written comes back, what cannot be read exactly is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seesay.base.errors import RefusedInput, UsageError
from seesay.data.file_tokenizer import FileTokenizer
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.hub import load
from seesay.model.layouts import hf_siglip

TEXTS = ["a red dog", "", "blue " * 30, "A Red,  dog!"]


def same(one: Model, other: Model) -> None:
    ours, theirs = one.clip.state_dict(), other.clip.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert (one.architecture, one.preprocess) == (other.architecture, other.preprocess)
    assert one.tokenizer.to_json() == other.tokenizer.to_json()


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def place(config: dict, where: str, value: object) -> None:
    *sections, key = where.split(".")
    for section in sections:
        config = config[section]
    config[key] = value


@pytest.fixture
def folder(siglip: Model, tmp_path: Path) -> Path:
    siglip.save(tmp_path / "model", "hf")
    return tmp_path / "model"


@pytest.mark.parametrize("layout", ["hf", "seesay"])
@pytest.mark.parametrize("kind", ["plain", "narrow", "gemma"])
def test_a_siglip_comes_back_from_its_layouts_to_the_last_bit(layout, kind, make_siglip, vocabularies, tmp_path: Path):
    model = {
        "plain": make_siglip,
        "narrow": lambda: make_siglip(mlp_width=50, text_mlp_width=31, activation="gelu", text_vocab_size=70),
        "gemma": lambda: make_siglip(tokenizer=(vocabularies["gemma"], 0)),
    }[kind]()
    proof = convert(model, tmp_path / "model", to=layout)
    assert (proof.images, proof.texts) == (0, 0)
    same(model, load(tmp_path / "model"))


def test_every_tensor_has_one_link_and_numbers_are_lists_of_one(siglip: Model, folder: Path):
    links = list(hf_siglip.links(siglip.architecture))
    assert sorted(link.ours for link in links) == sorted(siglip.clip.state_dict())
    found = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()}
    expected = {
        "logit_scale": (1,),
        "logit_bias": (1,),
        "vision_model.embeddings.patch_embedding.bias": (32,),
        "vision_model.embeddings.position_embedding.weight": (4, 32),
        "vision_model.head.probe": (1, 1, 32),
        "vision_model.head.attention.in_proj_weight": (96, 32),
        "vision_model.head.attention.out_proj.bias": (32,),
        "vision_model.head.layernorm.weight": (32,),
        "vision_model.head.mlp.fc1.weight": (128, 32),
        "vision_model.encoder.layers.1.self_attn.k_proj.weight": (32, 32),
        "text_model.embeddings.position_embedding.weight": (8, 24),
        "text_model.head.weight": (32, 24),
        "text_model.head.bias": (32,),
    }
    assert {name: found.get(name) for name in expected} == expected
    # Scale, bias; patches, positions, norm, head with probe; words, positions, norm, head; and 16 a block.
    assert len(found) == 2 + (2 + 1 + 2 + 11) + (1 + 1 + 2 + 2) + 16 * 4


def test_what_a_config_leaves_out_is_what_its_program_takes(folder: Path):
    for key in ("hidden_act", "layer_norm_eps"):
        rewrite(folder / "config.json", lambda c, key=key: c["vision_config"].pop(key))
    rewrite(folder / "config.json", lambda c: c["text_config"].update(projection_size=32, extra=1))
    assert load(folder).architecture.image.activation == "gelu_tanh"


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        ("vision_config.hidden_act", "relu", "hidden_act"),
        ("vision_config.layer_norm_eps", 1e-5, "layer_norm_eps"),
        ("vision_config.vision_use_head", False, "vision_use_head"),
        ("vision_config.num_channels", 1, "num_channels"),
        ("vision_config.image_size", [18, 18], "image_size"),
        ("vision_config.patch_size", 19, "patch_size|patch 19 is larger"),
        ("text_config.num_attention_heads", 5, "heads 5 does not divide width 24"),
        ("text_config.max_position_embeddings", 10**9, "context"),
        ("text_config.projection_size", 24, "siglip-image tower gives its own width, 32"),
        ("text_config.projection_size", None, "siglip-image tower gives its own width, 32"),
        ("text_config.vocab_size", 20, "they are of two models"),
        ("text_config.vocab_size", 99, "does not fit its architecture"),
        ("text_config", [], "text_config"),
    ],
)
def test_a_config_that_says_something_else_is_refused(where, value, told, folder: Path):
    rewrite(folder / "config.json", lambda config: place(config, where, value))
    with pytest.raises(RefusedInput, match=told) as refused:
        load(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


def test_tensors_that_do_not_fit_are_named_as_the_file_names_them(folder: Path):
    name, path = "vision_model.head.probe", folder / "model.safetensors"
    whole = load_file(path)
    for change, told in (
        (lambda t: {key: tensor for key, tensor in t.items() if key != name}, f"missing {name} (1, 1, 32)"),
        (lambda t: t | {"visual_projection.weight": torch.ones(2)}, "unexpected visual_projection.weight (2,)"),
        (lambda t: t | {name: torch.ones(1, 1, 31)}, f"{name} is (1, 1, 31), expected (1, 1, 32)"),
        (lambda t: {key: tensor for key, tensor in t.items() if key != "logit_bias"}, "missing logit_bias"),
    ):
        save_file(change(whole), path)
        with pytest.raises(RefusedInput) as refused:
            load(folder)
        assert told in str(refused.value)


# The rules of tokenizer classes


def ids(folder: Path, texts: list[str] = TEXTS) -> list[list[int]]:
    return load(folder).tokenizer(texts)


def test_siglips_own_class_lowers_strips_punctuation_and_ends_with_its_end_token(folder: Path, siglip: Model):
    plain, config = siglip.tokenizer(["a red dog"])[0], folder / "tokenizer_config.json"
    assert siglip.tokenizer(["A Red,  dog!"])[0] != plain
    rewrite(config, lambda c: c.update(tokenizer_class="SiglipTokenizer"))
    rewrite(folder / "tokenizer.json", lambda c: c.update(post_processor=None))
    assert ids(folder, ["A Red,\t dog! ", "[a] red_ d-o^g \\"]) == [plain, plain]
    # Its rules are in the tokenizer then, and written with it.
    load(folder).save(folder.parent / "again", "hf")
    assert "SiglipTokenizer" not in (folder.parent / "again" / "tokenizer_config.json").read_text()
    same(load(folder), load(folder.parent / "again"))
    rewrite(config, lambda c: c.update(do_lower_case=False))
    assert ids(folder, ["a, red dog!"])[0] == plain != ids(folder, ["A red dog"])[0]


def test_gemmas_switches_decide_about_specials_and_siglip_2_lowers(make_siglip, vocabularies, tmp_path: Path):
    model = make_siglip(tokenizer=(vocabularies["gemma"], 0))
    model.save(tmp_path / "model", "hf")
    config = tmp_path / "model" / "tokenizer_config.json"
    plain = model.tokenizer(["a red dog"])[0]
    named = {"bos_token": "<bos>", "eos_token": {"content": "<eos>"}, "tokenizer_class": "GemmaTokenizerFast"}
    rewrite(config, lambda c: c.update(named, add_bos_token=False, add_eos_token=True))
    assert ids(tmp_path / "model", ["a red dog", "A red dog"])[0] == plain
    assert ids(tmp_path / "model", ["A red dog"])[0] != plain
    rewrite(config, lambda c: c.update(add_bos_token=True, add_eos_token=False))
    assert ids(tmp_path / "model", ["a red dog"])[0] == [2, *plain[:-1]]
    for change in ({"tokenizer_class": "Siglip2Tokenizer"}, {"do_lower_case": True}):
        rewrite(
            config, lambda c, change=change: c.update(named | {"add_bos_token": False, "add_eos_token": True} | change)
        )
        assert ids(tmp_path / "model", ["A RED dog"])[0] == plain


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pad_token": None}, "has no pad_token"),
        ({"pad_token": "<gone>"}, "pad_token is '<gone>'.*none of its tokens"),
        ({"pad_token": 3}, "pad_token"),
        ({"padding_side": "left"}, "padding_side"),
        ({"padding_side": None, "tokenizer_class": "GemmaTokenizer"}, "padding_side"),
        ({"truncation_side": "left"}, "truncation_side"),
        ({"tokenizer_class": "SiglipTokenizer", "eos_token": None}, "has no eos_token"),
    ],
)
def test_a_tokenizer_config_that_cannot_be_followed_is_refused(change, told, folder: Path):
    rewrite(folder / "tokenizer_config.json", lambda config: config.update(change))
    with pytest.raises(RefusedInput, match=told):
        load(folder)


def test_a_sentencepiece_file_alone_is_refused_with_the_way_out(folder: Path, siglip: Model):
    (folder / "spiece.model").write_bytes(b"\n\x0b\n\x05<pad>")
    moved = (folder / "tokenizer.json").rename(folder.parent / "tokenizer.json")
    with pytest.raises(RefusedInput, match=r"spiece\.model.* alone is not read.*tokenizer="):
        load(folder)
    same(load(folder, tokenizer=moved), siglip)
    moved.write_text("{}")
    with pytest.raises(RefusedInput, match=r"tokenizer\.json: the tokenizer cannot be read"):
        load(folder, tokenizer=moved)
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(RefusedInput, match=r"tokenizer_config\.json is missing"):
        load(folder, tokenizer=moved)


# What other programs have no place for


def test_towers_that_timm_has_under_no_name_and_ids_of_another_rule_do_not_go_to_open_clip(
    siglip: Model, small_siglip: Model, tmp_path: Path
):
    def cleaned(model: Model) -> Model:
        tokenizer = FileTokenizer(model.tokenizer.text, context=model.tokenizer.context, cleaner="canonicalize")
        return Model(model.clip, model.architecture, tokenizer, preprocess=model.preprocess)

    with pytest.raises(UsageError, match=r"open_clip cleans captions .*ids would be others.*layout hf or seesay"):
        small_siglip.save(tmp_path / "out", "open_clip")
    with pytest.raises(
        UsageError, match=r"timm, from which open_clip takes .*has none of width 32.*layout hf or seesay"
    ):
        cleaned(siglip).save(tmp_path / "out", "open_clip")
    cleaned(small_siglip).save(tmp_path / "out", "open_clip")


def test_a_bias_or_a_vocabulary_that_a_layout_has_no_place_for_is_not_dropped(
    vit: Model, siglip: Model, tmp_path: Path
):
    words = CaptionTokenizer.train(TEXTS, vocab_size=520, context=8)
    sigmoid = vit.architecture.model_copy(update={"scoring": "sigmoid"})
    with pytest.raises(UsageError, match=r"no place for the bias of sigmoid scoring; .* seesay or open_clip"):
        Model(vit.clip, sigmoid, vit.tokenizer, preprocess=vit.preprocess).save(tmp_path / "out", "hf")
    for layout in ("hf", "open_clip"):
        with pytest.raises(UsageError, match=r"CLIP's vocabulary only, not a tokenizer\.json"):
            Model(vit.clip, vit.architecture, siglip.tokenizer, preprocess=vit.preprocess).save(
                tmp_path / "out", layout
            )
    softmax = siglip.architecture.model_copy(update={"scoring": "softmax"})
    for architecture, tokenizer in ((siglip.architecture, words), (softmax, siglip.tokenizer)):
        with pytest.raises(UsageError, match=r"SiglipModel has .* save it in the layout seesay"):
            Model(siglip.clip, architecture, tokenizer, preprocess=siglip.preprocess).save(tmp_path / "out", "hf")
    assert list(tmp_path.iterdir()) == []


def test_images_that_are_cropped_are_written_for_a_processor_that_crops(siglip: Model, tmp_path: Path):
    siglip.preprocess = Preprocess(size=18, crop="transformers")
    siglip.save(tmp_path / "model", "hf")
    said = json.loads((tmp_path / "model" / "preprocessor_config.json").read_text())
    assert said["image_processor_type"] == "CLIPImageProcessor"
    same(siglip, load(tmp_path / "model"))


# Scoring


def test_a_siglip_judges_every_label_by_itself_and_ranks_by_the_cosine(siglip: Model):
    labels, image = ["red dog", "blue mat", "cat"], torch.zeros(30, 20, 3, dtype=torch.uint8).numpy()
    image_1D = siglip.encode_images([image]).double()
    head_CD = torch.cat([siglip.encode_texts([label]) for label in labels]).double()
    wanted_C = (siglip.logit_scale * image_1D @ head_CD.T + siglip.logit_bias).sigmoid()[0]
    ranking = siglip.classify([image], labels, ["{}"])[0]
    assert list(ranking.labels) == [labels[index] for index in wanted_C.argsort(descending=True)]
    assert dict(zip(ranking.labels, ranking.probabilities, strict=True)) == pytest.approx(
        dict(zip(labels, wanted_C.tolist(), strict=True)), abs=1e-5
    )
    alone = siglip.classifier(["cat"], ["{}"]).predict_proba([image])
    assert alone.item() == pytest.approx(wanted_C[2].item(), abs=1e-5) and alone.item() < 1
    # Where all probabilities are rounded to the same number, the order is still that of the cosines.
    siglip.clip.logit_bias.data.fill_(-500)
    certain = siglip.classify([image], labels, ["{}"])[0]
    assert certain.labels == ranking.labels and set(certain.probabilities) == {0.0}
