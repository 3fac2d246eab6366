"""Which programs read a model is known before it is trained, and what is said is what `convert` does."""

import json

import pytest

from seesay.base.errors import UsageError
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.layouts.programs import export_line, reads, sizes_hint
from seesay.nets.clip import build_clip
from seesay.nets.presets import PRESETS, preset
from seesay.training.objectives import objective_of

LAYOUTS = {"transformers": "hf", "open_clip": "open_clip"}


def architecture_of(size: str, objective: str):
    return objective_of(objective).architecture(preset(size))


@pytest.mark.parametrize("program", LAYOUTS)
@pytest.mark.parametrize(
    ("size", "objective"),
    [
        ("vit-small", "contrastive"),
        ("vit-small", "contrastive-bow"),
        ("vit-small", "sigmoid"),
        ("vit-small", "convirt"),
        ("vit-small", "vse"),
        ("conv-tiny", "contrastive-bow"),
        ("conv-small-transformer", "contrastive"),
        ("conv-tiny", "bag-of-words"),
    ],
)
def test_what_the_plan_says_is_what_saving_does(program, size, objective, tmp_path):
    tokenizer = CaptionTokenizer.train(["a red square"], vocab_size=514, context=48)
    planned = architecture_of(size, objective)
    text = planned.text.model_copy(update={"vocab_size": tokenizer.vocab_size, "context": tokenizer.context})
    architecture = planned.model_copy(update={"text": text})
    clip = build_clip(architecture, seed=0)
    model = Model(clip, architecture, tokenizer, preprocess=Preprocess(size=architecture.image.image_size))
    if reads(program, planned):
        model.save(tmp_path / "model", layout=LAYOUTS[program])  # type: ignore[arg-type]
        assert any(
            "config" in path.name and json.loads(path.read_text()) for path in (tmp_path / "model").glob("*.json")
        )
    else:
        with pytest.raises(UsageError, match="layout seesay"):
            model.save(tmp_path / "model", layout=LAYOUTS[program])  # type: ignore[arg-type]


def test_the_hint_names_every_size_that_the_program_reads():
    assert sizes_hint("transformers").startswith("vit-small, ViT-B/32") and "RN50" not in sizes_hint("transformers")
    assert "RN50x64" in sizes_hint("open_clip") and "conv" not in sizes_hint("open_clip")


def test_the_line_of_the_plan_says_who_reads_the_model():
    assert export_line(PRESETS["vit-small"]) == "transformers and open_clip read it after `seesay convert`"
    assert export_line(PRESETS["RN50"]).startswith(
        "open_clip reads it after `seesay convert`; for transformers, vit-small"
    )
    assert export_line(PRESETS["conv-tiny"]).startswith("seesay alone reads this model; for transformers, vit-small")


def test_a_refusal_to_save_names_the_sizes_that_can_go(tmp_path):
    tokenizer = CaptionTokenizer.train(["a red square"], vocab_size=514, context=48)
    text = preset("conv-tiny").text.model_copy(update={"vocab_size": tokenizer.vocab_size})
    architecture = preset("conv-tiny").model_copy(update={"text": text})
    model = Model(build_clip(architecture, seed=0), architecture, tokenizer, preprocess=Preprocess(size=32))
    for layout, name in (("hf", "vit-small, ViT-B/32"), ("open_clip", "vit-small, RN50")):
        with pytest.raises(UsageError, match=rf"layout seesay \({name}.*can go there"):
            model.save(tmp_path / "model", layout=layout)  # type: ignore[arg-type]
