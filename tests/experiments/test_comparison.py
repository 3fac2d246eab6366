"""What a comparison reports: factors, claims of the paper, rates to doubt, its page, JSON and tables."""

import json
from dataclasses import replace

import numpy as np
import pytest

from seesay.base.errors import UsageError
from seesay.experiments.claims import claim_lines, rate_lines, summary_lines, verdict
from seesay.experiments.comparison import (
    CheckFacts,
    Comparison,
    Factor,
    ObjectiveResult,
    PairsFacts,
    Point,
    RunResult,
    TriedRate,
)
from seesay.experiments.page import build_page
from seesay.experiments.recipe import Experiment
from seesay.experiments.results import factors_of

MACHINE = dict.fromkeys(("seesay", "commit", "python", "torch", "device", "cores", "processor"), "?")


def comparison_of(middles, *, seeds=3, noise=0.0) -> Comparison:
    """Curves that rise to 40 % and are half-way at `middles` images; at None every rate diverged."""
    images, random = 128 * 2 ** np.arange(1, 11), np.random.default_rng(0)
    objectives, runs = {}, []
    for name, middle in middles.items():
        if middle is None:
            tuning = (TriedRate(learning_rate=1e-3, seed=0, diverged_at_step=12),)
            objectives[name] = ObjectiveResult(learning_rate=None, templates=("{}",), tuning=tuning)
            continue
        curves = {}
        for seed in range(seeds):
            share_P = 0.4 / (1 + middle / images) + random.normal(0, noise, len(images))
            curves[seed] = tuple(
                Point(
                    step=int(n) // 128,
                    images=int(n),
                    accuracy=float(share),
                    interval95=(0.1, 0.2),
                    n=100,
                    loss=1.0,
                    seconds=n / 100,
                    flops=int(n) * 10**6,
                )
                for n, share in zip(images, share_P, strict=True)
            )
            run = {"objective": name, "learning_rate": 1e-3, "seed": seed, "folder": f"{name}/{seed}", "data": {}}
            runs.append(RunResult(**run, settings={"seed": seed}, machine=MACHINE, points=curves[seed]))
        tuning = tuple(TriedRate(learning_rate=rate, seed=0, accuracy=0.2, loss=None) for rate in (5e-4, 1e-3, 2e-3))
        objectives[name] = ObjectiveResult(learning_rate=1e-3, templates=(f"{name} {{}}",), tuning=tuning, seeds=curves)
    check = CheckFacts(name="birds", n=100, classes=20, chance=0.05, most_by_chance=0.1, fingerprint="b" * 64)
    return Comparison(
        recipe=Experiment(
            objectives=tuple(middles), images=int(images[-1]), learning_rates=(5e-4, 1e-3, 2e-3), seeds=(0, 1, 2)
        ),
        pairs=PairsFacts(name="photos <1>", pairs=9, fingerprint="a" * 64),
        check=check,
        objectives=objectives,
        efficiency=factors_of(objectives, floor=0.1),
        runs=tuple(runs),
        diverged={f"{name}/rate-0.001/seed-0": 12 for name, middle in middles.items() if middle is None},
        jobs=1,
        machine=MACHINE,
    )


def test_the_papers_claims_are_held_against_the_numbers():
    agrees = comparison_of({"caption": 48_000, "bag-of-words": 16_000, "contrastive-bow": 4000}, noise=0.004)
    lines = claim_lines(agrees)
    assert len(lines) == 2 and all("Agrees" in line for line in lines)
    factor = agrees.factor("contrastive-bow", "bag-of-words", over="images")
    assert factor and factor.interval95
    assert factor.factor == pytest.approx(4, rel=0.2) and factor.interval95[0] < 4 < factor.interval95[1]
    assert agrees.ranked == ["contrastive-bow", "bag-of-words", "caption"]
    (line,) = claim_lines(comparison_of({"contrastive-bow": 8000, "bag-of-words": 8000}, noise=0.01))
    assert "Not shown" in line and "includes 1" in line
    (line,) = claim_lines(comparison_of({"contrastive-bow": 8000, "bag-of-words": 4000}, noise=0.002))
    assert "the other way round" in line
    (line,) = claim_lines(comparison_of({"contrastive-bow": 4000, "bag-of-words": 8000}, noise=0.002))
    assert "in direction only" in line and "smaller" in line
    (line,) = claim_lines(comparison_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, seeds=1))
    assert "Not shown" in line and "one seed" in line


