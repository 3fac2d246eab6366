"""The paper's own measures, each on a few images whose answers are known, through `seesay.evaluate`."""

import json

import numpy as np
import pytest
from paper_layouts import paint, write_iiit5k, write_im2gps, write_memes, write_rareact, write_svhn, write_ucf101

import seesay
from seesay.base.errors import RefusedInput
from seesay.cli import evaluate as door
from seesay.evaluation.report import scores_section
from seesay.evaluation.suite import paper_measures


@pytest.fixture(autouse=True)
def trusted_files(monkeypatch):
    """MATLAB files are read without a process of their own, which takes a third of a second to start."""
    monkeypatch.setattr("seesay.data.paper_sets.files.refuse_deadly", lambda path, variable: None)


def measured(model, source, **words):
    (entry,) = seesay.evaluate(model, source, **words).entries
    result = entry.result
    assert json.loads(json.dumps(entry.to_json()))[0]["set"] == result.set_name
    assert door.as_tables([result], several=False)
    return result


def test_words_are_chosen_from_an_images_own_lexicon(colour_model, tmp_path):
    rows = [
        ("RED", "red", ["RED", "GREEN", "BLUE"]),
        ("GREEN", "blue", ["GREEN", "BLUE"]),
        # Blue would be better, and is not in the lexicon.
        ("YELLOW", "red", ["YELLOW", "GREEN"]),
        ("BLUE", "red", ["BLUE", "RED", "GREEN", "YELLOW"]),
    ]
    result = measured(colour_model, f"iiit5k:{write_iiit5k(tmp_path / 'IIIT5K', rows)}", templates="none")
    assert (result.task, result.set_name, result.n) == ("suite", "iiit5k", 4)
    assert result.measures["top1"].value == 2 / 4
    assert result.measures["top1"].chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2 + 1 / 4) / 4)
    assert result.notes[0] == "4 words in all, 3 to choose from for an image."


def test_memes_have_the_area_under_the_roc_curve_by_hand(colour_model, tmp_path):
    # How much more red than blue: red, red-and-blue, blue. Of hateful against others right are 2.5 of 4 pairs.
    folder = write_memes(tmp_path / "memes", [(1, "red"), (0, "blue"), (0, "red"), (1, "green")])
    names = tmp_path / "names.txt"
    names.write_text("blue\nred\n")
    result = measured(colour_model, f"hateful_memes:{folder}", class_names=names)
    # red above blue 1, red beside red 1/2, green above blue 1, green below red 0.
    assert result.measures["roc_auc"].value == pytest.approx(2.5 / 4) and result.measures["roc_auc"].chance == 0.5
    assert result.task == "zero-shot" and result.scores["roc_auc"] is result.measures["roc_auc"]
    assert "roc auc" in door.as_tables([result], several=False)


def test_frames_of_a_clip_are_averaged_for_the_answer(colour_model, tmp_path):
    clips = [
        ("red", "v_red_g01_c01", ["red", "red", "blue"]),
        # The middle frame is red: as one image it would be wrong.
        ("blue", "v_blue_g01_c01", ["blue", "red", "blue"]),
        ("blue", "v_blue_g01_c02", ["red", "red", "blue"]),
    ]
    result = measured(colour_model, f"ucf101:{write_ucf101(tmp_path / 'ucf', clips)}")
    assert result.top1.value == pytest.approx(2 / 3) and result.n == 3 and not result.measures
    (tmp_path / "ucf/UCF-101/blue/v_blue_g01_c02/1.png").write_bytes(b"broken")
    (tmp_path / "ucf/UCF-101/blue/v_blue_g01_c02/2.png").write_bytes(b"broken")
    (tmp_path / "ucf/UCF-101/red/v_red_g01_c01/1.png").write_bytes(b"broken")
    for number in (2, 3):
        (tmp_path / f"ucf/UCF-101/red/v_red_g01_c01/{number}.png").write_bytes(b"broken")
    with pytest.raises(seesay.UsageError, match="not one image of class 'red' of ucf101 can be read"):
        measured(colour_model, f"ucf101:{tmp_path / 'ucf'}")
    paint(tmp_path / "ucf/UCF-101/red/v_red_g01_c01/1.png", "red")
    result = measured(colour_model, f"ucf101:{tmp_path / 'ucf'}")
    assert result.top1.value == 1 and result.n == 3
    assert "4 frames of 2 clips could not be read: the others count." in result.notes


def test_kinetics_has_the_mean_of_top_1_and_top_5(colour_model, tmp_path):
    for name, colour in [("red/a_1_11", "red"), ("blue/b_1_11", "red")]:
        paint(tmp_path / "k700" / name / "1.png", colour)
    result = measured(colour_model, f"kinetics700:{tmp_path}/k700")
    # Right at once 1 of 2, and in five both.
    assert result.measures["mean_top1_top5"].value == pytest.approx((1 / 2 + 1) / 2)
    assert result.measures["mean_top1_top5"].chance == pytest.approx((1 / 2 + 1) / 2)


