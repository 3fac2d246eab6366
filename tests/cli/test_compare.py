"""The command `seesay compare`."""

from types import SimpleNamespace

import pytest

from seesay.experiments.comparison import Factor, ObjectiveResult, TriedRate

RECIPE = 'objectives = ["contrastive"]\nimages = 8\nlearning_rates = [1e-3]\n'


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_what_is_missing_is_named_before_anything_is_written(seesay, recipe, tmp_path):
    out = tmp_path / "out"
    for words, message in (
        ([], "--pairs"),
        (["--pairs", "x"], "--check"),
        (["--pairs", "x", "--check", "y", "--set", "image=9"], "Nearest: images"),
        (["--pairs", "x", "--check", "y", "--jobs", "0"], "jobs is 0"),
        (["--pairs", "x", "--check", "y", "--json", str(tmp_path)], "is a folder"),
        (["--pairs", "x", "--check", "y", "--set", "train.modle=a"], "Nearest: train.model"),
    ):
        code, _, error = seesay("compare", recipe, "--out", out, *words)
        assert (code, error.count("\n")) == (2, 1) and message in error
    assert not out.exists()


def test_the_factors_and_the_rates_to_doubt_are_printed_on_standard_output(seesay, recipe, monkeypatch):
    factor = Factor(fast="a", slow="b", over="images", factor=2.0, interval95=(1.5, 2.5))
    tried = TriedRate(learning_rate=0.1, seed=0, accuracy=0.5)
    objective = ObjectiveResult(learning_rate=0.1, templates=("{}",), tuning=(tried,))
    comparison = SimpleNamespace(
        efficiency=(factor,),
        factor=lambda *names, over: None,
        diverged={"b/rate-1/seed-0": 7},
        objectives={"a": objective},
    )
    calls = []

    def compare(recipe, **arguments):
        calls.append(arguments)
        return comparison

    monkeypatch.setattr("seesay.experiments.compare.compare", compare)
    code, output, _ = seesay(
        "compare", recipe, "--out", "o", "--pairs", "p", "--pairs", "q", "--check", "c", "--jobs", "2"
    )
    assert code == 0
    assert "b needs 2.00 times as many images as a for the same accuracy (95 % interval 1.50 to 2.50)." in output
    assert "Run b/rate-1/seed-0 diverged at step 7:" in output
    assert "a: the best rate, 0.1, is the only one tried: another may be better." in output
    assert (calls[0]["pairs"], calls[0]["check"], calls[0]["jobs"]) == (["p", "q"], "c", 2)


def test_words_that_are_neither_a_recipe_nor_two_runs_are_refused(seesay, recipe, tmp_path):
    runs = [tmp_path / name for name in "abc"]
    for run in runs:
        run.mkdir()
    for words, message in (
        (runs[:1], "1 is no number of runs to compare; name two"),
        (runs, "3 is no number of runs to compare"),
        (runs[:2], "is no run folder"),
        ([recipe, runs[0], "--out", tmp_path / "out"], "is no run folder"),
        ([*runs[:2], "--jobs", "2"], "are for a recipe"),
        ([*runs[:2], "--pairs", "x"], "are for a recipe"),
        ([recipe, "--pairs", "x", "--check", "y"], "--out is missing"),
    ):
        code, _, error = seesay("compare", *words)
        assert (code, error.count("\n")) == (2, 1) and message in error


@pytest.mark.journey
def test_two_runs_are_printed_side_by_side(seesay, coloured_pairs, tmp_path):
    import seesay as package

    for name, steps in (("a", 2), ("b", 3)):
        package.train(coloured_pairs(name=f"pairs-{name}"), out=tmp_path / name, model="conv-tiny", steps=steps)
    code, output, error = seesay("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both")
    assert code == 0 and "setting   a   b" in output and "No score is tested: --check SET" in output
    assert error.endswith(f"page: {tmp_path}/both/page.html   numbers: {tmp_path}/both/result.json\n")
