"""The line that sends few pairs of photos to a trained model: where it is due, and what it says to type."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seesay
from seesay.training.settings import TrainSettings
from seesay.training.start import finetuning_advice


def advice(*, pairs=2000, median_side=96, sources=("photos",), out="runs/photos", **settings) -> str:
    chosen = TrainSettings(**settings)
    return finetuning_advice(chosen, pairs=pairs, median_side=median_side, sources=sources, out=Path(out))


def test_few_photos_are_sent_to_a_trained_model_with_the_command_to_type():
    assert advice().startswith("2,000 pairs teach little from nothing: 2,000 of photos came to ")
    assert advice().endswith("to start from that: `seesay finetune box photos --out runs/photos-finetuned`")
    assert "\n" not in advice() and advice(pairs=600).endswith("-finetuned` (so few need --val and --guard as well)")
    words = advice(sources=["my photos", "b.csv"], out="runs/my photos")
    assert words.endswith("`seesay finetune box 'my photos' b.csv --out 'runs/my photos-finetuned'`")
    assert "finetune box PAIRS --out" in advice(sources=[("image", "caption")])
    assert "finetune box PAIRS --out" in advice(sources=list("abcd"))


@pytest.mark.parametrize(
    "run",
    [
        {"pairs": 100_000},
        {"median_side": 28},
        {"model": "conv-tiny"},
        {"objective": "caption"},
        {"image_tower": "box"},
        {"text_tower": "box"},
    ],
    ids=str,
)
def test_where_it_is_not_due_nothing_is_said(run):
    assert advice(**run) == ""


def test_what_the_untouched_box_has_is_what_its_card_says():
    facts = json.loads((Path(seesay.__file__).parent / "model/box/model.json").read_text())["facts"]
    (score,) = (each["top1"] for each in facts["evaluation"] if each["set"] == "eval-cifar10")
    assert f"where the model in the box has {100 * score:.1f} % untouched" in advice()


@pytest.mark.journey
def test_a_run_says_it_once_when_it_begins_and_doctor_as_its_last_line(tmp_path: Path, capfd):
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(12):
        pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"photo {number} of noise\n")
    for steps in (1, 2):
        seesay.train(folder, out=tmp_path / "run", steps=steps, batch_size=4, workers=0)
    said = capfd.readouterr().err
    assert said.count("advice     12 pairs teach little from nothing") == 1
    assert f"seesay finetune box {folder} --out {tmp_path / 'run'}-finetuned" in said
    last = seesay.doctor(folder, out=tmp_path / "other", steps=1, batch_size=4, workers=0, seconds=1).findings[-1]
    assert (last.topic, last.level) == ("advice", "ok") and str(folder) in last.message
