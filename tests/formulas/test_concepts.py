"""A vector as a sparse sum, against scipy's non-negative least squares and the conditions that only the best meets."""

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import Lasso

from seesay.formulas.concepts import sparse_sum


def problem(seed, rows, width):
    random = np.random.default_rng(seed)
    concept_KD = random.normal(size=(rows, width))
    target_D = random.normal(size=width)
    return target_D / np.linalg.norm(target_D), concept_KD / np.linalg.norm(concept_KD, axis=1)[:, None]


def objective(weight_K, target_D, concept_KD, penalty):
    return 0.5 * ((weight_K @ concept_KD - target_D) ** 2).sum() + penalty * weight_K.sum()


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 8), (12, 12), (40, 6)])
def test_without_a_penalty_it_is_scipys_non_negative_least_squares(rows, width):
    for seed in range(20):
        target_D, concept_KD = problem(seed, rows, width)
        weight_K = sparse_sum(target_D, concept_KD, penalty=0.0)
        assert objective(weight_K, target_D, concept_KD, 0) == pytest.approx(
            0.5 * nnls(concept_KD.T, target_D)[1] ** 2, abs=1e-10
        )


@pytest.mark.parametrize("penalty", [0.01, 0.1, 0.3])
def test_no_weights_are_better_than_these(penalty):
    """At the best point no gradient points inwards, and it is 0 for every weight that is above 0."""
    for seed in range(20):
        target_D, concept_KD = problem(seed, 30, 8)
        weight_K = sparse_sum(target_D, concept_KD, penalty=penalty)
        gradient_K = concept_KD @ (target_D - weight_K @ concept_KD) - penalty
        assert (weight_K >= 0).all() and gradient_K.max() < 1e-9
        assert abs(gradient_K[weight_K > 0]).max(initial=0) < 1e-9


def test_it_is_the_lasso_of_scikit_learn():
    target_D, concept_KD = problem(0, 20, 40)
    lasso = Lasso(alpha=0.1 / 40, positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
    assert sparse_sum(target_D, concept_KD, penalty=0.1) == pytest.approx(
        lasso.fit(concept_KD.T, target_D).coef_, abs=1e-6
    )


def test_names_that_made_a_vector_are_found_again():
    _, concept_KD = problem(1, 500, 64)
    target_D = 0.7 * concept_KD[3] + 0.5 * concept_KD[400]
    weight_K = sparse_sum(target_D, concept_KD, penalty=0.05)
    assert set(np.argsort(-weight_K)[:2]) == {3, 400}


def test_a_penalty_above_every_product_leaves_nothing():
    target_D, concept_KD = problem(2, 10, 5)
    assert sparse_sum(target_D, concept_KD, penalty=1.0).tolist() == [0.0] * 10
    assert sparse_sum(target_D, np.empty((0, 5)), penalty=0.1).tolist() == []


def test_of_equal_rows_one_has_the_weight():
    row = np.array([0.6, 0.8])
    assert sorted(sparse_sum(row, np.stack([row, row, row]), penalty=0.2)) == pytest.approx([0.0, 0.0, 0.8])
