import math

import pytest
import torch

from seesay.formulas.confidence import TemperatureLine, familiarity, temperatures

LINE = TemperatureLine(start=1.0, names=-0.5, cosine=-2.0, least=-1.0, most=1.0)


def test_a_name_is_as_familiar_as_its_rarest_word():
    assert familiarity([5000, 0], 100_000) == familiarity([], 100_000) == 0
    assert familiarity([5000, 99], 100_000) == pytest.approx(1)
    assert familiarity([50_000], 100_000) == 1
    assert familiarity([99], 1_000_000) == pytest.approx(math.log10(10.9) / 2)


def test_every_image_has_one_temperature_that_falls_with_its_best_cosine():
    score_BC = torch.tensor([[0.1, 0.4], [0.2, 0.0]])
    expected = [1 - 0.5 * 0.5 - 2 * best for best in (0.4, 0.2)]
    found_B1 = temperatures(score_BC, [1.0, 0.0], LINE)
    assert found_B1.shape == (2, 1)
    assert found_B1[:, 0].log().tolist() == pytest.approx(expected)


def test_a_temperature_never_leaves_what_was_seen_where_it_was_fitted():
    score_BC = torch.tensor([[0.99, 0.9], [-0.5, -0.6]])
    assert temperatures(score_BC, [1.0, 1.0], LINE)[:, 0].log().tolist() == pytest.approx([-1, 1])
