"""Models that predict captions: what they hold in memory, what is worked out once, and what is refused."""

import io
import weakref

import pytest
import torch
from PIL import Image
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError
from seesay.formulas.similarity import log_mean_exp
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_score_images
from seesay.model.convert import compare, convert
from seesay.model.hub import load
from seesay.model.zero_shot import LIKELIHOODS_AT_ONCE, LikelihoodClassifier
from seesay.nets import decoder
from seesay.nets.head import PreparedTexts

GRIDS = ["bicaption", "masked-caption"]
VECTORS = ["caption", "bag-of-words", "n-grams"]
LABELS = ["red dog", "cat", ["blue mat", "mat"]]


def image(index: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (10 * index, 100, 200 - 10 * index)).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("name", GRIDS)
def test_no_grid_outlives_its_block_or_is_cached_on_disk(name, predictor, tmp_path, monkeypatch):
    model, alive, most = predictor(name), [], []
    original = Model.encode_pixels

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        most.append(sum(row() is not None for row in alive))
        row_BX = original(self, pixels)
        alive.append(weakref.ref(row_BX))
        return row_BX

    model = model.with_batch_size(2)
    monkeypatch.setattr(Model, "encode_pixels", encode_pixels)
    classifier = model.classifier(LABELS)
    score_NC, rows, index, skipped = cached_score_images(model, classifier, image, 8, cache=EmbeddingCache(tmp_path))
    assert (rows, index, skipped) == (None, list(range(8)), [])
    (cached,) = tmp_path.rglob("*.safetensors")
    assert cached.parent == tmp_path / "scores" and cached.stat().st_size < 1000
    assert len(most) >= 4 and max(most) == 0
    torch.testing.assert_close(score_NC, classifier.scores(model.encode_images([image(n) for n in range(8)])))


@pytest.mark.parametrize("name", GRIDS)
def test_scores_of_a_model_that_reads_grids_are_read_the_second_time(name, predictor, tmp_path, monkeypatch):
    model, cache = predictor(name), EmbeddingCache(tmp_path)
    calls, original = [], Model.encode_pixels
    monkeypatch.setattr(Model, "encode_pixels", lambda *both: calls.append(len(both[1])) or original(*both))

    def read(index: int) -> bytes:
        return b"<html>" if index == 2 else image(index)

    first = cached_score_images(model, model.classifier(LABELS), read, 5, cache=cache)
    again = cached_score_images(model, model.classifier(LABELS), read, 5, cache=cache)
    assert torch.equal(first[0], again[0]) and first[1:] == again[1:]
    assert (sum(calls), first[2], [item.key for item in first[3]]) == (4, [0, 1, 3, 4], ["2"])


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("change", ["image weight", "text weight", "prompt", "grouping of prompts", "image"])
def test_scores_are_worked_out_anew_when_anything_they_depend_on_differs(name, change, predictor, tmp_path):
    model, cache = predictor(name), EmbeddingCache(tmp_path)
    cached_score_images(model, model.classifier(LABELS), image, 3, cache=cache)
    labels, read = LABELS, image
    if change == "prompt":
        labels = ["red dog", "dog", ["blue mat", "mat"]]
    if change == "grouping of prompts":
        labels = ["red dog", ["cat", "blue mat"], "mat"]
    if change == "image":
        read = lambda index: image(index + 1)  # noqa: E731
    if change.endswith("weight"):
        side = model.clip.image_tower if change == "image weight" else model.clip.head
        next(side.parameters()).data.view(-1)[0] += 0.5
    score_NC, _, _, _ = cached_score_images(model, model.classifier(labels), read, 3, cache=cache)
    assert len(list((tmp_path / "scores").iterdir())) == 2
    torch.testing.assert_close(
        score_NC, model.classifier(labels).scores(model.encode_images([read(index) for index in range(3)]))
    )


@pytest.mark.parametrize("name", ["caption", "bicaption"])
def test_prompts_become_trees_once_for_all_blocks_of_images(name, predictor, monkeypatch):
    model, grown, original = predictor(name), [], decoder.grow
    monkeypatch.setattr(decoder, "grow", lambda texts: grown.append(len(texts.length_B)) or original(texts))
    classifier = model.classifier(LABELS)
    row_NX = model.encode_images([image(index) for index in range(6)])
    whole_NC = classifier.scores(row_NX)
    count = len(grown)
    monkeypatch.setattr("seesay.model.zero_shot.LIKELIHOODS_AT_ONCE", 2)
    torch.testing.assert_close(classifier.scores(row_NX), whole_NC)
    assert grown == [4] * count and count == (1 if name == "caption" else 2)


def test_a_model_that_embeds_texts_has_no_likelihoods(model):
    with pytest.raises(UsageError, match="tiny embeds texts, and has no likelihood"):
        model.prepare(["a dog"])


