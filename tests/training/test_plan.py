"""What a run chooses for itself."""

import itertools
import math

import numpy as np
import pytest

from seesay.base.errors import UsageError
from seesay.base.settings import read_settings
from seesay.formulas.schedule import Minutes, Steps, rate_factor, size_at
from seesay.training.optimizer import optimizer_of
from seesay.training.pairs import caption_chances, image_chances
from seesay.training.plan import DataFacts, choose, length_of, repeated_share
from seesay.training.settings import TrainSettings


def facts(**changes):
    known = {"pairs": 40_000, "captions": 90_000, "median_side": 64, "device": "cpu", "cores": 2}
    return DataFacts(**{**known, **changes})


def settings(*overrides):
    return read_settings(TrainSettings, file=None, overrides=overrides)


def test_pairs_alone_are_enough_and_every_gap_is_filled():
    plan = choose(settings(), facts())
    chosen = plan.settings
    assert chosen.model == "conv-small" and chosen.batch_size == 128 and chosen.epochs == 25
    assert chosen.schedule.sizes == ((32, 0.7), (48, 0.3))
    assert None not in (chosen.optimizer.learning_rate, chosen.optimizer.weight_decay, chosen.data.augment)
    assert len(plan.reasons) >= 8


def test_what_was_given_is_kept():
    plan = choose(
        settings("model=vit-small", "steps=10", "optimizer.learning_rate=0.5", "data.vocab_size=600"), facts()
    )
    assert plan.settings.model == "vit-small" and plan.settings.steps == 10 and plan.settings.epochs is None
    assert plan.settings.optimizer.learning_rate == 0.5 and plan.settings.data.vocab_size == 600
    assert plan.settings.schedule.sizes == ((64, 1.0),)


@pytest.mark.parametrize("steps", [1, 30, 1000, 100_000])
def test_warm_up_is_never_longer_than_a_tenth_of_the_run_nor_than_the_papers(steps):
    warmup = choose(settings(f"steps={steps}"), facts()).settings.schedule.warmup
    assert warmup <= 0.1 and warmup * steps <= 2000


def test_fewer_pairs_than_a_batch_is_refused_with_both_numbers():
    with pytest.raises(UsageError, match=r"50 pairs are fewer than batch_size 64"):
        choose(settings("batch_size=64"), facts(pairs=50))


def test_two_lengths_are_refused():
    with pytest.raises(UsageError, match="steps and minutes"):
        settings("steps=5", "minutes=2.0")


class Captions:
    """Only the captions of a source of pairs."""

    def __init__(self, *captions):
        self.rows = captions

    def __len__(self):
        return len(self.rows)

    def captions(self, index):
        return self.rows[index]


def test_repeated_share_equals_drawing_every_batch_of_two():
    pairs = Captions(("a", "b"), ("A", "c"), ("a",), ("d",))
    hits, places = 0, 0
    for batch in itertools.permutations(range(4), 2):
        for drawn in itertools.product(*(pairs.rows[index] for index in batch)):
            weight = math.prod(1 / len(pairs.rows[index]) for index in batch)
            words = [caption.lower() for caption in drawn]
            hits += weight * sum(words.count(word) > 1 for word in words)
            places += weight * 2
    assert repeated_share(caption_chances(pairs), 2) == pytest.approx(hits / places)


def test_captions_of_one_pair_alone_never_repeat():
    assert repeated_share(caption_chances(Captions(*((f"only {n}", f"and {n}") for n in range(20)))), 16) == 0


def test_repeats_turn_shared_targets_on_above_one_percent():
    few, many = [(1.0, 1e-5)], [(1.0, 1e-3)]
    assert not choose(settings(), facts(), repeats=few).settings.data.share_repeats
    assert choose(settings(), facts(), repeats=many).settings.data.share_repeats


def test_an_image_repeats_as_often_as_in_every_batch_of_two():
    ids = np.array([7, 7, 7, 8, 9, 9])
    hits = sum(first == second for first, second in itertools.permutations(ids, 2))
    assert repeated_share(image_chances(ids), 2) == pytest.approx(hits / 30)
    assert repeated_share(image_chances(np.arange(5)), 4) == repeated_share(image_chances(np.arange(0)), 4) == 0


def test_images_that_repeat_turn_shared_targets_on_as_captions_do():
    two_of_each = image_chances(np.arange(1000) // 2)
    chosen = choose(settings("batch_size=32"), facts(), image_repeats=two_of_each)
    assert chosen.settings.data.share_repeats
    assert (
        "repeats    0.0% of captions, 3.1% of images are repeated in their batch: counted as matches" in chosen.reasons
    )
    assert not choose(settings("batch_size=8"), facts(), image_repeats=two_of_each).settings.data.share_repeats
    some = {"repeats": [(1.0, 2e-4)], "image_repeats": [(1.0, 2e-4)]}
    assert choose(settings("batch_size=32"), facts(), **some).settings.data.share_repeats, "both together are over 1 %"


@pytest.mark.parametrize(
    ("words", "known", "told"),
    [
        ([], {"is_faster_in_bfloat16": True}, "precision  bfloat16; bfloat16 was measured to be faster here"),
        ([], {"is_faster_in_bfloat16": False}, "precision  float32; bfloat16 was measured to be no faster here"),
        ([], {"begun_with": "bfloat16"}, "precision  bfloat16, as the run began"),
        (["towers.precision=bfloat16"], {}, "precision  bfloat16, as requested"),
        ([], {}, "precision  float32"),
    ],
)
def test_the_precision_is_told_with_where_it_comes_from(words, known, told):
    assert told in choose(settings(*words), facts(**known)).reasons


def test_steps_are_visits_times_pairs_over_batch():
    assert length_of(settings("epochs=3", "batch_size=32"), 1000) == Steps(math.ceil(3000 / 32))
    assert length_of(settings("minutes=1.5", "batch_size=32"), 1000) == Minutes(1.5)


def test_rate_rises_linearly_and_falls_as_a_cosine():
    assert [rate_factor(x, 0.1) for x in (0, 0.05, 0.1, 0.55, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert rate_factor(0.0, 0.0) == 1


def test_sizes_follow_one_another():
    sizes = ((32, 0.7), (48, 0.3))
    assert [size_at(share, sizes) for share in (0, 0.69, 0.7, 0.99, 1.0)] == [32, 32, 48, 48, 48]


def test_gains_biases_and_the_logit_scale_are_not_decayed():
    from seesay.nets.clip import build_clip
    from seesay.nets.presets import preset

    clip = build_clip(preset("conv-tiny"), seed=0)
    chosen = choose(settings(), facts()).settings.optimizer
    decayed, free = optimizer_of(clip, chosen).param_groups
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0
    assert any(p is clip.logit_scale for p in free["params"])
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim <= 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(clip.parameters()))
