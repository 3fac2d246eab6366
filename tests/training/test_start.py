"""A run that begins with a model, by itself and over several processes."""

import shutil

import pytest
import torch

import seesay
from seesay.base.errors import UsageError
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.cache import weights_sha256
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training import checkpoint
from seesay.training.checkpoint import Position, restore_latest, save_checkpoint
from seesay.training.optimizer import optimizer_of
from seesay.training.plan import OptimizerPlan
from seesay.training.settings import StartSettings, TrainSettings
from seesay.training.start import begin_with, learner_from, with_start
from seesay.training.train import train_model

WORDS = ["a red square", "a green square", "something blue", "something yellow"] * 3
QUICK = {"batch_size": 8, "workers": 0, "device": "cpu", "towers": {"precision": "float32"}}


@pytest.fixture
def begun(tmp_path):
    """A model in a folder, and the folder."""
    tokenizer = CaptionTokenizer.train(WORDS, vocab_size=550, context=12)
    model = seesay.build("conv-tiny", tokenizer=tokenizer, seed=3)
    model.save(tmp_path / "model")
    return model, tmp_path / "model"


@pytest.mark.journey
def test_train_goes_on_with_a_model_its_words_and_its_templates(begun, coloured_pairs, tmp_path, one_thread):
    old, folder = begun
    pairs = coloured_pairs(48)
    new = seesay.train(pairs, out=tmp_path / "run", start={"model": str(folder)}, steps=2, **QUICK)
    assert new.tokenizer.merges == old.tokenizer.merges and new.templates == old.templates
    assert weights_sha256(new.clip.state_dict()) != weights_sha256(old.clip.state_dict())
    run = seesay.open_run(tmp_path / "run")
    assert run.settings.start.sha256 == weights_sha256(old.clip.state_dict())
    assert run.settings.model == "conv-tiny" and run.settings.objective == "contrastive-bow"
    assert not (tmp_path / "run" / "tokenizer.json").exists()
    nothing = {"learning_rate": 1e-9}
    same = seesay.train(pairs, out=tmp_path / "same", start={"model": str(folder)}, optimizer=nothing, steps=1, **QUICK)
    apart = [float((a - b).abs().max()) for a, b in zip(new_tensors(same), new_tensors(old), strict=True)]
    assert max(apart) < 1e-6, "it began with the weights of the model"


def new_tensors(model):
    return [tensor for tensor in model.clip.state_dict().values() if tensor.is_floating_point()]


@pytest.mark.journey
def test_a_run_goes_on_where_its_first_model_lies_elsewhere(begun, coloured_pairs, tmp_path, one_thread):
    _, folder = begun
    pairs = coloured_pairs(48)
    seesay.train(pairs, out=tmp_path / "run", start={"model": str(folder)}, steps=1, **QUICK)
    shutil.move(folder, tmp_path / "moved")
    seesay.train(pairs, out=tmp_path / "run", start={"model": str(tmp_path / "moved")}, steps=2, **QUICK)
    assert seesay.open_run(tmp_path / "run").events[-1]["step"] == 2


def test_settings_that_contradict_the_model_are_one_line_each(begun, predictor, tmp_path):
    model, _ = begun
    with pytest.raises(UsageError, match="model is ViT-B/32, but the run begins with conv-tiny"):
        with_start(TrainSettings(model="ViT-B/32"), model)
    with pytest.raises(UsageError, match="objective is sigmoid, but the run begins with conv-tiny, whose objective is"):
        with_start(TrainSettings(objective="sigmoid"), model)
    predictor("caption").save(tmp_path / "captions")
    with pytest.raises(UsageError, match="has no text tower to go on with"):
        seesay.train(tmp_path, start={"model": str(tmp_path / "captions")}, steps=1)
    with pytest.raises(UsageError, match=r"optimizer\.kind is muon, which steps whole matrices, and lora has none"):
        with_start(TrainSettings(start=StartSettings(how="lora"), optimizer={"kind": "muon"}), model)
    for how in ("lora", "prompt", "image", "lock-image"):
        with pytest.raises(
            UsageError, match=rf"start\.how is {how}, but the run begins with random weights; name a model"
        ):
            begin_with(TrainSettings(start=StartSettings(how=how)))
    with pytest.raises(UsageError, match=r"distillation.temperature is 2.0, but there is no teacher; name one"):
        begin_with(TrainSettings(distillation={"temperature": 2.0}))
    assert begin_with(TrainSettings(distillation={"temperature": 1.0}))[0] is None
    with pytest.raises(UsageError, match=r"start\.classes names no classes"):
        learner_from(model, TrainSettings(start=StartSettings(how="image")), name="x")


