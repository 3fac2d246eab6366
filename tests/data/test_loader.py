"""Batches: the order and the crops depend on (seed, step) alone; what is broken is named."""

import io
import multiprocessing
import os
import signal
from contextlib import closing

import numpy as np
import pytest
import torch
from crops import training_crops
from PIL import Image

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.records import Pair
from seesay.data.augment import COLUMNS, Augment, uniforms
from seesay.data.jpeg import DecodedImage
from seesay.data.loader import Batches, Crops, Draw, Order, Subset, caption_id
from seesay.data.pixel_cache import PixelCache
from seesay.data.tokenizer import CaptionTokenizer

TOKENIZER = CaptionTokenizer([("a", "t</w>"), ("c", "at</w>")], context=12)
STRONG = Augment(scale=0.5, stretch=1.3, flip=0.5, colour=0.2, coarse=0.5)


def encoded(index: int, side: int = 24) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TenPairs:
    """Ten random images; number 3 is broken."""

    name = "ten"
    fingerprint = "0"
    problems = ()
    notes = ()

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index == 3:
            raise BrokenSample("truncated image", "by hand")
        return Pair(key=f"k{index}", image=encoded(index), captions=self.captions(index))

    def key(self, index):
        return f"k{index}"

    def captions(self, index):
        return (f"cat {index}", f"at {index}", "the same")

    def location(self, index):
        return f"byte {index}"


def crops(cache=None, augment=STRONG):
    return Crops(TenPairs(), TOKENIZER, augment=augment, seed=5, cache=cache)


def stream(first_step, count, *, workers=0, size_at=lambda step: 16):
    with closing(Batches(crops(), batch_size=4)) as batches:
        found = batches.starting_at(first_step, size_at=size_at, workers=workers)
        return [next(found) for _ in range(count)]


def same(left, right):
    return (
        torch.equal(left.pixels_B3SS, right.pixels_B3SS)
        and torch.equal(left.tokens.ids_BL, right.tokens.ids_BL)
        and torch.equal(left.sample_B, right.sample_B)
        and torch.equal(left.image_id_B, right.image_id_B)
        and torch.equal(left.caption_id_B, right.caption_id_B)
        and left.skipped == right.skipped
    )


def test_every_pair_comes_once_in_each_epoch():
    order = Order(10, seed=1)
    rows = [row for step in range(15) for row in order.samples(step, 4)]
    for epoch in range(6):
        mine = [sample for sample, which in rows if which == epoch]
        assert sorted(mine) == list(range(10))
    assert [s for s, v in rows if v == 0] != [s for s, v in rows if v == 1]


def test_loader_resumes_at_the_pair_after_the_last_one_seen():
    unbroken = stream(0, 9)
    for first in (1, 4, 7):
        for left, right in zip(unbroken[first:], stream(first, 9 - first), strict=True):
            assert same(left, right)


@pytest.mark.journey
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_batches_do_not_depend_on_the_number_of_workers(workers):
    for left, right in zip(stream(0, 9), stream(0, 9, workers=workers), strict=True):
        assert same(left, right)


@pytest.mark.journey
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_batches_that_outgrow_what_workers_were_started_with_are_the_same():
    def grows(step):
        return 8 if step < 2 else 300

    for left, right in zip(stream(0, 4, size_at=grows), stream(0, 4, size_at=grows, workers=2), strict=True):
        assert same(left, right)
        assert right.pixels_B3SS.shape[-1] in (8, 300)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_loader_process_that_dies_is_named_with_the_pairs_that_were_waited_for():
    with closing(Batches(crops(), batch_size=4)) as batches:
        found = batches.starting_at(3, size_at=lambda step: 16, workers=2)
        next(found)
        pid = max(process.pid for process in multiprocessing.active_children())
        os.kill(pid, signal.SIGKILL)
        step = r"waiting for step [4-9] \(pairs k\d to k\d\); what was saved is whole"
        with pytest.raises(SeesayError, match=rf"loader process [01] \(pid {pid}, signal 9\) ended, {step}"):
            for _ in range(9):
                next(found)


def test_another_seed_gives_another_order_and_other_crops():
    first = Crops(TenPairs(), TOKENIZER, augment=STRONG, seed=5, cache=None).read([Draw(1, 0, 16)])
    other = Crops(TenPairs(), TOKENIZER, augment=STRONG, seed=6, cache=None).read([Draw(1, 0, 16)])
    assert not torch.equal(first.pixels_B3SS, other.pixels_B3SS)
    assert Order(10, 5).samples(0, 10) != Order(10, 6).samples(0, 10)


def test_a_broken_image_is_named_and_leaves_the_batch_smaller():
    batch = crops().read([Draw(2, 0, 16), Draw(3, 0, 16), Draw(4, 0, 16)])
    assert batch.sample_B.tolist() == [2, 4]
    assert [(s.key, s.reason, s.location) for s in batch.skipped] == [("k3", "truncated image", "byte 3")]
    empty = crops().read([Draw(3, 0, 16)])
    assert len(empty.sample_B) == len(empty.image_id_B) == 0 and len(empty.skipped) == 1


def test_every_caption_is_drawn_and_equal_ones_have_equal_ids():
    seen = {int(crops().read([Draw(2, epoch, 16)]).caption_id_B[0]) for epoch in range(40)}
    assert seen == {caption_id(c) for c in ("cat 2", "at 2", "the same")}
    assert caption_id("  The  SAME ") == caption_id("the same")


class Repeated(TenPairs):
    """Image 6 is image 5 again, under other words."""

    def __getitem__(self, index):
        return Pair(key=f"k{index}", image=encoded(min(index, 5)), captions=self.captions(index))


