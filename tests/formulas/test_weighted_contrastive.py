import numpy as np
import pytest
import torch

from seesay.formulas.contrastive import contrastive_loss, weighted_contrastive_loss
from seesay.formulas.similarity import unit


def rows(count=6, width=5):
    generator = torch.Generator().manual_seed(1)
    return tuple(unit(torch.randn(count, width, generator=generator, dtype=torch.float64)) for _ in range(2))


def by_hand(image_ND, text_ND, scale, image_weight):
    """Equations 2 to 4 of Zhang et al. 2020, one pair after the other."""
    product_NN = np.exp(scale * (image_ND @ text_ND.T).numpy())
    to_text = [-np.log(product_NN[i, i] / product_NN[i].sum()) for i in range(len(product_NN))]
    to_image = [-np.log(product_NN[i, i] / product_NN[:, i].sum()) for i in range(len(product_NN))]
    return np.mean([image_weight * one + (1 - image_weight) * two for one, two in zip(to_text, to_image, strict=True)])


@pytest.mark.parametrize("image_weight", [0.75, 0.0, 1.0])
def test_the_loss_is_the_published_one_written_out(image_weight):
    image_ND, text_ND = rows()
    found = weighted_contrastive_loss(image_ND, text_ND, torch.tensor(10.0), image_weight=image_weight)
    assert float(found) == pytest.approx(by_hand(image_ND, text_ND, 10.0, image_weight), rel=1e-12)


def test_with_equal_weights_it_is_clips():
    image_ND, text_ND = rows()
    is_match_NN = torch.eye(6, dtype=torch.bool)
    is_match_NN[0, 1] = is_match_NN[1, 0] = True
    for given in (None, is_match_NN):
        found = weighted_contrastive_loss(image_ND, text_ND, torch.tensor(10.0), image_weight=0.5, is_match_NN=given)
        torch.testing.assert_close(found, contrastive_loss(image_ND, text_ND, torch.tensor(10.0), is_match_NN=given))


def test_parts_add_up_to_the_whole():
    image_ND, text_ND = rows()
    whole = weighted_contrastive_loss(image_ND, text_ND, torch.tensor(10.0), image_weight=0.75)
    parts = [
        weighted_contrastive_loss(image_ND, text_ND, torch.tensor(10.0), image_weight=0.75, part=slice(*ends))
        for ends in ((0, 2), (2, 2), (2, 6))
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_a_part_without_pairs_has_no_loss_and_gradients_of_0():
    inputs = [x.requires_grad_() for x in (*rows(), torch.tensor(10.0))]
    loss = weighted_contrastive_loss(*inputs, image_weight=0.75, part=slice(3, 3))
    assert loss == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, inputs))
