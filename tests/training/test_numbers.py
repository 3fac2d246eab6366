"""The numbers of a run that nobody would miss if they were a little off: worked out by hand, each on its own."""

import math
from types import SimpleNamespace

import pytest
import torch

from seesay.base.errors import TooManySkipped
from seesay.base.journal import read_events
from seesay.base.records import Embedded, Pair, Skipped
from seesay.base.settings import read_settings
from seesay.training.checkpoint import checkpoints, save_checkpoint
from seesay.training.faults import SkipLog
from seesay.training.loop import smoothed, train_step
from seesay.training.objectives import OBJECTIVES
from seesay.training.objectives.base import GlobalBatch
from seesay.training.plan import DataFacts, choose
from seesay.training.run_log import SpikeWatch
from seesay.training.settings import TrainSettings
from seesay.training.setup import cache_side
from seesay.training.validation import Validation, matches_in_batch


def chosen(*overrides, **known):
    facts = {"pairs": 40_000, "captions": 90_000, "median_side": 64, "device": "cpu", "cores": 2}
    return choose(read_settings(TrainSettings, file=None, overrides=overrides), DataFacts(**{**facts, **known}))


def test_the_learning_rate_of_a_step_is_that_of_its_middle(small_run, batch):
    """100 steps, the first 5 of them warm-up to 1e-3: the middles of these lie at 1, 3, 5, 7 and 9 tenths of it."""
    rates = []
    for seed in range(6):
        train_step(small_run, batch(seed))
        rates.append(small_run.optimizer.param_groups[0]["lr"])
    assert rates[:5] == pytest.approx([1e-4, 3e-4, 5e-4, 7e-4, 9e-4])
    assert rates[5] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * 0.5 / 95)))
    assert {group["lr"] for group in small_run.optimizer.param_groups} == {rates[5]}


def test_the_last_step_still_has_half_a_step_of_the_cosine_left(small_run, batch):
    small_run.position.step = 99
    train_step(small_run, batch())
    last = small_run.optimizer.param_groups[0]["lr"]
    assert last == pytest.approx(1e-3 * 0.5 * (1 - math.cos(math.pi * 0.5 / 95))) and last > 0


def test_the_smoothed_loss_starts_as_the_mean_of_all_losses():
    losses, smooth = [8.0, 2.0, 5.0, 1.0], None
    means = []
    for step, loss in enumerate(losses, start=1):
        smooth = smoothed(smooth, loss, step=step)
        means.append(smooth)
    assert means == pytest.approx([8.0, 5.0, 5.0, 4.0])


def test_the_smoothed_loss_forgets_two_percent_a_step_from_the_fiftieth_on():
    assert smoothed(1.0, 11.0, step=49) == pytest.approx(1 + 10 / 49)
    assert smoothed(1.0, 11.0, step=50) == pytest.approx(1.2)
    assert smoothed(1.0, 11.0, step=5000) == pytest.approx(1.2)


def test_the_smoothed_loss_of_a_run_is_the_mean_of_what_it_logged(small_run, batch):
    object.__setattr__(small_run.plan.settings.log, "every_steps", 1)
    for seed in range(3):
        train_step(small_run, batch(seed))
    steps = [event for event in read_events(small_run.journal.folder / "events.jsonl") if "loss" in event]
    assert [event["step"] for event in steps] == [1, 2, 3]
    assert steps[0]["smooth_loss"] == pytest.approx(steps[0]["loss"])
    assert small_run.position.smooth_loss == pytest.approx(sum(event["loss"] for event in steps) / 3)


@pytest.mark.parametrize(
    ("pairs", "batch_size"), [(1_000_000, 1024), (999_999, 128), (4096, 128), (4095, 64), (600, 16), (511, 16), (9, 9)]
)
def test_the_batch_grows_with_the_data_and_is_1024_from_a_million_pairs_on(pairs, batch_size):
    assert chosen(pairs=pairs).batch_size == batch_size


class Numbered:
    """Pairs without files: the image of pair i is the one byte i."""

    def __init__(self, captions):
        self.words = captions

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        return Pair(key=str(index), image=bytes([index]), captions=self.captions(index))

    def captions(self, index):
        return (self.words[index],)


