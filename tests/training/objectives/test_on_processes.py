"""Two processes, each with a part of the batch, learn what one with all of it does."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from steppers import stepper_for

from seesay.base.records import Batch, Embedded, Tokens
from seesay.base.runtime import Runtime
from seesay.data.tokenizer import CaptionTokenizer, pad
from seesay.nets.architecture import Architecture, ConvNetConfig, TextTransformerConfig
from seesay.nets.clip import CaptionPredictor, build_clip
from seesay.training.objectives import OBJECTIVES, objective_of
from seesay.training.objectives.distilled import Distilled
from seesay.training.process_group import open_process_group
from seesay.training.sharding import full_tensor, full_tensors

pytestmark = pytest.mark.journey
LEARNED = {
    **OBJECTIVES,
    "contrastive, cut": objective_of("contrastive", [4, 8]),
    "sigmoid, cut": objective_of("sigmoid", [4, 8]),
    "contrastive, taught": Distilled(OBJECTIVES["contrastive"], "a teacher", weight=2.0, temperature=1.5),
}
CAPTIONS = ["a red dog", "two cats and a ball", "the dog runs", "a green ball left of a cat", "grass", "a cat on grass"]


def clip_of(name):
    tokenizer = CaptionTokenizer.train(CAPTIONS, vocab_size=530, context=16)
    text = TextTransformerConfig(width=16, layers=1, heads=2, context=16, vocab_size=tokenizer.vocab_size)
    base = Architecture(embed_dim=16, image=ConvNetConfig(image_size=16, width=8, depths=(1, 1)), text=text)
    clip = build_clip(LEARNED[name].architecture(base), seed=0)
    LEARNED[name].set_up(clip)
    if isinstance(clip, CaptionPredictor) and clip.head.needs_vocabulary:
        spelling = [tokenizer.decode([index]) for index in range(tokenizer.vocab_size)]
        clip.head.fit_vocabulary(tokenizer(CAPTIONS), spelling)
    # Statistics of a batch are those of a process's own part; the running ones are everybody's.
    return clip.eval(), tokenizer


def batch(tokenizer, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(3)
    pixels_B3SS = torch.randint(0, 256, (len(CAPTIONS), 3, 16, 16), dtype=torch.uint8, generator=generator)
    tokens, place_B = pad(tokenizer(CAPTIONS)), torch.arange(len(CAPTIONS))[rows]
    return Batch(
        pixels_B3SS=pixels_B3SS[rows],
        tokens=Tokens(ids_BL=tokens.ids_BL[rows], length_B=tokens.length_B[rows]),
        sample_B=place_B,
        image_id_B=place_B,
        caption_id_B=place_B,
    )


class RandomTeacher:
    """Rows of any direction for each pair of the batch."""

    def of(self, batch: Batch, device: torch.device) -> Embedded:
        rows_2ND = torch.randn(2, len(CAPTIONS), 5, generator=torch.Generator().manual_seed(7))
        image_BD, text_BD = torch.nn.functional.normalize(rows_2ND[:, batch.sample_B], dim=-1)
        return Embedded(image_BD=image_BD, text_BD=text_BD, scale=torch.tensor(4.0))


def gradients(processes, name, parallel, part, *, micro_batch=None, held=4):
    clip, tokenizer = clip_of(name)
    settings = {"processes": processes, "parallel": parallel, "share_repeats": True, "teacher": RandomTeacher()}
    stepper = stepper_for(clip, LEARNED[name], micro_batch=micro_batch, **settings)
    ends = [0, held, 6] if processes.world_size > 1 else [0, 6]
    rows = [last - first for first, last in pairwise(ends)]
    value, norm = stepper.gradients(batch(tokenizer, slice(ends[part], ends[part + 1])), rows, step=3, done=1.0)
    found = {
        key: full_tensor(p.grad).detach().clone().numpy() for key, p in clip.named_parameters() if p.grad is not None
    }
    full_tensors(clip.state_dict())
    return value, norm, found


def on_two(rank):
    found = {}
    with open_process_group(Runtime.find("cpu"), timeout_seconds=60) as processes:
        for name in LEARNED:
            # In the last, the second process has none.
            for case in (("ddp", None, 4), ("ddp", 1, 4), ("fsdp", None, 4), ("ddp", None, 6)):
                parallel, micro_batch, held = case
                found[name, *case] = gradients(processes, name, parallel, rank, micro_batch=micro_batch, held=held)
    return found


def test_two_processes_have_the_loss_and_the_gradients_of_one(in_processes):
    wanted = {}
    with open_process_group(Runtime.find("cpu"), timeout_seconds=60) as processes:
        for name in LEARNED:
            wanted[name] = gradients(processes, name, "ddp", 0)
    for told in in_processes(2, on_two):
        for (name, *case), (value, norm, found) in told.items():
            where = f"{name} {case}"
            assert value == pytest.approx(wanted[name][0], rel=1e-5), where
            assert norm == pytest.approx(wanted[name][1], rel=1e-3), where
            assert found.keys() == wanted[name][2].keys(), where
            for key, gradient in wanted[name][2].items():
                least = 1e-4 * np.abs(gradient).max() + 1e-8
                np.testing.assert_allclose(found[key], gradient, rtol=1e-3, atol=least, err_msg=f"{where} {key}")
