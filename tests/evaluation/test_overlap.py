"""Test images among the training images: what is found, what it does to a score, the lists and the page."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest
from paper_layouts import write_memes
from PIL import Image
from scipy.stats import binomtest

import seesay
from seesay.base.errors import UsageError
from seesay.cli.main import main, repeated
from seesay.data.duplicates import COPIES
from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs
from seesay.evaluation.overlap import open_train, opened, overlap
from seesay.evaluation.overlap_match import LEAST


def drawn(seed: int, side: int = 96) -> Image.Image:
    """Smooth random colours with a few shapes, as a photo has."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    for _ in range(14):
        left, top, width, height = (*rng.integers(0, side - 16, 2).tolist(), *rng.integers(5, 34, 2).tolist())
        image.paste(tuple(rng.integers(0, 256, 3).tolist()), (left, top, left + width, top + height))
    return image


def write(path, image: Image.Image, caption: str = ""):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    if caption:
        path.with_suffix(".txt").write_text(caption)


@pytest.fixture(scope="module")
def drawn_sides(tmp_path_factory):
    """40 training pairs and a set of 2 classes of 15; five images of it are in training, four of them changed."""
    folder = tmp_path_factory.mktemp("sides")
    for number in range(40):
        write(folder / "train" / f"own-{number:02}.png", drawn(1000 + number), "a drawing")
    for number in range(30):
        write(folder / "eval" / ("red" if number < 15 else "blue") / f"{number:02}.png", drawn(number))
    ways = (None, "jpeg", "resize", "aspect", "flip")
    for number, way in enumerate(ways):
        image = drawn(3 * number)
        copy = image if way is None else COPIES[way](image, np.random.default_rng(1))
        write(folder / "train" / f"copy-{3 * number:02}.png", copy, "a drawing that was seen")
    return folder


@pytest.fixture
def sides(drawn_sides, tmp_path):
    """A copy of `drawn_sides`, which a test may change."""
    return shutil.copytree(drawn_sides, tmp_path, dirs_exist_ok=True)


@pytest.fixture(autouse=True)
def few_copies(monkeypatch):
    """Two copies of an image for a threshold in place of ten, which take long."""
    monkeypatch.setattr("seesay.evaluation.overlap_match.SAMPLE", 60)


COPIED = {"red/00", "red/03", "red/06", "red/09", "red/12"}


def run(sides, *words: str) -> int:
    return main(["overlap", str(sides / "train"), "--against", str(sides / "eval"), *words])


@pytest.mark.journey
def test_copies_are_found_and_nothing_else(sides):
    found = overlap(sides / "train", sides / "eval")
    (own,) = found.sets
    matches = {(pair.eval.removesuffix(".png"), pair.train) for pair in own.pairs}
    assert matches == {(key, f"copy-{key[-2:]}") for key in COPIED}
    assert (own.n, own.overlap, found.searched) == (30, 5, 45)
    # The hash finds what looks the same as a whole.
    assert 1 <= own.by_both <= own.by_hash < 5
    assert own.choice.copies == 60
    assert [pair.similarity for pair in own.pairs] == sorted((pair.similarity for pair in own.pairs), reverse=True)
    assert all(pair.similarity < own.choice.threshold for pair in own.below)
    assert own.inflation is None and own.to_json()["clean"] is None


@pytest.mark.journey
def test_the_scores_of_a_model_with_and_without_what_was_found(sides, colour_model):
    found = overlap(sides / "train", sides / "eval", model=colour_model)
    (own,) = found.sets
    measured = seesay.evaluate(colour_model, str(sides / "eval"))
    assert own.accuracy == measured.rows()[0]["value"]
    values = own.to_json()
    effect = own.inflation
    assert effect is not None
    assert values["all"] - values["clean"] == pytest.approx(values["difference"])
    hits = round(effect.overlap * 5)
    assert values["p_value"] == pytest.approx(binomtest(hits, 5, effect.clean, alternative="greater").pvalue)
    assert own.p_corrected == own.inflation.p_value
    names = {"n", "overlap", "pairs", "clean", "all", "difference", "interval", "p_value"}
    assert names <= values.keys()
    assert values["pairs"][0].keys() == {"eval", "train", "similarity"}


