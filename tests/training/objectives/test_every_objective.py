"""What holds for each of them: a whole model, every gradient, pieces that add up, and a file that comes back."""

import re

import pytest
import torch
from PIL import Image

from seesay.base.errors import UsageError
from seesay.base.records import Batch
from seesay.base.runtime import Runtime
from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer, pad
from seesay.model.bundle import Model
from seesay.model.hub import load
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    ResNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)
from seesay.nets.clip import Predictor, build_clip
from seesay.tasks.few_shot import open_labelled, probe_sets
from seesay.training.distributed import Peers
from seesay.training.guards import RunningStatistics
from seesay.training.objectives import OBJECTIVES, objective_of
from seesay.training.objectives.face import Objective
from seesay.training.spread import Spread
from seesay.training.step import Stepper

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
    if isinstance(clip, Predictor) and clip.head.wants_words:
        spelling = [TOKENIZER.decode([index]) for index in range(TOKENIZER.vocab_size)]
        clip.head.learn_words(TOKENIZER(CAPTIONS), spelling)
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


def gradients(clip, name, *, micro_batch=None, side=16, visits=2.0):
    peers = Peers(Runtime(device="cpu", cores=1))
    stepper = Stepper(
        spread=Spread(clip=clip, forward=clip, peers=peers),
        peers=peers,
        preprocess=Doubled(size=side),
        objective=objective_of(name),
        statistics=RunningStatistics(clip),
        seed=1,
        micro_batch=micro_batch,
        share_repeats=True,
    )
    clip.zero_grad()
    value, _ = stepper.gradients(batch(side), [len(CAPTIONS)], step=3, visits=visits)
    return value, {key: p.grad for key, p in clip.named_parameters() if p.requires_grad}


@every_objective
def test_the_docstring_has_every_heading_in_order(name):
    text = __import__(type(objective_of(name)).__module__, fromlist=["x"]).__doc__ or ""
    assert tuple(re.findall(r"^([A-Z][a-z-]+): ", text, flags=re.MULTILINE)) == HEADINGS


@every_objective
@pytest.mark.parametrize("image", list(IMAGES))
@pytest.mark.parametrize("text", list(TEXTS))
def test_every_weight_that_is_learned_has_a_gradient(name, image, text):
    clip, _ = clip_of(name, image=image, text=text)
    value, found = gradients(clip.double().train(), name, side=32 if image == "resnet" else 16)
    assert 0 < value < 100
    assert not [key for key, gradient in found.items() if gradient is None or not gradient.isfinite().all()]
    # The paper's ResNets begin as the identity: what stands before a scale of 0 gets a gradient of 0 at first.
    assert sum(bool(gradient.any()) for gradient in found.values()) > 0.5 * len(found)


@every_objective
@pytest.mark.parametrize("micro_batch", [1, 4, 5])
def test_pieces_of_a_batch_have_the_gradients_of_the_whole(name, micro_batch):
    clip, _ = clip_of(name)
    wanted_value, wanted = gradients(clip.double().train(), name)
    wanted = {key: gradient.clone() for key, gradient in wanted.items()}
    value, found = gradients(clip, name, micro_batch=micro_batch)
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
    assert found["score"] == 1.0
    images = [tmp_path / "test" / label / f"{number}.png" for label in ("cat", "dog") for number in range(3)]
    guess_N = model.classifier(["cat", "dog"]).predict_proba(images).argmax(1)
    assert found["zero_shot"] == pytest.approx(float((guess_N == torch.tensor([0, 0, 0, 1, 1, 1])).float().mean()))


@every_objective
@pytest.mark.parametrize("layout", ["hf", "open_clip"])
def test_what_other_programs_have_no_name_for_is_not_written_for_them(name, layout, tmp_path):
    clip, architecture = clip_of(name)
    model = Model(clip, architecture, TOKENIZER, preprocess=Preprocess(size=16), name="m")
    is_clips = not isinstance(clip, Predictor) and architecture.projection == "linear"
    if is_clips and architecture.text.kind == "transformer" and architecture.scoring == "softmax":
        model.save(tmp_path / "m", layout)
    else:
        with pytest.raises(UsageError) as told:
            model.save(tmp_path / "m", layout)
        assert "\n" not in str(told.value)


@every_objective
def test_a_step_in_bfloat16_is_close_to_one_in_float32(name):
    clip, _ = clip_of(name)
    peers = Peers(Runtime(device="cpu", cores=1))
    values = []
    for in_bfloat16 in (False, True):
        stepper = Stepper(
            spread=Spread(clip=clip.train(), forward=clip, peers=peers),
            peers=peers,
            preprocess=Preprocess(size=16),
            objective=objective_of(name),
            statistics=RunningStatistics(clip),
            seed=1,
            micro_batch=None,
            share_repeats=False,
            in_bfloat16=in_bfloat16,
        )
        values.append(stepper.gradients(batch(), [len(CAPTIONS)], step=3)[0])
    assert values[1] == pytest.approx(values[0], rel=0.05)


def test_the_registry_holds_each_under_its_own_name_and_names_the_nearest():
    assert all(isinstance(objective, Objective) and name == objective.name for name, objective in OBJECTIVES.items())
    with pytest.raises(UsageError, match="contrastive"):
        objective_of("contrastve")
