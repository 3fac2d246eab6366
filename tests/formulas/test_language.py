"""Likelihoods of words against loops in float64, and against what probabilities have to add up to."""

import math

import numpy as np
import torch

from seesay.formulas.language import (
    grouped_log_softmax,
    is_inner,
    jelinek_mercer,
    k_hot_cross_entropy,
    shares_of_types,
)


def test_inner_tokens_are_all_but_the_first_and_the_last():
    inner = is_inner(torch.tensor([2, 3, 5]), 5)
    assert inner.int().tolist() == [[0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 1, 0]]


def test_k_hot_cross_entropy_is_the_mean_over_different_words():
    torch.manual_seed(0)
    logits = 3 * torch.randn(4, 11, dtype=torch.float64)
    ids = torch.tensor([[9, 3, 3, 0, 9], [0, 0, 0, 4, 4], [7, 1, 2, 3, 4], [5, 5, 5, 5, 5]])
    counts = torch.tensor([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]) > 0
    losses = k_hot_cross_entropy(logits, *shares_of_types(ids, counts))
    for z, words, loss in zip(logits.numpy(), [{9, 3, 0}, {0}, {7, 1, 2, 3, 4}, set()], losses, strict=True):
        log_p = z - np.log(np.exp(z).sum())
        expected = -sum(log_p[word] for word in words) / max(1, len(words))
        assert math.isclose(float(loss), expected, rel_tol=1e-7, abs_tol=1e-12)


def test_grouped_log_softmax_is_a_log_softmax_of_every_group_however_far_below_the_others_it_is():
    torch.manual_seed(1)
    logits = torch.randn(7, 3, dtype=torch.float64)
    logits[3:6] -= 500
    logits.requires_grad_()
    first = torch.tensor([0, 3, 3, 6, 7, 7])
    found = grouped_log_softmax(logits, first, torch.tensor([0, 0, 0, 2, 2, 2, 3]))
    expected = torch.cat([logits[:3].log_softmax(0), logits[3:6].log_softmax(0), logits[6:].log_softmax(0)])
    assert torch.allclose(found, expected)
    weight = torch.randn_like(logits)
    found_gradient, expected_gradient = (
        torch.autograd.grad((log_p * weight).sum(), logits, retain_graph=True)[0] for log_p in (found, expected)
    )
    assert torch.allclose(found_gradient, expected_gradient)


def test_interpolated_probabilities_are_those_of_the_written_out_recursion():
    first, second, third = 0.3, 0.5, 0.9
    observed = torch.tensor([[first] * 4, [second, second, 0, 0], [third, 0, third, 0]], dtype=torch.float64).log()
    has_context = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0]]) > 0
    log_p = jelinek_mercer(observed, has_context, share=0.2)
    after_second = 0.2 * second + 0.8 * first
    expected = [
        0.2 * third + 0.8 * after_second,
        0.8 * after_second,
        0.2 * third + 0.8 * 0.8 * first,
        first,
    ]
    assert torch.allclose(log_p.exp(), torch.tensor(expected, dtype=torch.float64))


def test_a_word_that_no_order_has_seen_sends_finite_gradients():
    observed = torch.tensor([[-3.0], [-math.inf]], requires_grad=True)
    jelinek_mercer(observed, torch.tensor([[True], [True]]), share=0.2).sum().backward()
    assert observed.grad is not None and observed.grad.tolist() == [[1.0], [0.0]]
