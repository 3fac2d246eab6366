"""What holds for each of them: a whole model, every gradient, pieces that add up, and a file that comes back."""

import functools
import math
import re

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from steppers import stepper_for

from seesay.base.errors import UsageError
from seesay.base.records import Batch
from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.data.pairs import open_pairs
from seesay.data.tokenizer import CaptionTokenizer, pad
from seesay.evaluation.entries import Request, measure_entry
from seesay.evaluation.report import build_page
from seesay.evaluation.suite import Question
from seesay.model.bundle import Model
from seesay.model.convert import convert
from seesay.model.hub import load
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import CaptionPredictor, build_clip
from seesay.tasks.few_shot import open_labelled, probe_sets
from seesay.training.objectives import OBJECTIVES, objective_of
from seesay.training.objectives.base import GlobalBatch, Objective
from seesay.training.process_group import ProcessGroup
from seesay.training.validation import Validation

HEADINGS = ("What", "Source", "Formula", "Inputs", "Settings", "Zero-shot", "Differences")
CAPTIONS = [
    "a red dog on green grass.",
    "two cats and a small red ball.",
    "the dog runs. it is fast.",
    "a green ball left of a cat",
    "grass",
    "a dog and a cat on the grass.",
] * 2
TOKENIZER = CaptionTokenizer.train(CAPTIONS, vocab_size=530, context=16)
IMAGES = {
    "conv": ConvNetConfig(image_size=16, width=8, depths=(1, 1)),
    "vit": VisionTransformerConfig(image_size=16, patch=8, width=16, layers=1, heads=2),
    "resnet": ResNetConfig(image_size=32, width=8, layers=(1, 1, 1, 1), heads=4),
}
TEXTS = {
    "transformer": TextTransformerConfig(width=16, layers=1, heads=2, context=16, vocab_size=TOKENIZER.vocab_size),
    "bag-of-words": BagOfWordsConfig(width=16, context=16, vocab_size=TOKENIZER.vocab_size),
}
PROJECTIONS = ("projection", "pool.out.weight", "pool.out.bias")
every_objective = pytest.mark.parametrize("name", list(OBJECTIVES))


class Doubled(Preprocess):
    """Pixels in float64, so that what is left of a difference is not rounding."""

    def normalise(self, pixels_B3SS):
        return super().normalise(pixels_B3SS).double()


def clip_of(name: str, *, image="vit", text="transformer"):
    objective = objective_of(name)
    base = Architecture(embed_dim=16, image=IMAGES[image], text=TEXTS[text])
    clip = build_clip(objective.architecture(base), seed=0)
    objective.set_up(clip)
    if isinstance(clip, CaptionPredictor) and clip.head.needs_vocabulary:
        spelling = [TOKENIZER.decode([index]) for index in range(TOKENIZER.vocab_size)]
        clip.head.fit_vocabulary(TOKENIZER(CAPTIONS), spelling)
    return clip, objective.architecture(base)


def batch(side=16) -> Batch:
    generator = torch.Generator().manual_seed(3)
    rows = len(CAPTIONS)
    return Batch(
        pixels_B3SS=torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8, generator=generator),
        tokens=pad(TOKENIZER(CAPTIONS)),
        sample_B=torch.arange(rows),
        image_id_B=torch.arange(rows),
        caption_id_B=torch.arange(rows) % 6,
    )


def gradients(clip, name, *, micro_batch=None, side=16, done=1.0):
    stepper = stepper_for(clip, name, micro_batch=micro_batch, preprocess=Doubled(size=side), share_repeats=True)
    clip.zero_grad()
    value, _ = stepper.gradients(batch(side), [len(CAPTIONS)], step=3, done=done)
    return value, {key: p.grad for key, p in clip.named_parameters() if p.requires_grad}


@functools.cache
def whole_gradients(name):
    """Those of the whole batch at once, on weights of their own."""
    return gradients(clip_of(name)[0].double().train(), name)


@every_objective
def test_the_docstring_has_every_heading_in_order(name):
    text = __import__(type(objective_of(name)).__module__, fromlist=["x"]).__doc__ or ""
    assert tuple(re.findall(r"^([A-Z][a-z-]+): ", text, flags=re.MULTILINE)) == HEADINGS


