"""JSON of results: other programs read these files, so keys and their order do not change."""

import json
from dataclasses import FrozenInstanceError

import pytest

from seesay.evaluation.evaluate import evaluate

COMMON = ["set", "task", "n", "skipped", "skipped_by_reason", "model", "data_fingerprint", "seed"]
FILE_KEYS = ["place", "settings", "environment"]
ZERO_SHOT = [
    *COMMON,
    "classes",
    "top1",
    "top5",
    "mean_per_class",
    "interval95",
    "interval95_top5",
    "interval95_mean_per_class",
    "chance",
    "chance_top5",
    "calibration_error",
    "same_names",
    "templates",
    "templates_from",
    "class_names_from",
    "notes",
]
RETRIEVAL = [
    *COMMON,
    "captions",
    "text_to_image",
    "image_to_text",
    "interval95",
    "interval95_text_to_image",
    "interval95_image_to_text",
    "chance",
    "chance_text_to_image",
    "chance_image_to_text",
    "templates",
    "templates_from",
    "notes",
    "shared_captions",
]
PROBE = [
    "task",
    "train",
    "set",
    "model",
    "metric",
    "n",
    "n_train",
    "classes",
    "features",
    "score",
    "interval95",
    "chance",
    "penalty",
    "iterations",
    "validation_scores",
    "zero_shot",
    "interval95_zero_shot",
    "templates",
    "shots",
    "seeds",
    "shots_equal_to_zero_shot",
    "skipped",
    "skipped_by_reason",
    "data_fingerprints",
    "shared_images",
    "start_scale",
    "notes",
]
SHOTS = ["shots", "mean", "interval95", "scores", "penalties"]
SHIFT = [
    "task",
    "model",
    "natural",
    "shifted",
    "accuracy_natural",
    "interval95_natural",
    "accuracy_shifted",
    "interval95_shifted",
    "n_natural",
    "n_shifted",
    "chance",
    "gap",
    "interval95_gap",
    "seed",
]
ROBUSTNESS = [
    "effective_robustness",
    "interval95_effective_robustness",
    "baseline_models",
    "baseline_slope",
    "baseline_offset",
]
COMPARISON = [
    "task",
    "first",
    "second",
    "set",
    "score",
    "n",
    "share_first",
    "share_second",
    "difference",
    "interval95",
    "p",
    "test",
]


@pytest.fixture
def split(paint, tmp_path):
    """A set with a train part of three images per class and two images of each to measure on."""
    for part, count in (("train", 3), ("test", 2)):
        for colour in ("red", "blue"):
            for number in range(count):
                paint(tmp_path / "split" / part / colour / f"{number}.png", colour)
    return tmp_path / "split"


@pytest.fixture
def pairs(paint, tmp_path):
    for colour in ("red", "green", "blue"):
        paint(tmp_path / "pairs" / f"{colour}.png", colour)
        (tmp_path / "pairs" / f"{colour}.txt").write_text(colour)
    return tmp_path / "pairs"


MEASURED = []


@pytest.fixture
def evaluation(colour_model, colours, split, pairs, tmp_path):
    """Two models on a set with a train part, a set of the same classes, and images with captions; measured once."""
    if MEASURED:
        return MEASURED[0]
    rows = [
        {"name": f"m{step}", "natural": share, "shifted": share / 2, "n_natural": 100, "n_shifted": 50}
        for step, share in enumerate((0.2, 0.4, 0.6))
    ]
    (tmp_path / "baseline.json").write_text(json.dumps(rows))
    other = type(colour_model)()
    sets = [split, colours("drawn", red=["red", "blue"], blue=["blue"]), pairs]
    result = evaluate(
        [colour_model, other], sets, shots=(4, 3, 1), shift=("split", "drawn"), baseline=tmp_path / "baseline.json"
    )
    MEASURED.append(result)
    return result


