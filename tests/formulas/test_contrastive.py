"""The contrastive losses against the formula written out in float64, one pair at a time."""

import math

import numpy as np
import pytest
import torch

from seesay.formulas.contrastive import (
    TURNED,
    contrastive_loss,
    forgetting_loss,
    matches,
    share,
    sigmoid_loss,
    softmax_loss,
)


def unit_rows(count, width, seed):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def written_out(image, text, scale):
    """Mean over both directions of -log softmax of the diagonal."""
    logits = scale * image @ text.T
    total = 0.0
    for i in range(len(logits)):
        total -= logits[i, i] - math.log(sum(math.exp(x) for x in logits[i]))
        total -= logits[i, i] - math.log(sum(math.exp(x) for x in logits[:, i]))
    return total / (2 * len(logits))


def test_loss_equals_the_written_out_formula():
    image, text = unit_rows(7, 5, 0), unit_rows(7, 5, 1)
    loss = contrastive_loss(torch.tensor(image), torch.tensor(text), torch.tensor(14.3, dtype=torch.float64))
    assert float(loss) == pytest.approx(written_out(image, text, 14.3), rel=1e-12)


def test_forgetting_is_the_written_out_divergence_and_turn():
    row, before, other = unit_rows(3, 5, 4), unit_rows(3, 5, 5), unit_rows(7, 5, 6)
    total = 0.0
    for new, old in zip(row, before, strict=True):
        now, then = (np.exp(9.0 * side @ other.T) / np.exp(9.0 * side @ other.T).sum() for side in (new, old))
        total += sum(p * math.log(p / q) for p, q in zip(then, now, strict=True)) + TURNED * 81 * (1 - new @ old)
    rows, scale = [torch.tensor(each) for each in (row, before, other)], torch.tensor(9.0, dtype=torch.float64)
    assert float(forgetting_loss(*rows, scale)) == pytest.approx(total / 3, rel=1e-12)
    assert float(forgetting_loss(rows[1], *rows[1:], scale)) == pytest.approx(0, abs=1e-12)


def test_gradient_equals_the_softmax_differences():
    image, text = (torch.tensor(unit_rows(6, 4, seed), requires_grad=True) for seed in (2, 3))
    theta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    contrastive_loss(image, text, theta.exp()).backward()
    with torch.no_grad():
        logits = theta.exp() * image @ text.T
        slope = (logits.softmax(1) + logits.softmax(0) - 2 * torch.eye(6, dtype=torch.float64)) / 12
        torch.testing.assert_close(image.grad, theta.exp() * slope @ text)
        torch.testing.assert_close(text.grad, theta.exp() * slope.T @ image)
        torch.testing.assert_close(theta.grad, (slope * logits).sum())


def test_captions_gathered_from_elsewhere_match_from_their_first_column():
    image, text = torch.tensor(unit_rows(6, 4, 4)), torch.tensor(unit_rows(6, 4, 5))
    scale = torch.tensor(10.0, dtype=torch.float64)
    whole = softmax_loss(image, text, scale)
    halves = [softmax_loss(image[first : first + 3], text, scale, first=first) for first in (0, 3)]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_random_embeddings_lose_about_the_logarithm_of_the_batch():
    image, text = torch.tensor(unit_rows(256, 512, 6)), torch.tensor(unit_rows(256, 512, 7))
    assert float(contrastive_loss(image, text, torch.tensor(1.0))) == pytest.approx(math.log(256), abs=0.01)


def test_shared_targets_without_repeats_change_nothing():
    image, text = torch.tensor(unit_rows(5, 4, 8)), torch.tensor(unit_rows(5, 4, 9))
    scale = torch.tensor(7.0, dtype=torch.float64)
    shared = contrastive_loss(image, text, scale, is_match_NN=torch.eye(5, dtype=torch.bool))
    torch.testing.assert_close(shared, contrastive_loss(image, text, scale))


def test_a_repeated_caption_shares_the_target_out():
    image, text = torch.tensor(unit_rows(3, 4, 10)), torch.tensor(unit_rows(3, 4, 11))
    text[2] = text[0]
    is_match = matches(torch.tensor([0, 1, 2]), torch.tensor([5, 6, 5]))
    logits = 9.0 * image @ text.T
    rows, columns = logits.log_softmax(1), logits.log_softmax(0)
    expected = 0.0
    for log in (rows, columns):
        expected -= (log[0, 0] + log[0, 2] + log[2, 0] + log[2, 2]) / 2 + log[1, 1]
    loss = contrastive_loss(image, text, torch.tensor(9.0), is_match_NN=is_match)
    torch.testing.assert_close(loss, expected / 6)


def test_matches_are_equal_images_or_equal_captions():
    found = matches(torch.tensor([0, 1, 0]), torch.tensor([7, 8, 8]))
    assert found.tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    torch.testing.assert_close(share(found).sum(1), torch.ones(3))


def sigmoid_written_out(image, text, scale, bias, *, first=0):
    """-1/B sum over pairs of log sigmoid(z (s cos + b)), z = 1 for the pairs that match and -1 for the others."""
    total = 0.0
    for i in range(len(image)):
        for j in range(len(text)):
            sign = 1 if j == first + i else -1
            total += math.log(1 + math.exp(-sign * (scale * float(image[i] @ text[j]) + bias)))
    return total / len(image)


def test_the_sigmoid_loss_is_a_sum_over_pairs_divided_by_images():
    image, text = unit_rows(5, 4, 12), unit_rows(9, 4, 13)
    scale, bias = torch.tensor(12.0, dtype=torch.float64), torch.tensor(-7.0, dtype=torch.float64)
    for first in (0, 3):
        loss = sigmoid_loss(torch.tensor(image), torch.tensor(text), scale, bias, first=first)
        assert float(loss) == pytest.approx(sigmoid_written_out(image, text, 12.0, -7.0, first=first), rel=1e-12)


def test_the_gradient_of_the_sigmoid_loss_is_sigmoid_minus_match():
    image, text = (torch.tensor(unit_rows(6, 4, seed), requires_grad=True) for seed in (14, 15))
    theta, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.0, -3.0))
    sigmoid_loss(image, text, theta.exp(), bias).backward()
    with torch.no_grad():
        products = theta.exp() * image @ text.T
        slope = ((products + bias).sigmoid() - torch.eye(6, dtype=torch.float64)) / 6
        torch.testing.assert_close(image.grad, theta.exp() * slope @ text)
        torch.testing.assert_close(text.grad, theta.exp() * slope.T @ image)
        torch.testing.assert_close(theta.grad, (slope * products).sum())
        torch.testing.assert_close(bias.grad, slope.sum())


def test_sigmoid_losses_of_blocks_of_captions_add_up():
    image, text = torch.tensor(unit_rows(4, 5, 16)), torch.tensor(unit_rows(12, 5, 17))
    scale, bias = torch.tensor(10.0, dtype=torch.float64), torch.tensor(-10.0, dtype=torch.float64)
    blocks = [sigmoid_loss(image, text[at : at + 4], scale, bias, first=6 - at) for at in (0, 4, 8)]
    torch.testing.assert_close(sum(blocks), sigmoid_loss(image, text, scale, bias, first=6))
