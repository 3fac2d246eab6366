"""ICMLM's head: which words it masks, what it can see, and names scored one at a time."""

import pytest
import torch
import torch.nn.functional as F

from seesay.data.tokenizer import pad
from seesay.nets.architecture import MaskedCaptionerConfig
from seesay.nets.masked_captioner import Concepts, MaskedCaptioner
from seesay.nets.row_random import row_seeds

# "straw" and "berry " make one word; "the " is a function word, "." has no letter.
WORDS = ["the ", "a ", "dog ", "straw", "berry ", ". ", "cat ", "on ", "rare ", "", ""]
THE, A, DOG, STRAW, BERRY, STOP, CAT, ON, RARE, START, END = range(11)
CAPTIONS = [
    [A, DOG, STOP],
    [A, STRAW, BERRY, ON, THE, CAT],
    [A, CAT, ON, THE, STRAW, BERRY, STOP],
    [THE, DOG, STOP],
    [A, CAT, STOP],
    [ON, THE],
]
BOTH = ["tfm", "att-fc"]


def texts(*words):
    return pad([[START, *own, END] for own in words])


def head(fusion="tfm"):
    torch.manual_seed(0)
    sizes = {"width": 16, "layers": 1, "heads": 2, "context": 12, "vocab_size": 11}
    config = MaskedCaptionerConfig.model_validate({**sizes, "fusion": fusion})
    captioner = MaskedCaptioner(config, 16)
    captioner.fit_vocabulary([[START, *words, END] for words in CAPTIONS], WORDS)
    for parameter in captioner.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return captioner


def test_concepts_are_whole_words_that_are_frequent_and_no_function_words():
    concepts = Concepts(11)
    rest = [[A, DOG]] * 20 + [[STRAW, DOG]] * 12 + [[THE, CAT]] * 9 + [[A, STRAW, BERRY]] * 10
    frame = concepts.learn([[START, *words, END] for words in rest + [[A]] * 949], WORDS)
    assert frame == ((A,), ())
    found = concepts(texts([STRAW, BERRY, STOP, DOG], [BERRY, CAT], [STRAW, DOG], [DOG, STRAW, BERRY, DOG], []))
    assert found.tolist() == [
        [0, 1, 1, 0, 2, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 2, 2, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_few_captions_ask_for_fewer_occurrences():
    concepts = Concepts(11)
    concepts.learn([[START, A, RARE, END], [START, END]], WORDS)
    assert concepts(texts([A, RARE])).tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("fusion", BOTH)
def test_what_is_masked_is_not_seen_and_the_rest_is(fusion):
    captioner, grid = head(fusion), torch.randn(1, 4, 16)

    def logits(grid, *words):
        tokens = texts(list(words))
        return captioner._predict(grid, tokens, torch.tensor([[False, False, True, False, False]]))[0]

    one = logits(grid, A, DOG, STOP)
    assert one.shape == (1, 11)
    assert torch.equal(one, logits(grid, A, CAT, STOP))
    assert not torch.allclose(one, logits(grid, THE, DOG, STOP))
    assert not torch.allclose(one, logits(grid + 1 + torch.randn(16), A, DOG, STOP))


@pytest.mark.parametrize("fusion", BOTH)
def test_a_masked_word_stands_nowhere_else_in_the_caption(fusion):
    captioner, grid = head(fusion).eval(), torch.randn(2, 4, 16)
    tokens = texts([A, DOG, ON, A, DOG], [STRAW, BERRY, ON, STRAW, BERRY])
    found = captioner.losses(grid, tokens)
    own = captioner.ln_grid(grid)
    tags = captioner._tag_losses(own, tokens, captioner.concepts(tokens) > 0)
    for row, places in enumerate(([2, 5], [1, 2, 4, 5])):
        is_masked = torch.zeros(2, 7, dtype=torch.bool)
        is_masked[row, places] = True
        logits = captioner._predict(own, tokens, is_masked)[0]
        expected = F.cross_entropy(logits, tokens.ids_BL[row, places]) + tags[row]
        assert torch.allclose(found[row], expected, rtol=1e-4)


@pytest.mark.parametrize("fusion", BOTH)
def test_every_caption_has_the_losses_it_would_have_alone(fusion):
    captioner, grid = head(fusion), torch.randn(6, 4, 16)
    with row_seeds(torch.arange(6)):
        together = captioner.losses(grid, texts(*CAPTIONS))
    for row, words in enumerate(CAPTIONS):
        with row_seeds(torch.tensor([row])):
            alone = captioner.losses(grid[row : row + 1], texts(words))
        assert torch.allclose(alone, together[row : row + 1], rtol=1e-4)


def test_a_pass_masks_one_concept_of_every_caption_and_each_in_turn():
    captioner = head()
    concept = captioner.concepts(texts([DOG, STRAW, BERRY, CAT]))
    with row_seeds(torch.arange(300)):
        chosen = captioner._chosen(concept.expand(300, -1))
    assert all(80 < count < 120 for count in torch.bincount(chosen, minlength=4)[1:].tolist())
    assert captioner.eval()._chosen(concept).tolist() == [2]


def test_tags_are_the_tokens_of_the_concepts_told_from_the_grid_alone():
    captioner, grid = head(), torch.randn(1, 4, 16)
    tokens = texts([STRAW, BERRY, ON, STRAW, BERRY])
    found = captioner._tag_losses(captioner.ln_grid(grid), tokens, captioner.concepts(tokens) > 0)
    is_tag = torch.zeros(1, 11)
    is_tag[0, [STRAW, BERRY]] = 1
    logits = captioner.tags(F.layer_norm(grid, (16,), captioner.ln_grid.weight, captioner.ln_grid.bias).mean(1))
    expected = F.binary_cross_entropy_with_logits(logits, is_tag, reduction="sum") / 2
    assert torch.allclose(found, expected[None])


@pytest.mark.parametrize("fusion", BOTH)
def test_a_caption_without_a_concept_has_the_tags_loss_alone_and_gradients_for_all(fusion):
    captioner, grid = head(fusion), torch.randn(2, 4, 16)
    tokens = texts([ON, THE], [])
    losses = captioner.losses(grid, tokens)
    expected = captioner._tag_losses(captioner.ln_grid(grid), tokens, torch.zeros(2, 4, dtype=torch.bool))
    assert torch.equal(losses, expected)
    losses.sum().backward()
    assert all(parameter.grad is not None for parameter in captioner.parameters())


@pytest.mark.parametrize("fusion", BOTH)
@torch.no_grad()
def test_a_name_is_scored_in_the_usual_frame_with_all_of_its_tokens_masked_and_by_its_tags(fusion):
    captioner, grid = head(fusion).eval(), torch.randn(3, 4, 16)
    names = [[DOG], [STRAW, BERRY], [CAT], []]
    found = captioner.log_likelihoods(grid, captioner.prepare(texts(*names)))
    for column, name in enumerate(names[:3]):
        tokens = texts([A, *name, STOP])
        is_masked = torch.tensor([[False, False, *[True] * len(name), False, False]])
        for row in range(3):
            own = captioner.ln_grid(grid[row : row + 1])
            log_p = captioner._predict(own, tokens, is_masked)[0].log_softmax(1)
            log_tag = captioner.tags(own.mean(1)).sigmoid().log()[0]
            expected = (log_p[torch.arange(len(name)), name] + log_tag[name]).mean()
            assert torch.allclose(found[row, column], expected, rtol=1e-4)
    assert torch.allclose(found[:, 3], -2 * torch.tensor(11.0).log())