@pytest.mark.journey
def test_the_p_values_of_two_sets_are_doubled(sides, colour_model):
    for number in range(8):
        write(sides / "other" / f"kind {number % 2}" / f"{number}.png", drawn(9 * number + 500))
    write(sides / "train" / "copy-other.png", drawn(500), "a drawing that was seen")
    found = overlap(sides / "train", [sides / "eval", sides / "other"], model=colour_model)
    for own in found.sets:
        assert own.inflation is not None
        assert own.p_corrected == min(1.0, 2 * own.inflation.p_value)


@pytest.mark.journey
def test_the_list_is_what_training_leaves_out(sides, capsys):
    found = overlap(sides / "train", sides / "eval", remove=sides / "found.txt")
    bytes_of = {path.name: path.read_bytes() for path in (sides / "train").glob("copy-*.png")}
    wanted = sorted(hashlib.sha256(data).hexdigest() for data in bytes_of.values())
    assert (sides / "found.txt").read_text().split() == wanted == list(found.remove)
    words = ["--set", f"data.blocked_hashes={sides / 'found.txt'}", "--steps", "1", "--out", str(sides / "run")]
    more = ["--model", "conv-tiny", "--batch-size", "4", "--workers", "0", "--set", "data.validation=0.0"]
    assert main(["train", str(sides / "train"), *words, *more, "--set", "data.vocab_size=540"]) == 0
    told = capsys.readouterr()
    assert "5 of 45 pairs are left out" in told.err
    assert "pairs      40 from" in told.out + told.err
    # What is left is clean.
    clean = seesay.overlap(sides / "train", sides / "eval").remove
    assert len(clean) == 5
    for path in (sides / "train").glob("copy-*"):
        path.unlink()
    assert seesay.overlap(sides / "train", sides / "eval").remove == ()


@pytest.mark.journey
def test_curate_takes_the_same_list(sides):
    overlap(sides / "train", sides / "eval", remove=sides / "found.txt")
    rules = ["filter.language=", "filter.least_words=0", "filter.least_characters=0", "filter.least_side=0"]
    listed = f"filter.blocked_hashes={sides / 'found.txt'}"
    rows = [f"{path.name},a drawing" for path in sorted((sides / "train").glob("*.png"))]
    (sides / "train" / "table.csv").write_text("\n".join(["path,caption", *rows]) + "\n")
    result = seesay.curate(
        sides / "train" / "table.csv", out=sides / "set", stages=["filter"], overrides=[*rules, listed]
    )
    assert result.counts[-1].left_out == {"blocked image": 5}


def test_a_list_of_something_else_and_one_of_everything_are_refused(sides, capsys):
    words = ["train", str(sides / "train"), "--out", str(sides / "run"), "--set"]
    (sides / "words.txt").write_text("a photo.png\n")
    assert main([*words, f"data.blocked_hashes={sides / 'words.txt'}"]) == 2
    assert "no SHA-256" in capsys.readouterr().err
    assert main([*words, f"data.blocked_hashes={sides / 'none.txt'}"]) == 2
    assert "cannot be read" in capsys.readouterr().err
    pairs = open_pairs([sides / "train"])
    hashes = {hashlib.sha256(pairs[number].image).hexdigest() for number in range(len(pairs))}
    (sides / "all.txt").write_text("\n".join(hashes))
    assert main([*words, f"data.blocked_hashes={sides / 'all.txt'}"]) == 2
    assert "every image" in capsys.readouterr().err


