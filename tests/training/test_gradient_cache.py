"""A batch in pieces has the gradients of the batch in one, the scale's included, patches left out at random or not."""

import math
from contextlib import nullcontext

import pytest
import torch
from steppers import stepper_for

from seesay.base.records import Batch, Embedded
from seesay.data.images import Preprocess
from seesay.data.tokenizer import pad
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import Clip, build_clip
from seesay.nets.presets import preset
from seesay.nets.row_random import row_seeds, row_uniforms
from seesay.training import step as step_module
from seesay.training.gradient_cache import RandomState, chunks_of
from seesay.training.objectives import contrastive as contrastive_file

ROWS = 16
TINY = Architecture(
    embed_dim=12,
    image=VisionTransformerConfig(image_size=16, patch=4, width=16, layers=2, heads=2),
    text=TextTransformerConfig(vocab_size=40, context=8, width=16, layers=2, heads=2),
)


def batch(rows=ROWS):
    generator = torch.Generator().manual_seed(3)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (rows, 3, 16, 16), dtype=torch.uint8, generator=generator),
        tokens=pad([[1, *range(2, 3 + row % 5), 10 + row, 39] for row in range(rows)]),
        sample_B=torch.arange(100, 100 + rows),
        image_id_B=torch.arange(100, 100 + rows),
        caption_id_B=torch.arange(rows) // 2,
    )


class Doubled(Preprocess):
    """Pixels in float64, so that what is left of a difference is not rounding."""

    def normalise(self, pixels_B3SS):
        return super().normalise(pixels_B3SS).double()


def clip_of(architecture=TINY, *, patch_dropout=0.5) -> Clip:
    clip = build_clip(architecture, seed=0)
    clip.image_tower.patch_dropout = patch_dropout
    return clip.train()


def gradients(clip, *, micro_batch=None, step=5, share_repeats=True, preprocess=None, rows=ROWS):
    """The gradient of every parameter, the loss, and the norm."""
    objective = "contrastive" if clip.logit_bias is None else "sigmoid"
    settings = {"preprocess": preprocess, "share_repeats": share_repeats}
    stepper = stepper_for(clip, objective, micro_batch=micro_batch, **settings)
    clip.zero_grad()
    loss, norm = stepper.gradients(batch(rows), [rows], step=step)
    return {name: p.grad.clone() for name, p in clip.named_parameters()}, loss, norm


def relative(one, other):
    return float((one - other).norm() / other.norm())


def test_gradients_of_the_plain_loop_are_those_of_autograd():
    clip = clip_of(patch_dropout=0.0).double()
    got, loss, norm = gradients(clip, preprocess=Doubled(size=16), share_repeats=False)
    clip.zero_grad()
    data = batch()
    image_BD = clip.embed_images(Doubled(size=16).normalise(data.pixels_B3SS))
    logits_BB = clip.logit_scale.exp() * image_BD @ clip.embed_texts(data.tokens).T
    match_B = torch.arange(ROWS)
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits_BB, match_B) + cross(logits_BB.T, match_B)) / 2
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    assert all(relative(got[name], p.grad) < 1e-12 for name, p in clip.named_parameters())
    assert norm == pytest.approx(math.sqrt(sum(float(p.grad.square().sum()) for p in clip.parameters())))


@pytest.mark.parametrize("chunks", [1, 2, 4, 8])
@pytest.mark.parametrize("share_repeats", [False, True])
def test_every_gradient_of_a_batch_in_pieces_is_that_of_the_undivided_batch(chunks, share_repeats):
    clip = clip_of().double()
    given = {"preprocess": Doubled(size=16), "share_repeats": share_repeats}
    expected, loss, norm = gradients(clip, **given)
    got, piece_loss, piece_norm = gradients(clip, micro_batch=ROWS // chunks, **given)
    assert {name: relative(got[name], expected[name]) < 1e-10 for name in expected} == dict.fromkeys(expected, True)
    assert (piece_loss, piece_norm) == (pytest.approx(loss, rel=1e-12), pytest.approx(norm, rel=1e-10))


@pytest.mark.parametrize("chunks", [1, 2, 4, 8])
def test_in_float32_the_scale_and_every_weight_agree_to_a_millionth(chunks):
    clip = clip_of()
    expected, _, norm = gradients(clip)
    got, _, _ = gradients(clip, micro_batch=ROWS // chunks)
    assert relative(got["logit_scale"], expected["logit_scale"]) < 1e-6
    # Of the whole gradient: a single bias may be a sum that cancels to a millionth of its terms.
    assert math.sqrt(sum(float((got[name] - expected[name]).square().sum()) for name in expected)) < 1e-6 * norm


def test_without_the_replayed_random_state_the_pieces_would_see_other_patches(monkeypatch):
    clip = clip_of()
    expected, _, _ = gradients(clip)
    monkeypatch.setattr(step_module, "row_seeds", lambda _: nullcontext())
    monkeypatch.setattr(RandomState, "restore", lambda self: None)
    got, _, _ = gradients(clip, micro_batch=4)
    assert relative(got["logit_scale"], expected["logit_scale"]) > 1e-3


def test_what_is_drawn_from_torchs_own_generator_is_replayed_as_well():
    """A layer that knows nothing of rows: its draws differ between one piece and several, not between two passes."""
    clip = clip_of(patch_dropout=0.0)
    dropped = []

    def drop(_, inputs):
        factor = torch.rand(len(inputs[0]), 1, 1, 1)
        dropped.append(factor.flatten())
        return (inputs[0] * factor,)

    clip.image_tower.patches.register_forward_pre_hook(drop)
    gradients(clip, micro_batch=4)
    assert torch.equal(torch.cat(dropped[:4]), torch.cat(dropped[4:]))
    once = list(dropped)
    dropped.clear()
    gradients(clip, micro_batch=4, step=6)
    assert not torch.equal(once[0], dropped[0])


def test_rows_draw_the_same_in_any_piece_and_otherwise_look_random():
    seed_B = torch.arange(-500, 500)
    with row_seeds(seed_B):
        whole = row_uniforms(1000, 50)
    with row_seeds(seed_B[300:310]):
        assert torch.equal(row_uniforms(10, 50), whole[300:310])
    assert float(whole.min()) >= 0 and float(whole.max()) < 1
    assert abs(float(whole.mean()) - 0.5) < 0.005 and abs(float(whole.var()) - 1 / 12) < 0.002
    assert abs(float(torch.corrcoef(torch.stack([whole[:, 0], whole[:, 1]]))[0, 1])) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([whole[:-1, 0], whole[1:, 0]]))[0, 1])) < 0.1
    with row_seeds(seed_B), pytest.raises(ValueError, match="3 rows are drawn for, and 1000 have seeds"):
        row_uniforms(3, 50)


