"""How the towers are told to work: precision, patches left out, blocks run again, compiling."""

import math

import pytest
import torch

from seesay.base.errors import UsageError
from seesay.base.runtime import is_faster_in_bfloat16
from seesay.base.settings import read_settings
from seesay.model.build import build
from seesay.model.hub import load
from seesay.training.plan import DataFacts, choose
from seesay.training.settings import TowerSettings, TrainSettings
from seesay.training.setup import set_up_towers
from seesay.training.train import train_model

FACTS = DataFacts(pairs=40_000, captions=90_000, median_side=64, device="cpu", cores=2)
FASTER = DataFacts(**{**FACTS.__dict__, "is_faster_in_bfloat16": True})


def settings(*overrides):
    return read_settings(TrainSettings, file=None, overrides=overrides)


def trained(pairs, out, *words):
    chosen = settings("model=vit-small", "batch_size=8", "steps=4", "data.augment.flip=0", "check.every=1", *words)
    model = train_model([pairs], out=out, settings=chosen)
    text = (out / "events.jsonl").read_text()
    losses = [
        float(line.split('"loss": ')[1].split(",")[0]) for line in text.splitlines() if '"pairs_per_second"' in line
    ]
    return model, losses


def test_bfloat16_is_chosen_where_it_was_measured_to_be_faster_and_nothing_was_asked_for():
    assert choose(settings(), FACTS).settings.towers.precision == "float32"
    assert choose(settings(), FASTER).settings.towers.precision == "bfloat16"
    assert choose(settings("towers.precision=float32"), FASTER).settings.towers.precision == "float32"
    assert isinstance(is_faster_in_bfloat16("cpu"), bool)


def test_patches_are_not_dropped_where_there_are_none():
    with pytest.raises(UsageError, match=r"patch_dropout is 0\.5, but the image tower of conv-tiny has no patches"):
        choose(settings("model=conv-tiny", "towers.patch_dropout=0.5"), FACTS)
    assert choose(settings("model=vit-small", "towers.patch_dropout=0.5"), FACTS).settings.towers.patch_dropout == 0.5


@pytest.mark.journey
def test_a_run_in_bfloat16_learns_what_one_in_float32_learns_and_saves_float32(coloured_pairs, tmp_path):
    pairs = coloured_pairs(24)
    _, exact = trained(pairs, tmp_path / "exact", "log.every_steps=1", "towers.precision=float32")
    model, rounded = trained(pairs, tmp_path / "rounded", "log.every_steps=1", "towers.precision=bfloat16")
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.05)
    assert {parameter.dtype for parameter in model.clip.parameters()} == {torch.float32}


@pytest.mark.journey
def test_blocks_run_again_change_no_bit(coloured_pairs, tmp_path):
    pairs, words = coloured_pairs(24), ["log.every_steps=1", "towers.precision=float32", "towers.patch_dropout=0.3"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, kept = trained(pairs, tmp_path / "kept", *words)
        _, again = trained(pairs, tmp_path / "again", *words, "towers.activation_checkpointing=true")
    finally:
        torch.set_num_threads(before)
    assert kept == again and all(map(math.isfinite, kept))


def test_blocks_that_cannot_be_run_again_are_told():
    wanted = TowerSettings(activation_checkpointing=True)
    vit = build("vit-small").clip
    set_up_towers(vit, wanted)
    assert vit.image_tower.blocks.recompute and vit.text_tower.blocks.recompute
    set_up_towers(vit, TowerSettings())
    assert not vit.image_tower.blocks.recompute
    with pytest.raises(UsageError, match=r"does nothing for ConvNet and BagOfWords, .*; leave it out"):
        set_up_towers(build("conv-tiny").clip, wanted)
    vit.image_tower = build("conv-tiny").clip.image_tower
    with pytest.warns(UserWarning, match=r"does nothing for ConvNet, .* only the other tower"):
        set_up_towers(vit, wanted)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_image_tower_learns_the_same_and_is_saved_as_any_other(coloured_pairs, tmp_path):
    pairs = coloured_pairs(24)
    words = ["log.every_steps=1", "towers.precision=float32"]
    _, plain = trained(pairs, tmp_path / "plain", *words)
    model, compiled = trained(pairs, tmp_path / "compiled", *words, "towers.compile=true")
    assert compiled == pytest.approx(plain, rel=1e-4)
    texts = model.encode_texts(["a red square"])
    torch.testing.assert_close(load(tmp_path / "compiled" / "model").encode_texts(["a red square"]), texts)
