"""The n-gram head against a dictionary of tuples and the recursion written out."""

import time
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch

from seesay.data.tokenizer import pad
from seesay.nets.architecture import NGramsConfig
from seesay.nets.word_heads import NGrams, frequent_runs

START, END = 5, 6
CAPTIONS = [[0, 1, 2], [0, 1, 2, 0, 1], [2, 0, 1], [3, 3, 3], [0, 1], [4]]


def texts(*words):
    return pad([[START, *own, END] for own in words])


def head(per_word=1, longest=3):
    torch.manual_seed(0)
    config = NGramsConfig(context=8, vocab_size=7, per_word=per_word, longest=longest)
    ngrams = NGrams(config, 8)
    ngrams.fit_vocabulary([[START, *words, END] for words in CAPTIONS], [""] * 7)
    torch.nn.init.normal_(ngrams.vectors)
    return ngrams


def runs_of(ngrams):
    """The run of every row of `vectors`, read from the keys."""
    runs = {}
    for row, key in enumerate(ngrams.key_C.tolist()):
        continued, word = key // 7 - 1, key % 7
        if continued < len(ngrams.key_C):
            runs[row] = (*runs.get(continued, ()), word)
    return runs


def brute_force(ngrams, image, words):
    """log p of every word of a text, one image at a time, in float64."""
    row_of = {run: row for row, run in runs_of(ngrams).items()}
    scores = np.exp(ngrams.vectors.detach().double().numpy() @ image.double().numpy())
    found = []
    for place, word in enumerate(words):
        p = scores[word] / sum(scores[row_of[(other,)]] for other in range(7))
        for before in range(1, min(place, ngrams.longest - 1) + 1):
            context = tuple(words[place - before : place])
            beside = [run for run in row_of if run[:-1] == context]
            if beside:
                own = row_of.get((*context, word))
                observed = 0 if own is None else scores[own] / sum(scores[row_of[run]] for run in beside)
                p = 0.2 * observed + 0.8 * p
        found.append(np.log(p))
    return found


def test_the_dictionary_has_every_word_and_the_most_frequent_runs():
    counts = Counter(
        tuple(words[first : first + size])
        for words in CAPTIONS
        for size in (2, 3)
        for first in range(len(words) - size + 1)
    )
    runs = set(runs_of(head()).values())
    assert {run for run in runs if len(run) == 1} == {(word,) for word in range(7)}
    longer = {run for run in runs if len(run) > 1}
    assert len(longer) == 7
    assert min(counts[run] for run in longer) >= max(counts[run] for run in counts if run not in longer)
    assert all(run[:-1] in runs for run in longer)


def test_the_dictionary_is_that_of_a_plain_count_of_all_runs():
    generator = np.random.default_rng(0)
    captions = [[START, *generator.integers(0, 5, size).tolist(), END] for size in generator.integers(0, 9, 60)]
    for room, longest in ((3, 5), (40, 5), (200, 3), (5000, 5), (0, 5), (9, 1)):
        counts = Counter(
            tuple(words[first : first + size])
            for words in (caption[1:-1] for caption in captions)
            for size in range(2, longest + 1)
            for first in range(len(words) - size + 1)
        )
        best = sorted(counts, key=lambda run: (-counts[run], len(run), run))[:room]
        place = {(word,): word for word in range(7)}
        for run in sorted(best, key=lambda run: (len(run), run)):
            place[run] = len(place)
        expected = [(place[run[:-1]] + 1) * 7 + run[-1] for run in place if len(run) > 1]
        assert frequent_runs(captions, vocab_size=7, longest=longest, room=room).tolist() == expected
    assert not len(frequent_runs([[START, END], []], vocab_size=7, longest=5, room=9))


@pytest.mark.slow
def test_the_runs_of_200_000_captions_are_counted_in_seconds():
    generator = np.random.default_rng(0)
    captions = [[8190, *row, 8191] for row in generator.zipf(1.3, (200_000, 12)).clip(max=8189).tolist()]
    began = time.process_time()
    assert len(frequent_runs(captions, vocab_size=8192, longest=5, room=4 * 8192)) == 4 * 8192
    assert time.process_time() - began < 15


def test_room_that_the_captions_do_not_fill_changes_nothing():
    small, large = head(per_word=3), head(per_word=30)
    known = len(runs_of(small))
    assert runs_of(small) == runs_of(large)
    large.vectors.data[:known] = small.vectors.data[:known]
    image, tokens = torch.randn(2, 8), texts([0, 1, 2], [3, 3])
    assert torch.allclose(small.losses(image, tokens), large.losses(image, tokens))


def test_loss_is_the_mean_over_words_of_the_written_out_recursion():
    for ngrams in (head(), head(per_word=5, longest=5)):
        image = torch.randn(4, 8)
        words = [[0, 1, 2, 0, 1], [3, 3, 3, 3], [4], [6, 0, 5, 1, 2]]
        expected = [-np.mean(brute_force(ngrams, *pair)) for pair in zip(image, words, strict=True)]
        assert np.allclose(ngrams.losses(image, texts(*words)).detach().numpy(), expected, rtol=1e-5)


@torch.no_grad()
def test_every_text_is_scored_for_every_image_whatever_stands_beside_it():
    ngrams, image = head(), torch.randn(3, 8)
    words = [[0, 1, 2], [4], [2, 0, 1, 2], []]
    found = ngrams.log_likelihoods(image, ngrams.prepare(texts(*words)))
    for column, own in enumerate(words[:3]):
        expected = [np.sum(brute_force(ngrams, row, own)) for row in image]
        assert np.allclose(found[:, column], expected, rtol=1e-5)
    assert np.allclose(found[:, 3], -np.log(7))


@torch.no_grad()
def test_the_probabilities_of_all_texts_of_one_length_add_up_to_one():
    ngrams, image = head(per_word=5), torch.randn(2, 8)
    every = [list(words) for words in product(range(7), repeat=3)]
    total = ngrams.log_likelihoods(image, ngrams.prepare(texts(*every))).exp().sum(1)
    assert torch.allclose(total, torch.ones(2), atol=1e-4)


def test_a_caption_without_words_costs_nothing_and_still_gives_every_parameter_a_gradient():
    ngrams = head()
    loss = ngrams.losses(torch.randn(2, 8), texts([], []))
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert ngrams.vectors.grad is not None and not ngrams.vectors.grad.any()


def test_gradients_are_finite_where_nothing_continues_a_run():
    ngrams = head()
    ngrams.losses(50 * torch.randn(2, 8), texts([4, 4, 4, 6], [0, 1, 2])).sum().backward()
    assert ngrams.vectors.grad is not None and ngrams.vectors.grad.isfinite().all() and ngrams.vectors.grad.any()
