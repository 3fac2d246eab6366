"""The limits of the logit scale, from both sides."""

import math

import pytest
import torch

from seesay.nets.clip import DualEncoder


def encoder(log_scale: float, **scoring) -> DualEncoder:
    clip = DualEncoder(torch.nn.Identity(), torch.nn.Identity(), **scoring)
    clip.logit_scale.data.fill_(log_scale)
    return clip


@pytest.mark.parametrize(
    ("log_scale", "held"),
    [(-0.5, 0.0), (-1e-3, 0.0), (0.0, 0.0), (0.5, 0.5), (4.6, 4.6), (4.61, math.log(100)), (9.0, math.log(100))],
)
def test_the_factor_on_cosines_is_held_between_1_and_100(log_scale, held):
    clip = encoder(log_scale)
    assert clip.hold_logit_scale() == (held != log_scale)
    assert clip.logit_scale.item() == pytest.approx(held)


@pytest.mark.parametrize("log_scale", [-0.5, 9.0])
def test_a_sigmoids_factor_is_free(log_scale):
    clip = encoder(log_scale, scoring="sigmoid")
    assert not clip.hold_logit_scale()
    assert clip.logit_scale.item() == pytest.approx(log_scale)


def test_the_factors_start_where_their_papers_start_them():
    softmax = DualEncoder(torch.nn.Identity(), torch.nn.Identity())
    sigmoid = DualEncoder(torch.nn.Identity(), torch.nn.Identity(), scoring="sigmoid")
    assert softmax.logit_scale.exp().item() == pytest.approx(1 / 0.07) and softmax.logit_bias is None
    assert sigmoid.logit_scale.exp().item() == pytest.approx(10) and sigmoid.logit_bias.item() == -10
