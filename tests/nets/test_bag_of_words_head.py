"""The head that predicts words, against a softmax written out."""

import numpy as np
import torch

from seesay.data.tokenizer import pad
from seesay.nets.architecture import BagOfWordsHeadConfig
from seesay.nets.word_heads import BagOfWordsHead

START, END = 10, 11


def head():
    torch.manual_seed(0)
    words = BagOfWordsHead(BagOfWordsHeadConfig(context=8, vocab_size=12), 8)
    torch.nn.init.normal_(words.output.weight)
    torch.nn.init.normal_(words.output.bias)
    return words


def texts(*words):
    return pad([[START, *own, END] for own in words])


def log_p(words, image):
    z = image.double().numpy() @ words.output.weight.detach().double().numpy().T
    z += words.output.bias.detach().double().numpy()
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def test_loss_is_the_mean_over_the_different_words_of_the_caption():
    words, image = head(), torch.randn(3, 8)
    losses = words.losses(image, texts([3, 0, 3], [7], [1, 2, 4, 5]))
    expected = [-log_p(words, image)[row, own].mean() for row, own in enumerate([[3, 0], [7], [1, 2, 4, 5]])]
    assert np.allclose(losses.detach().numpy(), expected, rtol=1e-5)


def test_the_order_of_words_is_not_seen():
    words, image = head(), torch.randn(1, 8)
    assert torch.equal(words.losses(image, texts([3, 0, 5])), words.losses(image, texts([5, 3, 0])))


def test_a_caption_without_words_costs_nothing_and_still_gives_every_parameter_a_gradient():
    words = head()
    loss = words.losses(torch.randn(2, 8), texts([], []))
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in words.parameters())


@torch.no_grad()
def test_every_text_is_scored_by_the_mean_over_its_words_whatever_stands_beside_it():
    words, image = head(), torch.randn(2, 8)
    found = words.log_likelihoods(image, words.prepare(texts([4], [0, 2, 2], [])))
    every = log_p(words, image)
    assert np.allclose(found[:, 0], every[:, 4], rtol=1e-5)
    assert np.allclose(found[:, 1], every[:, [0, 2]].mean(1), rtol=1e-5)
    assert np.allclose(found[:, 2], -np.log(12), rtol=1e-5)
    assert torch.allclose(words.log_likelihoods(image, words.prepare(texts([4]))), found[:, :1])
