"""A whole set of images to one matrix: in order, whatever is broken left out and named."""

import gc
import io
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from patience import PATIENCE
from PIL import Image

from seesay.base.errors import BrokenSample, StorageError, UsageError
from seesay.model.bundle import Model
from seesay.model.encode import BATCH_SIZE, encode_image_set, prefetch_blocks
from seesay.model.hub import load_folder


def image(index: int) -> bytes:
    data = io.BytesIO()
    generator = np.random.default_rng(index)
    Image.fromarray(generator.integers(0, 256, (16, 18, 3), dtype=np.uint8)).save(data, "PNG")
    return data.getvalue()


def test_a_set_is_encoded_in_its_order_as_one_by_one(model: Model):
    count, told = 2 * BATCH_SIZE + 5, []
    image_ND, kept, skipped = encode_image_set(model, image, count, progress=told.append)
    assert kept == list(range(count)) and skipped == []
    assert sum(told) == count and len(told) == 3
    expected_ND = torch.cat([model.encode_images([image(index)]) for index in range(count)])
    torch.testing.assert_close(image_ND, expected_ND, rtol=0, atol=1e-6)


def test_broken_images_are_left_out_and_named_with_their_reason(model: Model):
    def read(index: int) -> bytes:
        if index == 3:
            return image(index)[:100]
        if index == 5:
            raise BrokenSample("missing file", "it was there a moment ago")
        return b"" if index == BATCH_SIZE + 1 else image(index)

    image_ND, kept, skipped = encode_image_set(model, read, BATCH_SIZE + 4)
    assert kept == [index for index in range(BATCH_SIZE + 4) if index not in (3, 5, BATCH_SIZE + 1)]
    assert [(item.key, item.reason) for item in skipped] == [
        ("3", "truncated image"),
        ("5", "missing file"),
        (str(BATCH_SIZE + 1), "empty file"),
    ]
    torch.testing.assert_close(image_ND[3], model.encode_images([image(4)])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 3])
def test_a_set_without_one_image_gives_no_rows(model: Model, count: int):
    image_ND, kept, skipped = encode_image_set(model, lambda _: b"no image", count)
    assert image_ND.shape == (0, 8) and kept == [] and len(skipped) == count


def test_what_is_no_broken_image_ends_the_work_and_leaves_no_thread(model: Model):
    def read(index: int) -> bytes:
        if index == 70:
            raise StorageError("the disk is gone")
        return image(index)

    before = threading.active_count()
    with pytest.raises(StorageError, match="the disk is gone"):
        encode_image_set(model, read, 200)
    assert threading.active_count() == before


def photo(index: int) -> bytes:
    data = io.BytesIO()
    small = Image.fromarray(np.random.default_rng(index).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize((160, 120), Image.Resampling.BICUBIC).save(data, "JPEG")
    return data.getvalue()


def test_images_of_any_kind_are_encoded_in_their_order(model: Model, tmp_path: Path):
    images: list = [photo(index) for index in range(12)]
    (tmp_path / "3.jpg").write_bytes(images[3])
    images[3], images[7] = tmp_path / "3.jpg", Image.open(io.BytesIO(images[7]))
    images += [images[7]] * 6
    expected_ND = torch.cat([model.encode_images([image]) for image in images])
    for size in (1, 5, 64):
        found_ND = model.encode_images(images, batch_size=size)
        torch.testing.assert_close(found_ND, expected_ND, rtol=0, atol=1e-6)


def test_the_fast_mode_is_chosen_for_a_model_and_never_saved(model: Model, tmp_path: Path):
    fast = model.with_preprocess("fast")
    images = [photo(index) for index in range(9)]
    exact_ND, fast_ND = model.encode_images(images), fast.encode_images(images)
    assert (exact_ND * fast_ND).sum(1).min() > 0.99 and not torch.equal(exact_ND, fast_ND)
    set_ND, kept, _ = encode_image_set(fast, lambda index: images[index], 9)
    assert kept == list(range(9))
    torch.testing.assert_close(set_ND, fast_ND, rtol=0, atol=1e-6)
    fast.save(tmp_path / "model")
    assert load_folder(tmp_path / "model").preprocess == model.preprocess
    assert fast.with_preprocess("exact").preprocess == model.preprocess
    with pytest.raises(UsageError, match=r"'fats' is not known\. Nearest: fast"):
        model.with_preprocess("fats")


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_broken_image_among_many_is_named(model: Model, tmp_path: Path, mode: str):
    images: list = [photo(index) for index in range(9)]
    images[4] = images[4][:200]
    with pytest.raises(BrokenSample, match=r"^truncated image: image 4: ") as caught:
        model.with_preprocess(mode).encode_images(images)
    assert caught.value.reason == "truncated image"
    (tmp_path / "cut.jpg").write_bytes(images[4])
    images[4] = tmp_path / "cut.jpg"
    with pytest.raises(BrokenSample, match=r"cut\.jpg: "):
        model.with_preprocess(mode).encode_images(images)


def test_the_next_block_is_made_while_one_is_in_use_and_items_are_taken_by_the_caller():
    made: list[int] = []
    takers = set()

    def items():
        for index in range(9):
            takers.add(threading.get_ident())
            yield index

    def work(index: int) -> int:
        time.sleep(0.002 * (3 - index % 3))
        made.append(index)
        return index

    blocks = prefetch_blocks(work, items(), size=3)
    assert next(blocks) == [0, 1, 2]
    deadline = time.monotonic() + PATIENCE
    while len(made) < 6 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sorted(made) == [0, 1, 2, 3, 4, 5]
    assert list(blocks) == [[3, 4, 5], [6, 7, 8]]
    assert takers == {threading.get_ident()}


@pytest.mark.journey
def test_an_abandoned_iterator_may_be_collected_by_one_of_its_own_threads(monkeypatch):
    begun, go, done, faults = threading.Event(), threading.Event(), threading.Event(), []
    monkeypatch.setattr(sys, "unraisablehook", faults.append)

    def work(number):
        if number == 2:
            begun.set()
            go.wait()
            gc.collect()
            done.set()
        return number

    gc.collect()
    gc.disable()
    try:
        blocks = prefetch_blocks(work, range(8), size=2)
        assert next(blocks) == [0, 1] and begun.wait(60)
        cycle = [blocks]
        cycle.append(cycle)
        del blocks, cycle
        go.set()
        assert done.wait(60)
    finally:
        gc.enable()
    assert faults == []
