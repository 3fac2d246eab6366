"""An experiment without its runs: what a recipe may contain, which runs begin when, and what they came to."""

import json
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binom

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import Journal, ProgressLine
from seesay.base.settings import as_toml
from seesay.experiments import runner
from seesay.experiments.recipe import Experiment, ExperimentRun, read_experiment, settle
from seesay.experiments.results import most_by_chance, objective_result, points_of, refuse_other_data, sides_of
from seesay.experiments.runner import Runs, end_line
from seesay.experiments.schedule import (
    Diverged,
    Failed,
    Finished,
    best_of,
    chosen_rate,
    count_runs,
    known_runs,
    outcome_of,
)
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.objectives import OBJECTIVES

FINISHED = Finished(accuracy=0.5, loss=1.0)
RECIPE = """
objectives = ["contrastive", "contrastive-bow"]
images = 1000
points = 4
learning_rates = [1e-3, 2e-3]
seeds = [5, 6]
pairs = ["photos"]
check = "birds"
[train]
model = "conv-tiny"
batch_size = 100
device = "cpu"
towers.precision = "float32"
"""


@pytest.fixture
def experiment(tmp_path):
    def read(text=RECIPE, **arguments) -> Experiment:
        (tmp_path / "recipe.toml").write_text(text)
        return read_experiment(tmp_path / "recipe.toml", **arguments)

    return read


def test_every_run_has_the_settings_of_the_recipe_and_differs_in_three(experiment):
    run = ExperimentRun(objective="contrastive", learning_rate=2e-3, seed=6)
    settings = run.settings(experiment())
    assert (settings.objective, settings.optimizer.learning_rate, settings.seed) == ("contrastive", 2e-3, 6)
    assert (settings.steps, settings.batch_size, settings.check.at) == (10, 100, (1, 2, 5, 10))
    assert run.name == "contrastive/rate-0.002/seed-6"