def test_rows_that_are_vectors_are_cached_on_disk_and_scored_alike(predictor, tmp_path):
    model = predictor("n-grams")
    classifier = model.classifier(LABELS)
    first_NC, image_ND, _, _ = cached_score_images(model, classifier, image, 4, cache=EmbeddingCache(tmp_path))
    again_NC, _, _, _ = cached_score_images(model, classifier, image, 4, cache=EmbeddingCache(tmp_path))
    assert list((tmp_path / "images").iterdir())
    assert torch.equal(first_NC, again_NC) and torch.equal(first_NC, classifier.scores(image_ND))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2), (1, 3, 2)])
def test_likelihoods_of_prompts_are_those_of_a_block_of_images_and_end_as_classes(sizes, model):
    asked = []

    def log_likelihoods(image_BX: Tensor, texts: PreparedTexts) -> Tensor:
        asked.append(len(image_BX))
        return -image_BX[:, :1] * torch.arange(1.0, 1 + sum(sizes))

    classifier = LikelihoodClassifier(
        class_names=("a", "b", "c"),
        prompts=PreparedTexts(tokens=model.tokenizer.tokens(["x"] * sum(sizes))),
        sizes=sizes,
        log_likelihoods=log_likelihoods,
        scale=1.0,
        encode_images=model.encode_images,
    )
    image_NX = torch.rand(2 * LIKELIHOODS_AT_ONCE + 3, 1, generator=torch.Generator().manual_seed(0))
    found_NC = classifier.scores(image_NX)
    assert asked == [LIKELIHOODS_AT_ONCE, LIKELIHOODS_AT_ONCE, 3]
    log_p_NP = -image_NX * torch.arange(1.0, 1 + sum(sizes))
    torch.testing.assert_close(found_NC, torch.stack([log_mean_exp(own) for own in log_p_NP.split(sizes, 1)], 1))
    assert classifier.scores(image_NX[:0]).shape == (0, 3)


def test_n_grams_look_up_a_part_of_the_texts_at_a_time(predictor, monkeypatch):
    model = predictor("n-grams")
    head, image_BD = model.clip.head, torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    texts = model.prepare(["red dog", "cat", "", "two red cats", "a photo of a dog"])
    whole, original, asked = head.log_likelihoods(image_BD, texts), head._runs, []
    monkeypatch.setattr(head, "_runs", lambda tokens: asked.append(len(tokens.length_B)) or original(tokens))
    monkeypatch.setattr(decoder, "TEXTS_AT_ONCE", 2)
    torch.testing.assert_close(head.log_likelihoods(image_BD, texts), whole)
    assert asked == [2, 2, 1]


@pytest.mark.parametrize("name", ["caption", "bag-of-words"])
def test_a_conversion_proves_what_is_said_of_texts(name, predictor, tmp_path):
    model = predictor(name)
    proof = convert(model, tmp_path / "new", to="seesay")
    assert (proof.images, proof.texts) == (0, 0)
    other = predictor(name)
    for parameter in other.clip.head.parameters():
        parameter.data.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    changed = compare(model, other)
    assert changed.images == 0 and changed.texts > 1e-5


@pytest.mark.parametrize("name", [*GRIDS, *VECTORS])
def test_no_images_have_no_likelihoods(name, predictor):
    model = predictor(name)
    width = model.encode_images([image(1)]).shape[1]
    assert model.log_likelihoods(torch.empty(0, width), model.prepare(["dog", ""])).shape == (0, 2)


def test_an_empty_name_does_not_beat_a_name_by_having_one_term_only(predictor):
    model = predictor("masked-caption")
    log_p_BP = model.log_likelihoods(model.encode_images([image(1)]), model.prepare(["", "red dog"]))
    by_chance = -2 * torch.tensor(float(model.tokenizer.vocab_size)).log()
    torch.testing.assert_close(log_p_BP[:, 0], by_chance[None])


@pytest.mark.parametrize(
    ("name", "buffer", "place", "value", "complaint"),
    [
        ("n-grams", "key_C", -1, 1 << 60, "key_C"),
        ("n-grams", "key_C", 3, -(1 << 62), "key_C"),
        ("n-grams", "key_C", 0, 1, "key_C"),
        ("masked-caption", "frame_L", 0, 10**6, "frame_L"),
        ("masked-caption", "frame_L", 0, -2, "frame_L"),
        ("masked-caption", "frame_L", slice(0, 16), "mask", "frame_L"),
        ("masked-caption", "concepts.end_V", 0, 7, "end_V"),
        ("masked-caption", "concepts.key_K", 0, (1 << 63) - 1, "key_K"),
        ("masked-caption", "concepts.key_K", -1, -(1 << 63), "key_K"),
    ],
)
def test_words_that_cannot_have_been_learned_are_refused_in_one_line(
    name, buffer, place, value, complaint, predictor, tmp_path
):
    model = predictor(name)
    model.clip.head.get_buffer(buffer)[place] = model.clip.head.mask if value == "mask" else value
    model.save(tmp_path / "m")
    with pytest.raises(RefusedInput, match=rf"{complaint}.*weights are damaged") as told:
        load(tmp_path / "m")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["n-grams", "masked-caption"])
def test_words_that_were_learned_or_not_yet_learned_are_not_refused(name, predictor):
    head = predictor(name).clip.head
    head.check_vocabulary()
    type(head)(predictor(name).architecture.text, 16).check_vocabulary()