def test_the_mean_of_both_is_bootstrapped_over_clips_and_other_sets_have_none():
    hits = {1: np.array([True, False] * 50), 5: np.array([True, True] * 50)}
    (score,) = paper_measures("kinetics700", np.zeros((100, 10)), hits, np.zeros(100, int)).values()
    low, high = score.interval95
    assert score.value == 0.75 and score.chance == pytest.approx((0.1 + 0.5) / 2)
    # Of 100 values of 1 and 1/2 the standard error is 0.025.
    assert (low, high) == pytest.approx((0.75 - 0.049, 0.75 + 0.049), abs=0.01)
    assert not paper_measures("cifar10", np.zeros((100, 10)), hits, np.zeros(100, int))


def test_rare_actions_have_both_precisions_by_hand(colour_model, tmp_path):
    rows = [
        ("a", 0, 0, "paint", "red", 1, "red"),
        ("b", 0, 0, "paint", "red", 0, "blue"),
        ("c", 0, 1, "wash", "blue", 1, "green"),
        ("d", 0, 1, "wash", "blue", 4, "blue"),
        ("e", 0, 2, "wash", "green", 0, "green"),
    ]
    result = measured(colour_model, f"rareact:{write_rareact(tmp_path / 'rareact', rows)}")
    # Red is first for "paint red". For "wash blue" one blue clip is above, and red and green are equal.
    assert result.measures["mwap"].value == pytest.approx((1 + 1 / 3) / 2)
    assert result.measures["mwsap"].value == pytest.approx((1 + 1 / 3) / 2)
    # Of weight 1 that is right 3 rows are about "paint red" and 3 about "wash blue".
    assert result.measures["mwap"].chance == pytest.approx(1 / 3) and result.n == 5
    assert result.notes[:2] == (
        "5 rows about 5 clips; 2 of 3 actions are seen.",
        "of two models there is no paired test here; compare their intervals.",
    )


def test_photos_are_placed_by_the_nearest_reference_and_counted_within_a_distance(colour_model, tmp_path):
    degree = 111.19  # km of latitude
    test = [("r.png", "red", 10, 0), ("g.png", "green", 0.1, 0), ("b.png", "blue", 0, 0), ("c.png", "blue", -70, 100)]
    reference = [("r.png", "red", 0, 0), ("g.png", "green", 0, 0), ("b.png", "blue", 0, 0.001)]
    result = measured(colour_model, f"im2gps:{write_im2gps(tmp_path / 'im2gps', test=test, reference=reference)}")
    # 1,112 km, 11 km, 111 m, and far away.
    assert {name: score.value for name, score in result.measures.items()} == {
        "within_1_km": 1 / 4,
        "within_25_km": 2 / 4,
        "within_200_km": 2 / 4,
        "within_750_km": 2 / 4,
        "within_2500_km": 3 / 4,
    }
    assert result.n == 4 and result.measures["within_2500_km"].chance == 3 / 4
    assert result.notes[0].startswith(f"half of the photos are placed {(10 + 0.1) * degree / 2:,.0f} km")


def test_reference_photos_that_cannot_be_read_are_said_and_without_any_nothing_is_measured(colour_model, tmp_path):
    reference = [("r.png", "red", 0, 0), ("g.png", "green", 0, 0)]
    folder = write_im2gps(tmp_path / "im2gps", test=[("r.png", "red", 0, 0)], reference=reference)
    (folder / "reference/images/g.png").write_bytes(b"broken")
    result = measured(colour_model, f"im2gps:{folder}")
    assert result.skipped == 0 and "1 reference photos could not be read." in result.notes
    (folder / "reference/images/r.png").write_bytes(b"broken")
    with pytest.raises(RefusedInput, match="none of the reference photos of im2gps could be read"):
        measured(colour_model, f"im2gps:{folder}")


def test_two_models_are_compared_on_such_sets_and_the_page_has_them(colour_model, tmp_path):
    lexicons = write_iiit5k(tmp_path / "IIIT5K", [("RED", "red", ["RED", "BLUE"]), ("BLUE", "red", ["RED", "BLUE"])])
    digits = write_svhn(tmp_path / "svhn", [1, 2, 10])
    sets = [f"iiit5k:{lexicons}", f"svhn:{digits}"]
    other = type(colour_model)()
    found = seesay.evaluate([colour_model, other], sets, templates="none")
    assert [(each.set_name, each.score) for each in found.comparisons] == [("iiit5k", "top1"), ("svhn", "top1")]
    (row, _) = scores_section(found.entries).parts[-1].rows
    assert row[:4] == ("iiit5k", "colours", "2", "top1") and len(found.documents()) == 4
