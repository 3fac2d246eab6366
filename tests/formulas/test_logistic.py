"""The probe's objective, gradient and minimum, against scikit-learn and float64 autograd."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from seesay.formulas import examples as ready
from seesay.formulas import logistic
from seesay.formulas.examples import examples, from_features, to_features
from seesay.formulas.logistic import CONVERGED, Charge, Until, fit, objective, slope_at

# What of `Examples` is rounded.
DOUBLED = ("centred_NW", "mean_W", "axes_WW", "variance_W", "share_K", "own_KW")


def blobs(rows: int, width: int, classes: int, *, apart: float = 1.0, dtype=torch.float32):
    """Classes about centres of their own, with a falling spectrum and far from the origin."""
    generator = torch.Generator().manual_seed(rows)
    spectrum_W = (1 + torch.arange(width)).float() ** -0.8
    label_N = torch.arange(rows) % classes
    centre_KW = torch.randn(classes, width, generator=generator) * apart
    x_NW = (centre_KW[label_N] + torch.randn(rows, width, generator=generator)) * spectrum_W + 3
    return x_NW.to(dtype), label_N


def by_scikit_learn(x_NW, label_N, penalty: float, weight_N=None) -> float:
    """The objective at a minimum that was looked for to the end."""
    model = LogisticRegression(C=1 / penalty, max_iter=10_000, tol=1e-9)
    weights = None if weight_N is None else weight_N.numpy()
    model.fit(x_NW.double().numpy(), label_N.numpy(), sample_weight=weights)
    weights_KW, intercept_K = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(weights_KW) == 1:
        weights_KW = torch.cat([torch.zeros_like(weights_KW), weights_KW])
        intercept_K = torch.cat([torch.zeros_like(intercept_K), intercept_K])
    return objective(x_NW, label_N, weights_KW, intercept_K, penalty=penalty, weight_N=weight_N)


@pytest.mark.journey
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("small_work", [0, 1 << 27])
def test_the_minimum_is_that_of_scikit_learn(monkeypatch, classes: int, penalty: float, small_work: int):
    monkeypatch.setattr(ready, "SMALL_WORK", small_work)
    x_NW, label_N = blobs(90, 6, classes)
    found = fit(examples(x_NW, label_N, classes), penalty)
    close = 1e-7 * found.value if small_work else 1e-3 * max(found.value, 0.02)
    assert found.value == pytest.approx(by_scikit_learn(x_NW, label_N, penalty), abs=close)


def test_scikit_learn_at_its_own_settings_ends_no_lower():
    x_NW, label_N = blobs(600, 30, 10, apart=0.3)
    given = examples(x_NW, label_N, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=0.316, max_iter=1000).fit(x_NW.numpy(), label_N.numpy())
    theirs = objective(
        x_NW, label_N, torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_), penalty=1 / 0.316
    )
    weights_KW, intercept_K = to_features(given, fit(given, 1 / 0.316).end.theta_KW1)
    assert objective(x_NW, label_N, weights_KW, intercept_K, penalty=1 / 0.316) <= theirs


CHARGE = Charge(weights=0.7, intercepts=0.2)


def paid(theta_KW1: torch.Tensor) -> torch.Tensor:
    return 0.7 / 2 * theta_KW1[:, :-1].square().sum() + 0.2 / 2 * theta_KW1[:, -1].square().sum()


def test_value_and_gradient_are_those_of_autograd_in_float64(monkeypatch):
    monkeypatch.setattr(logistic, "BLOCK", 20)
    x_NW, label_N = blobs(23, 4, 3, dtype=torch.float64)
    given = examples(x_NW, label_N, 3)
    theta_KW1 = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits_NK = (x_NW - x_NW.mean(0)) @ theta_KW1[:, :-1].T + theta_KW1[:, -1]
    value = F.cross_entropy(logits_NK, label_N) + paid(theta_KW1)
    value.backward()
    slope = slope_at(given, theta_KW1.detach(), CHARGE)
    assert slope.value == pytest.approx(value.item(), rel=1e-12)
    torch.testing.assert_close(slope.gradient_KW1, theta_KW1.grad, rtol=1e-10, atol=1e-12)
    p_NK = logits_NK.detach().softmax(1)
    assert slope.curvature == pytest.approx(float((p_NK * (1 - p_NK)).mean()), rel=1e-10)


def weighted(rows: int) -> torch.Tensor:
    """Weights from 0.1 to 4, of no order."""
    return 0.1 + 3.9 * torch.rand(rows, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))


def test_with_weights_value_gradient_and_curvature_are_those_of_autograd_in_float64(monkeypatch):
    monkeypatch.setattr(logistic, "BLOCK", 20)
    x_NW, label_N = blobs(23, 4, 3, dtype=torch.float64)
    weight_N = weighted(23)
    given, share_N = examples(x_NW, label_N, 3, weight_N), weight_N / weight_N.sum()
    theta_KW1 = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    logits_NK = (x_NW - share_N @ x_NW) @ theta_KW1[:, :-1].T + theta_KW1[:, -1]
    value = share_N @ F.cross_entropy(logits_NK, label_N, reduction="none") + paid(theta_KW1)
    value.backward()
    slope = slope_at(given, theta_KW1.detach(), CHARGE)
    assert slope.value == pytest.approx(value.item(), rel=1e-12)
    torch.testing.assert_close(slope.gradient_KW1, theta_KW1.grad, rtol=1e-10, atol=1e-12)
    p_NK = logits_NK.detach().softmax(1)
    assert slope.curvature == pytest.approx(float(share_N @ (p_NK * (1 - p_NK)).mean(1)), rel=1e-10)


def test_with_weights_the_gradient_bends_as_the_hessian_of_autograd_says():
    x_NW, label_N = blobs(23, 4, 3, dtype=torch.float64)
    weight_N = weighted(23)
    given, share_N = examples(x_NW, label_N, 3, weight_N), weight_N / weight_N.sum()
    generator = torch.Generator().manual_seed(1)
    theta_KW1, along_KW1 = torch.randn(2, 3, 5, dtype=torch.float64, generator=generator)

    def loss(theta_KW1: torch.Tensor) -> torch.Tensor:
        logits_NK = (x_NW - share_N @ x_NW) @ theta_KW1[:, :-1].T + theta_KW1[:, -1]
        entropy = share_N @ F.cross_entropy(logits_NK, label_N, reduction="none")
        return entropy + paid(theta_KW1)

    _, bend_KW1 = torch.autograd.functional.hvp(loss, theta_KW1, along_KW1)
    short_KW1 = 1e-5 * along_KW1
    before, after = (slope_at(given, theta_KW1 + side * short_KW1, CHARGE).gradient_KW1 for side in (-1, 1))
    torch.testing.assert_close((after - before) / 2e-5, bend_KW1, rtol=1e-7, atol=1e-9)


@pytest.mark.journey
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("small_work", [0, 1 << 27])
def test_the_minimum_with_weights_is_that_of_scikit_learn(monkeypatch, classes: int, penalty: float, small_work: int):
    monkeypatch.setattr(ready, "SMALL_WORK", small_work)
    x_NW, label_N = blobs(90, 6, classes)
    weight_N = weighted(90)
    # In float64 to the very end, where the formula itself is compared.
    found = fit(examples(x_NW, label_N, classes, weight_N), penalty, until=Until(1e-15) if small_work else None)
    close = 1e-9 * found.value if small_work else 1e-3 * max(found.value, 0.02)
    theirs = by_scikit_learn(x_NW, label_N, penalty, weight_N)
    assert found.value == pytest.approx(theirs, abs=close)


@pytest.mark.parametrize("small_work", [0, 1 << 27])
def test_whole_weights_are_repeated_rows_from_the_first_number_to_the_last(monkeypatch, small_work: int):
    monkeypatch.setattr(ready, "SMALL_WORK", small_work)
    x_NW, label_N = blobs(40, 5, 3)
    weight_N = torch.arange(40) % 4 + 1
    given, repeated = (
        examples(x_NW, label_N, 3, weight_N),
        examples(x_NW.repeat_interleave(weight_N, 0), label_N.repeat_interleave(weight_N), 3),
    )
    assert given.total == repeated.total == int(weight_N.sum())
    close = {"rtol": 1e-12, "atol": 1e-12} if small_work else {"rtol": 1e-4, "atol": 1e-5}
    for name in ("mean_W", "variance_W", "share_K", "own_KW"):
        torch.testing.assert_close(getattr(given, name), getattr(repeated, name), **close)
    ours, theirs = (to_features(data, fit(data, 0.5).end.theta_KW1) for data in (given, repeated))
    close = {"rtol": 1e-8, "atol": 1e-8} if small_work else {"rtol": 1e-2, "atol": 2e-2}
    torch.testing.assert_close(ours, theirs, **close)


def test_weights_that_are_all_the_same_are_a_smaller_penalty():
    x_NW, label_N = blobs(60, 4, 3)
    weight_N = torch.full((60,), 8.0)
    heavy, plain = examples(x_NW, label_N, 3, weight_N), examples(x_NW, label_N, 3)
    torch.testing.assert_close(
        to_features(heavy, fit(heavy, 4.0).end.theta_KW1), to_features(plain, fit(plain, 0.5).end.theta_KW1)
    )


def test_the_value_of_a_fit_in_float32_is_the_objective_by_its_definition(monkeypatch):
    monkeypatch.setattr(ready, "SMALL_WORK", 0)
    x_NW, label_N = blobs(300, 12, 5)
    given = examples(x_NW, label_N, 5)
    found = fit(given, 0.5)
    assert found.value == pytest.approx(
        objective(x_NW, label_N, *to_features(given, found.end.theta_KW1), penalty=0.5), rel=1e-6
    )


def test_a_start_from_a_part_ends_at_the_same_place_sooner(monkeypatch):
    monkeypatch.setattr(logistic, "LEAST_SUBSET", 100)
    x_NW, label_N = blobs(1600, 5, 4)
    given = examples(x_NW, label_N, 4)
    start = logistic.start_from_part(given, 1.0)
    assert start is not None
    cold, warm = fit(given, 1.0), fit(given, 1.0, start=start)
    assert warm.value == pytest.approx(cold.value, rel=1e-7)
    assert warm.iterations < cold.iterations


def test_the_start_from_a_part_knows_its_weights(monkeypatch):
    monkeypatch.setattr(logistic, "LEAST_SUBSET", 100)
    x_NW, label_N = blobs(1600, 5, 4)
    given = examples(x_NW, label_N, 4, torch.where(label_N == 0, 20.0, 1.0))
    start = logistic.start_from_part(given, 1.0)
    assert start is not None
    cold, warm = fit(given, 1.0), fit(given, 1.0, start=start)
    assert warm.value == pytest.approx(cold.value, rel=1e-7)
    assert warm.iterations < cold.iterations


def test_few_examples_have_no_part_to_start_from():
    x_NW, label_N = blobs(40, 3, 2)
    assert logistic.start_from_part(examples(x_NW, label_N, 2), 1.0) is None


def test_weights_go_to_other_examples_and_back():
    x_NW, label_N = blobs(50, 4, 3)
    given = examples(x_NW, label_N, 3)
    theta_KW1 = fit(given, 1.0).end.theta_KW1
    back_KW1 = from_features(given, *to_features(given, theta_KW1))
    torch.testing.assert_close(back_KW1[:, :-1], theta_KW1[:, :-1])
    # Intercepts mean the same when a number is added to all of them.
    torch.testing.assert_close(back_KW1[:, -1].diff(), theta_KW1[:, -1].diff())


def test_fewer_examples_than_features_and_constant_features_are_no_trouble():
    x_NW, label_N = blobs(6, 20, 3)
    x_NW[:, :5] = 7.0
    found = fit(examples(x_NW, label_N, 3), 1e-6, until=CONVERGED)
    assert found.value < 1e-3 and bool(found.end.theta_KW1.isfinite().all())
    assert float(found.end.theta_KW1[:, :5].abs().max()) < 1e-6


def test_features_that_say_nothing_leave_the_shares_of_the_classes():
    label_N = torch.tensor([0, 0, 0, 1])
    given = examples(torch.ones(4, 2), label_N, 2)
    _, intercept_K = to_features(given, fit(given, 1.0).end.theta_KW1)
    assert intercept_K.softmax(0).numpy() == pytest.approx(np.array([0.75, 0.25]), abs=1e-4)


def test_a_penalty_that_allows_next_to_no_weight_still_gives_the_nearest_class(monkeypatch):
    monkeypatch.setattr(ready, "SMALL_WORK", 0)
    x_NW, label_N = blobs(90, 6, 3, apart=5.0)
    given = examples(x_NW, label_N, 3)
    weights_KW, intercept_K = to_features(given, fit(given, 1e6).end.theta_KW1)
    assert float(((x_NW.double() @ weights_KW.T + intercept_K).argmax(1) == label_N).double().mean()) > 0.9


def test_no_more_steps_are_taken_than_allowed():
    x_NW, label_N = blobs(60, 6, 3)
    assert fit(examples(x_NW, label_N, 3), 1e-3, max_iterations=2).iterations == 2


def test_what_is_known_from_one_penalty_shortens_the_search_for_the_next(monkeypatch):
    monkeypatch.setattr(ready, "SMALL_WORK", 0)
    x_NW, label_N = blobs(2000, 60, 20, apart=0.3)
    given = examples(x_NW, label_N, 20)
    neighbour = fit(given, 0.2, until=Until(5e-6)).end
    cold = fit(given, 0.1, start=neighbour._replace(bends=()), until=Until(5e-6))
    warm = fit(given, 0.1, start=neighbour, until=Until(5e-6))
    assert warm.value == pytest.approx(cold.value, rel=1e-5)
    assert warm.iterations < cold.iterations


def test_a_part_has_the_charge_of_the_whole():
    x_NW, label_N = blobs(60, 4, 3)
    whole = examples(x_NW, label_N, 3, None, torch.zeros(60, 3), has_free_intercepts=False)
    part = whole.at(torch.arange(10))
    assert part.intercept_cost == whole.intercept_cost == pytest.approx(1 / whole.spread)
    assert examples(x_NW, label_N, 3).at(torch.arange(10)).intercept_cost == 0


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e3])
def test_charged_intercepts_are_found_as_soon_as_free_ones(penalty: float):
    """Without what `preconditioned` knows of them it took 1.5 to 3 times the steps."""
    x_NW, label_N = blobs(1000, 64, 10, dtype=torch.float64)
    offset_NK = torch.randn(1000, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    free, charged = (examples(x_NW, label_N, 10, None, offset_NK, has_free_intercepts=each) for each in (True, False))
    share = penalty * free.spread
    steps = fit(charged, share, until=logistic.SETTLED).iterations
    assert steps <= 1.2 * fit(free, share, until=logistic.SETTLED).iterations + 1


@pytest.mark.parametrize("is_free", [True, False])
def test_bends_are_those_of_the_loss_without_the_penalty(is_free: bool):
    x_NW, label_N = blobs(90, 6, 3, dtype=torch.float64)
    given = examples(x_NW, label_N, 3, has_free_intercepts=is_free)
    end = fit(given, 50.0).end
    moved_KW1, bent_KW1 = end.bends[-1]
    before = slope_at(given, end.theta_KW1 - moved_KW1, Charge(0.0)).gradient_KW1
    torch.testing.assert_close(bent_KW1, slope_at(given, end.theta_KW1, Charge(0.0)).gradient_KW1 - before)


@pytest.mark.journey
def test_a_large_penalty_is_fitted_until_its_classes_are_settled_too(monkeypatch):
    monkeypatch.setattr(ready, "SMALL_WORK", 0)
    x_NW, label_N = blobs(300, 12, 5)
    exact = by_logits(examples(x_NW.double(), label_N, 5), x_NW, Until(1e-12))
    assert (by_logits(examples(x_NW, label_N, 5), x_NW, logistic.SETTLED) == exact).double().mean() > 0.99


def by_logits(given, x_NW, until):
    weights_KW, intercept_K = to_features(given, fit(given, 1e5, until=until).end.theta_KW1)
    return (x_NW.double() @ weights_KW.T + intercept_K).argmax(1)


def test_a_search_that_was_told_it_is_enough_ends_there():
    x_NW, label_N = blobs(60, 6, 3)
    until = Until(0.0, is_enough=lambda steps, theta_KW1: steps == 3)
    assert fit(examples(x_NW, label_N, 3), 1e-3, until=until).iterations == 3


def test_a_loss_of_next_to_nothing_is_not_lost_in_rounding(monkeypatch):
    monkeypatch.setattr(ready, "SMALL_WORK", 0)
    x_NW, label_N = blobs(300, 12, 3, apart=30.0)
    given, exact = examples(x_NW, label_N, 3), examples(x_NW.double(), label_N, 3)
    exact = replace(exact, **{name: getattr(exact, name).double() for name in DOUBLED})
    theta_KW1 = fit(given, 1e-3).end.theta_KW1
    here, there = slope_at(given, theta_KW1, Charge(0.0)), slope_at(exact, theta_KW1.double(), Charge(0.0))
    assert there.value < 1e-4
    assert here.value == pytest.approx(there.value, rel=0.02, abs=1e-8)
