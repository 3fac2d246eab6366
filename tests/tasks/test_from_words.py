"""A probe that starts from another classifier: the minimum is another solver's too, and few labels lose nothing."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import clone

from seesay.base.errors import UsageError
from seesay.formulas.examples import examples
from seesay.formulas.logistic import fit
from seesay.model.zero_shot import ZeroShotClassifier
from seesay.tasks.estimator_input import EstimatorError
from seesay.tasks.few_shot import open_labelled, probe_sets
from seesay.tasks.from_words import (
    HIGH,
    LOW,
    PARTS,
    QUANTILE,
    RISE,
    SCALES,
    STEPS_PER_DECADE,
    Validation,
    careful_scale,
    choose_penalty,
    evened,
    explained,
    parts_of,
    quadratic_scores,
    usual_penalty,
)
from seesay.tasks.linear_probe import LinearProbe

NAMES = ("dog", "ape", "cat")


def classifier(weights, names=NAMES, scale: float = 10.0) -> ZeroShotClassifier:
    rows = torch.nn.functional.normalize(torch.as_tensor(weights, dtype=torch.float32), dim=1)
    return ZeroShotClassifier(class_names=tuple(names), scale=scale, encode_images=lambda images: rows, weights=rows)


def images(rows: int, classes: int = 3, width: int = 6, *, noise: float = 0.6, seed: int = 0):
    """Unit rows about an axis for each class, and numbers of their classes."""
    generator = np.random.default_rng(seed)
    label_N = np.arange(rows) % classes
    x_NW = np.eye(classes, width)[label_N] + noise * generator.normal(size=(rows, width))
    return (x_NW / np.linalg.norm(x_NW, axis=1, keepdims=True)).astype(np.float32), label_N


def by_scipy(x_NW, label_N, start_NK, penalty: float):
    """Probabilities (N, K) and the least objective, of weights and intercepts that are added to `start_NK`.

    The square of an intercept, that of an image at the mean, costs what that of a weight does by the images' spread.
    """
    x_NW, (N, W), K = x_NW.astype(np.float64) - x_NW.mean(0, dtype=np.float64), x_NW.shape, start_NK.shape[1]
    spread = (x_NW**2).sum(1).mean()

    def logits(theta):
        return start_NK + x_NW @ theta[: K * W].reshape(K, W).T + theta[K * W :]

    def value_and_gradient(theta):
        log_p_NK = log_softmax(logits(theta), axis=1)
        excess_NK = (np.exp(log_p_NK) - np.eye(K)[label_N]) / N
        weights_KW = theta[: K * W].reshape(K, W)
        # Two vectors of weights, where scikit-learn has their difference, cost half as much each.
        charge = (2 if K == 2 else 1) * penalty / N
        value = -log_p_NK[np.arange(N), label_N].mean() + charge / 2 * (weights_KW**2).sum()
        intercept_K, down_KW = theta[K * W :], excess_NK.T @ x_NW + charge * weights_KW
        value += charge / spread / 2 * (intercept_K**2).sum()
        return value, np.concatenate([down_KW.ravel(), excess_NK.sum(0) + charge / spread * intercept_K])

    options = {"maxiter": 10_000, "gtol": 1e-11, "ftol": 1e-15}
    found = minimize(value_and_gradient, np.zeros(K * W + K), jac=True, method="L-BFGS-B", options=options)
    return softmax(logits(found.x), axis=1), found.fun


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("penalty", [1e-2, 1.0, 30.0])
def test_the_minimum_is_that_of_another_solver_in_float64(classes: int, penalty: float):
    x_NW, label_N = images(40, classes)
    x_NW *= np.random.default_rng(2).uniform(0.2, 5, size=(40, 1)).astype(np.float32)
    start = classifier(np.eye(classes, 6) + np.random.default_rng(1).normal(size=(classes, 6)), names="abcde"[:classes])
    probe = LinearProbe(penalty=penalty, start=start).fit(x_NW, label_N)
    assert probe.start_scale_ > 0
    start_NK = probe.start_scale_ * 10.0 * start.scores(torch.from_numpy(x_NW)).double().numpy()
    p_NK, least = by_scipy(evened(torch.from_numpy(x_NW)).numpy(), label_N, start_NK, penalty)
    assert probe.objective_ == pytest.approx(least, rel=1e-7)
    assert probe.predict_proba(x_NW) == pytest.approx(p_NK, abs=2e-4)


def test_without_an_example_it_is_the_classifier_itself():
    start, (x_NW, _) = classifier(np.eye(3, 6)), images(9)
    probe = LinearProbe(start=start).fit(np.empty((0, 6)), [])
    expected_NK = start.probabilities(torch.from_numpy(x_NW)).numpy()
    assert probe.classes_.tolist() == ["ape", "cat", "dog"]
    assert probe.predict_proba(x_NW) == pytest.approx(expected_NK[:, [1, 2, 0]], abs=1e-6)
    two = classifier(np.eye(2, 6), names="ab")
    pair_NK = LinearProbe(start=two).fit(np.empty((0, 6)), []).predict_proba(x_NW)
    assert pair_NK == pytest.approx(two.probabilities(torch.from_numpy(x_NW)).numpy(), abs=1e-6)


def test_labels_are_names_in_any_order_or_numbers():
    start, (x_NW, label_N) = classifier(np.eye(3, 6)), images(12)
    by_number = LinearProbe(start=start).fit(x_NW, label_N)
    by_name = LinearProbe(start=start).fit(x_NW, np.array(NAMES)[label_N])
    assert by_number.classes_.tolist() == [0, 1, 2] and by_name.classes_.tolist() == sorted(NAMES)
    assert np.array(NAMES)[by_number.predict(x_NW)].tolist() == by_name.predict(x_NW).tolist()
    assert by_number.predict_proba(x_NW)[:, [1, 2, 0]] == pytest.approx(by_name.predict_proba(x_NW), abs=1e-6)


@pytest.mark.journey
@pytest.mark.parametrize("shots", [1, 2, 4])
def test_few_labels_hardly_harm_the_best_classifier_there_can_be(shots: int):
    test_NW, test_N = images(600, noise=0.5, seed=9)
    start, lost, won = classifier(np.eye(3, 6)), [], []
    zero_shot = (start.scores(torch.from_numpy(test_NW)).argmax(1).numpy() == test_N).mean()
    for seed in range(5):
        x_NW, label_N = images(3 * shots, noise=0.5, seed=seed)
        plain = LinearProbe(penalty=1.0).fit(x_NW, label_N).score(test_NW, test_N)
        from_words = LinearProbe(start=start).fit(x_NW, label_N).score(test_NW, test_N)
        lost.append(zero_shot - from_words)
        won.append(from_words - plain)
    assert np.mean(lost) < 0.05 and np.mean(won) > 0


@pytest.mark.journey
@pytest.mark.parametrize(("classes", "most"), [(2, 0.005), (3, 0.01)])
def test_one_example_of_a_class_does_not_say_how_frequent_it_is(classes: int, most: float):
    """Free intercepts make it as frequent as it is among two or three examples, and lose 0.010 and 0.019."""
    test_NW, test_N = images(600, classes, noise=0.5, seed=9)
    start, lost = classifier(np.eye(classes, 6), "abc"[:classes]), []
    zero_shot = (start.scores(torch.from_numpy(test_NW)).argmax(1).numpy() == test_N).mean()
    for seed in range(20):
        probe = LinearProbe(start=start).fit(*images(classes, classes, noise=0.5, seed=seed))
        lost.append(zero_shot - probe.score(test_NW, test_N))
    assert np.mean(lost) < most


def test_rows_are_at_the_square_root_of_their_length():
    x_NW = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-1e-4, 0.0]])
    torch.testing.assert_close(evened(x_NW), torch.tensor([[3 / 5**0.5, 4 / 5**0.5], [0.0, 0.0], [-1e-2, 0.0]]))

    tiny_NW = torch.rand(4, 3) * 1e-30
    torch.testing.assert_close(evened(tiny_NW).double(), evened(tiny_NW.double()), rtol=1e-6, atol=0)


def test_rows_that_are_all_the_same_do_not_say_how_frequent_classes_are():
    start, label_N = classifier(np.eye(3, 6)), np.array([0, 0, 0, 0, 0, 1, 2])
    same_NW = np.full((7, 6), 0.4, np.float32)
    probe = LinearProbe(start=start, penalty=1.0, max_iterations=50).fit(same_NW, label_N)
    assert 1 / 3 < probe.predict_proba(same_NW)[0, 0] < 5 / 7 - 0.03
    data = examples(torch.zeros(7, 6).double(), torch.from_numpy(label_N), 3, None, torch.zeros(7, 3).double())
    assert usual_penalty(data) == pytest.approx(10**LOW)


def test_a_misleading_classifier_is_left_with_a_few_labels_and_many_make_the_plain_probe():
    wrong = classifier(np.eye(3, 6)[[1, 2, 0]])
    test_NW, test_N = images(600, seed=9)
    for rows, close in ((12, 0.05), (3000, 0.01)):
        x_NW, label_N = images(rows, seed=1)
        probe, plain = LinearProbe(start=wrong).fit(x_NW, label_N), LinearProbe(penalty=0.3).fit(x_NW, label_N)
        assert probe.score(test_NW, test_N) == pytest.approx(plain.score(test_NW, test_N), abs=close)
        assert probe.start_scale_ < 0.05


def test_the_scale_is_careful_with_few_labels_and_the_most_likely_one_with_many():
    x_NW, _ = images(4000, noise=0.8)
    logits_NK = 10.0 * torch.from_numpy(x_NW[:, :3]).double()
    generator = np.random.default_rng(0)
    p_NK = (0.5 * logits_NK).softmax(1).numpy()
    label_N = torch.from_numpy(np.array([generator.choice(3, p=row / row.sum()) for row in p_NK]))
    few = [careful_scale(logits_NK[first : first + 6], label_N[first : first + 6]) for first in range(0, 120, 6)]
    many = careful_scale(logits_NK, label_N)
    assert np.mean(few) < many and many == pytest.approx(0.5, abs=0.05)
    twice = careful_scale(logits_NK[:50], label_N[:50], torch.full((50,), 2.0))
    assert twice == careful_scale(logits_NK[:50].repeat(2, 1), label_N[:50].repeat(2))


@pytest.mark.parametrize(
    ("rows", "classes", "spread"), [(3, 2, 1.0), (40, 5, 4.0), (300, 30, 0.5), (9, 3, 0.0), (500, 4, 50.0)]
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_scale_is_that_of_all_scales_measured(rows: int, classes: int, spread: float, is_weighted: bool):
    generator = torch.Generator().manual_seed(rows)
    logits_NK = spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    label_N = (0.7 * logits_NK).softmax(1).multinomial(1, generator=generator)[:, 0]
    weight_N = 3 * torch.rand(rows, generator=generator) if is_weighted else None
    entropy_NS = torch.stack(
        [torch.nn.functional.cross_entropy(s * logits_NK, label_N, reduction="none") for s in SCALES.tolist()], 1
    )
    density_S = (-(entropy_NS if weight_N is None else entropy_NS * weight_N[:, None]).sum(0)).softmax(0)
    expected = float(SCALES[int((density_S.cumsum(0) < QUANTILE).sum())])
    assert careful_scale(logits_NK, label_N, weight_N) == expected


def test_a_weight_of_two_is_a_row_twice():
    start, (x_NW, label_N) = classifier(np.eye(3, 6)), images(12)
    weighted = LinearProbe(start=start, penalty=1.0).fit(x_NW, label_N, sample_weight=np.repeat([2.0, 1.0], 6))
    repeated = LinearProbe(start=start, penalty=1.0).fit(np.r_[x_NW, x_NW[:6]], np.r_[label_N, label_N[:6]])
    assert weighted.start_scale_ == repeated.start_scale_
    assert weighted.predict_proba(x_NW) == pytest.approx(repeated.predict_proba(x_NW), abs=1e-4)


def test_penalties_are_validated_on_examples_of_their_own_where_some_are_given():
    start, (x_NW, label_N) = classifier(np.eye(3, 6)), images(3)
    alone = LinearProbe(start=start).fit(x_NW, label_N)
    assert alone.validation_scores_ == {}
    helped = LinearProbe(start=start).fit(x_NW, label_N, validation=images(30, seed=5))
    assert helped.penalty_ in helped.validation_scores_ and len(helped.validation_scores_) > 1
    assert all(-1 < value < 1 for value in helped.validation_scores_.values())


def test_the_quadratic_score_is_its_definition_and_bounded():
    p_NK, label_N = torch.rand(20, 4, dtype=torch.float64).softmax(1), torch.arange(20) % 4
    hot_NK = torch.nn.functional.one_hot(label_N, 4)
    torch.testing.assert_close(quadratic_scores(p_NK.log(), label_N), 1 - (p_NK - hot_NK).square().sum(1))
    sure_NK = torch.tensor([[99.0, 0.0], [0.0, 99.0]])
    assert quadratic_scores(sure_NK, torch.tensor([0, 0])).tolist() == [1.0, -1.0]


def test_the_score_of_a_validation_is_that_of_held_examples_by_weight():
    generator = torch.Generator().manual_seed(0)
    x_NW, label_N = (torch.from_numpy(each) for each in images(30))
    weight_N, offset_NK = torch.rand(30, generator=generator), torch.randn(30, 3, generator=generator)
    data = examples(x_NW, label_N, 3, weight_N, offset_NK, has_free_intercepts=False)
    learned, held = torch.arange(20), torch.arange(20, 30)
    theta_KW1 = fit(data.at(learned), 0.3).end.theta_KW1
    logits_HK = data.centred_NW[held] @ theta_KW1[:, :-1].T + theta_KW1[:, -1] + offset_NK[held]
    expected = weight_N[held].double() @ quadratic_scores(logits_HK.double(), label_N[held])
    assert Validation(data, learned, held, 1000).score(0.3) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize(("gain", "steps"), [(0.2, 0), (0.5, 1), (-0.5, -1), (1.1, 2)])
def test_a_penalty_moves_while_scores_gain_more_than_the_prior_takes(monkeypatch, gain: float, steps: int):
    """Of the score a half-decade is to bring a third of the first step's 1, of the second one's 3, and so on."""

    class Rising:
        weight = 1.0

        def __init__(self, *_):
            pass

        def score(self, penalty: float) -> float:
            return gain * STEPS_PER_DECADE * np.log10(penalty)

    monkeypatch.setattr("seesay.tasks.from_words.Validation", Rising)
    x_NW, label_N = (torch.from_numpy(each) for each in images(6))
    penalty, scores = choose_penalty(examples(x_NW, label_N, 3), [(label_N, label_N)], usual=1.0, max_iterations=9)
    assert penalty == pytest.approx(10 ** (steps / STEPS_PER_DECADE)) and penalty in scores


def test_what_is_explained_is_the_share_of_entropy_by_weight():
    logits_NK, label_N = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])), torch.tensor([0, 2])
    for weight_N in (None, torch.tensor([3.0, 1.0])):
        w = [1.0, 1.0] if weight_N is None else weight_N.tolist()
        entropy = -(w[0] * np.log(0.5) + w[1] * np.log(0.6)) / sum(w)
        assert explained(logits_NK, label_N, weight_N) == pytest.approx(1 - entropy / np.log(3))
    assert explained(logits_NK, torch.tensor([1, 0])) == 0


@pytest.mark.parametrize(("times", "share"), [(0.0, LOW), (1.0, LOW + RISE / 2), (50.0, HIGH)])
def test_the_more_the_start_explains_the_harder_it_pulls(times: float, share: float):
    x_NW, label_N = (torch.from_numpy(each) for each in images(30))
    right_NK = torch.nn.functional.one_hot(label_N, 3).double()
    half = float(np.log((3**0.5 - 1) ** -1 * 2))  # cross-entropy of log(3) / 2
    data = examples(x_NW.double(), label_N, 3, None, times * half * right_NK, has_free_intercepts=False)
    assert usual_penalty(data) == pytest.approx(data.spread * 10.0**share)


def test_every_example_is_held_out_once_but_one_that_is_alone():
    label_N = torch.tensor([0] * 7 + [1] * 2 + [2])
    parts = list(parts_of(label_N))
    held = torch.cat([held for _, held in parts])
    assert len(parts) == PARTS and sorted(held.tolist()) == list(range(9))
    assert all(sorted([*learned.tolist(), *held.tolist()]) == list(range(10)) for learned, held in parts)
    assert list(parts_of(torch.tensor([0, 1, 2]))) == []


def test_a_copy_shares_the_classifier_and_repr_names_it():
    start = classifier(np.eye(3, 6))
    probe = LinearProbe(start=start)
    assert clone(probe).start is start
    assert repr(probe).endswith("start=<ZeroShotClassifier: 3 classes (dog, ape, cat), weights (3, 6)>)")


@pytest.mark.parametrize(
    ("start", "labels", "complaint"),
    [
        ("words", [0, 1, 2], "start is a str without class_names; give a classifier"),
        (classifier(np.eye(1, 6), names=["a"]), [0, 0, 0], "start has 1 class"),
        (classifier(np.eye(3, 6)), ["dog", "ape", "cow"], "labels that start has no class for: 'cow'"),
        (classifier(np.eye(3, 6)), [0, 1, 3], "labels that start has no class for: 3"),
        (classifier(np.eye(3, 6)), [0, 1, 1], r"1 of the 3 classes of start have no example \('cat'\)"),
        (classifier(np.eye(3, 6), names="aab"), ["a", "a", "b"], "start has two classes named 'a'"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_line(start, labels, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        LinearProbe(start=start).fit(images(3)[0], labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "more", "complaint"),
    [
        (([[0.0] * 5] * 3, ["dog", "ape", "cat"]), {}, "start has no scores of rows of 5 numbers"),
        (([], []), {}, r"features have shape \(0,\), but there are no labels"),
        ((np.ones((3, 6)), []), {}, r"features have shape \(3, 6\), but there are no labels"),
        ((np.ones((3, 6)), None), {}, "the target y is None"),
        ((np.empty((0, 6)), []), {"sample_weight": [1.0]}, "weights or validation examples are given"),
        ((np.empty((0, 6)), []), {"validation": images(3)}, "weights or validation examples are given"),
    ],
)
def test_examples_that_do_not_go_with_the_start_are_refused_in_one_line(arguments, more, complaint):
    with pytest.raises(EstimatorError, match=complaint) as caught:
        LinearProbe(start=classifier(np.eye(3, 6))).fit(*arguments, **more)
    assert "\n" not in str(caught.value)


def test_what_was_learned_before_is_forgotten_where_there_is_no_example():
    learned = LinearProbe(start=classifier(np.eye(3, 6)), penalty=1.0).fit(*images(6))
    learned.feature_names_in_ = np.array(list("abcdef"))
    assert not hasattr(learned.fit(np.empty((0, 6)), []), "feature_names_in_")


# The protocol


@pytest.fixture
def sets(tmp_path, paint):
    """Four images per class; "green" is painted yellow, as no class name says."""
    for part, count in (("train", 4), ("test", 2)):
        for name, colour in (("red", "red"), ("green", "yellow"), ("blue", "blue")):
            for number in range(count):
                paint(tmp_path / part / name / f"{number}.png", colour, side=4 + (part == "test"))
    return open_labelled(tmp_path / "train"), open_labelled(tmp_path / "test")


def test_zero_shots_are_zero_shot_and_labels_add_what_no_name_says(colour_model, sets):
    result = probe_sets(colour_model, *sets, shots=(0, 1, 2), seeds=2, from_words=True)
    none, one, two = result.shots
    assert none.scores == (result.zero_shot.value,) and none.mean == pytest.approx(4 / 6)
    assert none.penalties == () and json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()
    assert [cell[3] for cell in result.cells()[:2]] == ["-", "-"]
    assert one.mean == two.mean == result.score.value == 1.0
    assert result.start_scale is not None and result.to_json()["start_scale"] == result.start_scale
    assert result.shots_equal_to_zero_shot is not None


def test_zero_shots_need_words(colour_model, sets):
    with pytest.raises(UsageError, match="A probe of 0 shots is the zero-shot classifier: with from_words"):
        probe_sets(colour_model, *sets, shots=(0, 1))


def test_a_model_that_reads_a_grid_is_refused(predictor, sets):
    with pytest.raises(UsageError, match="reads a grid of an image, not its features"):
        probe_sets(predictor("masked-caption"), *sets, from_words=True)
