import numpy as np
import pytest
import torch

from seesay.formulas.similarity import top_k, unit


def rows(count: int, width: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_unit_agrees_with_float64_and_keeps_the_dtype():
    x_ND = rows(7, 5)
    wanted_ND = x_ND.double().numpy() / np.linalg.norm(x_ND.double().numpy(), axis=1, keepdims=True)
    np.testing.assert_allclose(unit(x_ND).numpy(), wanted_ND, atol=1e-7)
    assert unit(x_ND.half()).dtype == torch.float16


def test_unit_survives_a_half_precision_row_whose_squares_overflow():
    assert unit(torch.tensor([[3000.0, 4000.0]], dtype=torch.float16)).tolist() == [
        [pytest.approx(0.6, abs=1e-3), pytest.approx(0.8, abs=1e-3)]
    ]


def test_a_row_of_zeros_stays_zero():
    assert unit(torch.zeros(1, 3)).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("block", [1, 3, 8, 100])
@pytest.mark.parametrize("k", [1, 4, 21])
def test_top_k_finds_what_sorting_the_whole_matrix_finds(block: int, k: int):
    query_QD, key_ND = unit(rows(5, 6)), unit(rows(21, 6, seed=1))
    whole_QN = query_QD @ key_ND.T
    wanted_scores, wanted_index = whole_QN.sort(descending=True, stable=True)
    scores_QK, index_QK = top_k(query_QD, key_ND, k, block=block)
    assert index_QK.tolist() == wanted_index[:, :k].tolist()
    torch.testing.assert_close(scores_QK, wanted_scores[:, :k])


def test_top_k_gives_all_keys_where_fewer_than_k_exist_and_none_where_none_exist():
    assert top_k(rows(2, 3), rows(4, 3), 9)[1].shape == (2, 4)
    assert top_k(rows(2, 3), rows(0, 3), 9)[1].shape == (2, 0)


@pytest.mark.parametrize("block", [1, 2, 50])
def test_equal_scores_come_in_the_order_of_the_keys(block: int):
    key_ND = torch.tensor([[0.5, 0.0], [1.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.5, 0.0]])
    assert top_k(torch.tensor([[1.0, 0.0]]), key_ND, 5, block=block)[1].tolist() == [[1, 3, 0, 2, 4]]


def test_top_k_scores_half_precision_keys_in_float32():
    key_ND = unit(rows(9, 64)).half()
    scores_QK, _ = top_k(key_ND, key_ND, 1)
    torch.testing.assert_close(scores_QK[:, 0], (key_ND.double() ** 2).sum(1).float())


def test_top_k_refuses_to_look_for_nothing():
    with pytest.raises(ValueError, match="k is 0"):
        top_k(rows(1, 2), rows(3, 2), 0)
