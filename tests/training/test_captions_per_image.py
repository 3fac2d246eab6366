"""A step with several captions of each image: the mean of the steps with each of them."""

from dataclasses import replace

import pytest
import torch
from steppers import stepper_for

from seesay.base.errors import UsageError
from seesay.base.records import Batch, Tokens
from seesay.base.settings import read_settings
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.plan import DataFacts, choose
from seesay.training.settings import TrainSettings

B, COUNT, L = 6, 3, 7


def batch_of() -> Batch:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 500, (COUNT * B, L), generator=generator)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (B, 3, 32, 32), generator=generator, dtype=torch.uint8),
        tokens=Tokens(ids_BL=ids, length_B=torch.full((COUNT * B,), L)),
        sample_B=torch.arange(B),
        image_id_B=torch.tensor([1, 2, 3, 4, 5, 5]),
        caption_id_B=torch.arange(COUNT * B) % 16,
    )


def gradients(batch: Batch, objective: str, count: int) -> tuple[float, dict[str, torch.Tensor]]:
    clip = build_clip(preset("conv-tiny"), seed=0)
    clip.eval()  # running statistics, so that three passes see what one does
    stepper = stepper_for(clip, objective, share_repeats=True, captions_per_image=count)
    loss, _ = stepper.gradients(batch, [B], step=1)
    return loss, {name: p.grad.clone() for name, p in clip.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("objective", ["contrastive-bow", "vse"])
def test_loss_and_gradients_are_the_mean_of_those_of_each_caption(objective):
    batch = batch_of()
    loss, together = gradients(batch, objective, COUNT)
    alone = []
    for number in range(COUNT):
        rows = slice(number * B, (number + 1) * B)
        tokens = Tokens(ids_BL=batch.tokens.ids_BL[rows], length_B=batch.tokens.length_B[rows])
        alone.append(gradients(replace(batch, tokens=tokens, caption_id_B=batch.caption_id_B[rows]), objective, 1))
    assert loss == pytest.approx(sum(each for each, _ in alone) / COUNT, rel=1e-6)
    for name, gradient in together.items():
        mean = torch.stack([each[name] for _, each in alone]).mean(0)
        assert torch.allclose(gradient, mean, rtol=1e-4, atol=1e-7), name


def test_what_cannot_take_several_captions_says_so():
    facts = DataFacts(pairs=40_000, captions=90_000, median_side=64, device="cpu", cores=2)
    several = "data.captions_per_image=2"
    with pytest.raises(UsageError, match="for objectives that compare captions, not caption"):
        choose(read_settings(TrainSettings, file=None, overrides=[several, "objective=caption"]), facts)
    with pytest.raises(UsageError, match="needs whole batches; leave micro_batch out"):
        read_settings(TrainSettings, file=None, overrides=[several, "micro_batch=8"])
