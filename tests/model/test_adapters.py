"""Low-rank updates: which matrices they reach, what they leave alone, their files, and peft with transformers."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

import seesay
from seesay.base.errors import RefusedInput, UsageError
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.adapters import adapter_files, updates_of, with_adapter, write_adapter
from seesay.model.weights import write_tensors
from seesay.nets.adapters import add_low_rank, matrices, plain_tensors
from seesay.nets.presets import preset
from seesay.training.settings import StartSettings, TrainSettings
from seesay.training.start import learner_from, without_adapters

WORDS = ["a photo of a red dog", "two blue cats", "on a mat"] * 3
TEXTS = ["a red dog", "", "two blue cats on a mat"]


def model_of(name):
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=540, context=16)
    return seesay.build(name, tokenizer=tokenizer)


def siglip():
    """A tiny SigLIP, which no preset is."""
    from seesay.model.bundle import Model
    from seesay.nets.architecture import Architecture
    from seesay.nets.clip import build_clip

    base = model_of("vit-small")
    blocks = {"width": 16, "layers": 2, "heads": 2}
    text = {"kind": "siglip-text", "context": 16, "vocab_size": base.tokenizer.vocab_size, "pad": 1}
    image = {"kind": "siglip-image", "image_size": 16, "patch": 8}
    values = {"embed_dim": 16, "image": image | blocks, "text": text | blocks, "scoring": "sigmoid"}
    architecture = Architecture.model_validate(values)
    preprocess = base.preprocess.model_copy(update={"size": 16})
    return Model(build_clip(architecture, seed=0), architecture, base.tokenizer, preprocess=preprocess, name="siglip")


def resnet():
    """The paper's ResNet, tiny."""
    from seesay.model.bundle import Model
    from seesay.nets.architecture import Architecture
    from seesay.nets.clip import build_clip

    base = model_of("vit-small")
    image = {"kind": "resnet", "image_size": 32, "width": 8, "layers": (1, 1, 1, 1), "heads": 4}
    architecture = Architecture.model_validate({**base.architecture.model_dump(), "image": image})
    preprocess = base.preprocess.model_copy(update={"size": 32})
    return Model(build_clip(architecture, seed=0), architecture, base.tokenizer, preprocess=preprocess, name="resnet")


MODELS = {
    "vit": lambda: model_of("vit-small"),
    "conv": lambda: model_of("conv-tiny"),
    "resnet": resnet,
    "siglip": siglip,
}


def learner_of(model, **start):
    """A copy whose updates are no longer zero, as after some steps."""
    settings = TrainSettings(start=StartSettings(how="lora", rank=2, alpha=3.0, **start))
    learner = learner_from(model, settings, name="learner")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in learner.clip.named_parameters():
            if parameter.requires_grad and name.endswith(".up"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return learner


def outputs(model):
    side = model.preprocess.size
    pixels = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return model.encode_pixels(pixels), model.encode_texts(TEXTS)


def apart(first, second):
    return max(float((a - b).abs().max()) for a, b in zip(outputs(first), outputs(second), strict=True))


@pytest.mark.journey
@pytest.mark.parametrize("kind", MODELS)
def test_merged_weights_give_what_the_updates_give_and_a_new_update_changes_nothing(kind):
    model = MODELS[kind]()
    settings = TrainSettings(start=StartSettings(how="lora", rank=2))
    # Other kernels may be taken for a copy of the weights: the last bit of a row.
    assert apart(model, learner_from(model, settings, name="new")) <= 1e-7
    learner = learner_of(model)
    assert apart(model, learner) > 1e-3
    assert apart(learner, without_adapters(learner)) <= 1e-6


@pytest.mark.journey
@pytest.mark.parametrize("kind", MODELS)
def test_an_optimizer_step_moves_the_updates_and_no_bit_of_the_weights(kind):
    model = MODELS[kind]()
    learner = learner_of(model)
    before = {name: tensor.clone() for name, tensor in learner.clip.state_dict().items()}
    trained = [parameter for parameter in learner.clip.parameters() if parameter.requires_grad]
    side = model.preprocess.size
    pixels, tokens = torch.randn(3, 3, side, side), model.tokenizer.tokens(TEXTS)
    out = learner.clip(pixels, tokens)
    (out.image_BD @ out.text_BD.T).trace().backward()
    torch.optim.AdamW(trained, lr=0.1).step()
    moved = {name for name, tensor in learner.clip.state_dict().items() if not torch.equal(tensor, before[name])}
    updates = {name for name in before if name.endswith((".up", ".down"))}
    # A running statistic is no weight; without a start the loop moves it.
    moved = {name for name in moved if "running_" not in name and "num_batches" not in name}
    assert moved == updates
    plain, old = plain_tensors(learner.clip), model.clip.state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], old[name]) and "running_" not in name}
    changed = {name for name in changed if "num_batches" not in name}
    assert changed == {matrix.path for matrix in matrices(model.clip)}


