"""Rows that may be cut: the loss in float64 by its definition, in chunks, and a model that remembers its widths."""

import math

import pytest
import torch
from steppers import stepper_for

import seesay
from seesay.base.errors import UsageError
from seesay.base.records import Batch, Embedded
from seesay.base.runtime import Runtime
from seesay.base.settings import read_settings
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer, pad
from seesay.model.bundle import Model
from seesay.nets.architecture import Architecture, TextTransformerConfig, VisionTransformerConfig
from seesay.nets.clip import build_clip
from seesay.training.objectives import objective_of
from seesay.training.objectives.base import GlobalBatch
from seesay.training.objectives.matryoshka import Matryoshka
from seesay.training.plan import DataFacts, choose
from seesay.training.process_group import ProcessGroup
from seesay.training.settings import TrainSettings

CAPTIONS = ["a red dog", "two cats and a ball", "the dog runs", "a green ball left of a cat", "grass", "a cat on grass"]
SCALE, BIAS = 7.0, -3.0


def rows(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    row_BD = torch.randn(6, 16, generator=generator, dtype=torch.float64)
    return row_BD / row_BD.norm(dim=1, keepdim=True)


def by_definition(name: str, image_BD: torch.Tensor, text_BD: torch.Tensor) -> float:
    """The loss of one width, number by number."""
    cosines = [[float(u @ v / (u.norm() * v.norm())) for v in text_BD] for u in image_BD]
    count = len(cosines)
    if name == "sigmoid":
        signs = [[1 if i == j else -1 for j in range(count)] for i in range(count)]
        values = [
            math.log1p(math.exp(-signs[i][j] * (SCALE * cosines[i][j] + BIAS)))
            for i in range(count)
            for j in range(count)
        ]
        return sum(values) / count
    columns = [list(column) for column in zip(*cosines, strict=True)]
    losses = [
        math.log(sum(math.exp(SCALE * x) for x in row)) - SCALE * row[i]
        for table in (cosines, columns)
        for i, row in enumerate(table)
    ]
    return sum(losses) / (2 * count)


@pytest.mark.parametrize("name", ["contrastive", "contrastive-bow", "sigmoid"])
def test_the_loss_is_the_mean_over_widths_of_the_objectives_own(name: str):
    image_BD, text_BD = rows(0), rows(1)
    outputs = Embedded(
        image_BD=image_BD,
        text_BD=text_BD,
        scale=torch.tensor(SCALE, dtype=torch.float64),
        bias=torch.tensor(BIAS, dtype=torch.float64) if name == "sigmoid" else None,
    )
    batch = GlobalBatch(processes=ProcessGroup(Runtime(device="cpu", cores=1)), rows=[6])  # type: ignore[arg-type]
    expected = [by_definition(name, image_BD[:, :width], text_BD[:, :width]) for width in (2, 5, 16)]
    assert float(objective_of(name, [5, 2]).loss(outputs, batch)) == pytest.approx(sum(expected) / 3, rel=1e-12)
    # The whole width is one of them, whether it is named or not.
    assert float(objective_of(name, [16, 5, 2]).loss(outputs, batch)) == pytest.approx(sum(expected) / 3, rel=1e-12)
    alone = objective_of(name).loss(outputs, batch)
    assert torch.equal(objective_of(name, [16]).loss(outputs, batch), alone)


class Doubled(Preprocess):
    """Pixels in float64, so that what is left of a difference is not rounding."""

    def normalise(self, pixels_B3SS):
        return super().normalise(pixels_B3SS).double()


def clip_and_batch(name: str):
    tokenizer = CaptionTokenizer.train(CAPTIONS, vocab_size=530, context=16)
    image = VisionTransformerConfig(image_size=16, patch=8, width=16, layers=1, heads=2)
    text = TextTransformerConfig(width=16, layers=1, heads=2, context=16, vocab_size=tokenizer.vocab_size)
    objective = objective_of(name, [4, 8])
    architecture = objective.architecture(Architecture(embed_dim=16, image=image, text=text, widths=(4, 8)))
    generator = torch.Generator().manual_seed(3)
    batch = Batch(
        pixels_B3SS=torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator),
        tokens=pad(tokenizer(CAPTIONS)),
        sample_B=torch.arange(6),
        image_id_B=torch.arange(6),
        caption_id_B=torch.arange(6),
    )
    return build_clip(architecture, seed=0), objective, architecture, tokenizer, batch


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "convirt", "vse"])
def test_a_batch_in_chunks_has_the_gradients_of_the_whole(name: str):
    found = []
    for micro_batch in (None, 4, 1):
        clip, objective, _, _, batch = clip_and_batch(name)
        objective.set_up(clip)
        stepper = stepper_for(clip.double(), objective, micro_batch=micro_batch, preprocess=Doubled(size=16))
        value, _ = stepper.gradients(batch, [6], step=3, done=1.0)
        found.append((value, {key: p.grad for key, p in clip.named_parameters() if p.grad is not None}))
    for value, gradients in found[1:]:
        assert value == pytest.approx(found[0][0], rel=1e-6)
        for key, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[0][1][key], rtol=1e-9, atol=1e-12)


