import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from seesay.formulas.metrics import mean_per_class, precise_threshold, recall_at_k, top_k_hits
from seesay.formulas.similarity import unit


def test_top_k_hits_agree_with_scikit_learn_where_nothing_ties():
    generator = np.random.default_rng(0)
    scores_NC, label_N = generator.normal(size=(60, 8)), generator.integers(0, 8, size=60)
    hits = top_k_hits(torch.tensor(scores_NC), torch.tensor(label_N), ks=(1, 5))
    for k in (1, 5):
        assert hits[k].mean() == top_k_accuracy_score(label_N, scores_NC, k=k, labels=range(8))


def test_mean_per_class_agrees_with_scikit_learn_and_ignores_classes_that_do_not_occur():
    label_N, guess_N = np.array([0, 0, 0, 2, 2, 5]), np.array([0, 0, 2, 2, 0, 5])
    assert mean_per_class(label_N == guess_N, label_N) == pytest.approx(balanced_accuracy_score(label_N, guess_N))


def test_a_model_that_scores_everything_the_same_is_always_wrong():
    hits = top_k_hits(torch.zeros(4, 10), torch.tensor([0, 3, 6, 9]), ks=(1, 5, 10))
    assert [hits[k].sum() for k in (1, 5, 10)] == [0, 0, 4]


def test_a_model_that_gives_nan_is_always_wrong():
    nan_ND = torch.full((3, 2), torch.nan)
    assert not top_k_hits(nan_ND, torch.tensor([0, 1, 0]), ks=(1,))[1].any()
    recall = recall_at_k(nan_ND, nan_ND, torch.arange(3), ks=(1,))
    assert not recall["text_to_image"][1].any()
    assert not recall["image_to_text"][1].any()


def brute_force_recall(image_ND: np.ndarray, text_MD: np.ndarray, owner_M: list[int], k: int):
    """One pair at a time, straight from the definition."""
    by_text, by_image = [], []
    for text, owner in zip(text_MD, owner_M, strict=True):
        own = float(text @ image_ND[owner])
        ahead = [i for i in range(len(image_ND)) if i != owner and float(text @ image_ND[i]) >= own]
        by_text.append(1 + len(ahead) <= k)
    for i, image in enumerate(image_ND):
        best = max(float(image @ text_MD[m]) for m in range(len(text_MD)) if owner_M[m] == i)
        ahead = [m for m in range(len(text_MD)) if owner_M[m] != i and float(image @ text_MD[m]) >= best]
        by_image.append(1 + len(ahead) <= k)
    return by_text, by_image


@pytest.mark.journey
@settings(max_examples=60, deadline=None)
@given(data=st.data(), images=st.integers(1, 7), block=st.sampled_from([1, 2, 50]))
def test_recall_agrees_with_brute_force_ties_included(data, images: int, block: int):
    extra = data.draw(st.lists(st.integers(0, images - 1), max_size=6))
    owner_M = data.draw(st.permutations([*range(images), *extra]))
    # Whole numbers make ties frequent and dot products exact.
    numbers = st.integers(-2, 2)
    image_ND = np.array(data.draw(st.lists(st.tuples(numbers, numbers), min_size=images, max_size=images)), float)
    text_MD = np.array(
        data.draw(st.lists(st.tuples(numbers, numbers), min_size=len(owner_M), max_size=len(owner_M))), float
    )
    found = recall_at_k(torch.tensor(image_ND), torch.tensor(text_MD), torch.tensor(owner_M), ks=(1, 3), block=block)
    for k in (1, 3):
        by_text, by_image = brute_force_recall(image_ND, text_MD, list(owner_M), k)
        assert found["text_to_image"][k].tolist() == by_text
        assert found["image_to_text"][k].tolist() == by_image


def test_an_images_other_captions_do_not_push_its_best_one_down():
    image_ND = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text_MD = unit(torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]))
    recall = recall_at_k(image_ND, text_MD, torch.tensor([0, 0, 0, 1]), ks=(1,))
    assert recall["image_to_text"][1].all()


@pytest.mark.parametrize("owners", [[0, 0, 2], [0, 1, 3]])
def test_every_image_must_have_a_caption_and_every_caption_an_image(owners: list[int]):
    with pytest.raises(ValueError, match="each of the 3 images"):
        recall_at_k(torch.eye(3), torch.eye(3), torch.tensor(owners))


def test_the_threshold_is_the_lowest_that_is_precise_enough():
    """By hand: a fifth of the images has a copy. From 0.8 on .15 : .02 is right to wrong, from 0.3 on .2 : .02."""
    copy_S = np.array([0.9, 0.85, 0.8, 0.3])
    other_N = np.concatenate([[0.82], np.full(39, 0.1)])
    assert precise_threshold(copy_S, other_N, share=0.2, precision=0.90) == 0.3
    assert precise_threshold(copy_S, other_N, share=0.2, precision=0.91) == 0.85


def test_the_threshold_agrees_with_trying_every_score():
    generator = np.random.default_rng(0)
    copy_S, other_N = generator.normal(0.8, 0.1, 300), generator.normal(0.4, 0.15, 500)
    for precision in (0.5, 0.9, 0.99):
        tried = [
            score
            for score in copy_S
            if 0.1 * (copy_S >= score).mean()
            >= precision * (0.1 * (copy_S >= score).mean() + 0.9 * (other_N >= score).mean())
        ]
        assert precise_threshold(copy_S, other_N, share=0.1, precision=precision) == min(tried)


def test_where_no_threshold_is_precise_it_lies_above_all_others():
    threshold = precise_threshold(np.array([0.1, 0.2]), np.array([0.9, 0.9]), share=0.5, precision=0.99)
    assert 0.9 < threshold < 0.9001
    assert precise_threshold(np.array([0.2, 0.1]), np.empty(0), share=0.5, precision=0.99) == 0.1