@pytest.mark.journey
def test_the_command_prints_a_table_and_writes_json_page_and_list(sides, capsys):
    page, values, listed = sides / "page.html", sides / "overlap.json", sides / "found.txt"
    assert run(sides, "--report", str(page), "--json", str(values), "--remove", str(listed)) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[2].split()[:5] == [f"{sides.name}/eval", "30", "0", "5", "16.7"]
    assert "threshold" in told.err and "no score was measured" in told.err
    assert f"page: {page}\n" in told.err and f"numbers: {values}\n" in told.err
    (own,) = json.loads(values.read_text())["sets"]
    assert (own["set"], own["overlap"], len(own["pairs"])) == (f"{sides.name}/eval", 5, 5)
    text = page.read_text()
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    assert text.count("<img") == 2 * (5 + len(own["below"]))
    assert "copy-00" in text


@pytest.mark.journey
def test_a_broken_training_image_is_counted(sides, capsys):
    (sides / "train" / "broken.png").write_bytes(b"no image")
    (sides / "train" / "broken.txt").write_text("a caption")
    assert run(sides) == 0
    assert "training images: 1 could not be read and were not compared (1 x not an image)" in capsys.readouterr().err


@pytest.mark.journey
def test_what_is_not_read_of_a_set_is_in_table_json_and_page(sides, capsys):
    for number in range(3):
        (sides / "eval" / "red" / f"broken-{number}.png").write_bytes(b"no image")
    page, values = sides / "page.html", sides / "overlap.json"
    assert run(sides, "--report", str(page), "--json", str(values)) == 3
    told = capsys.readouterr()
    assert told.out.splitlines()[2].split()[:4] == [f"{sides.name}/eval", "30", "3", "5"]
    line = "3 could not be read and were not compared (3 x not an image)"
    assert f"eval: {line}" in told.err and line in page.read_text()
    assert f"3 of 33 images of {sides.name}/eval were skipped" in told.err
    assert json.loads(values.read_text())["sets"][0]["skipped"] == {"not an image": 3}


@pytest.mark.journey
def test_images_that_stand_twice_do_not_lift_a_threshold(sides):
    """Two images of the set are there twice, and so are two among the training images, as a copy each time."""
    rng = np.random.default_rng(2)
    for number in (1, 2):
        write(sides / "eval" / "blue" / f"twin-{number}.png", drawn(number))
        for way in ("jpeg", "flip"):
            write(sides / "train" / f"twin-{number}-{way}.png", COPIES[way](drawn(number), rng), "a drawing")
        for way in ("resize", "flip"):
            write(sides / "train" / f"more-{number}-{way}.png", COPIES[way](drawn(number + 20), rng), "a drawing")
    (own,) = overlap(sides / "train", sides / "eval").sets
    assert own.choice.threshold == LEAST
    assert (own.overlap, len(own.pairs)) == (5 + 4 + 2, 5 + 8 + 4)
    assert "6 of its images are in the set or in training twice, and judge no threshold." in own.notes


@pytest.mark.journey
def test_too_little_to_judge_a_threshold_by_is_said(sides):
    for path in (sides / "train").iterdir():
        if path.stem != "copy-00":
            path.unlink()
    (own,) = overlap(sides / "train", sides / "eval").sets
    assert own.overlap == 1
    assert "only 0 of its images have a second training image to compare with, fewer than 50" in own.notes[0]


@pytest.mark.journey
def test_a_set_that_has_no_score_keeps_its_pairs(sides, colour_model):
    shutil.rmtree(sides / "eval" / "blue")
    (own,) = overlap(sides / "train", sides / "eval", model=colour_model).sets
    assert own.overlap == 5 and own.accuracy is None
    assert f"no score was measured: {sides.name}/eval has 1 class" in own.notes[-1]