@pytest.mark.parametrize(
    ("interval", "beginning"),
    [
        ((0.9, 1.0), "Not shown here"),
        ((1.0, 4.0), "Not shown here"),
        ((0.8, 0.99), "Here it is the other way round"),
        ((1.01, 3.99), "Agrees in direction only"),
        ((1.01, 4.0), "Agrees: "),
        ((4.0, 5.0), "Agrees: "),
        ((4.01, 5.0), "Agrees in direction only"),
    ],
)
def test_an_interval_that_ends_at_a_value_includes_it(interval, beginning):
    factor = Factor(fast="a", slow="b", over="images", factor=2.0, interval95=interval)
    assert verdict(factor, 4.0).startswith(beginning)


def test_a_factor_is_a_sentence_with_its_interval_or_the_reason_for_none():
    lines = list(summary_lines(comparison_of({"vse": 4000, "convirt": 8000, "caption": None}, noise=0.002)))
    assert lines[0].startswith("convirt needs 1.98") and "times as many images as vse" in lines[0]
    assert "(95 % interval 1.9" in lines[0]
    assert lines[1] == "caption and vse cannot be compared over images: every learning rate of caption diverged."
    (line, *_) = summary_lines(comparison_of({"vse": 4000, "convirt": 8000}, seeds=1))
    assert "(no interval: one seed alone" in line


def test_a_factor_turned_round_is_one_over_it():
    comparison = comparison_of({"a": 4000, "b": 8000}, noise=0.002)
    there, back = (comparison.factor(*names, over="flops") for names in (("a", "b"), ("b", "a")))
    assert there and there.factor and there.interval95 and back and back.factor
    assert there.factor * back.factor == pytest.approx(1)
    assert back.interval95 == pytest.approx((1 / there.interval95[1], 1 / there.interval95[0]))


@pytest.mark.parametrize(
    ("names", "over", "message"),
    [
        (("a", "b"), "typo", "over is 'typo'; it should be one of images, flops, seconds"),
        (("a", "b"), "image", "Nearest: images"),
        (("a", "b"), "FLOPs", "Nearest: flops"),
        (("a", "c"), "flops", "'c' is not in this comparison of a, b"),
        (("xyzzy", "a"), "flops", "'xyzzy' is not in this comparison"),
    ],
)
def test_a_factor_that_there_cannot_be_is_refused(names, over, message):
    comparison = comparison_of({"a": 4000, "b": 8000}, noise=0.002)
    with pytest.raises(UsageError, match=message):
        comparison.factor(*names, over=over)
    if over != "flops":
        with pytest.raises(UsageError, match=message):
            comparison.objectives["a"].curve(over)


@pytest.mark.journey
def test_the_page_shows_what_failed_and_loads_nothing():
    comparison = comparison_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, noise=0.002)
    objectives = {**comparison.objectives, "caption": ObjectiveResult(learning_rate=None, templates=("{}",), tuning=())}
    first, *others = comparison.runs
    comparison = replace(
        comparison,
        objectives=objectives,
        runs=(replace(first, machine={**MACHINE, "commit": "other"}), *others),
        failed={"caption/rate-0.001/seed-0": "exit code 1, see logs/x.txt"},
        efficiency=factors_of(objectives, floor=0.1),
    )
    page = build_page(comparison)
    assert "caption/rate-0.001/seed-0 failed" in page and "photos &lt;1&gt;" in page
    assert "not all of one version (seesay, commit, torch: ? ? ?; ? other ?)" in page
    assert "http:" not in page and "https:" not in page and "<script" not in page
    assert "no run of caption is done" in claim_lines(comparison)[1]


