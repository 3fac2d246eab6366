"""The doors with a real, if untrained, model folder: nothing stands in for anything."""

import json
from pathlib import Path

import pytest

from seesay.cli.main import main
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.nets.architecture import Architecture, BagOfWordsConfig, ConvNetConfig
from seesay.nets.clip import build_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = CaptionTokenizer.train(["a photo of a red and a blue thing"] * 4, vocab_size=520, context=16)
    architecture = Architecture(
        embed_dim=8,
        image=ConvNetConfig(image_size=16, width=8, depths=(1,)),
        text=BagOfWordsConfig(context=tokenizer.context, vocab_size=tokenizer.vocab_size, width=8),
    )
    clip = build_clip(architecture, seed=0)
    Model(clip, architecture, tokenizer, preprocess=Preprocess(size=16), name="untrained").save(tmp_path / "model")
    return tmp_path / "model"


def test_the_command_says_what_the_model_says(folder: Path, tmp_path: Path, paint, capfd):
    photos = [paint(tmp_path / "photos" / f"{colour}.png", colour) for colour in ("blue", "red")]
    words = ["classify", str(tmp_path / "photos"), "red", "blue", "a thing", "--model", str(folder), "--format", "json"]
    assert main(words) == 0
    rows = json.loads(capfd.readouterr().out)
    for row, ranking in zip(rows, load(folder).classify(photos, ["red", "blue", "a thing"]), strict=True):
        assert [label["label"] for label in row["labels"]] == list(ranking.labels)
        assert [label["probability"] for label in row["labels"]] == pytest.approx(ranking.probabilities, abs=1e-5)


def test_a_model_folder_is_measured_on_both_kinds_of_set(folder: Path, tmp_path: Path, paint, capfd):
    for colour in ("red", "blue"):
        paint(tmp_path / "labelled" / colour / "1.png", colour)
        paint(tmp_path / "captioned" / f"{colour}.png", colour)
        (tmp_path / "captioned" / f"{colour}.txt").write_text(f"something {colour}")
    scores = tmp_path / "scores.json"
    sets = [str(tmp_path / "labelled"), str(tmp_path / "captioned")]
    assert main(["evaluate", str(folder), *sets, "--json", str(scores)]) == 0
    results = json.loads(scores.read_text())
    assert [(result["task"], result["n"], result["model"]) for result in results] == [
        ("zero-shot", 2, "untrained"),
        ("retrieval", 2, "untrained"),
    ]
    assert "zero-shot" in capfd.readouterr().out