def test_every_matrix_of_a_transformer_is_reached_and_parts_of_one_alone():
    model = model_of("vit-small")
    paths = [matrix.path for matrix in matrices(model.clip)]
    weights = [name for name, tensor in model.clip.named_parameters() if tensor.ndim > 1]
    left = set(weights) - set(paths)
    assert {name.rpartition(".")[0] or name for name in left} == {
        "image_tower.patches",
        "image_tower",
        "text_tower.token_embedding",
        "text_tower",
    }, "what reads pixels and ids, and positions"
    width = model.architecture.image.width
    learner = learner_of(model, targets=("query", "value"), towers=("image",))
    plain, old = plain_tensors(learner.clip), model.clip.state_dict()
    qkv = "image_tower.blocks.0.attention.qkv.weight"
    assert [bool((plain[qkv] - old[qkv])[part * width : (part + 1) * width].any()) for part in range(3)] == [1, 0, 1]
    assert all(torch.equal(plain[name], old[name]) for name in old if "qkv" not in name or "text" in name)


@pytest.mark.journey
@pytest.mark.parametrize("kind", MODELS)
def test_an_adapter_is_a_small_file_that_gives_the_merged_model_again(kind, tmp_path):
    model = MODELS[kind]()
    learner = learner_of(model)
    files = adapter_files(updates_of(learner.clip), model.architecture, base="x", layout="seesay")
    write_adapter(tmp_path / "adapter", files)
    again = with_adapter(model, tmp_path / "adapter")
    assert apart(again, learner) <= 1e-6 and apart(model, MODELS[kind]()) == 0
    half = adapter_files(updates_of(learner.clip), model.architecture, base="x", layout="seesay", share=0.5)
    write_adapter(tmp_path / "half", half)
    mean = with_adapter(model, tmp_path / "half").clip.state_dict()
    for name, tensor in with_adapter(model, tmp_path / "adapter").clip.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(mean[name], (tensor + model.clip.state_dict()[name]) / 2, atol=1e-6)


def test_pefts_format_gives_the_same_and_other_towers_have_none(tmp_path):
    model = model_of("vit-small")
    model.facts["confidence"] = {"pairs": 1}
    learner = learner_of(model)
    write_adapter(
        tmp_path / "peft", adapter_files(updates_of(learner.clip), model.architecture, base="x", layout="peft")
    )
    again = with_adapter(model, tmp_path / "peft")
    assert apart(again, learner) <= 1e-6
    assert not again.facts and model.facts, "what was measured of one model is no fact of another"
    conv = model_of("conv-tiny")
    with pytest.raises(UsageError, match="transformers has no CLIP with towers of the kinds conv"):
        adapter_files(updates_of(learner_of(conv).clip), conv.architecture, base="x", layout="peft")


def test_an_adapter_of_another_model_or_a_damaged_one_is_refused(tmp_path):
    model = model_of("vit-small")
    files = adapter_files(updates_of(learner_of(model).clip), model.architecture, base="x", layout="seesay")
    write_adapter(tmp_path / "adapter", files)
    with pytest.raises(RefusedInput, match="does not fit the model"):
        with_adapter(model_of("conv-tiny"), tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text().replace('"LORA"', '"IA3"'))
    with pytest.raises(RefusedInput, match="peft_type"):
        with_adapter(model, tmp_path / "adapter")


def changed(folder, change=lambda tensors: tensors, **config):
    """The adapter with other tensors, and other values in its configuration."""
    name, words = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    name.write_bytes(write_tensors(change(load_file(name))))
    words.write_text(json.dumps(json.loads(words.read_text()) | config))
    return folder