@pytest.mark.journey
def test_the_page_says_which_runs_diverged_and_which_objectives_have_no_runs():
    comparison = comparison_of({"contrastive-bow": 4000, "caption": None})
    page = build_page(comparison)
    assert "Run caption/rate-0.001/seed-0 diverged at step 12:" in page and "<td>diverged at step 12" in page
    assert "caption has no runs: every learning rate diverged." in page
    assert "best rate" not in page
    assert "no objective has runs" in build_page(comparison_of({"caption": None}))


@pytest.mark.journey
def test_a_best_rate_at_the_edge_is_doubted_on_the_page_and_in_the_lines():
    comparison = comparison_of({"vse": 4000, "convirt": 8000, "caption": 9000})
    rates = {"vse": 2e-3, "convirt": 5e-4, "caption": 1e-3}
    objectives = {
        name: replace(objective, learning_rate=rates[name]) for name, objective in comparison.objectives.items()
    }
    comparison = replace(comparison, objectives=objectives)
    high, low = rate_lines(comparison)
    assert high == "vse: the best rate, 0.002, is the highest tried: a higher one may be better."
    assert low == "convirt: the best rate, 0.0005, is the lowest tried: a lower one may be better."
    assert high in build_page(comparison) and {high, low} <= set(summary_lines(comparison))


@pytest.mark.journey
def test_the_page_says_what_class_names_were_put_into():
    page = build_page(comparison_of({"contrastive-bow": 4000, "bag-of-words": 16_000}, noise=0.002))
    assert "contrastive-bow in &#39;contrastive-bow {}&#39;; bag-of-words in &#39;bag-of-words {}&#39;" in page


def test_the_json_has_the_keys_that_it_always_had_and_what_diverged():
    result = json.loads(json.dumps(comparison_of({"vse": 4000, "convirt": 8000, "caption": None}).to_json()))
    assert {"recipe", "data", "objectives", "efficiency", "runs", "failed", "jobs", "machine"} < result.keys()
    assert result["diverged"] == {"caption/rate-0.001/seed-0": 12}
    assert result["data"]["check"]["most_by_guessing"] == 0.1
    (tried,) = result["objectives"]["caption"]["tuning"]
    assert tried == {"learning_rate": 1e-3, "seed": 0, "accuracy": None, "loss": None, "diverged_at_step": 12}
    points = result["objectives"]["vse"]["seeds"]["0"]
    assert points[0].keys() == {"images", "accuracy", "seconds", "flops"}
    assert {"fast", "slow", "over", "factor", "interval95", "range", "reason", "seeds"} < result["efficiency"][0].keys()
    assert result["runs"][0]["points"][0]["interval95"] == [0.1, 0.2]


def test_a_comparison_is_short_in_a_console_and_a_table_in_a_notebook():
    comparison = comparison_of({"vse": 4000, "caption": None}, seeds=2)
    assert repr(comparison) == "<Comparison: vse 38.8 %, caption has no runs; 2 runs, 1 diverged>"
    html = comparison._repr_html_()
    assert "<td>vse</td><td>0.001</td><td>2</td><td>38.8</td><td>38.8 to 38.8</td>" in html
    assert "<td>caption</td><td>every rate diverged</td>" in html


def test_the_points_of_all_runs_are_rows_of_a_table(monkeypatch):
    monkeypatch.setattr("seesay.experiments.comparison.to_pandas", list)
    rows = comparison_of({"vse": 4000, "convirt": 8000}, seeds=2).to_pandas()
    assert len(rows) == 2 * 2 * 10
    assert list(rows[0])[:4] == ["objective", "learning_rate", "seed", "is_chosen_rate"]
    assert all(row["is_chosen_rate"] and (row["low95"], row["high95"]) == (0.1, 0.2) for row in rows)
