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
from seesay.training.start import with_start
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
    with pytest.raises(UsageError, match=r"start\.classes names no classes"):
        from seesay.training.start import learner_from

        learner_from(model, TrainSettings(start=StartSettings(how="image")), name="x")


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
