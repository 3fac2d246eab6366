"""What a guard is divided into: images that are measured, and others that hold the old model while it is trained."""

import shutil

import pytest

from seesay.base.errors import SeesayError, UsageError
from seesay.base.settings import read_settings
from seesay.data.evalsets import open_evalset
from seesay.finetuning.finetune import described, finetune, with_guards
from seesay.finetuning.guards import DRAWN, Guards, Holding, OldAnswers, measured_of, open_guards, taken_names
from seesay.finetuning.target import digest, open_target
from seesay.training.settings import TrainSettings
from seesay.training.start import with_start

SHADES = {"red", "green", "blue", "yellow"}


@pytest.fixture
def few_measured(monkeypatch):
    """Guards of the size of a test: 8 to 20 images are measured, and at most 12 hold the model."""
    for name, value in {"LEAST_MEASURED": 8, "MOST_MEASURED": 20, "MOST_HOLDING": 12, "DRAWN": 16}.items():
        monkeypatch.setattr(f"seesay.finetuning.guards.{name}", value)


def opened(model, data, guard, *, is_held=True):
    target = open_target(model, data, (), read_settings(TrainSettings, file=None, base={}), own_template=False)
    return target, open_guards(model, guard, target, is_held=is_held)


def test_half_of_a_guard_is_measured_between_two_bounds():
    assert [measured_of(count) for count in (7, 999, 1500, 3000, 9000, 12000)] == [1000, 1000, 1000, 1500, 4500, 5000]


def test_no_image_of_a_guard_is_measured_and_holds_the_model(few_measured, small_model, squares):
    data, guard = squares(classes=2, count=25), squares("guard", seed=3)
    copied = sorted((guard / "green").glob("*.png"))[0]
    shutil.copy(copied, guard / "yellow" / "same.png")
    target, guards = opened(small_model, data, guard)
    (measure,), holding = guards.measures, guards.holding
    labelled = open_evalset(guard)
    held = {image() for image in holding.images}
    assert (measure.n, len(held)) == (20, 12)
    assert not held & {labelled.image(number) for number in measure.chosen}
    assert not {digest(image) for image in held} & set(target.digests())
    # The names of what is learned may change, the others stay.
    learned = set(target.classes.class_names)
    assert taken_names(target) == learned
    assert all(any(f" {name}." in text for name in SHADES - learned) for text in holding.texts)
    assert len(holding.texts) == len(SHADES - learned)
    holding = opened(small_model, data, guard, is_held=False)[1].holding
    assert not holding.images and not holding.texts


def test_no_image_is_measured_in_one_guard_and_holds_the_model_in_another(few_measured, small_model, squares, tmp_path):
    guard, other = squares("guard", seed=3), tmp_path / "other"
    for number, image in enumerate(sorted(guard.glob("*/*.png"))):
        folder = other / ("odd" if number % 2 else "even")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / f"{number:03}.png")
    _, guards = opened(small_model, squares(classes=2, count=25, seed=9), [guard, other])
    measured = {
        open_evalset(path).image(number)
        for path, measure in zip((guard, other), guards.measures, strict=True)
        for number in measure.chosen
    }
    held = {image() for image in guards.holding.images}
    assert len(measured) > 20 and not held & measured


def test_every_class_of_a_guard_is_measured_and_holds_the_model_where_they_come_in_turn(
    few_measured, small_model, squares
):
    target, guards = opened(small_model, squares(), "limits:position:40")
    (measure,) = guards.measures
    assert measure.label_N.bincount().tolist() == [5, 5, 5, 5]
    labelled = open_evalset("limits:position:40")
    number_of = {labelled.image(number): number for number in range(40)}
    assert {labelled.label(number_of[image()]) for image in guards.holding.images} == {0, 1, 2, 3}
    settings = read_settings(TrainSettings, file=None, base={})
    lines = described(small_model, target, guards.measures, settings, most_loss=1.0, has_guard=True)
    assert any(line.endswith("4 classes, on 20 of 40 images") for line in lines)


def test_empty_files_of_a_guard_are_told(small_model, squares, capsys):
    guard = squares("guard", seed=3)
    (guard / "red" / "empty.png").write_bytes(b"")
    opened(small_model, squares(), [guard])
    assert "guard: 1 of 61 samples left out: 1 x empty file" in capsys.readouterr().err


def test_captions_of_a_guard_hold_the_model_too_and_broken_images_are_told(
    few_measured, small_model, squares, coloured_pairs, capsys
):
    pairs = coloured_pairs(30)
    _, guards = opened(small_model, squares(seed=8), [pairs])
    source = open_evalset(pairs)
    assert len(guards.holding.images) == 12 and guards.measures[0].n == 15
    assert set(guards.holding.texts) <= {caption for index in range(30) for caption in source.captions(index)}
    answers = OldAnswers(small_model, set(), seed=0, holding=guards.holding)
    assert str(answers).startswith("12 images of the guard and 4 drawn ones, ")
    holding = Holding(images=(lambda: b"no image", *guards.holding.images))
    assert OldAnswers(small_model, set(), seed=0, holding=holding).real == 12
    assert "1 of 13 images of the guard left out" in capsys.readouterr().err


def test_a_small_model_takes_larger_steps_where_enough_images_hold_it(small_model):
    def chosen(count, **words):
        settings = read_settings(TrainSettings, file=None, base=words)
        guards = Guards(measures=(), holding=Holding(images=(bytes,) * count))
        found = with_start(with_guards(settings, small_model, guards), small_model)
        return found.optimizer.kind, found.optimizer.learning_rate, found.optimizer.weight_decay, found.start.keep

    few, held = ("adamw", 1e-4, 0.1, 10), ("muon", 3e-3, 0.0, 10)
    assert [chosen(count) for count in (0, DRAWN - 1, DRAWN)] == [few, few, held]
    assert chosen(DRAWN, optimizer={"learning_rate": 2e-4}) == ("adamw", 2e-4, 0.1, 10)
    assert chosen(DRAWN, optimizer={"kind": "adamw"}) == ("adamw", 1e-4, 0.1, 10)
    assert chosen(DRAWN, optimizer={"weight_decay": 0.3}) == ("muon", 3e-3, 0.3, 10)
    assert chosen(DRAWN, parallel="fsdp")[0] == "adamw"  # Muon needs whole matrices
    assert chosen(DRAWN, start={"keep": 2.0}) == ("muon", 3e-3, 0.0, 2)
    assert chosen(DRAWN, start={"how": "image", "classes": ("a", "b")}) == held
    assert chosen(DRAWN, start={"how": "lora"})[:3] == chosen(0, start={"how": "lora"})[:3]


@pytest.mark.journey
def test_a_run_that_a_guard_holds_does_not_go_on_with_another(few_measured, small_model, squares, tmp_path):
    data, guard, other = squares(count=25), squares("guard", seed=3), squares("other", seed=4)

    def tuned(guard):
        words = ["towers.precision=float32", "optimizer.learning_rate=0.003"]
        named = {"workers": 0, "batch_size": 8, "device": "cpu", "most_loss": 100.0, "overrides": words}
        try:
            finetune(small_model, data, out=tmp_path / "run", steps=2, guard=guard, **named)
        except SeesayError as error:  # so few steps may make nothing better
            if "no model between" not in str(error):
                raise
        return (tmp_path / "run" / "finetune.json").stat().st_mtime_ns

    assert tuned(guard) != tuned(guard)  # measured anew
    with pytest.raises(
        UsageError,
        match="holds a run with other images of a guard, or of another version of seesay; name",
    ):
        tuned(other)