def test_each_point_is_after_half_the_images_of_the_next_and_the_last_at_the_end(experiment):
    assert experiment().model_copy(update={"images": 100_000, "points": 6}).checked_steps == (
        31,
        62,
        125,
        250,
        500,
        1000,
    )
    assert experiment().model_copy(update={"images": 300, "points": 20}).checked_steps == (1, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rate = [1e-3]", "Nearest: learning_rates"),
        ("[train.optimizer]\nlearning_rate = 1e-3", "it follows from learning_rates"),
        ("[train.check]\nevery = 0.5", "it follows from points"),
        ("[train.data]\nvocab = 3", "Nearest: train.data.vocab_size"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_refused(experiment, change, message):
    text = RECIPE + change if change.startswith("[") else change + RECIPE
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        experiment(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("contrastive-bow", "contrastive-bag", "Nearest: contrastive-bow"),
        ("contrastive-bow", "contrastive", "twice"),
        ('pairs = ["photos"]', "", "pairs"),
        ('check = "birds"', "", "check"),
        ("batch_size", "steps = 3\nbatch_size", "train.steps is given"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(experiment, old, new, message):
    with pytest.raises(UsageError, match=message):
        experiment(RECIPE.replace(old, new))


def test_pairs_and_set_on_the_command_line_replace_the_recipes(experiment):
    settings = experiment(pairs=["others"], check="dogs", overrides=["train.batch_size=50"])
    assert (settings.pairs, settings.check, settings.steps) == (("others",), "dogs", 20)


def test_a_folder_with_runs_of_another_recipe_is_refused_with_the_changes(experiment, tmp_path):
    root = tmp_path / "out"
    root.mkdir()
    first = settle(experiment(), root, device="cpu")
    assert first.train.data.validation == 0
    (root / "settings.toml").write_text(as_toml(first))
    assert settle(experiment(), root, device="cpu") == first
    with pytest.raises(UsageError, match="images: 1000 -> 2000"):
        settle(experiment(RECIPE.replace("1000", "2000")), root, device="cpu")


@pytest.mark.parametrize(
    ("old", "new", "is_extended"),
    [
        ("[1e-3, 2e-3]", "[5e-4, 1e-3, 2e-3]", True),
        ("[1e-3, 2e-3]", "[1e-3, 4e-3]", False),
        ("[5, 6]", "[5, 6, 7]", True),
        ("[5, 6]", "[6, 5]", False),
        ('["contrastive", "contrastive-bow"]', '["contrastive", "bag-of-words", "contrastive-bow"]', True),
    ],
)
def test_objectives_rates_and_seeds_may_be_added_to_runs_that_are_there(experiment, tmp_path, old, new, is_extended):
    (tmp_path / "settings.toml").write_text(as_toml(settle(experiment(), tmp_path, device="cpu")))
    more = experiment(RECIPE.replace(old, new))
    if is_extended:
        assert count_runs(settle(more, tmp_path, device="cpu"), {}) > count_runs(experiment(), {})
    else:
        with pytest.raises(UsageError, match="another recipe"):
            settle(more, tmp_path, device="cpu")


def test_the_precision_is_measured_once_for_all_runs(experiment, tmp_path, monkeypatch):
    text = RECIPE.replace('towers.precision = "float32"', "")
    monkeypatch.setattr("seesay.experiments.recipe.is_faster_in_bfloat16", lambda device: True)
    first = settle(experiment(text), tmp_path, device="cpu")
    (tmp_path / "settings.toml").write_text(as_toml(first))
    monkeypatch.setattr("seesay.experiments.recipe.is_faster_in_bfloat16", lambda device: False)
    assert settle(experiment(text), tmp_path, device="cpu").train.towers.precision == "bfloat16"


def test_the_other_seeds_begin_as_soon_as_their_objective_has_its_rate(experiment):
    settings, outcomes = experiment(), {}
    known = known_runs(settings, outcomes)
    assert len(known) == 4 and {run.seed for run in known} == {5} and count_runs(settings, outcomes) == 6
    outcomes |= {run: Finished(accuracy=run.learning_rate, loss=1.0) for run in known if run.objective == "contrastive"}
    assert [run.name for run in known_runs(settings, outcomes)[4:]] == ["contrastive/rate-0.002/seed-6"]
    outcomes |= {run: Failed(reason="exit code 2") for run in known if run not in outcomes}
    assert chosen_rate(settings, "contrastive-bow", outcomes) is None
    assert len(known_runs(settings, outcomes)) == count_runs(settings, outcomes) == 5


def test_a_rate_that_diverges_is_not_chosen_and_where_all_do_there_are_no_other_seeds(experiment):
    settings = experiment()
    outcomes = {
        run: Diverged(step=3) if run.objective == "contrastive" or run.learning_rate == 2e-3 else FINISHED
        for run in known_runs(settings, {})
    }
    assert chosen_rate(settings, "contrastive-bow", outcomes) == 1e-3
    assert chosen_rate(settings, "contrastive", outcomes) is None
    assert [run.name for run in known_runs(settings, outcomes)[4:]] == ["contrastive-bow/rate-0.001/seed-6"]
    assert count_runs(settings, outcomes) == 5


@pytest.fixture
def run_folder(tmp_path):
    """The folder of a run with these events, and a model where it has one."""

    def write(*events, has_model=False):
        (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        if has_model:
            (tmp_path / "model").mkdir()
        return tmp_path

    return write


BAD_STEPS = [{"event": "skipped_batch", "step": step, "loss": None} for step in (7, 8, 9)]
CHECKED = {"event": "check", "step": 9, "zero-shot/top1": 0.25, "zero-shot/n": 8}


def test_the_outcome_of_a_run_is_the_last_event_in_its_folder(run_folder, tmp_path):
    assert outcome_of(tmp_path) is None
    folder = run_folder(CHECKED, {"event": "done", "step": 9, "loss": 1.5})
    assert outcome_of(folder) is None  # stopped before its model was written
    assert outcome_of(run_folder(*BAD_STEPS)) is None  # killed before the run ended
    assert outcome_of(run_folder(*BAD_STEPS, {"event": "diverged", "step": 9, "first_step": 7})) == Diverged(step=7)
    assert outcome_of(run_folder({"event": "diverged", "step": 9, "first_step": 7}, {"step": 1})) is None
    folder = run_folder(CHECKED, {"event": "done", "step": 9, "loss": 1.5}, has_model=True)
    assert outcome_of(folder) == Finished(accuracy=0.25, loss=1.5)


def test_each_outcome_has_its_line():
    run = ExperimentRun(objective="vse", learning_rate=0.5, seed=1)
    assert end_line(run, Finished(accuracy=0.5, loss=None)) == "vse/rate-0.5/seed-1: 50.00 %"
    assert end_line(run, Diverged(step=1234)) == "vse/rate-0.5/seed-1: diverged at step 1,234"
    assert end_line(run, Failed(reason="exit code 5")).startswith(
        "warning: run vse/rate-0.5/seed-1 failed (exit code 5)"
    )


def test_what_was_done_before_is_in_the_share_and_took_none_of_the_time(experiment, tmp_path, monkeypatch):
    class Line(ProgressLine):
        def begin(self, share=0.0):
            shares.append(("begin", share))
            super().begin(share)

        def show(self, share, text=""):
            shares.append(("show", share))

    shares, running, done = [], iter([True, False]), iter([0.5, 0.75])
    monkeypatch.setattr(runner, "ProgressLine", Line)
    monkeypatch.setattr(runner, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(Runs, "_begin_some", lambda self: next(running))
    monkeypatch.setattr(Runs, "_share", lambda self: next(done))
    Runs(experiment(RECIPE), tmp_path, Journal(tmp_path), jobs=1, threads=1).make_all()
    assert shares == [("begin", 0.0), ("begin", 0.5), ("show", 0.75)]


@pytest.mark.parametrize(
    ("outcomes", "rate", "rate_is"),
    [
        ((0.1, 0.2, 0.3), 3e-3, "highest"),
        ((0.3, 0.2, 0.1), 1e-3, "lowest"),
        ((0.1, 0.3, 0.2), 2e-3, ""),
        ((0.1, 0.3, "diverged"), 2e-3, ""),
        ((0.1, 0.3, "failed"), 2e-3, "highest"),
        (("failed", 0.3, "failed"), 2e-3, "only"),
        (("diverged",) * 3, None, ""),
    ],
)
def test_the_best_rate_at_the_edge_of_those_tried_is_named(experiment, tmp_path, outcomes, rate, rate_is):
    settings = experiment(RECIPE.replace("[1e-3, 2e-3]", "[1e-3, 2e-3, 3e-3]"))
    values = {"diverged": Diverged(step=4), "failed": Failed(reason="exit code 1")}
    runs = Runs(settings, tmp_path, Journal(tmp_path), jobs=1, threads=1)
    for tried, outcome in zip((1e-3, 2e-3, 3e-3), outcomes, strict=True):
        run = ExperimentRun(objective="contrastive", learning_rate=tried, seed=5)
        runs.outcomes[run] = values.get(outcome) or Finished(accuracy=outcome, loss=1.0)
    result = objective_result("contrastive", runs, [])
    assert (result.learning_rate, result.rate_is, result.has_diverged) == (rate, rate_is, rate is None)
    assert [tried.diverged_at_step for tried in result.tuning] == [4 if o == "diverged" else None for o in outcomes]


def test_the_rate_is_that_of_the_best_accuracy_then_of_the_lower_loss_then_the_smaller():
    runs = [ExperimentRun(objective="contrastive", learning_rate=rate, seed=0) for rate in (3.0, 1.0, 2.0)]

    def best(*outcomes):
        finished = [Finished(accuracy=accuracy, loss=loss) for accuracy, loss in outcomes]
        return best_of(dict(zip(runs, finished, strict=True))).learning_rate

    assert best((0.3, 9.0), (0.2, 1.0), (0.2, 1.0)) == 3.0
    assert best((0.2, 2.0), (0.2, 2.0), (0.2, 1.0)) == 2.0
    assert best((0.2, 1.0), (0.2, 1.0), (0.2, None)) == 1.0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_all_objectives_begin_with_the_same_image_tower(name):
    base = preset("conv-tiny")
    plain, other = (
        build_clip(OBJECTIVES[objective].architecture(base), seed=3).image_tower.state_dict()
        for objective in ("contrastive", name)
    )
    shared = [key for key in other if key in plain and other[key].shape == plain[key].shape]
    assert len(shared) >= len(other) - 4
    assert all(torch.equal(plain[key], other[key]) for key in shared)


def test_seconds_of_checks_are_taken_off_and_a_check_made_twice_counts_once():
    check = {"event": "check", "zero-shot/n": 10.0, "smooth_loss": 2.0}
    events = [
        {**check, "step": 1, "pairs_seen": 4, "seconds": 3.0, "check_seconds": 1.0, "zero-shot/top1": 0.1},
        {**check, "step": 2, "pairs_seen": 8, "seconds": 9.0, "check_seconds": 3.0, "zero-shot/top1": 0.7},
        {**check, "step": 2, "pairs_seen": 8, "seconds": 8.0, "check_seconds": 3.0, "zero-shot/top1": 0.699999988079},
    ]
    first, last = points_of(events, flops=[0, 5, 11])
    assert (first.seconds, first.flops, first.images) == (2.0, 5, 4)
    assert (last.seconds, last.flops, last.accuracy) == (4.0, 11, 0.7)


def test_steps_of_two_crop_sizes_are_counted_by_their_shares():
    assert sides_of(((8, 0.75), (16, 0.25)), 8) == [8] * 6 + [16] * 2


def test_random_answers_get_no_more_than_the_bound_in_39_of_40_tries():
    for n, chance in ((2395, 1 / 200), (100, 0.1), (8, 0.5)):
        assert most_by_chance(n, chance) * n == pytest.approx(binom.ppf(0.975, n, chance))


def test_objectives_that_predict_words_take_the_bare_name_and_all_others_the_recipes_templates(experiment):
    templates = {
        name: ExperimentRun(objective=name, learning_rate=1e-3, seed=0).templates(experiment()) for name in OBJECTIVES
    }
    assert templates["contrastive"] == templates["vse"] == templates["caption"] == ("a photo of a {}.",)
    assert templates["bag-of-words"] == templates["n-grams"] == ("{}",)


def test_runs_are_not_resumed_on_other_pairs_or_another_check_set(tmp_path):
    pairs, labelled = SimpleNamespace(fingerprint="a" * 64), SimpleNamespace(fingerprint="b" * 64)
    refuse_other_data(tmp_path, pairs=pairs, labelled=labelled)
    refuse_other_data(tmp_path, pairs=pairs, labelled=labelled)
    other = SimpleNamespace(fingerprint="c" * 64)
    with pytest.raises(RefusedInput, match="other pairs"):
        refuse_other_data(tmp_path, pairs=other, labelled=labelled)
    with pytest.raises(RefusedInput, match="other check set"):
        refuse_other_data(tmp_path, pairs=pairs, labelled=other)