class Axes:
    """Image i is embedded as axis i, and a caption as the axis that it names."""

    embeds_texts = True
    device = torch.device("cpu")
    architecture = SimpleNamespace(embed_dim=8)
    batch_size = 64
    preprocess = SimpleNamespace(
        read=lambda data: torch.full((3, 1, 1), data[0], dtype=torch.uint8), normalise=lambda pixels: pixels
    )
    tokenizer = SimpleNamespace(tokens=lambda captions: torch.tensor([int(words) for words in captions]))

    def clip(self, pixels_B3SS, axis_B):
        axes = torch.eye(8)
        return Embedded(image_BD=axes[pixels_B3SS[:, 0, 0, 0].long()], text_BD=axes[axis_B], scale=torch.tensor(10.0))


def measured(*captions, batch_size):
    return Validation(Axes(), Numbered(captions), batch_size=batch_size, objective=OBJECTIVES["contrastive"]).measure()


def test_validation_counts_the_images_that_are_nearest_to_their_own_caption():
    assert measured("0", "1", "2", "3", batch_size=4)["match"] == 1.0
    assert measured("0", "2", "1", "3", batch_size=4)["match"] == 0.5
    assert measured("1", "2", "3", "0", batch_size=4)["match"] == 0.0


def test_validation_is_a_mean_over_whole_batches_and_the_rest_is_left_out():
    result = measured("0", "1", "3", "2", "4", batch_size=2)
    right, swapped = math.log(1 + math.exp(-10)), math.log(1 + math.exp(10))
    assert result["match"] == 0.5
    assert result["loss"] == pytest.approx((right + swapped) / 2)


def test_a_match_is_the_nearest_caption_of_an_image_and_not_the_nearest_image_of_a_caption():
    """By row both images are nearest to their own; by column the second one is nearer to the first caption."""
    image_BD = torch.tensor([[0.5, 0.4], [0.6, 0.7]])
    assert matches_in_batch(Embedded(image_BD=image_BD, text_BD=torch.eye(2), scale=torch.tensor(1.0))) == 2


def test_a_run_stops_above_five_percent_of_broken_samples_and_not_at_it(tmp_path):
    """500 of the last 10,000 are allowed; the next batch makes them 501."""

    def broken(batch, count):
        return tuple(Skipped(key=f"{batch}-{number}", reason="truncated image") for number in range(count))

    with SkipLog(tmp_path, pairs=20_000) as log:
        for batch in range(100):
            log.watch(95, broken(batch, 5))
        with pytest.raises(TooManySkipped, match="501 of the last 10,000 samples are broken"):
            log.watch(94, broken(100, 6))


@pytest.mark.journey
@pytest.mark.parametrize("keep", [2, 3])
def test_as_many_checkpoints_stay_as_are_asked_for(keep, small_run, tmp_path):
    for step in range(1, 6):
        small_run.position.step = step
        save_checkpoint(tmp_path / "c", small_run.clip, small_run.optimizer, small_run.position, keep=keep)
    assert [int(path.name[-4:]) for path in checkpoints(tmp_path / "c")] == list(range(5, 5 - keep, -1))


def test_images_are_cached_a_third_larger_than_the_largest_crops():
    plan = chosen("schedule.sizes=[[32, 0.7], [48, 0.3]]")
    assert cache_side(plan, 100) == round(1.35 * 48)
    assert cache_side(chosen("data.cache=false"), 100) == 0


def test_each_process_has_its_own_rows_and_weighs_as_many_as_it_holds():
    """Three processes with 3, 2 and 4 rows: the mean of weighted means is the mean over all 9."""
    batches = [GlobalBatch(processes=SimpleNamespace(rank=rank, world_size=3), rows=[3, 2, 4]) for rank in range(3)]
    assert [batch.local_rows for batch in batches] == [slice(0, 3), slice(3, 5), slice(5, 9)]
    means = [1.0, 5.0, -2.0]
    weighted = [batch.weight * mean for batch, mean in zip(batches, means, strict=True)]
    assert sum(weighted) / 3 == pytest.approx((3 * 1.0 + 2 * 5.0 + 4 * -2.0) / 9)


def test_a_loss_jumps_where_it_is_more_than_ten_times_the_median_of_twenty_or_more():
    few, enough = SpikeWatch(), SpikeWatch()
    assert [few.sees(1.0) for _ in range(19)] == [None] * 19 and few.sees(50.0) is None
    assert [enough.sees(1.0) for _ in range(20)] == [None] * 20
    assert enough.sees(10.0) is None and enough.sees(10.1) == 1.0


def test_the_median_is_that_of_the_last_hundred_losses():
    watch = SpikeWatch()
    for loss in (*[1.0] * 60, *[4.0] * 100):
        watch.sees(loss)
    assert watch.sees(39.0) is None and watch.sees(41.0) == 4.0
