"""Heat: by hand, as Grad-CAM where it must be, and in the coordinates of the photo."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seesay.formulas.relevance import (
    attention_relevance,
    curve_area,
    in_image,
    joined,
    map_relevance,
    rank_of,
    resized,
)


def test_map_relevance_by_hand():
    map_BChw = torch.tensor([[[[2.0, 3.0]], [[5.0, 0.0]]]])
    gradient_BChw = torch.tensor([[[[1.0, -1.0]], [[0.5, 2.0]]]])
    assert map_relevance(map_BChw, gradient_BChw).tolist() == [[[4.5, 0.0]]]


def test_before_a_global_mean_it_is_grad_cam_of_the_channels_that_speak_for_the_score():
    torch.manual_seed(0)
    map_BChw = torch.rand(2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    weight_C = torch.randn(5, dtype=torch.float64)
    score = (map_BChw.mean((2, 3)) @ weight_C).sum()
    (gradient,) = torch.autograd.grad(score, map_BChw)
    grad_cam = (weight_C.clamp(min=0)[:, None, None] / 9 * map_BChw).sum(1)
    torch.testing.assert_close(map_relevance(map_BChw, gradient), grad_cam)


def test_attention_relevance_by_hand_takes_the_positive_part_of_every_head():
    weight = torch.tensor([[[[0.25, 0.75]], [[0.5, 0.5]]]])
    gradient = torch.tensor([[[[2.0, -4.0]], [[1.0, 3.0]]]])
    assert attention_relevance(weight, gradient).tolist() == [[0.5, 0.75]]


def test_gradient_times_weight_sums_to_the_derivative_along_all_weights():
    """Attention is a sum over positions, so its parts add up: checked against a finite difference in float64."""
    torch.manual_seed(0)
    value, weight = torch.randn(4, 6, dtype=torch.float64), torch.rand(4, dtype=torch.float64, requires_grad=True)

    def score(by):
        return F.normalize((by[:, None] * value).sum(0) + 0.3, dim=0)[0]

    (gradient,) = torch.autograd.grad(score(weight), weight)
    step = 1e-6
    difference = (score(weight * (1 + step)) - score(weight * (1 - step))) / (2 * step)
    assert float((gradient * weight).sum().detach()) == pytest.approx(float(difference.detach()), rel=1e-7)


def test_joined_maps_are_on_the_finest_grid_from_0_to_1():
    fine = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    coarse = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(1)) * 100
    both = joined([coarse, fine])
    assert both.shape == (3, 6, 6)
    assert both.amin((1, 2)).tolist() == [0.0] * 3 and both.amax((1, 2)).tolist() == [1.0] * 3
    alone = joined([fine])
    assert torch.equal(alone.flatten(1).argsort(1), fine.flatten(1).argsort(1))


def test_a_map_without_relevance_is_0_and_no_nan():
    assert joined([torch.zeros(1, 2, 2), torch.zeros(1, 4, 4)]).tolist() == torch.zeros(1, 4, 4).tolist()


def test_in_the_image_a_cell_is_where_its_pixels_are():
    """A box of 4 x 4 pixels with two cells a side, right of two columns that the model does not see."""
    heat = in_image(np.array([[1.0, 0.0], [0.0, 0.0]]), (4, 8), (0.0, 2.0, 4.0, 6.0))
    assert heat.shape == (4, 8) and heat.dtype == np.float32
    assert not heat[:, :2].any() and not heat[:, 6:].any()
    assert heat[0, 2:6].tolist() == [1.0, 0.75, 0.25, 0.0]


@pytest.mark.parametrize("cells", [1, 2, 3, 5])
def test_over_the_whole_image_it_is_torchs_bilinear_resize(cells):
    heat = torch.rand(1, cells, cells, generator=torch.Generator().manual_seed(cells))
    ours = in_image(heat[0].numpy(), (20, 20), (0.0, 0.0, 20.0, 20.0))
    torch.testing.assert_close(torch.from_numpy(ours), resized(heat, 20)[0])


def test_ranks_and_areas_by_hand():
    assert rank_of(torch.tensor([[0.1, 0.9, 0.1, 0.5]])).tolist() == [[2, 0, 3, 1]]
    assert curve_area(torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])).tolist() == [0.5, 1.0]