def test_all_else_is_the_objectives_own():
    inner, outer = objective_of("convirt"), objective_of("convirt", [4])
    assert isinstance(outer, Matryoshka)
    for name in ("name", "crops", "captions", "templates", "overfit_tolerance", "is_sum_over_pairs"):
        assert getattr(outer, name) == getattr(inner, name)
    assert outer.chance_loss(8, 100) == inner.chance_loss(8, 100)


# The model


@pytest.fixture
def model() -> Model:
    clip, _, architecture, tokenizer, _ = clip_and_batch("contrastive")
    return Model(clip, architecture, tokenizer, preprocess=Preprocess(size=16))


def test_a_model_remembers_its_widths_and_others_are_written_as_before(model: Model, tmp_path):
    model.save(tmp_path / "cut")
    assert seesay.load(tmp_path / "cut").architecture.widths == (4, 8)
    assert "widths" not in model.architecture.model_copy(update={"widths": None}).model_dump()


def test_rows_are_cut_and_of_unit_length(model: Model, paint, tmp_path):
    image = paint(tmp_path / "a.png", "red")
    whole_ND, cut_ND = model.encode_images([image]), model.encode_images([image], width=4)
    assert model.encode_images([], width=4).shape == (0, 4)
    expected_ND = whole_ND[:, :4] / whole_ND[:, :4].norm(dim=1, keepdim=True)
    torch.testing.assert_close(cut_ND, expected_ND)
    assert model.encode_texts(["a cat", "a dog"], width=8).shape == (2, 8) and model.encode_texts(
        [], width=8
    ).shape == (0, 8)
    narrow = model.with_width(4)
    assert torch.equal(narrow.encode_images([image]), cut_ND)
    # A class's prompts are cut before their mean is taken.
    mean_D = narrow.encode_texts(["a cat", "the cat"]).mean(0)
    weights_CD = narrow.classifier(["cat"], ["a {}", "the {}"]).weights  # type: ignore[attr-defined]
    torch.testing.assert_close(weights_CD[0], mean_D / mean_D.norm())
    assert narrow.with_width(None).encode_texts(["a cat"]).shape == (1, 16)


def test_what_would_lose_the_cut_or_mix_widths_is_refused(model: Model, tmp_path):
    narrow = model.with_width(4)
    assert repr(narrow).endswith(", rows cut to 4>") and "cut" not in repr(model)
    for verb, use in (
        ("save", lambda: narrow.save(tmp_path / "cut")),
        ("convert", lambda: seesay.convert(narrow, tmp_path / "cut", to="seesay")),
    ):
        with pytest.raises(UsageError, match=rf"unnamed has rows cut to width 4; {verb} with_width\(None\) of it"):
            use()
    assert not (tmp_path / "cut").exists()
    model.with_width(16).save(tmp_path / "whole")
    classifier = model.classifier(["cat", "dog"])
    with pytest.raises(UsageError, match="rows of images have 4 numbers and those of the classes 16; make both with"):
        classifier.probabilities(narrow.encode_texts(["a cat"]))