def test_pieces_are_as_even_as_can_be_and_none_is_too_long():
    assert chunks_of(10, 10, most=10) == [slice(0, 10)]
    assert [chunk.stop - chunk.start for chunk in chunks_of(10, 4, most=10)] == [3, 3, 4]
    assert chunks_of(0, 4, most=0) == [slice(0, 0)]


def test_every_process_has_as_many_pieces_as_the_one_with_the_most_rows():
    assert [chunk.stop - chunk.start for chunk in chunks_of(8, 8, most=9)] == [4, 4]
    assert [chunk.stop - chunk.start for chunk in chunks_of(1, 2, most=5)] == [0, 0, 1]
    assert chunks_of(0, 4, most=5) == [slice(0, 0), slice(0, 0)]


def test_running_statistics_move_once_a_step_by_the_mean_over_pieces():
    clip = build_clip(preset("conv-tiny"), seed=0).train()
    gradients(clip, micro_batch=4, preprocess=Preprocess(size=32))
    norm = clip.image_tower.stem[1]
    assert int(norm.num_batches_tracked) == 1
    conv = clip.image_tower.stem[0]
    with torch.no_grad():
        pixels_B3SS = Preprocess(size=32).normalise(batch().pixels_B3SS).contiguous(memory_format=torch.channels_last)
        means = [conv(part).mean((0, 2, 3)) for part in pixels_B3SS.split(4)]
    assert torch.allclose(norm.running_mean, 0.1 * torch.stack(means).mean(0), atol=1e-6)


def test_a_sigmoid_model_in_pieces_has_the_gradients_of_the_whole_bias_included():
    clip = clip_of(TINY.model_copy(update={"scoring": "sigmoid"}))
    clip.double()
    expected, loss, _ = gradients(clip, preprocess=Doubled(size=16))
    got, piece_loss, _ = gradients(clip, micro_batch=4, preprocess=Doubled(size=16))
    assert piece_loss == pytest.approx(loss)
    names = "logit_scale", "logit_bias", "image_tower.class_token"
    assert all(relative(got[name], expected[name]) < 1e-10 for name in names)


def test_large_batches_take_the_loss_in_tiles(monkeypatch):
    clip = clip_of().double()
    expected, loss, _ = gradients(clip, preprocess=Doubled(size=16))
    monkeypatch.setattr(contrastive_file, "TILED_FROM", 2)
    got, tiled_loss, _ = gradients(clip, preprocess=Doubled(size=16))
    assert tiled_loss == pytest.approx(loss)
    assert all(relative(got[name], expected[name]) < 1e-9 for name in expected)


def test_a_process_without_pairs_gives_zero_gradients_and_no_embeddings():
    clip = clip_of()
    stepper = stepper_for(clip)
    empty = Batch(
        pixels_B3SS=torch.empty(0, 3, 1, 1, dtype=torch.uint8),
        tokens=batch().tokens,
        sample_B=torch.empty(0, dtype=torch.int64),
        image_id_B=torch.empty(0, dtype=torch.int64),
        caption_id_B=torch.empty(0, dtype=torch.int64),
    )
    part = stepper._forward(empty)
    assert isinstance(part, Embedded) and part.image_BD.shape == part.text_BD.shape == (0, 12)
    (part.image_BD.sum() + part.text_BD.sum()).backward()
    assert float(clip.image_tower.class_token.grad.abs().sum()) == 0