@pytest.mark.parametrize(
    ("train", "against", "message"),
    [
        ("train", "train", "is given as training images too"),
        (".", "eval", "lies in"),
        ("train", "nothing", "There is no"),
        ("train", "empty", "No "),
        ("nothing", "eval", "There is no"),
    ],
)
def test_what_does_not_fit_is_one_line(sides, capsys, train, against, message):
    (sides / "empty").mkdir()
    code = main(["overlap", str(sides / train), "--against", str(sides / against)])
    told = capsys.readouterr().err
    assert code == 2
    assert message in told and told.count("\n") == 1, told


def test_a_set_of_the_paper_in_a_folder_of_training_images_is_refused(tmp_path):
    folder = write_memes(tmp_path / "memes", [(0, "red"), (1, "blue")])
    with pytest.raises(UsageError, match="lies in"):
        overlap(tmp_path, f"hateful_memes:{folder}")


@pytest.mark.journey
def test_photos_without_captions_and_classes_are_compared_on_either_side(sides, capsys):
    for path in (sides / "train").glob("*.txt"):
        path.unlink()
    for number in range(30):
        write(sides / "flat" / f"{number:02}.png", drawn(number))
    found = seesay.overlap(sides / "train", sides / "flat", model="box")
    (own,) = found.sets
    assert {pair.eval for pair in own.pairs} == {f"{name[-2:]}.png" for name in COPIED} and found.searched == 45
    assert found.notes == (
        f"{sides.name}/train has no pairs and no classes: all its 45 images are taken by themselves.",
    )
    assert own.notes[0] == "flat has no pairs and no classes: all its 30 images are taken by themselves."
    assert "no score was measured: flat has no classes and no captions." in own.notes and len(found.remove) == 5


@pytest.mark.journey
def test_images_without_a_caption_count_beside_pairs_and_several_folders_are_opened(sides):
    (sides / "train" / "copy-03.txt").unlink()
    write(sides / "more" / "photo.png", drawn(2000))
    found = seesay.overlap([sides / "train", sides / "more"], sides / "eval")
    assert found.searched == 46 and {pair.eval.removesuffix(".png") for pair in found.sets[0].pairs} == COPIED
    assert (
        f"{sides.name}/train: images without a caption are compared as well: 1." in found.notes
        and not found.skipped_by_reason
    )


def test_images_without_a_caption_count_in_folders_of_a_pattern_and_beside_tars(tmp_path, write_tar):
    for name in ("one", "two"):
        write(tmp_path / name / "pair.png", drawn(1), "a drawing")
        write(tmp_path / name / "alone.png", drawn(2))
    write_tar(tmp_path / "two" / "0.tar", {"k.png": b"0", "k.txt": b"a drawing", "l.png": b"1"})
    found = open_train(str(tmp_path / "*"))
    assert len(found) == 5 and [(item.key, item.reason) for item in found.problems] == [
        ("0.tar/l", "image without caption")
    ]


def test_why_a_folder_is_taken_for_plain_photos_is_said(tmp_path):
    write(tmp_path / "classes" / "red" / "1.png", drawn(1))
    (tmp_path / "classes" / "blue").mkdir()
    (note,) = opened(str(tmp_path / "classes"), open_evalset).notes
    assert "without an image that can be read: 'blue'" in note
    assert note.endswith(": all its 1 images are taken by themselves.")
    write(tmp_path / "packed" / "1.png", drawn(1))
    (tmp_path / "packed" / "0.tar.gz").write_bytes(b"0")
    (note,) = open_train(tmp_path / "packed").notes
    assert "but 1 compressed tar; unpack it" in note


def test_a_set_of_broken_images_is_refused(sides, capsys):
    for name in ("a", "b"):
        (sides / "broken" / name).mkdir(parents=True)
        (sides / "broken" / name / "1.png").write_bytes(b"no image")
    assert main(["overlap", str(sides / "train"), "--against", str(sides / "broken")]) == 4
    assert "none of the 2 images of broken could be read" in capsys.readouterr().err


