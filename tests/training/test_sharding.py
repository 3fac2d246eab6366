"""A model in parts on several processes."""

import pytest
import torch

from seesay.base.runtime import Runtime
from seesay.data.tokenizer import pad
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.process_group import open_process_group
from seesay.training.sharding import full_tensors, is_sharded, parallelize

pytestmark = pytest.mark.journey


def sharded(rank):
    """Embeddings of a convolutional tower before and after it is sharded, and whether its weights came back."""
    clip = build_clip(preset("conv-tiny"), seed=0).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = pad([[1, 5, 9], [1, 7, 8, 9]])
    before, weights = clip(pixels, tokens).image_BD.detach(), {k: v.clone() for k, v in clip.state_dict().items()}
    with open_process_group(Runtime.find("cpu"), timeout_seconds=30) as processes:
        shared = parallelize(clip, processes, parallel="fsdp")
        after = shared.forward(pixels, tokens).image_BD.detach()
        back = full_tensors(clip.state_dict())
        parts = sum(is_sharded(parameter) for parameter in clip.parameters())
    return float((after - before).abs().max()), all(torch.equal(back[k], v) for k, v in weights.items()), parts


def test_convolutions_which_lie_channels_last_are_sharded_too(in_processes):
    for difference, is_same, parts in in_processes(2, sharded):
        assert difference < 1e-6 and is_same and parts > 10