@pytest.mark.parametrize("is_cached", [False, True])
def test_equal_images_have_equal_ids_that_do_not_depend_on_when_they_are_read(is_cached):
    def ids(*samples, times=1):
        cache = PixelCache(10, side=24) if is_cached else None
        mine = Crops(Repeated(), TOKENIZER, augment=STRONG, seed=5, cache=cache)
        found = [mine.read([Draw(sample, 0, 16) for sample in samples]) for _ in range(times)]
        assert found[-1].sample_B.tolist() == list(samples)
        return [batch.image_id_B.tolist() for batch in found]

    first, again = ids(4, 5, 6, times=2)
    assert first == again and first[1] == first[2] != first[0] and min(first) > 0
    assert ids(6, 4) == [[first[2], first[0]]]


def test_batches_leave_the_random_state_of_the_caller_as_it_is():
    before = torch.get_rng_state()
    stream(0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_side_of_the_crops_follows_the_schedule():
    sizes = [batch.pixels_B3SS.shape[-1] for batch in stream(0, 4, size_at=lambda step: 8 if step < 2 else 16)]
    assert sizes == [8, 8, 16, 16]


def test_cached_images_give_the_same_crops_when_they_need_no_shrinking():
    cache = PixelCache(10, side=24)
    cached = crops(cache)
    draws = [Draw(1, 0, 16), Draw(2, 1, 16)]
    first = cached.read(draws)
    assert cache.get(1) is not None
    assert same(first, cached.read(draws)) and same(first, crops().read(draws))


def test_cache_keeps_the_middle_of_long_images_and_shrinks_large_ones():
    cache = PixelCache(2, side=8)
    assert cache.get(0) is None
    long = np.zeros((16, 100, 3), dtype=np.uint8)
    long[:, 34:66] = 200
    assert cache.put(0, long).shape == (8, 16, 3)
    assert cache.get(0).min() == 200
    small = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    np.testing.assert_array_equal(cache.put(1, small), small)


def test_cache_shrinks_as_pillow_does():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    small = PixelCache(1, side=24).put(0, image)
    resized = Image.fromarray(image).resize((36, 24), Image.Resampling.BICUBIC)
    assert small.flags.c_contiguous and np.array_equal(small, np.array(resized))


def test_random_numbers_are_uniform_and_belong_to_their_sample_and_epoch():
    numbers = uniforms(3, np.arange(4000), np.zeros(4000, dtype=np.int64))
    assert numbers.shape == (4000, COLUMNS) and numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.005
    assert np.abs(np.corrcoef(numbers.T) - np.eye(COLUMNS)).max() < 0.06
    np.testing.assert_array_equal(uniforms(3, np.array([17]), np.array([0]))[0], numbers[17])
    assert not np.array_equal(uniforms(3, np.array([17]), np.array([1]))[0], numbers[17])
    assert not np.array_equal(uniforms(4, np.array([17]), np.array([0]))[0], numbers[17])


def test_without_settings_a_crop_is_the_papers_square_of_the_shorter_side():
    image = np.random.default_rng(0).integers(0, 256, (16, 40, 3), dtype=np.uint8)
    random = uniforms(0, np.arange(30), np.zeros(30, dtype=np.int64))
    found = training_crops([DecodedImage.whole(image)] * 30, 16, augment=Augment(), random_BK=random)
    windows = {image[:, left : left + 16].tobytes(): left for left in range(25)}
    lefts = [windows[crop.permute(1, 2, 0).contiguous().numpy().tobytes()] for crop in found]
    assert len(set(lefts)) > 10


def test_flips_and_colours_change_what_they_say_and_nothing_else():
    image = np.random.default_rng(1).integers(60, 180, (16, 16, 3), dtype=np.uint8)
    random = uniforms(0, np.arange(50), np.zeros(50, dtype=np.int64))
    plain = training_crops([DecodedImage.whole(image)] * 50, 16, augment=Augment(), random_BK=random)
    flipped = training_crops([DecodedImage.whole(image)] * 50, 16, augment=Augment(flip=1.0), random_BK=random)
    assert torch.equal(flipped, plain.flip(3))
    coloured = training_crops([DecodedImage.whole(image)] * 50, 16, augment=Augment(colour=0.2), random_BK=random)
    ratio = coloured.float().mean((2, 3)) / plain.float().mean((2, 3))
    assert 0.4 < ratio.min() < 0.9 and 1.1 < ratio.max() < 1.6


def test_subset_is_a_source_of_its_pairs():
    part = Subset(TenPairs(), np.array([7, 2]))
    assert (len(part), part.key(0), part[1].key, part.captions(0)[0]) == (2, "k7", "k2", "cat 7")


def test_several_captions_of_an_image_are_different_ones_and_the_first_is_the_one_drawn_alone():
    one = Crops(TenPairs(), TOKENIZER, augment=STRONG, seed=5, cache=None)
    three = Crops(TenPairs(), TOKENIZER, augment=STRONG, seed=5, cache=None, captions_per_image=3)
    draws = [Draw(sample, epoch, 16) for sample in range(10) if sample != 3 for epoch in (0, 1)]
    alone, several = one.read(draws), three.read(draws)
    assert torch.equal(alone.pixels_B3SS, several.pixels_B3SS)
    B = len(draws)
    assert len(several.tokens.ids_BL) == len(several.caption_id_B) == 3 * B
    assert torch.equal(alone.caption_id_B, several.caption_id_B[:B])
    for row, draw in enumerate(draws):
        choices = TenPairs().captions(draw.sample)
        drawn = {int(several.caption_id_B[number * B + row]) for number in range(3)}
        assert drawn <= {caption_id(caption) for caption in choices} and len(drawn) == min(3, len(set(choices)))
