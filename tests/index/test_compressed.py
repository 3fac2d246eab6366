"""Rows in a few bytes each find what the true vectors find, and the true vectors decide."""

import numpy as np
import pytest

from seesay.index import compressed
from seesay.index.compressed import CompressedRows
from seesay.index.scan import Scan


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def rows_like_clip(count, width, *, spread, seed=0):
    """Clusters around a common mean; `spread` is how quickly the later numbers get small."""
    random = np.random.default_rng(seed)
    spectrum = 6 * np.arange(1, width + 1) ** -spread
    centres = random.standard_normal((50, width)) * spectrum
    noise = random.standard_normal((count, width)) * spectrum
    return unit(0.8 * random.standard_normal(width) + 0.8 * centres[random.integers(0, 50, count)] + 0.7 * noise)


def scan_of(vectors, folder):
    compressed.write(folder, vectors)
    return Scan(version=1, rows=None, vectors_ND=vectors, compressed=CompressedRows.read(folder))  # type: ignore[arg-type]


@pytest.mark.journey
@pytest.mark.parametrize("spread", [0.0, 0.7])
def test_the_ten_best_are_those_of_float64_with_their_scores(tmp_path, spread):
    vectors = rows_like_clip(20_000, 96, spread=spread)
    scan = scan_of(vectors, tmp_path)
    queries = unit(np.concatenate([vectors[:20], np.random.default_rng(1).standard_normal((20, 96))]))
    for query in queries:
        exact = vectors.astype(np.float64) @ query
        order = np.argsort(-exact, kind="stable")[:10]
        positions, scores = scan.best(query, top=10)
        assert len(set(positions.tolist()) & set(order.tolist())) >= 9
        assert scores == pytest.approx(exact[positions], abs=1e-6) and (np.diff(scores) <= 0).all()


def test_only_what_is_allowed_is_found_and_more_is_found_where_more_is_asked(tmp_path):
    vectors = rows_like_clip(5_000, 32, spread=0.5)
    scan = scan_of(vectors, tmp_path)
    allowed = np.zeros(5_000, bool)
    allowed[[3, 5, 4_000]] = True
    positions, _ = scan.best(vectors[5], top=10, is_allowed_N=allowed)
    assert positions[0] == 5 and set(positions.tolist()) == {3, 5, 4_000}
    assert len(set(scan.best(vectors[5], top=3_000)[0].tolist())) == 3_000


def test_more_candidates_are_looked_at_before_more_numbers_are_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "CHOICES", ((16, 20), (16, 4_000), (64, 4_000)))
    compressed.write(tmp_path, rows_like_clip(5_000, 96, spread=0.0))
    rows = CompressedRows.read(tmp_path)
    assert rows.codes_NW.shape == (5_000, 16) and rows.count == 4_000
    assert len(rows.candidates(np.ones(96, np.float32), top=10)) >= 4_000


@pytest.mark.journey
def test_as_many_numbers_are_stored_as_the_photos_need(tmp_path):
    for name in ("narrow", "wide"):
        (tmp_path / name).mkdir()
    # All that tells these apart is in a few directions; the others are the same in every one.
    few = np.random.default_rng(0).standard_normal((4_000, 8)) @ np.random.default_rng(1).standard_normal((8, 200))
    compressed.write(tmp_path / "narrow", unit(few))
    assert CompressedRows.read(tmp_path / "narrow").codes_NW.shape == (4_000, 64)
    compressed.write(tmp_path / "wide", unit(np.random.default_rng(0).standard_normal((30_000, 200))))
    assert CompressedRows.read(tmp_path / "wide").codes_NW.shape[1] > 64


def test_a_large_index_is_compressed_and_a_small_one_is_read_as_it_is(index, monkeypatch):
    assert index._scan.compressed is None
    assert compressed.is_worth_it(100_000, 512) and not compressed.is_worth_it(100_000, 256)
    monkeypatch.setattr(compressed, "LEAST_BYTES", 1)
    scan = index._written_scan()
    assert scan.compressed is not None and scan.compressed.codes_NW.shape == (4, 3)
    index._scan = scan
    assert index.search("blue", top=2)[0].path.endswith("blue.png")