QKV, FC = "text_tower.blocks.0.attention.qkv.weight", "text_tower.blocks.0.fc.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda own: {}, "has no update"),
        (lambda own: own | {f"{FC}.0.up": own[f"{FC}.0.up"][:32]}, "does not fit the model"),
        (lambda own: own | {f"{QKV}.1.up": own[f"{QKV}.1.up"][:16]}, "does not fit the model"),
        (
            lambda own: own | {f"{QKV}.3.{end}": own[f"{QKV}.0.{end}"].clone() for end in ("up", "down")},
            "does not fit the model",
        ),
        (lambda own: own | {f"{FC}.0.up": own[f"{FC}.0.up"][:0]}, "does not fit the model"),
        (lambda own: {"logit_scale.0.up": torch.ones(1, 2), "logit_scale.0.down": torch.ones(2, 1)}, "does not fit"),
        (
            lambda own: {
                "text_tower.positions.0.up": torch.ones(16, 2),
                "text_tower.positions.0.down": torch.ones(2, 64),
            },
            "does not fit the model",
        ),
        (lambda own: {name: torch.cat([x, x], dim=x.shape.index(2)) for name, x in own.items()}, "has rank 4, but"),
    ],
)
def test_an_update_of_other_rows_rank_or_no_matrix_is_refused(change, complaint, tmp_path):
    model = model_of("vit-small")
    learner = learner_of(model, towers=("text",))
    write_adapter(tmp_path, adapter_files(updates_of(learner.clip), model.architecture, base="x", layout="seesay"))
    with pytest.raises(RefusedInput, match=complaint):
        with_adapter(model, changed(tmp_path, change))


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"alora_invocation_tokens": [5, 6]},
        {"layer_replication": [[0, 1]]},
        {"use_qalora": True},
        {"lora_alpha": 1e39},
    ],
)
def test_what_peft_computes_otherwise_is_refused(config, tmp_path):
    model = model_of("vit-small")
    files = adapter_files(updates_of(learner_of(model).clip), model.architecture, base="x", layout="peft")
    write_adapter(tmp_path, files)
    with pytest.raises(RefusedInput, match=next(iter(config))):
        with_adapter(model, changed(tmp_path, **config))


def test_a_tower_that_is_named_twice_is_updated_once():
    model = model_of("vit-small")
    twice = updates_of(learner_of(model, towers=("image", "image")).clip)
    assert len(twice) == len(updates_of(learner_of(model, towers=("image",)).clip))


def test_a_rank_larger_than_a_matrix_and_no_matrix_at_all_are_one_line_each():
    clip = copy.deepcopy(model_of("conv-tiny").clip)
    with pytest.raises(UsageError, match=r"start.rank is 64, but image_tower.stem.0.weight is \d+ x 27; set it to"):
        add_low_rank(clip, rank=64, alpha=8)
    with pytest.raises(UsageError, match="no matrix of the text tower is one of conv"):
        add_low_rank(clip, rank=2, alpha=8, kinds=("conv",), towers=("text",))


def test_updates_of_vit_b_32_at_rank_8_are_a_small_part_of_its_numbers():
    image, text = preset("ViT-B/32").image, preset("ViT-B/32").text
    blocks = 12 * sum(8 * (8 * tower.width + 2 * tower.hidden + 2 * tower.width) for tower in (image, text))
    assert blocks * 10 < 151_277_313


@pytest.mark.filterwarnings("ignore")
def test_peft_on_transformers_clip_model_reads_the_adapter_and_embeds_as_we_do(tmp_path):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    model = model_of("vit-small")
    learner = learner_of(model)
    model.save(tmp_path / "base", layout="hf")
    write_adapter(
        tmp_path / "peft", adapter_files(updates_of(learner.clip), model.architecture, base="x", layout="peft")
    )
    base = transformers.CLIPModel.from_pretrained(tmp_path / "base").eval()
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    side, rows = model.preprocess.size, model.tokenizer(TEXTS)
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([row + [0] * (model.tokenizer.context - len(row)) for row in rows])
    with torch.no_grad():
        out = theirs(pixel_values=pixels, input_ids=ids)
        ours = learner.clip(pixels, model.tokenizer.tokens(TEXTS))
    assert float((out.image_embeds - ours.image_BD).abs().max()) <= 1e-5
    assert float((out.text_embeds - ours.text_BD).abs().max()) <= 1e-5
    # What peft writes is read back too.
    theirs.save_pretrained(tmp_path / "theirs")
    assert apart(with_adapter(model, tmp_path / "theirs"), learner) <= 1e-6