@every_objective
@pytest.mark.parametrize("image", ["conv", "vit", pytest.param("resnet", marks=pytest.mark.journey)])
@pytest.mark.parametrize("text", list(TEXTS))
def test_every_weight_that_is_learned_has_a_gradient(name, image, text):
    clip, _ = clip_of(name, image=image, text=text)
    value, found = gradients(clip.double().train(), name, side=32 if image == "resnet" else 16)
    assert 0 < value < 100
    assert not [key for key, gradient in found.items() if gradient is None or not gradient.isfinite().all()]
    # The paper's ResNets begin as the identity: what stands before a scale of 0 gets a gradient of 0 at first.
    assert sum(bool(gradient.any()) for gradient in found.values()) > 0.5 * len(found)


@every_objective
@pytest.mark.parametrize("micro_batch", [pytest.param(1, marks=pytest.mark.journey), 4, 5])
def test_pieces_of_a_batch_have_the_gradients_of_the_whole(name, micro_batch):
    wanted_value, wanted = whole_gradients(name)
    value, found = gradients(clip_of(name)[0].double().train(), name, micro_batch=micro_batch)
    assert value == pytest.approx(wanted_value, rel=1e-9)
    for key, gradient in wanted.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-7, atol=1e-10, msg=key)


@every_objective
def test_a_model_answers_and_comes_back_from_its_file_with_the_same_answers(name, tmp_path):
    clip, architecture = clip_of(name, image="conv")
    preprocess = Preprocess(size=16)
    model = Model(clip, architecture, TOKENIZER, preprocess=preprocess, templates=("a {} on grass.", "{}"), name="m")
    labels = ["dog", "cat", "red ball"]
    pixels = batch().pixels_B3SS
    told = model.classifier(labels).probabilities(model.encode_pixels(pixels))
    assert told.shape == (len(CAPTIONS), 3)
    assert told.isfinite().all()
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    torch.testing.assert_close(again.classifier(labels).probabilities(again.encode_pixels(pixels)), told)
    assert again.architecture == architecture


@every_objective
def test_its_image_tower_is_probed_beside_its_own_answers(name, tmp_path):
    clip, architecture = clip_of(name, image="conv")
    model = Model(clip, architecture, TOKENIZER, preprocess=Preprocess(size=16), templates=("{}",), name="m")
    for part in ("train", "test"):
        for label, colour in (("dog", (250, 10, 10)), ("cat", (10, 10, 250))):
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (16, 16), tuple(c + number for c in colour)).save(
                    tmp_path / part / label / f"{number}.png"
                )
    found = probe_sets(model, open_labelled(tmp_path / "train"), open_labelled(tmp_path / "test"), penalty=1e-3)
    assert found.score.value == 1.0
    images = [tmp_path / "test" / label / f"{number}.png" for label in ("cat", "dog") for number in range(3)]
    guess_N = model.classifier(["cat", "dog"]).predict_proba(images).argmax(1)
    assert found.zero_shot.value == pytest.approx(float((guess_N == torch.tensor([0, 0, 0, 1, 1, 1])).float().mean()))


@pytest.mark.journey
@every_objective
def test_it_is_converted_and_evaluated_with_a_report(name, tmp_path):
    clip, architecture = clip_of(name, image="conv")
    templates = objective_of(name).templates or ("{}",)
    model = Model(clip, architecture, TOKENIZER, preprocess=Preprocess(size=16), templates=templates, name="m")
    proof = convert(model, tmp_path / "converted", to="seesay")
    assert (proof.images, proof.texts) == (0, 0)
    for label, colour in (("dog", (250, 10, 10)), ("cat", (10, 10, 250))):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (16, 16), colour).save(tmp_path / "set" / label / f"{number}.png")
    entry = measure_entry(
        "m", load(tmp_path / "converted"), str(tmp_path / "set"), Request(question=Question(), prompts=True)
    )
    assert (entry.spread is None) == isinstance(clip, CaptionPredictor)
    page = build_page([entry], comparisons=[], shifts=[], baseline=None, facts={})
    assert "<h2>Scores</h2>" in page


@every_objective
@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_what_other_programs_have_no_name_for_is_not_written_for_them(name, layout, tmp_path):
    clip, architecture = clip_of(name)
    model = Model(clip, architecture, TOKENIZER, preprocess=Preprocess(size=16), name="m")
    is_clips = not isinstance(clip, CaptionPredictor) and architecture.projection == "linear"
    # open_clip has a place for the bias of sigmoid scoring, transformers' CLIP has none.
    is_scored = architecture.scoring == "softmax" or layout == "open_clip"
    if is_clips and architecture.text.kind == "transformer" and is_scored:
        model.save(tmp_path / "m", layout)
    else:
        with pytest.raises(UsageError) as told:
            model.save(tmp_path / "m", layout)
        assert "\n" not in str(told.value)


