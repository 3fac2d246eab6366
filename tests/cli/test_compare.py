"""The door of `seesay compare`."""

import pytest

RECIPE = 'objectives = ["contrastive"]\nimages = 8\nlearning_rates = [1e-3]\n'


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_what_is_missing_is_asked_for_before_anything_is_written(seesay, recipe, tmp_path):
    out = tmp_path / "out"
    for words, told in (
        ([], "--pairs"),
        (["--pairs", "x"], "--check"),
        (["--pairs", "x", "--check", "y", "--set", "image=9"], "Nearest: images"),
        (["--pairs", "x", "--check", "y", "--jobs", "0"], "--jobs is 0"),
        (["--pairs", "x", "--check", "y", "--json", str(tmp_path)], "is a folder"),
        (["--pairs", "x", "--check", "y", "--set", "train.modle=a"], "Nearest: model"),
    ):
        code, _, error = seesay("compare", recipe, "--out", out, *words)
        assert (code, error.count("\n")) == (2, 1) and told in error
    assert not out.exists()


def test_the_factors_are_told_on_standard_output(seesay, recipe, monkeypatch, tmp_path):
    found = {"fast": "a", "slow": "b", "over": "images", "factor": 2.0, "interval95": [1.5, 2.5], "reason": ""}
    asked = {}

    def compare(recipe, **given):
        asked.update(given)
        return {"efficiency": [found]}

    monkeypatch.setattr("seesay.experiments.compare.compare", compare)
    code, told, _ = seesay(
        "compare", recipe, "--out", "o", "--pairs", "p", "--pairs", "q", "--check", "c", "--jobs", "2"
    )
    assert code == 0 and "b needs so many times the images of a: 2.00 [1.50, 2.50]" in told
    assert (asked["pairs"], asked["check"], asked["jobs"]) == (["p", "q"], "c", 2)