def test_logits_of_classes_are_as_exact_in_bfloat16_as_those_of_captions(begun):
    """Of rows that were rounded once, at the largest scale."""
    model, _ = begun
    how = StartSettings(how="image", classes=("red", "green", "blue"), templates=("a {} square",))
    clip = learner_from(model, TrainSettings(start=how), name="x").clip
    clip.logit_scale.data.fill_(100.0).log_()
    pixels = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = model.tokenizer.tokens([f"a {name} square" for name in ("red", "green", "blue")] * 2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found, image_BD = clip(pixels, tokens).loss_B, clip.embed_images(pixels)
    logits_BC = 100.0 * image_BD.double() @ clip.rows_CD.double().T
    expected = torch.nn.functional.cross_entropy(logits_BC, torch.arange(3).repeat(2), reduction="none")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.journey
@pytest.mark.parametrize("how", ["lora", "lock-image"])
def test_two_processes_learn_what_one_learns(how, begun, coloured_pairs, tmp_path, in_processes, one_thread):
    _, folder = begun
    pairs = coloured_pairs(48)
    start = {"model": str(folder), "how": how, "rank": 2}
    settings = {
        "steps": 2,
        "data": {"validation": 0.0, "workers": 0},
        "start": start,
        "optimizer": {"learning_rate": 1e-3},
    }
    settings = TrainSettings.model_validate({**QUICK_SETTINGS, **settings})

    def work(rank):
        model = train_model([pairs], out=tmp_path / "two", settings=settings)
        return weights_sha256(model.clip.state_dict())

    first, second = in_processes(2, work)
    assert first == second and len(first) == 64
    one = train_model([pairs], out=tmp_path / "one", settings=settings)
    two = seesay.load(tmp_path / "two" / "model")
    apart = max(float((a - b).abs().max()) for a, b in zip(new_tensors(one), new_tensors(two), strict=True))
    # AdamW makes a step of any gradient's sign, and those that are all but 0 may differ in it: two steps of 1e-3.
    assert apart < 5e-3
    losses = [seesay.open_run(tmp_path / name).events[-1]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


QUICK_SETTINGS = {"batch_size": 8, "device": "cpu", "towers": {"precision": "float32"}}


def test_a_checkpoint_with_moments_of_what_is_not_trained_is_read(tmp_path, monkeypatch):
    """As versions before wrote them."""
    clip = build_clip(preset("conv-tiny"), seed=0)
    clip.logit_scale.requires_grad_(False)
    plan = OptimizerPlan(kind="adamw", learning_rate=1e-3, weight_decay=0.1, beta1=0.9, beta2=0.98, epsilon=1e-6)
    optimizer = optimizer_of(clip, plan)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_trained", lambda clip: list(clip.named_parameters()))
        save_checkpoint(tmp_path, clip, optimizer, Position(step=3), keep=2)
    position, faults = restore_latest(tmp_path, clip, optimizer_of(clip, plan))
    assert position.step == 3 and faults == []
    names = checkpoint.optimizer_tensors(clip, optimizer)
    assert "logit_scale.exp_avg" not in names and any(name.startswith("image_tower") for name in names)
    assert all(torch.is_tensor(tensor) for tensor in names.values())


def tower(model, side):
    return {name: tensor for name, tensor in model.clip.state_dict().items() if name.startswith(f"{side}_tower.")}


@pytest.mark.journey
def test_two_towers_of_two_models_meet_and_a_width_that_differs_gets_a_new_projection(
    begun, coloured_pairs, tmp_path, one_thread, capsys
):
    image, folder = begun
    words = CaptionTokenizer.train(WORDS, vocab_size=560, context=14)
    text = seesay.build("vit-small", tokenizer=words, seed=5)
    text.save(tmp_path / "text")
    pairs, nothing = coloured_pairs(48), {"learning_rate": 1e-9}
    named = {
        "image_tower": str(folder),
        "text_tower": str(tmp_path / "text"),
        "steps": 1,
        "optimizer": nothing,
        **QUICK,
    }
    new = seesay.train(pairs, out=tmp_path / "run", **named)
    width = image.architecture.embed_dim
    assert (new.architecture.embed_dim, text.architecture.embed_dim) == (width, 256)
    assert new.architecture.image == image.architecture.image and new.preprocess == image.preprocess
    assert new.tokenizer.merges == words.merges and new.templates == text.templates
    plan = (tmp_path / "run" / "facts.json").read_text()
    assert "tower      image: that of conv-tiny" in plan
    assert f"with a new projection to {width} numbers in place of that to 256" in plan
    assert "that of " in plan and not (tmp_path / "run" / "tokenizer.json").exists()
    for side, old in (("image", image), ("text", text)):
        before, after = tower(old, side), tower(new, side)
        other = {name for name in before if before[name].shape != after[name].shape}
        assert other == ({"text_tower.projection"} if side == "text" else set())
        for name in before.keys() - other:
            assert torch.allclose(before[name].float(), after[name].float(), atol=1e-5), name
    # It goes on, and other towers are other settings.
    seesay.train(pairs, out=tmp_path / "run", **{**named, "steps": 2})
    with pytest.raises(UsageError, match=r"other settings .*; text_tower: "):
        seesay.train(pairs, out=tmp_path / "run", **{**named, "text_tower": str(folder), "steps": 3})


@pytest.mark.journey
def test_a_locked_image_tower_stays_to_the_bit_beside_words_learned_from_nothing(
    begun, coloured_pairs, tmp_path, one_thread
):
    image, folder = begun
    named = {"image_tower": str(folder), "start": {"how": "lock-image"}, "steps": 3, **QUICK}
    new = seesay.train(coloured_pairs(48), out=tmp_path / "run", **named)
    before, after = tower(image, "image"), tower(new, "image")
    assert all(torch.equal(before[name], after[name]) for name in before), "its running statistics, too"
    assert (tmp_path / "run" / "tokenizer.json").exists()


def test_wrong_towers_are_one_line_each(begun, predictor, coloured_pairs, tmp_path):
    _, folder = begun
    pairs = coloured_pairs(24)
    predictor("caption").save(tmp_path / "captions")

    def refused(match, **named):
        with pytest.raises(UsageError, match=match):
            seesay.train(pairs, out=tmp_path / "run", steps=1, **{**QUICK, **named})

    refused("text_tower predictor has no rows to compare", text_tower=str(tmp_path / "captions"))
    refused("is for a run without start.model", image_tower=str(folder), start={"model": str(folder)})
    both = {"image_tower": str(folder), "text_tower": str(folder)}
    refused("model is vit-small, but both towers are those of other models", model="vit-small", **both)
    refused("start.how is lock-text, but that tower is of random", image_tower=str(folder), start={"how": "lock-text"})
    refused("model 'nothing' is no folder", image_tower="nothing")
    unlike = {"image_tower": str(folder), "text_tower": "box", "start": {"how": "lock-text"}}
    refused("start.how is lock-text, but rows have 128 numbers, and .* would stay random", **unlike)
    refused(
        "objective caption predicts captions and has no place for text_tower", text_tower="box", objective="caption"
    )
    reads = "that image tower is not for this model and objective: embed_dim is 128, and a captioner reads its prefix"
    refused(reads, image_tower=str(folder), objective="caption")
    prompt = {"model": str(folder), "how": "prompt"}
    refused("start.how is prompt, which learns the words around the names of classes, and captions", start=prompt)
    assert not (tmp_path / "run").exists()
