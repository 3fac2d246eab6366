"""Sides and degrees of freedom that a formula may get wrong without looking wrong."""

import math

import numpy as np
import pytest
import torch

from seesay.formulas.contrastive import contrastive_loss
from seesay.formulas.statistics import mean_interval


def test_matches_of_captions_are_the_columns_and_those_of_images_the_rows():
    """Image 0 belongs to both captions, image 1 to caption 1 alone; all four logits by hand."""
    image_ND = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    text_ND = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    is_match_NN = torch.tensor([[True, True], [False, True]])
    logits = [[2 * 0.8, 2 * 0.0], [2 * (0.48 + 0.48), 2 * 0.8]]

    def log_softmax(row):
        return [value - math.log(sum(map(math.exp, row))) for value in row]

    rows = [log_softmax(row) for row in logits]
    columns = [log_softmax([row[column] for row in logits]) for column in (0, 1)]
    of_images = -((rows[0][0] + rows[0][1]) / 2 + rows[1][1]) / 2
    of_captions = -(columns[0][0] + (columns[1][0] + columns[1][1]) / 2) / 2
    loss = contrastive_loss(image_ND, text_ND, torch.tensor(2.0), is_match_NN=is_match_NN)
    assert float(loss) == pytest.approx((of_images + of_captions) / 2)


def test_the_interval_of_a_mean_over_seeds_is_students():
    """Two values 0.2 apart: the standard error is 0.1, and Student's 97.5 % point of one degree of freedom 12.706."""
    assert mean_interval(np.array([0.5, 0.7])) == pytest.approx((0.6 - 1.2706, 0.6 + 1.2706), abs=1e-4)
    # Three values 0, 1, 2: standard deviation 1, standard error 1 / sqrt(3), and 4.3027 of two degrees of freedom.
    assert mean_interval(np.array([0.0, 1.0, 2.0])) == pytest.approx((1 - 2.4841, 1 + 2.4841), abs=1e-4)
    assert mean_interval(np.array([0.5])) is None
