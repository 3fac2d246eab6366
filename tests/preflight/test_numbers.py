"""Numbers and limits in the findings of doctor, from reports made by hand and without a run."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from seesay.preflight import findings
from seesay.preflight.report import CaptionReport, DoctorReport, ImageReport, OverfitReport, TimeReport

IMAGES = ImageReport(
    total=1000,
    examined=1000,
    broken=0,
    broken_by_reason={},
    broken_keys=(),
    duplicates=0,
    near_duplicates=0,
    duplicate_keys=(),
    near_duplicate_keys=(),
    median_side=64,
    smallest=(40, 30),
    largest=(640, 480),
    model_side=32,
    below_model_side=0.1,
    seconds_per_image=0.001,
)
CAPTIONS = CaptionReport(
    count=2500,
    most_per_pair=3,
    duplicates=0,
    wordless=0,
    empty=0,
    file_names=0,
    file_name_examples=(),
    vocabulary=1024,
    context=32,
    median_length=9,
    longest=41,
    length_of_99_percent=33,
    truncated_share=0.2,
    repeated_in_batch=0.0,
    shares_repeats=False,
)
OVERFIT = OverfitReport(
    pairs=64,
    steps=300,
    chance_loss=4.16,
    first_loss=4.2,
    last_loss=0.1,
    minimum_loss=0.0,
    seconds=9.0,
    is_overfit=True,
)
TIME = TimeReport(
    steps=1000,
    epochs=8.0,
    seconds=5400.0,
    low_seconds=59.4,
    high_seconds=3540.0,
    around_seconds=3.0,
    check_seconds=2.0,
    speeds=(),
)
RUN = SimpleNamespace(message=None)


def findings_by_topic(*, images=IMAGES, captions=CAPTIONS, overfit=OVERFIT, time=TIME):
    """The findings by their topic; without a measured memory, whose own finding is a stop."""
    report = DoctorReport(
        name="photos",
        pairs=1000,
        held_out=0,
        unusable={},
        notes=(),
        plan=(),
        images=images,
        captions=captions,
        overfit=overfit,
        memory=None,
        time=time,
        findings=(),
    )
    plan = SimpleNamespace(batch_size=64)
    return {finding.topic: finding for finding in findings.findings_of(report, plan, RUN)}


def test_captions_are_counted_for_each_image():
    assert findings_by_topic()["pairs"].message == "1,000 pairs, 2,500 captions, 2.5 for each image (at most 3)"


def test_the_context_that_is_advised_holds_99_of_100_captions_in_steps_of_eight():
    """33 tokens are enough for most: 40 is the next multiple of eight, and 32 would cut more than before."""
    assert "overrides=['data.context=40'] " in findings_by_topic()["captions"].hint
    exact = replace(CAPTIONS, length_of_99_percent=40)
    assert "overrides=['data.context=40'] " in findings_by_topic(captions=exact)["captions"].hint
    longest = replace(CAPTIONS, length_of_99_percent=5000)
    assert "overrides=['data.context=1024'] " in findings_by_topic(captions=longest)["captions"].hint
    few = replace(CAPTIONS, truncated_share=0.05)
    assert findings_by_topic(captions=few)["captions"].level == "ok"


@pytest.mark.parametrize(("broken", "level"), [(1, "warning"), (50, "warning"), (51, "stop")])
def test_more_than_five_percent_of_broken_images_could_not_work(broken, level):
    images = replace(IMAGES, broken=broken, broken_by_reason={"truncated image": broken}, broken_keys=("a.png",))
    assert findings_by_topic(images=images)["images"].level == level


@pytest.mark.parametrize(
    ("equal", "alike", "level"), [(0, 0, "ok"), (10, 0, "ok"), (5, 5, "ok"), (11, 0, "warning"), (6, 5, "warning")]
)
def test_more_than_one_percent_of_duplicates_is_a_warning(equal, alike, level):
    images = replace(IMAGES, duplicates=equal, near_duplicates=alike, duplicate_keys=(("a", "b"),))
    assert findings_by_topic(images=images)["duplicates"].level == level


@pytest.mark.parametrize(("share", "level"), [(0.5, "ok"), (0.51, "warning")])
def test_images_below_the_models_side_are_a_warning_where_they_are_most(share, level):
    assert findings_by_topic(images=replace(IMAGES, below_model_side=share))["sizes"].level == level


@pytest.mark.parametrize(
    ("captions", "images", "shares", "level"),
    [(0.005, 0.005, False, "ok"), (0.006, 0.005, False, "warning"), (0.5, 0.5, True, "ok")],
)
def test_repeats_of_captions_and_images_count_together(captions, images, shares, level):
    repeats = replace(CAPTIONS, repeated_in_batch=captions, shares_repeats=shares)
    assert (
        findings_by_topic(captions=repeats, images=replace(IMAGES, repeated_in_batch=images))["repeats"].level == level
    )


@pytest.mark.parametrize(("steps", "level"), [(199, "warning"), (200, "ok")])
def test_fewer_than_200_steps_teach_little(steps, level):
    assert findings_by_topic(time=replace(TIME, steps=steps))["time"].level == level


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3540.0, "59 min"),
        (3600.0, "1 h 00 min"),
        (5400.0, "1 h 30 min"),
        (47 * 3600.0, "47 h 00 min"),
        (48 * 3600.0, "2.0 days"),
    ],
)
def test_lengths_of_time_are_those_of_a_clock(seconds, shown):
    assert f": {shown}, between " in findings_by_topic(time=replace(TIME, seconds=seconds))["time"].message


@pytest.mark.parametrize(
    ("last", "steps", "level"), [(3.0, 49, "warning"), (3.5, 50, "stop"), (3.3, 50, "warning"), (None, 50, "stop")]
)
def test_a_batch_that_was_not_overfit_is_a_stop_where_less_than_a_fifth_was_learned(last, steps, level):
    """From 4.2 to a least of 0: a fifth is 0.84, so the loss would have to be 3.36 or less."""
    overfit = replace(OVERFIT, last_loss=last, steps=steps, is_overfit=False)
    assert findings_by_topic(overfit=overfit)["one batch"].level == level