@pytest.mark.journey
def test_json_has_the_keys_that_other_programs_read(evaluation):
    objects = evaluation.to_json()
    assert json.loads(json.dumps(objects)) == objects
    by_task = {}
    for item in objects[:8]:
        by_task.setdefault(item["task"], []).append(list(item))
    assert by_task["zero-shot"] == [[*ZERO_SHOT, *FILE_KEYS]] * 4
    assert by_task["retrieval"] == [[*RETRIEVAL, *FILE_KEYS]] * 2
    assert by_task["linear-probe"] == [[*PROBE, "seed", "shots_left_out", *FILE_KEYS]] * 2
    assert [list(item) for item in objects[8:10]] == [[*SHIFT, *ROBUSTNESS]] * 2
    assert [list(item) for item in objects[10:12]] == [[*COMPARISON, "first_only", "second_only"]] * 2
    assert [list(item) for item in objects[12:]] == [COMPARISON] * 3


@pytest.mark.journey
def test_a_probe_has_the_keys_of_its_own_file_and_of_each_number_of_shots(evaluation):
    probe = evaluation.entries[0].probe
    assert list(probe.to_json()) == PROBE
    assert [list(item) for item in probe.to_json()["shots"]] == [SHOTS, SHOTS]
    assert [entry.shots for entry in probe.shots] == [1, 3], "the smallest class has three images to learn from"
    assert evaluation.entries[0].shots_left_out == (4,)


@pytest.mark.journey
def test_values_in_json_are_those_of_the_attributes(evaluation):
    zero_shot, retrieval = evaluation.entries[1].result, evaluation.entries[2].result
    plain = zero_shot.to_json()
    assert (plain["top1"], plain["interval95"]) == (2 / 3, list(zero_shot.top1.interval95))
    assert (plain["top5"], plain["interval95_top5"]) == (1.0, list(zero_shot.top5.interval95))
    assert plain["interval95_mean_per_class"] == list(zero_shot.mean_per_class.interval95)
    assert (plain["chance"], plain["chance_top5"]) == (0.5, 1.0)
    plain = retrieval.to_json()
    assert plain["text_to_image"] == {"r1": 1.0, "r5": 1.0, "r10": 1.0}
    assert plain["chance_image_to_text"] == {"r1": pytest.approx(1 / 3), "r5": 1.0, "r10": 1.0}
    assert plain["interval95"] == plain["interval95_text_to_image"]["r10"] == list(retrieval.headline.interval95)


@pytest.mark.journey
def test_results_cannot_be_written_to(evaluation):
    entry = evaluation.entries[0]
    for value, name in [
        (evaluation, "entries"),
        (entry, "name"),
        (entry.result, "n"),
        (entry.probe, "seeds"),
        (evaluation.shifts[0], "gap"),
        (evaluation.comparisons[0], "p"),
    ]:
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


def test_a_result_is_one_short_line(evaluation):
    entry = evaluation.entries[0]
    assert repr(entry.result) == (
        "ZeroShotResult(colours on split: top1 100.0 [39.8, 100.0] %, chance 50.0 %, 4 images)"
    )
    assert repr(entry.probe).startswith(
        "ProbeResult(colours, split/train -> split: accuracy 100.0 [39.8, 100.0] %, zero"
    )
    assert "text_to_image r10 100.0" in repr(evaluation.entries[2].result)
    text = repr(evaluation)
    assert text.startswith("Evaluation(Entry(ZeroShotResult(colours on split:") and text.endswith("; and 2 more)")
    assert len(text) < 1000


def test_every_score_is_a_row_of_a_table(evaluation):
    rows = evaluation.rows()
    assert {tuple(row) for row in rows} == {("model", "set", "task", "score", "value", "low", "high", "chance", "n")}
    of_first = [(row["set"], row["score"]) for row in rows if row["model"] == "colours"]
    recalls = [f"{direction} r{k}" for direction in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
    assert sorted(of_first) == sorted(
        [
            *((name, score) for name in ("split", "drawn") for score in ("top1", "top5", "mean_per_class")),
            ("split", "accuracy"),
            *(("pairs", score) for score in recalls),
        ]
    )
    assert {row["model"] for row in rows} == {"colours", "colours (2)"}


def test_a_notebook_shows_a_table(evaluation):
    page = evaluation._repr_html_()
    assert page.count("<tr>") == 1 + len(evaluation.rows())
    assert "<td>drawn</td><td>zero-shot</td><td>top1</td><td>66.7 [9.4, 99.2]</td><td>50.0</td><td>3</td>" in page
