"""Nothing is encoded twice, and nothing stale is given out."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seesay
from seesay.base.errors import BrokenSample, UsageError
from seesay.data.prompts import TEMPLATES
from seesay.model.bundle import Model
from seesay.model.cache import SETTING, EmbeddingCache, cached_encode_images, cached_encode_prompts


def image(index: int) -> bytes:
    data = io.BytesIO()
    generator = np.random.default_rng(index)
    # A BMP-like PNG: stored without compression, so that other pixels take as many bytes.
    Image.fromarray(generator.integers(0, 256, (16, 18, 3), dtype=np.uint8)).save(data, "PNG", compress_level=0)
    return data.getvalue()


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "kept")


@pytest.fixture
def encoded(model: Model, monkeypatch) -> list[int]:
    """How many images each call of the image tower was given."""
    told: list[int] = []
    original = Model.encode_pixels

    def count(self, pixels):
        told.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(Model, "encode_pixels", count)
    return told


def test_images_are_encoded_once(model: Model, cache: EmbeddingCache, encoded: list[int]):
    first, index, skipped = cached_encode_images(model, image, 5, cache=cache)
    done: list[int] = []
    again, same, none = cached_encode_images(model, image, 5, cache=cache, progress=done.append)
    assert encoded == [5] and sum(done) == 5
    assert torch.equal(first, again) and index == same == [0, 1, 2, 3, 4] and skipped == none == []


def test_one_weight_makes_all_images_new(model: Model, cache: EmbeddingCache, encoded: list[int]):
    first, _, _ = cached_encode_images(model, image, 5, cache=cache)
    with torch.no_grad():
        next(model.clip.image_tower.parameters()).view(-1)[0] += 0.5
    again, _, _ = cached_encode_images(model, image, 5, cache=cache)
    assert encoded == [5, 5] and not torch.equal(first, again)


def test_one_image_of_the_same_size_makes_the_set_new(model: Model, cache: EmbeddingCache, encoded: list[int]):
    assert len(image(4)) == len(image(99))
    first, _, _ = cached_encode_images(model, image, 5, cache=cache)
    again, _, _ = cached_encode_images(model, lambda index: image(99 if index == 4 else index), 5, cache=cache)
    assert encoded == [5, 5]
    assert torch.equal(first[:4], again[:4]) and not torch.equal(first[4], again[4])


def test_another_way_to_prepare_images_makes_them_new(model: Model, cache: EmbeddingCache, encoded: list[int]):
    cached_encode_images(model, image, 5, cache=cache)
    cached_encode_images(model.with_preprocess("fast"), image, 5, cache=cache)
    model.preprocess = model.preprocess.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    cached_encode_images(model, image, 5, cache=cache)
    assert encoded == [5, 5, 5]


def test_the_words_of_the_text_tower_do_not_count_for_images(model: Model, cache: EmbeddingCache, encoded: list[int]):
    cached_encode_images(model, image, 5, cache=cache)
    with torch.no_grad():
        next(model.clip.text_tower.parameters()).view(-1)[0] += 0.5
    cached_encode_images(model, image, 5, cache=cache)
    assert encoded == [5]


def test_broken_images_are_told_again_with_their_reasons(model: Model, cache: EmbeddingCache):
    def read(index: int) -> bytes:
        if index == 1:
            raise BrokenSample("missing file", "gone")
        return b"no image" if index == 3 else image(index)

    first = cached_encode_images(model, read, 5, cache=cache)
    again = cached_encode_images(model, read, 5, cache=cache)
    assert again[1] == [0, 2, 4] == first[1]
    assert again[2] == first[2] and [item.key for item in again[2]] == ["1", "3"]


def test_a_damaged_or_cut_file_is_ignored_and_made_again(model: Model, cache: EmbeddingCache, encoded: list[int]):
    first, _, _ = cached_encode_images(model, image, 5, cache=cache)
    assert cache.folder is not None
    (file,) = (cache.folder / "images").iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole[:-5] + b"\x00" + whole[-4:]):
        file.write_bytes(damaged)
        again, _, _ = cached_encode_images(model, image, 5, cache=cache)
        assert torch.equal(first, again)
        assert file.read_bytes() == whole
    assert encoded == [5] * 5


def test_a_disk_that_says_no_costs_a_warning_and_not_the_work(model: Model, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="embeddings are not cached"):
        rows = cached_encode_images(model, image, 2, cache=EmbeddingCache(tmp_path / "file"))[0]
    assert rows.shape == (2, 8)


def test_the_setting_says_where_and_whether(monkeypatch, tmp_path: Path):
    monkeypatch.setenv(SETTING, "off")
    assert EmbeddingCache.find().folder is None
    monkeypatch.setenv(SETTING, str(tmp_path))
    assert EmbeddingCache.find().folder == tmp_path
    monkeypatch.delenv(SETTING)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert EmbeddingCache.find().folder == tmp_path / "cache" / "seesay"


def test_prompts_are_encoded_once_for_the_same_weights_names_and_templates(
    model: Model, cache: EmbeddingCache, monkeypatch
):
    asked: list[int] = []
    original = Model.encode_texts
    monkeypatch.setattr(Model, "encode_texts", lambda self, texts: asked.append(len(texts)) or original(self, texts))
    prompts = [("a red dog", "the red dog"), ("a blue cat",)]
    first = cached_encode_prompts(model, prompts, cache=cache)
    assert torch.equal(first, cached_encode_prompts(model, prompts, cache=cache)) and asked == [3]
    # The same ids in other groups are other classes.
    cached_encode_prompts(model, [prompts[0][:1], (prompts[0][1], *prompts[1])], cache=cache)
    cached_encode_prompts(model, [("a red dog", "the red cat"), ("a blue cat",)], cache=cache)
    with torch.no_grad():
        next(model.clip.text_tower.parameters()).view(-1).add_(0.5)
    cached_encode_prompts(model, prompts, cache=cache)
    assert asked == [3, 3, 3, 3]


def test_a_classifier_is_the_unit_mean_of_its_unit_prompts(model: Model):
    made = seesay.zero_shot_classifier(model, ["red dog", "blue cat"], "imagenet7")
    templates = TEMPLATES["imagenet7"]
    for name, row in zip(["red dog", "blue cat"], made.weights, strict=True):
        mean = model.encode_texts([template.replace("{}", name) for template in templates]).mean(0)
        torch.testing.assert_close(row, mean / mean.norm(), rtol=0, atol=1e-6)
    rows = made.predict_proba([np.zeros((16, 16, 3), np.uint8)])
    assert rows.shape == (1, 2) and rows.sum().item() == pytest.approx(1)


def test_several_names_of_a_class_are_averaged_with_their_templates(model: Model):
    made = seesay.zero_shot_classifier(model, [["red dog", "blue dog"], "cats"], ["a {}.", "the {}"])
    prompts = ["a red dog.", "the red dog", "a blue dog.", "the blue dog"]
    mean = model.encode_texts(prompts).mean(0)
    torch.testing.assert_close(made.weights[0], mean / mean.norm(), rtol=0, atol=1e-6)
    assert made.class_names == ("red dog", "cats")


def test_descriptions_take_the_place_of_templates(model: Model, tmp_path: Path):
    file = tmp_path / "cupl.json"
    file.write_text('{"dog": ["a red dog", "a blue dog"], "cat": ["two red cats"]}')
    made = seesay.zero_shot_classifier(model, ["dog", "cat"], descriptions=file)
    mean = model.encode_texts(["a red dog", "a blue dog"]).mean(0)
    torch.testing.assert_close(made.weights[0], mean / mean.norm(), rtol=0, atol=1e-6)
    with pytest.raises(UsageError, match=r"no description of 'dogg' .*Nearest: dog"):
        seesay.zero_shot_classifier(model, ["dogg", "cat"], descriptions=file)


def test_two_classes_of_one_name_are_warned_of_and_made(model: Model):
    with pytest.warns(UserWarning, match="more than one class is called 'missile'"):
        made = seesay.zero_shot_classifier(model, ["missile", "dog", "missile"], "simple")
    assert torch.equal(made.weights[0], made.weights[2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seesay.zero_shot_classifier(model, ["missile", "dog"], "simple")


def test_a_classifier_is_kept_on_disk(model: Model, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(SETTING, str(tmp_path / "here"))
    first = seesay.zero_shot_classifier(model, ["dog", "cat"], "simple")
    monkeypatch.setattr(Model, "encode_texts", lambda self, texts: pytest.fail("encoded again"))
    assert torch.equal(first.weights, seesay.zero_shot_classifier(model, ["dog", "cat"], "simple").weights)
    assert len(list((tmp_path / "here" / "texts").iterdir())) == 1


@pytest.mark.parametrize(("target", "mode"), [("file", 0o666), ("images", 0o777), ("cache", 0o775)])
def test_what_others_may_write_is_not_read_and_that_is_told(
    model: Model, cache: EmbeddingCache, encoded: list[int], target: str, mode: int
):
    first, _, _ = cached_encode_images(model, image, 5, cache=cache)
    assert cache.folder is not None
    (file,) = (cache.folder / "images").iterdir()
    {"file": file, "images": file.parent, "cache": cache.folder}[target].chmod(mode)
    with pytest.warns(UserWarning, match=f"cached embeddings are not used: others may write .*mode {mode:o}"):
        again, _, _ = cached_encode_images(model, image, 5, cache=cache)
    assert torch.equal(first, again)
    assert sum(encoded) == 10


def test_what_belongs_to_another_user_is_not_read(
    model: Model, cache: EmbeddingCache, encoded: list[int], monkeypatch: pytest.MonkeyPatch
):
    cached_encode_images(model, image, 5, cache=cache)
    assert cache.folder is not None
    (file,) = (cache.folder / "images").iterdir()
    owner, stat = file.stat(), Path.stat
    forged = os.stat_result((*owner[:4], 54321, *owner[5:]))
    monkeypatch.setattr(Path, "stat", lambda path, **rest: forged if path == file else stat(path, **rest))
    with pytest.warns(UserWarning, match="belongs to another user"):
        cached_encode_images(model, image, 5, cache=cache)
    assert sum(encoded) == 10


def test_a_result_under_the_name_of_another_is_made_again(model: Model, cache: EmbeddingCache, encoded: list[int]):
    cached_encode_images(model, image, 5, cache=cache)
    second, _, _ = cached_encode_images(model, lambda index: image(index + 50), 5, cache=cache)
    assert cache.folder is not None
    one, other = (cache.folder / "images").iterdir()
    one.write_bytes(other.read_bytes())
    for shift in (0, 50):
        rows, _, _ = cached_encode_images(model, lambda index, shift=shift: image(index + shift), 5, cache=cache)
    assert torch.equal(rows, second)
    assert sum(encoded) == 15


def test_the_cache_is_the_users_alone_whatever_the_umask(model: Model, tmp_path: Path):
    before = os.umask(0o002)
    try:
        cached_encode_images(model, image, 5, cache=EmbeddingCache(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    made = [tmp_path / "a" / "b", *(tmp_path / "a" / "b").rglob("*")]
    assert [oct(path.stat().st_mode & 0o777) for path in made] == ["0o700", "0o700", "0o600"]


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch):
    for name in (SETTING, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for an unknown user
    assert EmbeddingCache.find().folder is None