@pytest.mark.journey
def test_cached_rows_serve_every_width(model: Model, paint, tmp_path, monkeypatch):
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    for name, colour in (("cat", "red"), ("dog", "blue")):
        for number in range(2):
            paint(tmp_path / "set" / name / f"{number}.png", colour)
    with_cache = [seesay.evaluate(model, tmp_path / "set", width=width).rows() for width in (4, 8, 4, None)]
    assert len(list((tmp_path / "cache" / "images").iterdir())) == 1
    monkeypatch.setenv("SEESAY_CACHE", "off")
    assert [seesay.evaluate(model, tmp_path / "set", width=width).rows() for width in (4, 8, 4, None)] == with_cache


def test_a_width_that_was_not_trained_is_warned_of(model: Model):
    with pytest.warns(UserWarning, match="unnamed was trained for widths 4, 8; rows cut to 5 answer worse"):
        model.with_width(5)
    plain = seesay.load("box")
    with pytest.warns(UserWarning, match=r"its whole width alone \(--set objective.widths\)"):
        plain.with_width(64)
    assert plain.with_width(256).width == 256


def test_what_cannot_be_cut_is_refused_in_one_line(model: Model, predictor):
    for width in (17, 0):
        with pytest.raises(UsageError, match=f"width is {width}, and a row of unnamed has 16 numbers; give 1 to 16"):
            model.encode_texts(["a cat"], width=width)
    for width in (4.0, "4", True):
        with pytest.raises(UsageError, match=f"width is {width!r}; give a whole number of 1 to 16"):
            model.encode_texts(["a cat"], width=width)
    with pytest.raises(UsageError, match="predicts captions, and has no rows that could be cut to width 4"):
        predictor("bag-of-words").with_width(4)
    with pytest.raises(UsageError, match=r"objective caption predicts captions, and has no rows of widths \[4\]"):
        objective_of("caption", [4])


# Settings


def test_the_setting_may_be_called_by_the_objective():
    for name in ("objective.widths", "widths"):
        settings = read_settings(TrainSettings, file=None, base={"objective": "sigmoid"}, overrides=[f"{name}=[8, 4]"])
        assert settings.widths == (8, 4) and settings.objective == "sigmoid"


def test_widths_beyond_the_rows_are_refused_before_the_run(coloured_pairs, tmp_path):
    with pytest.raises(UsageError, match="widths has 512, but rows have 128 numbers; give at most so many"):
        seesay.train(coloured_pairs(), out=tmp_path / "run", model="conv-tiny", steps=1, widths=[64, 512])


@pytest.mark.parametrize(("given", "width"), [(16, 64), (256, 192)])
def test_widths_are_those_of_the_rows_also_where_a_tower_brings_its_own(given: int, width: int):
    """conv-tiny has rows of 128 numbers; the tower that takes the place of its own has fewer, or more."""
    settings = TrainSettings(widths=(width,), model="conv-tiny", batch_size=8, steps=1)
    facts = DataFacts(pairs=20, captions=20, median_side=32, device="cpu", cores=1)

    def towers(base: Architecture) -> Architecture:
        return Architecture(**{**base.model_dump(), "embed_dim": given})

    if given < width:
        with pytest.raises(UsageError, match="widths has 64, but rows have 16 numbers; give at most so many"):
            choose(settings, facts, towers=towers)
    else:
        found = choose(settings, facts, towers=towers).architecture
        assert (found.embed_dim, found.widths) == (256, (192,))


@pytest.mark.journey
def test_a_run_learns_rows_of_every_width(coloured_pairs, tmp_path):
    model = seesay.train(
        coloured_pairs(), out=tmp_path / "run", model="conv-tiny", steps=4, batch_size=8, widths=[16, 64]
    )
    assert model.architecture.widths == (16, 64)
    assert seesay.open_run(tmp_path / "run").settings.widths == (16, 64)
    assert seesay.load(tmp_path / "run" / "model").encode_texts(["a red square"], width=16).shape == (1, 16)
