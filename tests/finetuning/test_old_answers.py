"""What fine-tuning keeps of the old model: rows of drawn images and of names, drawn for a step and held as they are."""

import contextlib

import pytest
import torch
from steppers import stepper_for

import seesay
from seesay.base.errors import SeesayError
from seesay.finetuning.finetune import finetune
from seesay.finetuning.guards import DRAWN, OldAnswers


@pytest.mark.journey
def test_what_a_step_draws_of_the_old_answers_is_the_same_in_parts_and_anew(small_model):
    kept = OldAnswers(small_model, {"tench", "goldfish"}, seed=3)
    assert len(kept.pixels_N3SS) == len(kept.image_ND) == DRAWN
    assert len(kept.ids) == len(OldAnswers(small_model, set(), seed=3).ids) - 2
    whole = kept.drawn(7, 8, part=(0, 1))
    again, parts = kept.drawn(7, 8, part=(0, 1)), [kept.drawn(7, 7, part=(k, 2)) for k in range(2)]
    for number in (0, 2, 3):
        assert torch.equal(whole[number], again[number])
        assert torch.equal(whole[number], torch.stack([part[number] for part in parts], 1).flatten(0, 1))
    assert not torch.equal(whole[2], kept.drawn(8, 8, part=(0, 1))[2])
    assert torch.allclose(whole[2], small_model.encode_pixels(whole[0]), atol=1e-5)
    assert torch.allclose(whole[3], small_model.clip.embed_texts(whole[1]), atol=1e-5)


@pytest.mark.parametrize("locked", ["", "image_tower", "text_tower"])
def test_old_answers_go_through_the_towers_a_chunk_at_a_time(locked, small_model, monkeypatch):
    monkeypatch.setattr("seesay.finetuning.guards.DRAWN", 24)
    kept = OldAnswers(small_model, set(), seed=0)
    clip = small_model.clip
    if locked:
        clip.get_submodule(locked).requires_grad_(False)
    with torch.no_grad():  # else nothing has turned, and there is no gradient
        for parameter in clip.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    sizes, gradients = [], []
    clip.image_tower.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    clip.text_tower.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0].ids_BL)))
    for micro_batch in (None, 3):
        clip.zero_grad()
        named = {"old_answers": kept, "keep": 2.0, "preprocess": small_model.preprocess}
        loss = stepper_for(clip, micro_batch=micro_batch, **named)._backward_of_old_answers(4, 8)
        gradients.append([loss, *(each.grad.clone() for each in clip.parameters() if each.grad is not None)])
    assert sizes == [8, 8, 2, 2, 3, 3, 3, 3]
    assert float(gradients[0][0]) > 0.01
    for whole, parts in zip(*gradients, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-3, atol=1e-6)


@pytest.mark.journey
@pytest.mark.parametrize("how", ["full", "image", "lora"])
def test_what_is_not_learned_keeps_its_rows_where_that_is_asked_for(how, small_model, squares, tmp_path):
    data = squares()
    pixels = OldAnswers(small_model, set(), seed=0).pixels_N3SS
    moved = []
    for keep in (0.0, 30.0):
        words = ["optimizer.learning_rate=0.003", "towers.precision=float32", f"start.keep={keep}"]
        named = {"workers": 0, "batch_size": 8, "device": "cpu", "steps": 12, "most_loss": 100.0, "overrides": words}
        with contextlib.suppress(SeesayError):  # so few steps may make nothing better
            finetune(small_model, data, out=tmp_path / f"run{keep}", how=how, **named)
        new = seesay.load(tmp_path / f"run{keep}" / "train" / "model")
        moved.append(float(1 - (new.encode_pixels(pixels) * small_model.encode_pixels(pixels)).sum(1).mean()))
    assert moved[1] < moved[0] / 3
