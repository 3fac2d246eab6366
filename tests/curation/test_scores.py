"""What models say of images: preferences, clusters near given images, and copies by embedding."""

import io
import random

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import seesay
from seesay.curation.scores import bradley_terry, copies_by_cosine, encoder, k_means, nearest

OPEN = ["filter.least_side=1", "filter.language=", "filter.least_words=1", "filter.least_characters=1"]
RED, BLUE = (200, 30, 30), (20, 40, 200)


def plain(colour, seed):
    """An image of one colour with a little noise of its own."""
    noise = np.random.default_rng(seed).integers(-15, 16, (48, 64, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def write_pool(folder, images):
    """Images as files with captions, and their table."""
    folder.mkdir()
    for name, data in images.items():
        (folder / name).write_bytes(data)
    columns = {"path": list(images), "caption": [f"image {name}" for name in images]}
    parquet.write_table(pa.table(columns), folder / "pool.parquet")
    return folder / "pool.parquet"


@pytest.fixture
def pool(tmp_path):
    images = {f"red-{n}.png": plain(RED, n) for n in range(6)} | {
        f"blue-{n}.png": plain(BLUE, 50 + n) for n in range(6)
    }
    return write_pool(tmp_path / "pool", images)


def paths_of(folder):
    return sorted(row["path"] for row in parquet.read_table(folder / "pairs.parquet").to_pylist())


def unit(seed, count, width):
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_the_head_of_preferences_is_that_of_logistic_regression_without_intercept(penalty):
    """scikit-learn wants two classes: each choice is there both ways, which doubles the sum."""
    from sklearn.linear_model import LogisticRegression

    x_ND = unit(0, 300, 12) - unit(1, 300, 12)
    x_ND[:, 0] = np.abs(x_ND[:, 0])
    both = np.concatenate([x_ND, -x_ND]).astype(np.float64)
    reference = LogisticRegression(fit_intercept=False, C=1 / (2 * penalty), tol=1e-12, max_iter=10_000)
    reference.fit(both, np.repeat([1, 0], 300))
    assert np.allclose(bradley_terry(x_ND, penalty), reference.coef_[0], atol=1e-4 * np.abs(reference.coef_).max())


def test_worths_are_found_again_from_choices_between_them():
    """The model of Bradley and Terry itself: one feature for each of five things, and odds by their worths."""
    worth = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    chosen = random.Random(0)
    rows = []
    for _ in range(20_000):
        a, b = chosen.sample(range(5), 2)
        if chosen.random() > 1 / (1 + np.exp(worth[b] - worth[a])):
            a, b = b, a
        rows.append(np.eye(5)[a] - np.eye(5)[b])
    found = bradley_terry(np.array(rows), 1e-3)
    assert np.allclose(found - found[0], worth, atol=0.08)


def test_clusters_are_those_of_well_separated_images_and_their_centres_have_length_one():
    centre_KD = unit(0, 5, 32)
    feature_ND = np.concatenate([centre_KD[n] + 0.05 * unit(n + 1, 40, 32) for n in range(5)])
    order = np.random.default_rng(3).permutation(200)
    feature_ND = (feature_ND / np.linalg.norm(feature_ND, axis=1, keepdims=True))[order].astype(np.float32)
    found = k_means(feature_ND, 12)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    groups = {}
    for cluster, original in zip(nearest(feature_ND, found), order // 40, strict=True):
        groups.setdefault(cluster, set()).add(original)
    assert all(len(originals) == 1 for originals in groups.values()) and set().union(*groups.values()) == set(range(5))


def test_no_more_clusters_than_different_images():
    assert len(k_means(np.repeat(unit(0, 3, 8), 4, axis=0), 10)) == 3


def test_copies_by_cosine_are_those_of_one_pair_at_a_time():
    """The first of each that stays: a copy of a copy is compared with what stays."""
    feature_ND = np.concatenate([unit(0, 60, 6), unit(0, 60, 6) + 0.2 * unit(1, 60, 6)])
    feature_ND /= np.linalg.norm(feature_ND, axis=1, keepdims=True)
    expected = {}
    for row in range(120):
        others = [n for n in range(row) if n not in expected and feature_ND[n] @ feature_ND[row] >= 0.9]
        if others and row >= 10:
            expected[row] = others[0]
    assert copies_by_cosine(feature_ND, 0.9, 10) == expected and len(expected) > 50


@pytest.mark.journey
def test_pairs_whose_images_people_prefer_stay(tmp_path, pool, capsys):
    """People who prefer red to blue, told by files that are not in the pool."""
    choices = tmp_path / "choices"
    choices.mkdir()
    rows = ["better,worse"]
    for n in range(12):
        (choices / f"a-{n}.png").write_bytes(plain(RED, 100 + n))
        (choices / f"b-{n}.png").write_bytes(plain(BLUE, 200 + n))
        rows.append(f"a-{n}.png,b-{n}.png")
    rows.append("a-0.png,gone.png")
    (choices / "choices.csv").write_text("\n".join(rows) + "\n")
    sets = [*OPEN, f"filter.preferences={choices}/choices.csv", "filter.preferred=0.5"]
    result = seesay.curate(pool, out=tmp_path / "set", stages=["filter"], overrides=sets)
    assert paths_of(tmp_path / "set") == [f"red-{n}.png" for n in range(6)]
    assert result.counts[1].left_out == {"low score by the preferences": 6}
    told = capsys.readouterr().err
    assert "1 of 13 choices cannot be used" in told and "12 choices, of which a head that had not seen them" in told
    assert "foretold 100 %" in told


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("better,worse\na.png,b.png\n", seesay.RefusedInput, "has 0 choices"),
        ("first,second\na.png,b.png\n", seesay.UsageError, "no better, worse"),
        ("better,worse\na.png,b.png,c.png\n", seesay.RefusedInput, "no whole table"),
    ],
)
def test_a_table_of_choices_that_is_none_is_refused(tmp_path, pool, text, error, words):
    (tmp_path / "choices.csv").write_text(text)
    with pytest.raises(error, match=words):
        seesay.curate(
            pool, out=tmp_path / "set", stages=["filter"], overrides=[f"filter.preferences={tmp_path}/choices.csv"]
        )


@pytest.mark.journey
def test_images_stay_whose_cluster_is_near_given_images(tmp_path, pool):
    (tmp_path / "given" / "red").mkdir(parents=True)
    for n in range(2):
        (tmp_path / "given" / "red" / f"{n}.png").write_bytes(plain(RED, 300 + n))
    sets = [*OPEN, f"filter.near=['{tmp_path}/given']", "filter.clusters=2"]
    result = seesay.curate(pool, out=tmp_path / "set", stages=["filter"], overrides=sets)
    assert paths_of(tmp_path / "set") == [f"red-{n}.png" for n in range(6)]
    assert result.counts[1].left_out == {"not near the given images": 6}
    # Every image a cluster of its own: the nearest of each given one stays, and no other.
    seesay.curate(pool, out=tmp_path / "few", stages=["filter"], overrides=[*sets[:-1], "filter.clusters=12"])
    model = encoder("box")
    read = [(pool.parent / f"red-{n}.png").read_bytes for n in range(6)]
    given = [(tmp_path / "given" / "red" / f"{n}.png").read_bytes for n in range(2)]
    red, near = np.array(list(model.images(read))), np.array(list(model.images(given)))
    assert paths_of(tmp_path / "few") == sorted({f"red-{n}.png" for n in (near @ red.T).argmax(1)})


@pytest.mark.journey
def test_scores_do_not_depend_on_how_tables_are_divided(tmp_path, pool):
    sets = [*OPEN, "filter.share=0.7"]
    seesay.curate(pool, out=tmp_path / "whole", stages=["filter"], clip_score="box", overrides=sets)
    seesay.curate(pool, out=tmp_path / "parts", stages=["filter"], clip_score="box", overrides=[*sets, "rows=5"])
    data = [(tmp_path / name / "pairs.parquet").read_bytes() for name in ("whole", "parts")]
    assert data[0] == data[1] and len(paths_of(tmp_path / "whole")) == 9


@pytest.mark.journey
def test_a_mirrored_image_is_a_copy_by_a_model_that_says_so_and_not_by_its_looks(tmp_path):
    image = Image.open(io.BytesIO(plain(RED, 1)))
    image.paste((240, 240, 30), (4, 4, 30, 40))
    files = {}
    for name, each in (("a.png", image), ("b.png", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
        file = io.BytesIO()
        each.save(file, "png")
        files[name] = file.getvalue()
    files["c.png"] = plain(BLUE, 3)
    table = write_pool(tmp_path / "mirrored", files)
    assert len(seesay.curate(table, out=tmp_path / "look", stages=["dedup"])) == 3
    first, second, _ = encoder("box").images((table.parent / name).read_bytes for name in files)
    sets = ["dedup.model=box", f"dedup.least_cosine={float(first @ second) - 0.01:.4f}"]
    result = seesay.curate(table, out=tmp_path / "set", stages=["dedup"], overrides=sets)
    assert result.counts[1].left_out == {"close by the model": 1} and "c.png" in paths_of(tmp_path / "set")
    above = ["dedup.model=box", f"dedup.least_cosine={min(1.0, float(first @ second) + 0.005):.4f}"]
    assert len(seesay.curate(table, out=tmp_path / "set", stages=["dedup"], overrides=above)) == 3


@pytest.mark.journey
def test_an_image_that_is_sent_in_place_of_many_goes_altogether(tmp_path):
    files = {f"{n}.png": plain(RED, 1) for n in range(5)} | {"a.png": plain(BLUE, 2), "b.png": plain(BLUE, 2)}
    table = write_pool(tmp_path / "many", files)
    result = seesay.curate(table, out=tmp_path / "set", stages=["dedup"], overrides=["dedup.most_copies=4"])
    assert result.counts[1].left_out == {"same bytes as many": 5, "same bytes": 1}
    # One image with many captions is nobody's placeholder: what counts are the places that it comes from.
    captions = pa.table({"path": ["0.png"] * 6, "caption": [f"red {n}" for n in range(6)]})
    parquet.write_table(captions, table)
    result = seesay.curate(table, out=tmp_path / "set", stages=["dedup"], overrides=["dedup.most_copies=4"])
    assert result.counts[1].left_out == {"same bytes": 5}