@pytest.mark.journey
def test_two_sets_of_one_name_are_refused(sides, capsys):
    write(sides / "elsewhere" / sides.name / "eval" / "red" / "1.png", drawn(1))
    words = [
        "overlap",
        str(sides / "train"),
        "--against",
        str(sides / "eval"),
        str(sides / "elsewhere" / sides.name / "eval"),
    ]
    assert main(words) == 2
    assert f"two sets are called '{sides.name}/eval'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--against", "b", "c", "--model", "m"], ["a", "--against", "b", "--against", "c", "--model", "m"]),
        (["--against", "b", "--against", "c"], ["--against", "b", "--against", "c"]),
        (["--against"], ["--against"]),
        (["--against=b", "c"], ["--against=b", "c"]),
    ],
)
def test_an_option_may_be_followed_by_several_words(words, expected):
    assert repeated(words, "--against") == expected


def test_other_verbs_have_no_such_option():
    assert repeated(["--against", "b", "c"], "") == ["--against", "b", "c"]


@pytest.mark.journey
def test_an_injected_leak_raises_the_score_as_computed(tmp_path, colour_model):
    """30 of 300 images, all of which a model gets right, are in training: all - clean is f (overlap - clean)."""
    colours = {"red": (220, 30, 30), "blue": (30, 30, 220)}
    for number in range(300):
        label = "red" if number % 2 else "blue"
        # Leaked images have the colour of their class; of the others a quarter has the other one.
        is_leaked = number < 30
        shown = label if is_leaked or number % 8 >= 2 else ("blue" if label == "red" else "red")
        image = Image.blend(drawn(2000 + number), Image.new("RGB", (96, 96), colours[shown]), 0.6)
        write(tmp_path / "eval" / label / f"{number:03}.png", image)
        if is_leaked:
            write(tmp_path / "train" / f"leak-{number:03}.png", image, "a colour")
    for number in range(60):
        write(tmp_path / "train" / f"own-{number:03}.png", drawn(number), "a drawing")
    (own,) = overlap(tmp_path / "train", tmp_path / "eval", model=colour_model).sets
    found = {pair.eval for pair in own.pairs}
    assert own.inflation is not None
    leaked = sum(int(key.split("/")[1][:3]) < 30 for key in found)
    assert leaked == 30
    f = own.overlap / own.n
    expected = f * (own.inflation.overlap - own.inflation.clean)
    assert own.inflation.all - own.inflation.clean == pytest.approx(expected)
    assert own.inflation.difference > 0 and own.inflation.p_value < 0.005


@pytest.mark.journey
def test_images_are_read_from_a_set_with_captions_as_well(tmp_path, sides, colour_model):
    for number in range(6):
        write(tmp_path / "captioned" / f"{number}.png", drawn(3 * number), f"drawing {number}")
    found = overlap(sides / "train", tmp_path / "captioned")
    assert found.sets[0].overlap == 5


@pytest.mark.journey
def test_bytes_that_are_cached_are_not_decoded_again(sides, monkeypatch):
    monkeypatch.setenv("SEESAY_CACHE", str(sides / "cache"))
    first = overlap(sides / "train", sides / "eval")
    monkeypatch.setattr("seesay.model.detector.looks", None)
    assert overlap(sides / "train", sides / "eval").to_json() == first.to_json()


@pytest.mark.journey
def test_without_a_cache_the_result_is_the_same(sides, monkeypatch):
    monkeypatch.setenv("SEESAY_CACHE", str(sides / "cache"))
    with_cache, without = (overlap(sides / "train", sides / "eval", cache=cache) for cache in (True, False))
    assert with_cache.to_json() == without.to_json()


@pytest.mark.journey
def test_the_result_says_what_it_is(sides):
    found = overlap(sides / "train", sides / "eval")
    assert repr(found) == f"<Overlap with 45 training images: {sides.name}/eval 5 of 30>"
    assert f"<td>{sides.name}/eval</td>" in found._repr_html_()
    assert found.rows()[0]["share"] == pytest.approx(5 / 30)
    assert io.StringIO(json.dumps(found.to_json())).read()