@every_objective
def test_a_step_in_bfloat16_is_close_to_one_in_float32(name):
    clip, _ = clip_of(name)
    values = []
    for in_bfloat16 in (False, True):
        stepper = stepper_for(clip.train(), name, in_bfloat16=in_bfloat16)
        values.append(stepper.gradients(batch(), [len(CAPTIONS)], step=3)[0])
    assert values[1] == pytest.approx(values[0], rel=0.05)


def test_the_registry_holds_each_under_its_own_name_and_names_the_nearest():
    assert all(isinstance(objective, Objective) and name == objective.name for name, objective in OBJECTIVES.items())
    with pytest.raises(UsageError, match="contrastive"):
        objective_of("contrastve")


@pytest.mark.parametrize("image", list(IMAGES))
def test_every_objective_starts_from_the_same_image_tower_but_for_its_projection(image):
    base = Architecture(embed_dim=16, image=IMAGES[image], text=TEXTS["transformer"])
    needed = [each.architecture(base) for each in OBJECTIVES.values()]
    # One of each width is enough.
    needed = list({each.embed_dim: each for each in needed}.values())
    starts = [build_clip(each, seed=0).image_tower.state_dict() for each in needed]
    assert len({start[key].shape for start in starts for key in start if key in PROJECTIONS}) > 1
    for start in starts:
        assert start.keys() == starts[0].keys()
        assert all(torch.equal(start[key], starts[0][key]) for key in start if key not in PROJECTIONS)


def test_guessing_among_all_words_is_what_an_untrained_model_does():
    for name in ("bag-of-words", "caption", "bicaption"):
        clip, _ = clip_of(name)
        value, _ = gradients(clip.double().train(), name)
        assert objective_of(name).chance_loss(len(CAPTIONS), TOKENIZER.vocab_size) == pytest.approx(value, rel=0.1)


def test_the_floor_is_what_is_left_for_a_model_that_knows_every_caption():
    found = {name: objective_of(name).minimum_loss(batch()) for name in OBJECTIVES}
    sizes = [len(set(ids[1:-1])) for ids in TOKENIZER(CAPTIONS)]
    assert found["bag-of-words"] == pytest.approx(sum(map(math.log, sizes)) / len(sizes))
    # Every caption is there twice.
    assert found["contrastive"] == found["convirt"] == pytest.approx(math.log(2))
    assert {found[name] for name in ("caption", "bicaption", "sigmoid", "vse", "masked-caption")} == {0.0}


def test_vse_takes_sums_in_the_first_half_of_the_run_and_maxima_from_then_on():
    clip, _ = clip_of("vse")
    values, processes = [], ProcessGroup(Runtime(device="cpu", cores=1))
    for done in (0.0, 0.49, 0.5):
        assert objective_of("vse").is_final_form(GlobalBatch(processes=processes, rows=[2], done=done)) == (done == 0.5)
        values.append(gradients(clip.double(), "vse", done=done)[0])
    assert values[2] < values[1] == values[0]


def held_out(folder):
    for number, caption in enumerate(CAPTIONS[:6]):
        Image.new("RGB", (16, 16), (40 * number, 99, 250 - 40 * number)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return open_pairs([folder])


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "convirt", "vse"])
def test_held_out_pairs_are_judged_by_the_objectives_own_loss(name, tmp_path):
    pairs = held_out(tmp_path)
    clip, architecture = clip_of(name, image="conv")
    model = Model(clip.eval(), architecture, TOKENIZER, preprocess=Preprocess(size=16), name="m")
    found = Validation(model, pairs, batch_size=6, objective=objective_of(name)).measure()
    scale = model.logit_scale
    image_BD = torch.cat([model.encode_images([tmp_path / f"{number}.png"]) for number in range(6)])
    cosine_BB = (image_BD @ model.encode_texts(CAPTIONS[:6]).T).double()
    rows, columns = ((scale * cosine_BB).log_softmax(dim).diag().mean() for dim in (1, 0))
    sign_BB = 2 * torch.eye(6) - 1
    over_BB = (0.2 + cosine_BB - cosine_BB.diag()[:, None]).clamp_min(0).fill_diagonal_(0)
    under_BB = (0.2 + cosine_BB - cosine_BB.diag()).clamp_min(0).fill_diagonal_(0)
    expected = {
        "contrastive": -(rows + columns) / 2,
        "convirt": -(0.75 * rows + 0.25 * columns),
        "sigmoid": -F.logsigmoid(sign_BB * (scale * cosine_BB + (model.logit_bias or 0))).sum() / 6,
        "vse": (over_BB.amax(1) + under_BB.amax(0)).mean(),
    }
    assert found["loss"] == pytest.approx(float(expected[name]), rel=1e-4)
