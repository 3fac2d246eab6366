"""What finds copies: the search beside all at once, the cache, the tower of the package on copies of drawn images."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.data.duplicates import COPIES
from seesay.formulas.similarity import unit
from seesay.model import detector as module
from seesay.model.cache import EmbeddingCache
from seesay.model.detector import MATCHES, CopyDetector, CopySearch, Described


@pytest.fixture(scope="module")
def detector() -> CopyDetector:
    return CopyDetector()


def png(seed: int, side: int = 96) -> bytes:
    """Smooth random colours with a few shapes, as a photo has."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
    for _ in range(14):
        left, top, width, height = (*rng.integers(0, side - 16, 2).tolist(), *rng.integers(5, 34, 2).tolist())
        image.paste(tuple(rng.integers(0, 256, 3).tolist()), (left, top, left + width, top + height))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def rows(count: int, seed: int) -> torch.Tensor:
    return unit(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)))


def described(row_ND: torch.Tensor, index: np.ndarray) -> Described:
    rng = np.random.default_rng(len(row_ND))
    return Described(
        row_ND=row_ND,
        look_N=rng.integers(0, 2**63, len(row_ND)).astype(np.uint64),
        colours_N883=rng.integers(0, 256, (len(row_ND), 8, 8, 3), dtype=np.uint8),
        index=index,
    )


def test_what_passes_in_parts_is_searched_as_all_at_once(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    asked_ND, key_MD = rows(30, 1), rows(200, 2)
    numbers = np.random.default_rng(0).permutation(1000)[:200]
    search = CopySearch(described(asked_ND, np.arange(30)))
    for first in range(0, 200, 37):
        search.add(described(key_MD[first : first + 37], numbers[first : first + 37]))
    best_NK, at_NK = (asked_ND @ key_MD.T).topk(MATCHES, dim=1)
    assert torch.allclose(search.cosine_NK, best_NK, atol=1e-6)
    assert search.number_NK.tolist() == numbers[at_NK.numpy()].tolist()


def test_fewer_images_than_matches_leave_places_empty():
    search = CopySearch(described(rows(3, 1), np.arange(3)))
    search.add(described(rows(2, 2), np.array([5, 6])))
    assert (search.number_NK[:, 2:] == -1).all()
    assert search.number_NK[:, :2].sort(dim=1).values.tolist() == [[5, 6]] * 3


def test_an_image_that_is_like_many_is_held_to_more():
    """By hand: the farther four of eight matches have a mean of 0.6 and 0.1, of which a half is taken off."""
    search = CopySearch(described(rows(2, 1), np.arange(2)))
    search.cosine_NK = torch.tensor(
        [[0.9, 0.9, 0.9, 0.9, 0.7, 0.7, 0.5, 0.5], [0.9, 0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1]]
    )
    search.number_NK = torch.arange(16).view(2, 8)
    assert search.similarity(search.cosine_NK)[:, 0].tolist() == pytest.approx([0.9 - 0.3, 0.9 - 0.05])
    search.number_NK[1, 5:] = -1
    search.number_NK[0, 4:] = -1
    assert search.similarity(torch.zeros(2, 1)).flatten().tolist() == pytest.approx([0.0, -0.05])


def test_the_hash_names_the_first_image_that_is_alike(detector):
    images = [png(seed) for seed in range(6)]
    asked = detector.describe(images.__getitem__, range(3))
    search = CopySearch(asked)
    search.add(detector.describe(lambda number: images[number % 6], range(1, 10)))
    assert search.alike_N.tolist() == [6, 1, 2]


def test_an_image_that_is_broken_is_named_and_left_out(detector):
    images = [png(0), b"no image", png(1)]
    found = detector.describe(images.__getitem__, range(3))
    assert found.index.tolist() == [0, 2]
    assert [(item.key, item.reason) for item in found.skipped] == [("1", "not an image")]


def test_what_is_cached_is_what_was_described(detector, tmp_path, monkeypatch):
    images = [png(0), b"no image", png(1), png(2)]

    def read(number: int) -> bytes:
        if number == 13:
            raise BrokenSample("truncated shard")
        return images[number - 10]

    cache = EmbeddingCache(tmp_path / "cache")
    first = detector.cached(read, range(10, 14), cache)
    monkeypatch.setattr(CopyDetector, "rows", None)
    again = detector.cached(read, range(10, 14), cache)
    assert torch.equal(first.row_ND, again.row_ND)
    assert first.index.tolist() == again.index.tolist() == [10, 12]
    assert np.array_equal(first.look_N, again.look_N)
    assert np.array_equal(first.colours_N883, again.colours_N883)
    assert [item.key for item in first.skipped] == [item.key for item in again.skipped] == ["11", "13"]
    assert [item.reason for item in again.skipped] == ["not an image", "truncated shard"]


def test_an_image_that_was_changed_is_described_again(detector, tmp_path):
    cache = EmbeddingCache(tmp_path / "cache")
    first = detector.cached(lambda number: png(1), range(1), cache)
    assert not torch.equal(first.row_ND, detector.cached(lambda number: png(2), range(1), cache).row_ND)


@pytest.mark.journey
def test_copies_of_drawn_images_are_nearest_to_their_originals(detector):
    """By every way of copying, for 9 of 10 among 60."""
    originals = detector.describe(png, range(60))
    for name, copy in COPIES.items():
        rng = np.random.default_rng(0)
        copies = [copy(Image.open(io.BytesIO(png(seed))).convert("RGB"), rng) for seed in range(60)]
        row_ND = detector.rows(np.stack([module.squashed(image) for image in copies]))
        nearest = (row_ND @ originals.row_ND.T).argmax(1)
        assert float((nearest == torch.arange(60)).float().mean()) >= 0.9, name


def test_the_tower_has_no_batch_norm_and_its_rows_do_not_depend_on_neighbours(detector):
    assert not [layer for layer in detector._tower.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    alone, together = detector.describe(png, [4]).row_ND, detector.describe(png, range(6)).row_ND
    assert torch.allclose(alone[0], together[4], atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(6))


def test_the_weights_in_the_package_are_small_and_have_a_card():
    files = {file.name: file.stat().st_size for file in module.FOLDER.iterdir()}
    assert files["detector.safetensors"] <= 3 << 20
    card = (module.FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Research use only" in card
