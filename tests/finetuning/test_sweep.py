"""Between two models: the weights on the line, what may be lost, and which point is taken."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seesay.finetuning.measures import Answered, difference, unseen_change
from seesay.finetuning.result import held_back_line
from seesay.finetuning.sweep import (
    Change,
    Point,
    allowing,
    between_allowed,
    chosen_point,
    held_back,
    interpolated,
    sweep,
)


def point(a, target, lost):
    """A point whose guard may have lost so much."""
    guard = Change(name="guard", value=0.5 - lost, gain=-lost / 2, interval95=(-lost, 0.0))
    return Point(a=a, target=Change(name="target", value=target, gain=0.0, interval95=(0.0, 0.0)), guards=(guard,))


def test_the_ends_are_bit_equal_and_the_middle_is_the_mean_of_floats_and_statistics(small_model):
    new = interpolated(small_model, small_model, 1.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in new.clip.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand(tensor.shape, generator=generator))
            else:
                tensor.add_(6)
    old_tensors, new_tensors = small_model.clip.state_dict(), new.clip.state_dict()
    for a, expected in ((0.0, old_tensors), (1.0, new_tensors)):
        found = interpolated(small_model, new, a).clip.state_dict()
        floats = [name for name in found if found[name].is_floating_point()]
        assert any("running_var" in name for name in floats)
        assert all(torch.equal(found[name], expected[name]) for name in floats)
    middle = interpolated(small_model, new, 0.25).clip.state_dict()
    for name, tensor in middle.items():
        if tensor.is_floating_point():
            exact = 0.75 * old_tensors[name].double() + 0.25 * new_tensors[name].double()
            assert torch.allclose(tensor.double(), exact, rtol=0, atol=1e-6)
        else:
            assert torch.equal(tensor, new_tensors[name])


def test_the_best_on_the_target_of_those_that_lose_little_is_taken():
    points = [point(0, 0.1, 0), point(0.1, 0.3, 0.005), point(0.2, 0.2, 0.009), point(0.3, 0.9, 0.02)]
    chosen = chosen_point(points, 0.01)
    assert chosen is not None and chosen.a == 0.1
    assert chosen_point(points, 0.02) is points[3]
    equal = [point(0, 0.1, 0), point(0.1, 0.3, 0), point(0.2, 0.3, 0)]
    assert chosen_point(equal, 0.01) is equal[1], "the nearest to the old model"


def test_of_equals_the_one_with_likelier_answers_is_taken_but_not_for_the_old_model():
    def with_likelihood(a, likelihood, target=0.8, lost=0.0):
        plain = point(a, target, lost)
        return replace(plain, target=replace(plain.target, likelihood=likelihood))

    points = [with_likelihood(0, -0.9, target=0.7), with_likelihood(0.5, -0.5), with_likelihood(0.7, -0.7)]
    assert chosen_point([*points, with_likelihood(1, -0.1, lost=0.02)], 0.01) is points[1]
    assert chosen_point([with_likelihood(0, -0.9), *points[1:]], 0.01) is None


@pytest.mark.parametrize("points", [[point(0, 0.5, 0), point(1, 0.9, 0.3)], [point(0, 0.5, 0), point(1, 0.5, 0)]])
def test_nothing_is_taken_where_none_is_both_better_and_allowed(points):
    assert chosen_point(points, 0.01) is None


def test_the_lower_end_of_the_interval_counts_and_not_the_mean():
    unsure = Change(name="guard", value=0.5, gain=0.0, interval95=(-0.03, 0.03))
    unsure = Point(a=1.0, target=point(1, 0.9, 0).target, guards=(unsure,))
    assert unsure.most_lost == pytest.approx(0.03)
    assert chosen_point([point(0, 0.1, 0), unsure], 0.01) is None


def test_what_a_small_guard_keeps_back_is_the_best_that_loses_little_as_measured():
    points = [point(0, 0.1, 0), point(0.1, 0.3, 0.009), point(0.5, 0.7, 0.018), point(1, 0.9, 0.05)]
    chosen = chosen_point(points, 0.01)
    assert chosen is points[1]
    assert held_back(points, chosen, 0.01) is points[2], "half of the interval's end was measured"
    assert held_back(points[:2], chosen, 0.01) is None


@pytest.mark.parametrize(("lost", "points"), [(0.07, 7), (0.29, 29), (0.0103, 2), (0.0, 0)])
def test_a_bound_is_named_that_allows_the_loss_and_no_point_more(lost, points):
    assert allowing(point(1, 0.9, lost)) == points
    assert chosen_point([point(0, 0.1, 0), point(1, 0.9, lost)], points / 100) is not None


def test_a_loss_a_little_above_the_bound_is_told_as_one():
    result = SimpleNamespace(most_loss=1.0)
    assert held_back_line(result, point(0.1, 0.3, 0), point(0.5, 0.7, 0.0103)) == (
        "at a = 0.5 it gains 40.0 points more and loses at most 1 point as measured, but may lose 1.03 points "
        "on guard: a --guard of more images tells, --most-loss 2 allows it."
    )


def test_the_step_behind_the_last_allowed_point_is_halved_if_more_would_be_better():
    assert between_allowed([point(0, 0.1, 0), point(0.1, 0.5, 0.5)], 0.01) == 0.05
    assert between_allowed([point(0, 0.6, 0), point(0.1, 0.5, 0.5)], 0.01) is None
    assert between_allowed([point(0, 0.1, 0), point(0.1, 0.5, 0)], 0.01) is None


def test_differences_are_taken_image_by_image():
    before = Answered(value_M=np.array([1.0, 0, 1, 0]), image_M=np.arange(4))
    after = Answered(value_M=np.array([1.0, 1, 1, 0]), image_M=np.arange(4))
    gain, (low, high) = difference(before, after)
    assert gain == 0.25 and high > gain
    # Of four images one may be lost that no image showed.
    assert low == pytest.approx(0.25 - unseen_change(4))
    assert difference(before, before) == (0.0, (0.0, 0.0))
    same = Answered(value_M=before.value_M, image_M=before.image_M)
    assert difference(before, same)[1] == pytest.approx((-unseen_change(4), unseen_change(4)))
    worth = Answered(value_M=np.array([0.5, 0.5, 0.4, 0.4]), image_M=np.arange(4))
    gain, (low, high) = difference(worth, Answered(value_M=np.array([0.4, 0.5, 0.4, 0.4]), image_M=np.arange(4)))
    assert gain == pytest.approx(-0.025) and low < gain < high
    # Of a teacher's answers one that may have turned costs what the next name is worth less.
    worth = replace(worth, change=0.1)
    same = Answered(value_M=worth.value_M, image_M=worth.image_M)
    assert difference(worth, same)[1] == pytest.approx((-0.1 * unseen_change(4), 0.1 * unseen_change(4)))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.15])
def test_a_teacher_of_few_images_excludes_no_loss_that_it_may_not_see(rate):
    """Answers that turn lose 5 to 55 points: 30 times the rate in the mean, which the interval should hold."""
    random, below = np.random.default_rng(0), 0
    for _ in range(2000):
        lost_M = random.uniform(0.05, 0.55, 20)
        before = Answered(value_M=np.full(20, 0.6), image_M=np.arange(20), change=float(lost_M.mean()))
        after = Answered(value_M=0.6 - lost_M * (random.random(20) < rate), image_M=np.arange(20))
        below += difference(before, after)[1][0] <= -0.3 * rate
    assert below / 2000 > 0.96


def test_a_sweep_measures_tenths_and_finer_steps_in_order(small_model):
    class Fixed:
        name, what, n = "fixed", "", 100

        def __init__(self, share):
            self.share = share

        def answers(self, model):
            right = round(self.share(model) * 100)
            return Answered(value_M=(np.arange(100) < right).astype(float), image_M=np.arange(100))

    def between(old, new, a):
        return a

    target, guard = Fixed(lambda a: 0.5 + a / 2), Fixed(lambda a: 0.9 if a <= 0.15 else 0.2)
    points = sweep(small_model, small_model, target=target, guards=[guard], most_loss=0.05, between=between)
    assert [point.a for point in points] == [0, 0.1, 0.15, 0.1625, 0.175, *(step / 10 for step in range(2, 11))]
    chosen = chosen_point(points, 0.05)
    assert chosen is not None and chosen.a == 0.15
    # A hundred images of which none is lost do not exclude a loss of 3.6 points.
    assert chosen_point(points, 0.03) is None
