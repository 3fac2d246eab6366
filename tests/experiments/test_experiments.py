"""A contest without its runs: what the recipe may say, which runs come when, and what is said about the numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.settings import as_toml
from seesay.experiments.claims import between, claim_lines, ranked
from seesay.experiments.flops import sides_of
from seesay.experiments.page import build_page
from seesay.experiments.recipe import Experiment, ExperimentRun, read_experiment, settled
from seesay.experiments.results import factors_of, most_by_guessing, points_of, refuse_other_data
from seesay.experiments.schedule import Outcome, best_of, chosen_rate, known_runs, runs_in_all
from seesay.nets.clip import build_clip
from seesay.nets.presets import preset
from seesay.training.objectives import OBJECTIVES

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
    def read(text=RECIPE, **given) -> Experiment:
        (tmp_path / "recipe.toml").write_text(text)
        return read_experiment(tmp_path / "recipe.toml", **given)

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
    ("change", "told"),
    [
        ("learning_rate = [1e-3]", "Nearest: learning_rates"),
        ("[train.optimizer]\nlearning_rate = 1e-3", "it follows from learning_rates"),
        ("[train.check]\nevery = 0.5", "it follows from points"),
        ("[train.data]\nvocab = 3", "Nearest: vocab_size"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_refused(experiment, change, told):
    text = RECIPE + change if change.startswith("[") else change + RECIPE
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        experiment(text)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("contrastive-bow", "contrastive-bag", "Nearest: contrastive-bow"),
        ("contrastive-bow", "contrastive", "twice"),
        ('pairs = ["photos"]', "", "--pairs"),
        ('check = "birds"', "", "--check"),
        ("batch_size", "steps = 3\nbatch_size", "train.steps is given"),
    ],
)
def test_a_recipe_that_is_no_contest_is_refused(experiment, old, new, told):
    with pytest.raises(UsageError, match=told):
        experiment(RECIPE.replace(old, new))


def test_places_on_the_command_line_take_the_place_of_the_recipes(experiment):
    found = experiment(pairs=["others"], check="dogs", overrides=["train.batch_size=50"])
    assert (found.pairs, found.check, found.steps) == (("others",), "dogs", 20)


def test_a_folder_with_runs_of_another_recipe_is_refused_and_told_why(experiment, tmp_path):
    root = tmp_path / "out"
    root.mkdir()
    first = settled(experiment(), root, device="cpu")
    assert first.train.data.validation == 0
    (root / "settings.toml").write_text(as_toml(first))
    assert settled(experiment(), root, device="cpu") == first
    with pytest.raises(UsageError, match="images: 1000 -> 2000"):
        settled(experiment(RECIPE.replace("1000", "2000")), root, device="cpu")


def test_the_precision_is_measured_once_for_all_runs(experiment, tmp_path, monkeypatch):
    text = RECIPE.replace('towers.precision = "float32"', "")
    monkeypatch.setattr("seesay.experiments.recipe.is_faster_in_bfloat16", lambda device: True)
    first = settled(experiment(text), tmp_path, device="cpu")
    (tmp_path / "settings.toml").write_text(as_toml(first))
    monkeypatch.setattr("seesay.experiments.recipe.is_faster_in_bfloat16", lambda device: False)
    assert settled(experiment(text), tmp_path, device="cpu").train.towers.precision == "bfloat16"


def test_the_other_seeds_begin_as_soon_as_their_objective_has_its_rate(experiment):
    settings, outcomes = experiment(), {}
    known = known_runs(settings, outcomes)
    assert len(known) == 4 and {run.seed for run in known} == {5} and runs_in_all(settings) == 6
    outcomes |= {run: Outcome(accuracy=run.learning_rate, loss=1.0) for run in known if run.objective == "contrastive"}
    assert [run.name for run in known_runs(settings, outcomes)[4:]] == ["contrastive/rate-0.002/seed-6"]
    outcomes |= {run: None for run in known if run not in outcomes}
    assert chosen_rate(settings, "contrastive-bow", outcomes) is None
    assert len(known_runs(settings, outcomes)) == 5


def test_the_rate_is_that_of_the_best_accuracy_then_of_the_lower_loss_then_the_smaller():
    runs = [ExperimentRun(objective="contrastive", learning_rate=rate, seed=0) for rate in (3.0, 1.0, 2.0)]

    def best(*outcomes):
        made = [Outcome(accuracy=accuracy, loss=loss) for accuracy, loss in outcomes]
        return best_of(dict(zip(runs, made, strict=True))).learning_rate

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
    assert (first["seconds"], first["flops"], first["images"]) == (2.0, 5, 4)
    assert (last["seconds"], last["flops"], last["accuracy"]) == (4.0, 11, 0.7)


def test_steps_of_two_crop_sizes_are_counted_by_their_shares():
    assert sides_of(((8, 0.75), (16, 0.25)), 8) == [8] * 6 + [16] * 2


def test_guessing_gets_no_more_than_its_bound_in_39_of_40_tries():
    for n, chance in ((2395, 1 / 200), (100, 0.1), (8, 0.5)):
        assert most_by_guessing(n, chance) * n == pytest.approx(binom.ppf(0.975, n, chance))


def result_of(middles, *, seeds=3, noise=0.0):
    """What a contest would have written, with curves that rise to 40 % and are half-way at `middles` images."""
    images, random = 128 * 2 ** np.arange(1, 11), np.random.default_rng(0)
    machine = dict.fromkeys(("seesay", "commit", "python", "torch", "device", "cores", "processor"), "?")
    objectives, runs = {}, []
    for name, middle in middles.items():
        told = {}
        for seed in range(seeds):
            share_P = 0.4 / (1 + middle / images) + random.normal(0, noise, len(images))
            told[str(seed)] = [
                {"images": int(n), "accuracy": float(share), "seconds": n / 100, "flops": int(n) * 10**6}
                for n, share in zip(images, share_P, strict=True)
            ]
            points = [{**p, "interval95": [0.1, 0.2], "n": 100, "loss": 1.0} for p in told[str(seed)]]
            run = {
                "objective": name,
                "learning_rate": 1e-3,
                "seed": seed,
                "settings": {"seed": seed},
                "machine": machine,
            }
            runs.append({**run, "points": points})
        tuning = [{"learning_rate": 1e-3, "seed": 0, "accuracy": 0.2, "loss": None}]
        objectives[name] = {"learning_rate": 1e-3, "templates": [f"{name} {{}}"], "tuning": tuning, "seeds": told}
    check = {"name": "birds", "n": 100, "classes": 20, "chance": 0.05, "most_by_guessing": 0.1, "fingerprint": "b" * 64}
    return {
        "recipe": {"images": int(images[-1]), "learning_rates": [1e-3], "seeds": list(range(seeds))},
        "data": {"pairs": {"name": "photos <1>", "pairs": 9, "fingerprint": "a" * 64}, "check": check},
        "objectives": objectives,
        "efficiency": factors_of(objectives, floor=0.1),
        "runs": runs,
        "failed": {},
        "jobs": 1,
        "machine": machine,
    }


def test_the_papers_claims_are_held_against_the_numbers():
    agrees = result_of({"caption": 48_000, "bag-of-words": 16_000, "contrastive-bow": 4000}, noise=0.004)
    lines = claim_lines(agrees)
    assert len(lines) == 2 and all("Agrees" in line for line in lines)
    found = between(agrees, "contrastive-bow", "bag-of-words", over="images")
    assert found
    assert found["factor"] == pytest.approx(4, rel=0.2) and found["interval95"][0] < 4 < found["interval95"][1]
    assert ranked(agrees) == ["contrastive-bow", "bag-of-words", "caption"]
    (line,) = claim_lines(result_of({"contrastive-bow": 8000, "bag-of-words": 8000}, noise=0.01))
    assert "Not shown" in line and "includes 1" in line
    (line,) = claim_lines(result_of({"contrastive-bow": 8000, "bag-of-words": 4000}, noise=0.002))
    assert "the other way round" in line
    (line,) = claim_lines(result_of({"contrastive-bow": 4000, "bag-of-words": 8000}, noise=0.002))
    assert "in direction only" in line and "smaller" in line
    (line,) = claim_lines(result_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, seeds=1))
    assert "Not shown" in line and "one seed" in line


def test_a_factor_turned_round_is_one_over_it():
    result = result_of({"a": 4000, "b": 8000}, noise=0.002)
    there, back = between(result, "a", "b", over="flops"), between(result, "b", "a", over="flops")
    assert there and back
    assert there["factor"] * back["factor"] == pytest.approx(1)
    assert back["interval95"] == pytest.approx([1 / there["interval95"][1], 1 / there["interval95"][0]])
    assert between(result, "a", "c", over="flops") is None


def test_the_page_shows_what_failed_and_loads_nothing():
    result = result_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, noise=0.002)
    result["objectives"]["caption"] = {"learning_rate": None, "templates": ["{}"], "tuning": [], "seeds": {}}
    result["runs"][0]["machine"] = {**result["runs"][0]["machine"], "commit": "other"}
    result["failed"] = {"caption/rate-0.001/seed-0": "exit code 1, see logs/x.txt"}
    result["efficiency"] = factors_of(result["objectives"], floor=0.1)
    page = build_page(result)
    assert "caption/rate-0.001/seed-0 failed" in page and "photos &lt;1&gt;" in page
    assert "not all of one version (seesay, commit, torch: ? ? ?; ? other ?)" in page
    assert "http:" not in page and "https:" not in page and "<script" not in page
    assert "no run of caption is done" in claim_lines(result)[1]


def test_the_page_says_what_class_names_were_put_into():
    page = build_page(result_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, noise=0.002))
    assert "contrastive-bow in &#39;contrastive-bow {}&#39;; bag-of-words in &#39;bag-of-words {}&#39;" in page


def test_objectives_that_predict_words_are_asked_with_the_bare_name_and_all_others_alike(experiment):
    asked = {
        name: ExperimentRun(objective=name, learning_rate=1e-3, seed=0).templates(experiment()) for name in OBJECTIVES
    }
    assert asked["contrastive"] == asked["vse"] == asked["caption"] == ("a photo of a {}.",)
    assert asked["bag-of-words"] == asked["n-grams"] == ("{}",)


def test_runs_are_not_gone_on_with_on_other_pairs_or_another_check_set(tmp_path):
    pairs, labelled = SimpleNamespace(fingerprint="a" * 64), SimpleNamespace(fingerprint="b" * 64)
    refuse_other_data(tmp_path, pairs=pairs, labelled=labelled)
    refuse_other_data(tmp_path, pairs=pairs, labelled=labelled)
    other = SimpleNamespace(fingerprint="c" * 64)
    with pytest.raises(RefusedInput, match="other pairs"):
        refuse_other_data(tmp_path, pairs=other, labelled=labelled)
    with pytest.raises(RefusedInput, match="other check set"):
        refuse_other_data(tmp_path, pairs=pairs, labelled=other)
