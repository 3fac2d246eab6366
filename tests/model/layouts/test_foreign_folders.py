"""Folders of other programs, with the habits of their older versions; what cannot be read exactly is refused."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from seesay.base.errors import RefusedInput, UsageError
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.model.layouts import open_clip

CONFIGS = {"hf": "config.json", "open_clip": "open_clip_config.json"}
WEIGHTS = {"hf": "model.safetensors", "open_clip": "open_clip_model.safetensors"}


def rewrite(path: Path, change: Callable[[dict], object]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def place(config: dict, where: str, value: object) -> None:
    *sections, key = where.split(".")
    for section in sections:
        config = config[section]
    config[key] = value


def renamed(path: Path, change: Callable[[dict], dict]) -> None:
    save_file({name: tensor.clone() for name, tensor in change(load_file(path)).items()}, path)


def equal(one: Model, other: Model) -> bool:
    return all(torch.equal(tensor, other.clip.state_dict()[name]) for name, tensor in one.clip.state_dict().items())


# Habits


def test_open_clip_writes_null_as_the_patch_of_a_resnet(resnet: Model, tmp_path: Path):
    """As in its own RN50.json, which its hub writer copies."""
    resnet.save(tmp_path / "model", "open_clip")
    config = tmp_path / "model" / CONFIGS["open_clip"]
    rewrite(config, lambda it: place(it, "model_cfg.vision_cfg.patch_size", None))
    assert equal(load(tmp_path / "model"), resnet)


def test_a_vit_of_open_clip_has_patches_of_16_where_nothing_is_said_and_none_where_null_is(saved, tmp_path: Path):
    config = saved("open_clip") / CONFIGS["open_clip"]
    rewrite(config, lambda it: place(it, "model_cfg.vision_cfg.patch_size", None))
    with pytest.raises(RefusedInput, match=r"image\.vit\.patch is None"):
        load(config.parent)
    rewrite(config, lambda it: it["model_cfg"]["vision_cfg"].pop("patch_size"))
    with pytest.raises(RefusedInput, match=r"visual\.conv1\.weight is \(\d+, 3, 8, 8\), expected \(\d+, 3, 16, 16\)"):
        load(config.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {f"module.{name}": tensor for name, tensor in t.items()},
        lambda t: {f"_orig_mod.module.{name}": tensor for name, tensor in t.items()},
        lambda t: t | {"logit_scale": t["logit_scale"].reshape(1)},
        lambda t: t | {"attn_mask": torch.full((8, 8), float("-inf")).triu(1)},
        lambda t: t | {"input_resolution": torch.tensor(16), "context_length": torch.tensor(8)},
        lambda t: {name if name.startswith(("visual", "logit")) else f"text.{name}": x for name, x in t.items()},
        lambda t: {name: tensor.double() for name, tensor in t.items()},
    ],
    ids=["data parallel", "compiled", "scale of one axis", "mask", "archive", "text tower apart", "double"],
)
def test_open_clips_ways_of_writing_the_same_model_are_the_same_model(change, saved, vit: Model):
    folder = saved("open_clip")
    renamed(folder / WEIGHTS["open_clip"], change)
    assert equal(load(folder), vit)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t | {"text_model.embeddings.position_ids": torch.arange(8)[None]},
        lambda t: t | {"vision_model.embeddings.position_ids": torch.arange(5)[None]},
        lambda t: t | {"logit_scale": t["logit_scale"].reshape(1)},
    ],
)
def test_buffers_of_older_transformers_are_left_out(change, saved, vit: Model):
    folder = saved("hf")
    renamed(folder / WEIGHTS["hf"], change)
    assert equal(load(folder), vit)


def test_an_end_token_of_two_is_an_old_mistake_and_any_other_is_another_model(saved, vit: Model):
    folder = saved("hf")
    rewrite(folder / "config.json", lambda c: c["text_config"].update(eos_token_id=2))
    assert equal(load(folder), vit)
    rewrite(folder / "config.json", lambda c: c["text_config"].update(eos_token_id=7))
    with pytest.raises(RefusedInput, match="pools at token 7, its vocabulary ends with"):
        load(folder)


def test_a_second_section_of_an_old_config_is_the_one_that_counts(saved):
    folder = saved("hf")

    def change(config: dict) -> None:
        config["text_config_dict"] = config["text_config"] | {"hidden_act": "gelu"}
        config["vision_config_dict"] = None

    rewrite(folder / "config.json", change)
    architecture = load(folder).architecture
    assert (architecture.image.activation, architecture.text.activation) == ("quick_gelu", "gelu")


def test_what_a_config_leaves_out_is_what_its_program_takes(saved):
    folder = saved("hf")
    rewrite(folder / "config.json", lambda c: c["vision_config"].pop("hidden_act"))
    assert load(folder).architecture.image.activation == "quick_gelu"
    folder = saved("open_clip")
    rewrite(folder / "open_clip_config.json", lambda c: c["model_cfg"].pop("quick_gelu"))
    assert load(folder).architecture.image.activation == load(folder).architecture.text.activation == "gelu"


def test_sides_as_old_files_give_them_are_understood(saved, vit: Model):
    folder = saved("hf")
    rewrite(folder / "preprocessor_config.json", lambda c: c.update(size=16, crop_size=16))
    rewrite(folder / "preprocessor_config.json", lambda c: [c.pop("do_rescale"), c.pop("rescale_factor")])
    assert load(folder).preprocess == vit.preprocess.model_copy(update={"crop": "transformers"})


def test_open_clips_files_go_before_a_config_of_another_program_in_the_same_folder(saved, vit: Model):
    folder = saved("open_clip")
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_base_patch32_clip_224"}))
    (folder / "model.safetensors").write_bytes(b"the image tower alone")
    assert equal(load(folder), vit)


# Refusals


@pytest.mark.parametrize(
    ("layout", "where", "value", "told"),
    [
        ("open_clip", "model_cfg.vision_cfg", {"timm_model_name": "../net"}, "image.timm.name is '../net'"),
        ("open_clip", "model_cfg.vision_cfg", {"timm_model_name": "a", "layers": 2}, "vision_cfg.layers is 2"),
        ("open_clip", "model_cfg.vision_cfg", {"timm_model_name": "a", "timm_pool": "rot_attn"}, "'rot_attn', which"),
        ("open_clip", "model_cfg.vision_cfg.pool_type", "avg", "pool_type"),
        ("open_clip", "model_cfg.vision_cfg.no_ln_pre", True, "unexpected visual.ln_pre"),
        ("open_clip", "model_cfg.vision_cfg.head_width", 5, "heads 6 does not divide width 32"),
        ("open_clip", "model_cfg.vision_cfg.layers", 10**9, "layers"),
        ("open_clip", "model_cfg.text_cfg.pool_type", "last", "pool_type 'last' and no_causal_mask False"),
        ("open_clip", "model_cfg.text_cfg.hf_model_name", "roberta-base", "text_cfg.vocab_size is"),
        ("open_clip", "model_cfg.text_cfg", {"hf_model_name": "gpt2"}, "transformers' 'gpt2', whose sizes are not in"),
        (
            "open_clip",
            "model_cfg.text_cfg.tokenizer_kwargs",
            {"clean": "canonicalize"},
            "tokenizer_kwargs is .*canonicalize",
        ),
        ("open_clip", "model_cfg.text_cfg.norm_kwargs", {"eps": 1e-6}, "norm_kwargs.eps"),
        ("open_clip", "model_cfg.init_logit_bias", -10.0, "missing logit_bias"),
        ("open_clip", "model_cfg.init_logit_bias", "no", "init_logit_bias"),
        ("open_clip", "model_cfg.text_cfg.embed_cls", True, "has a CoCa and a tokenizer that fills up with id 529"),
        ("open_clip", "model_cfg.vision_cfg.attentional_pool", True, "query_heads 8 does not divide|attn_pool"),
        ("open_clip", "model_cfg.text_cfg", None, "text_cfg"),
        ("open_clip", "preprocess_cfg.resize_mode", "longest", "resize_mode"),
        ("open_clip", "preprocess_cfg.mean", None, "mean"),
        ("open_clip", "preprocess_cfg.mean", [0.5, float("nan"), 0.5], "mean"),
        ("open_clip", "preprocess_cfg.std", [0.0, 1.0, 1.0], "std"),
        ("hf", "vision_config.hidden_act", "relu", "hidden_act"),
        ("hf", "text_config.layer_norm_eps", 1e-6, "layer_norm_eps"),
        ("hf", "vision_config.num_channels", 1, "num_channels"),
        ("hf", "vision_config.num_attention_heads", 3, "heads 3 does not divide width 32"),
        ("hf", "text_config.vocab_size", 2**40, "vocab_size"),
        ("hf", "text_config.vocab_size", 500, "they are of two models"),
        ("hf", "vision_config.image_size", 24, "they are of two models"),
        ("hf", "projection_dim", 16, "does not fit its architecture"),
        ("hf", "text_config", [], "text_config"),
    ],
)
def test_a_config_that_says_something_else_is_refused_with_the_key(layout, where, value, told, saved):
    folder = saved(layout)
    rewrite(folder / CONFIGS[layout], lambda config: place(config, where, value))
    with pytest.raises(RefusedInput, match=told) as refused:
        load(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"do_resize": False},
        {"do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1.0},
        {"resample": 0},
        {"do_center_crop": False},
        {"size": {"shortest_edge": 18}},
        {"size": {"height": 16, "width": 20}},
        {"size": {"longest_edge": 16}},
        {"crop_size": {"height": 16, "width": 8}},
        {"crop_size": {"height": 16}},
        {"crop_size": {}},
        {"crop_size": {"height": 16}, "do_center_crop": None, "size": {"height": 16, "width": 16}},
        {"do_center_crop": None},
        {"rescale_factor": float("nan")},
        {"image_std": [0, 1, 1]},
        {"image_processor_type": "ConvNextImageProcessor"},
        {"image_processor_type": None, "feature_extractor_type": "DonutFeatureExtractor"},
        {"image_mean": [0.5]},
    ],
)
def test_images_prepared_in_another_way_are_refused(change, saved):
    folder = saved("hf")
    rewrite(folder / "preprocessor_config.json", lambda config: config.update(change))
    with pytest.raises(RefusedInput, match=r"preprocessor_config\.json"):
        load(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(RefusedInput, match=r"preprocessor_config\.json is missing"):
        load(folder)


@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_tensors_that_do_not_fit_are_named_as_the_file_names_them(layout, saved):
    folder = saved(layout)
    names = {"hf": "vision_model.post_layernorm.weight", "open_clip": "visual.ln_post.weight"}
    whole = load_file(folder / WEIGHTS[layout])
    for change, told in (
        (lambda t: {name: tensor for name, tensor in t.items() if name != names[layout]}, "missing {} (32,)"),
        (lambda t: t | {names[layout] + "s": torch.ones(2)}, "unexpected {}s (2,)"),
        (lambda t: t | {names[layout]: torch.ones(31)}, "{} is (31,), expected (32,)"),
    ):
        save_file(change(whole), folder / WEIGHTS[layout])
        with pytest.raises(RefusedInput) as refused:
            load(folder)
        assert told.format(names[layout]) in str(refused.value)


@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_a_folder_without_a_vocabulary_is_refused_with_the_way_out(layout, saved):
    folder = saved(layout)
    (folder / "tokenizer.json").rename(folder.parent / "tokenizer.json")
    (folder / "merges.txt").unlink()
    with pytest.raises(RefusedInput, match=r"holds no vocabulary.*name the file with tokenizer="):
        load(folder)
    assert load(folder, tokenizer=folder.parent / "tokenizer.json").name == layout
    with pytest.raises(UsageError, match="does not exist"):
        load(folder, tokenizer=folder / "nowhere.json")


@pytest.mark.parametrize("change", [{"<|endoftext|>": 3}, {"a": 7}, {"more": 530}], ids=str)
def test_vocabulary_files_of_two_models_are_refused(change, saved):
    folder = saved("hf")
    (folder / "tokenizer.json").unlink()
    assert load(folder).name == "hf"
    rewrite(folder / "vocab.json", lambda vocabulary: vocabulary.update(change))
    with pytest.raises(RefusedInput, match=r"vocab\.json does not go with merges\.txt"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tokenizer_class": "GPT2Tokenizer"}, "tokenizer_class is 'GPT2Tokenizer', not CLIPTokenizer"),
        ({"tokenizer_class": "BertTokenizerFast"}, "tokenizer_class is 'BertTokenizerFast', not CLIPTokenizer"),
        ({"tokenizer_class": "CLIPTokenizerFast", "do_lower_case": False}, "do_lower_case is false"),
        ({"tokenizer_class": ["CLIPTokenizer"]}, r"tokenizer_class is \['CLIPTokenizer'\]"),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_a_tokenizer_of_another_class_is_refused_unless_the_vocabulary_is_named(layout, change, told, saved):
    folder = saved(layout)
    for one_of_clips in ({"tokenizer_class": "CLIPTokenizerFast"}, {"tokenizer_class": None, "do_lower_case": None}):
        rewrite(folder / "tokenizer_config.json", lambda config, its=one_of_clips: config.update(its))
        assert load(folder).name == layout
    rewrite(folder / "tokenizer_config.json", lambda config: config.update(change))
    with pytest.raises(RefusedInput, match=rf"tokenizer_config\.json: {told}") as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert load(folder, tokenizer=folder / "tokenizer.json").name == layout
    (folder / "tokenizer_config.json").unlink()
    assert load(folder).name == layout


@pytest.mark.parametrize("change", [{"type": "WordPiece"}, {"end_of_word_suffix": None}], ids=str)
def test_a_tokenizer_json_of_another_kind_of_model_is_refused(change, saved):
    folder = saved("hf")
    rewrite(folder / "tokenizer.json", lambda whole: whole["model"].update(change))
    with pytest.raises(RefusedInput, match=r"tokenizer\.json is of type .* CLIP's is a BPE with '</w>'"):
        load(folder)


@pytest.mark.parametrize(
    "name", ["bert-base-uncased", "acme/clip-b32", "openai/clip-vit-base-patch32", "/models/other"]
)
def test_an_open_clip_folder_that_names_another_tokenizer_is_refused_unless_the_vocabulary_is_named(name, saved):
    folder = saved("open_clip")
    rewrite(folder / CONFIGS["open_clip"], lambda config: place(config, "model_cfg.text_cfg.hf_tokenizer_name", name))
    with pytest.raises(RefusedInput, match=rf"hf_tokenizer_name is '{name}', .*name its file with tokenizer="):
        load(folder)
    assert load(folder, tokenizer=folder / "tokenizer.json").name == "open_clip"


def test_an_open_clip_folder_may_name_itself_and_openais_repositories_with_clips_own_vocabulary(saved, monkeypatch):
    folder = saved("open_clip")
    cached = folder.parent / "models--acme--clip-b32" / "snapshots" / "0123"
    shutil.copytree(folder, cached)
    for where, name in (
        (folder, "."),
        (folder, ""),
        (folder, "acme/open_clip"),
        (cached, "acme/clip-b32"),
        (folder, "openai/clip-vit-base-patch32"),
    ):
        rewrite(
            where / CONFIGS["open_clip"],
            lambda config, its=name: place(config, "model_cfg.text_cfg.hf_tokenizer_name", its),
        )
        if name.startswith("openai"):
            monkeypatch.setattr(open_clip, "is_clips_own", lambda tokenizer: True)
        assert load(where).architecture.text.context == 8


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_a_configuration_that_brings_its_own_code_is_refused(model_type, saved):
    folder = saved("hf")
    code = {"AutoModel": "modeling.OtherModel"}
    rewrite(folder / "config.json", lambda config: config.update(model_type=model_type, auto_map=code))
    with pytest.raises(RefusedInput, match=r"wants code of its own to be run \(auto_map is .*modeling.OtherModel"):
        load(folder)


def test_a_tokenizer_for_our_own_folder_is_refused(vit: Model, tmp_path: Path):
    vit.save(tmp_path / "model")
    with pytest.raises(UsageError, match="holds the tokenizer of its model"):
        load(tmp_path / "model", tokenizer=tmp_path / "merges.txt")


@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_a_pickle_is_refused_by_content_whatever_its_name_and_never_read(layout, saved, tmp_path: Path):
    folder, canary = saved(layout), tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return Path.touch, (canary,)

    plain, in_a_zip = pickle.dumps(Payload()), tmp_path / "torch.pt"
    torch.save(Payload(), in_a_zip)
    for data in (plain, in_a_zip.read_bytes()):
        (folder / WEIGHTS[layout]).write_bytes(data)
        with pytest.raises(RefusedInput, match=r"is a Python pickle.*seesay convert --from-pickle"):
            load(folder)
    shutil.move(folder / WEIGHTS[layout], folder / "pytorch_model.bin")
    with pytest.raises(RefusedInput, match=r"pytorch_model\.bin is a Python pickle.*seesay convert --from-pickle"):
        load(folder)
    assert not canary.exists()


def test_a_model_of_another_kind_is_no_model_folder(saved):
    folder = saved("hf")
    rewrite(folder / "config.json", lambda config: config.update(model_type="blip"))
    with pytest.raises(RefusedInput, match="is of model_type 'blip', which seesay does not read"):
        load(folder)
