import numpy as np
import pytest
import torch

from seesay.formulas.hinge import hinge_loss
from seesay.formulas.similarity import unit

MARGIN = 0.2


def rows(count=7, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(unit(torch.randn(count, width, generator=generator, dtype=torch.float64)) for _ in range(2))


def by_hand(image_ND, text_ND, *, hardest, is_match=lambda i, j: i == j):
    cosine_NN = (image_ND @ text_ND.T).numpy()
    total, count = 0.0, len(cosine_NN)
    for i in range(count):
        others = [j for j in range(count) if not is_match(i, j)]
        captions = [max(0.0, MARGIN - cosine_NN[i, i] + cosine_NN[i, j]) for j in others]
        images = [max(0.0, MARGIN - cosine_NN[i, i] + cosine_NN[j, i]) for j in others]
        choose = max if hardest else sum
        total += choose(captions or [0.0]) + choose(images or [0.0])
    return total / count


@pytest.mark.parametrize("hardest", [True, False])
def test_the_loss_is_that_of_two_loops_over_all_pairs(hardest):
    image_ND, text_ND = rows()
    found = hinge_loss(image_ND, text_ND, margin=MARGIN, hardest=hardest)
    assert float(found) == pytest.approx(by_hand(image_ND, text_ND, hardest=hardest), rel=1e-12)


@pytest.mark.parametrize("hardest", [True, False])
def test_equal_captions_are_not_held_against_one_another(hardest):
    image_ND, text_ND = rows()
    kind_N = np.array([0, 0, 1, 2, 2, 3, 4])
    is_match_NN = torch.from_numpy(kind_N[:, None] == kind_N)
    found = hinge_loss(image_ND, text_ND, margin=MARGIN, hardest=hardest, is_match_NN=is_match_NN)
    wanted = by_hand(image_ND, text_ND, hardest=hardest, is_match=lambda i, j: kind_N[i] == kind_N[j])
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_parts_add_up_to_the_whole_and_so_do_their_gradients():
    image_ND, text_ND = (x.requires_grad_() for x in rows())
    whole = hinge_loss(image_ND, text_ND, margin=MARGIN, hardest=True)
    wanted = torch.autograd.grad(whole, (image_ND, text_ND))
    parts = [hinge_loss(image_ND, text_ND, margin=MARGIN, hardest=True, part=slice(*ends)) for ends in ((0, 3), (3, 7))]
    torch.testing.assert_close(sum(parts), whole)
    for got, expected in zip(torch.autograd.grad(sum(parts), (image_ND, text_ND)), wanted, strict=True):
        torch.testing.assert_close(got, expected)


def test_pairs_that_are_ahead_by_the_margin_cost_nothing():
    image_ND = torch.eye(4)
    assert float(hinge_loss(image_ND, image_ND, margin=MARGIN, hardest=True)) == 0.0


def test_gradients_agree_with_finite_differences():
    image_ND, text_ND = (x.requires_grad_() for x in rows(count=4))
    assert torch.autograd.gradcheck(
        lambda image, text: hinge_loss(image, text, margin=MARGIN, hardest=False), (image_ND, text_ND)
    )
