"""Explanations: attention in the open is attention, gradients are right, heat lies where the photo is."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from seesay.base.errors import UsageError
from seesay.model.explain import explain_image, relevance, word_ends, word_weights
from seesay.nets.architecture import TextTransformerConfig
from seesay.nets.recorded import RecordedAttention, recorded_leaf, recorded_outputs
from seesay.nets.text import TextTransformer

KINDS = ("vit", "resnet", "conv", "siglip")


def with_transformer(model):
    """`model` with a causal text tower of two blocks."""
    config = TextTransformerConfig(context=8, vocab_size=model.tokenizer.vocab_size, width=16, layers=2, heads=2)
    torch.manual_seed(1)
    model.clip.text_tower = TextTransformer(config, 8).eval()
    return model


def pixels(count=2, side=32):
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


class Moved(RecordedAttention):
    """Adds `step` to one weight of one layer."""

    def __init__(self, layer, index, step):
        super().__init__()
        self.layer, self.index, self.step, self.calls = layer, index, step, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        if func is F.scaled_dot_product_attention:
            self.calls += 1
            if self.calls - 1 == self.layer:
                moved = torch.zeros_like(self.weights[-1])
                moved[self.index] = self.step
                return result + moved @ args[2]
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_attention_in_the_open_gives_the_same_embedding(with_tower, kind):
    clip = with_tower(kind).clip.double()
    image = pixels().double() / 255
    with torch.no_grad():
        fused = clip.embed_images(image)
        with RecordedAttention() as recorded:
            torch.testing.assert_close(clip.embed_images(image), fused, atol=1e-12, rtol=0)
    for weight_BHQP in recorded.weights:
        torch.testing.assert_close(weight_BHQP.sum(-1), torch.ones(weight_BHQP.shape[:-1], dtype=torch.float64))


def test_a_caption_sees_nothing_of_what_comes_later_in_the_open_either(model):
    model = with_transformer(model)
    tokens = model.tokenizer.tokens(["a photo of a red dog"])
    with torch.no_grad():
        fused = model.clip.embed_texts(tokens)
    with RecordedAttention() as recorded:
        torch.testing.assert_close(model.clip.embed_texts(tokens), fused, atol=1e-6, rtol=0)
    assert not recorded.weights[0].triu(1).any()


@pytest.mark.parametrize("kind", ["vit", "siglip", "resnet"])
def test_gradients_of_attention_are_finite_differences(with_tower, kind):
    clip = with_tower(kind).clip.double()
    image, row_D = pixels(1).double() / 255, torch.linspace(-1, 1, 8, dtype=torch.float64)

    def score(mode):
        with mode:
            return (clip.embed_images(image) @ row_D).sum()

    recorded = RecordedAttention()
    gradients = torch.autograd.grad(score(recorded), recorded.weights)
    for layer, gradient in enumerate(gradients):
        index = tuple(side // 2 for side in gradient.shape)
        with torch.no_grad():
            difference = (score(Moved(layer, index, 1e-6)) - score(Moved(layer, index, -1e-6))) / 2e-6
        assert float(gradient[index]) == pytest.approx(float(difference), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", ["conv", "resnet"])
def test_gradients_of_maps_are_finite_differences(with_tower, kind):
    clip = with_tower(kind).clip.double()
    image, row_D = (pixels(1).double() / 255).requires_grad_(), torch.linspace(-1, 1, 8, dtype=torch.float64)
    modules = clip.image_tower.map_modules()

    def score():
        return (clip.embed_images(image) @ row_D).sum()

    with recorded_outputs(modules) as outputs:
        value = score()
    (gradient,) = torch.autograd.grad(value, [outputs[-1]])
    index = (0, 1, 0, 0)

    def moved(step):
        def add(_, __, output):
            change = torch.zeros_like(output)
            change[index] = step
            return output + change

        hook = modules[-1].register_forward_hook(add)
        with torch.no_grad():
            result = float(score())
        hook.remove()
        return result

    assert float(gradient[index]) == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5, abs=1e-9)


def test_hooks_are_gone_afterwards_even_after_an_error(with_tower):
    tower = with_tower("conv").clip.image_tower
    with pytest.raises(RuntimeError), recorded_outputs(tower.map_modules()):
        raise RuntimeError
    assert not any(module._forward_hooks for module in tower.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_of_a_batch_has_the_heat_that_it_has_alone(with_tower, kind):
    model = with_tower(kind)
    row_BD = F.normalize(torch.randn(2, 8, generator=torch.Generator().manual_seed(3)), dim=1)
    image_BD, heat_BGG = relevance(model, pixels(), row_BD)
    torch.testing.assert_close(image_BD, model.encode_pixels(pixels()), atol=1e-5, rtol=0)
    assert heat_BGG.shape[1] == heat_BGG.shape[2] and float(heat_BGG.min()) >= 0 and float(heat_BGG.max()) <= 1
    for index in range(2):
        alone = relevance(model, pixels()[index : index + 1], row_BD[index : index + 1])[1]
        torch.testing.assert_close(alone[0], heat_BGG[index], atol=1e-4, rtol=0)


def test_the_patches_of_a_vision_transformer_are_its_grid_without_the_class_token(with_tower):
    _, heat_BGG = relevance(with_tower("vit"), pixels(), torch.eye(2, 8))
    assert heat_BGG.shape == (2, 2, 2)


@pytest.mark.parametrize("sides", [(20, 40), (41, 20), (32, 32), (7, 300)])
def test_heat_has_the_sides_of_the_photo_and_is_0_where_the_model_sees_nothing(model, sides):
    photo = np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)
    explanation = explain_image(model, photo, "a red dog")
    assert explanation.heat_HW.shape == sides
    top, left, bottom, right = explanation.seen
    assert bottom - top == pytest.approx(right - left, rel=0.07) and (bottom - top) == pytest.approx(
        min(sides), rel=0.07
    )
    outside = np.ones(sides, bool)
    outside[int(np.ceil(top - 0.5)) : int(bottom + 0.5), int(np.ceil(left - 0.5)) : int(right + 0.5)] = False
    assert not explanation.heat_HW[outside].any()


def test_what_is_seen_is_what_pillow_crops(model):
    """A white square in the centre of a wide photo fills the image of the model to its edges."""
    top, left, bottom, right = model.preprocess.seen(50, 110)
    photo = np.zeros((50, 110, 3), np.uint8)
    photo[round(top) : round(bottom), round(left) : round(right)] = 255
    assert model.preprocess.pixels(photo)[:, :, 1:-1].min() > 250
    squash = model.preprocess.model_copy(update={"resize": "squash"})
    assert squash.seen(50, 110) == (0.0, 0.0, 50.0, 110.0)


def test_score_is_the_cosine_and_with_a_contrast_the_lead(model):
    photo = Image.new("RGB", (24, 20), (200, 40, 30))
    row = model.encode_images([photo])[0]
    texts = model.encode_texts(["a red dog", "a blue dog", "a dog"])
    plain = explain_image(model, photo, "a red dog")
    assert plain.score == pytest.approx(float(row @ texts[0]), abs=1e-5)
    assert [word.text for word in plain.words] == ["a", "red", "dog"]
    assert plain.words[1].score_without == pytest.approx(float(row @ texts[2]), abs=1e-5)
    lead = explain_image(model, photo, "a red dog", contrast="a blue dog")
    assert lead.score == pytest.approx(float(row @ (texts[0] - texts[1])), abs=1e-5)
    assert lead.contrast_score == pytest.approx(float(row @ texts[1]), abs=1e-5)
    assert lead.words[1].score_without == pytest.approx(float(row @ (texts[2] - texts[1])), abs=1e-5)


def test_word_weights_are_directional_derivatives(model):
    """Gradient times vector is how fast the score grows as the word's vectors do: a finite difference in float64."""
    model.clip.double()
    words, row_D = ["a", "red", "dog"], torch.linspace(-1, 1, 8, dtype=torch.float64)
    weights = word_weights(model, " ".join(words), words, row_D)
    tokens = model.tokenizer.tokens([" ".join(words)])
    ends = word_ends(model, words)

    def score(word, share):
        def grow(_, __, output):
            output = output.clone()
            output[0, ends[word] : ends[word + 1]] *= 1 + share
            return output

        hook = model.clip.text_tower.token_embedding.register_forward_hook(grow)
        with torch.no_grad():
            result = float(model.clip.embed_texts(tokens)[0] @ row_D)
        hook.remove()
        return result

    slopes = np.array([(score(word, 1e-6) - score(word, -1e-6)) / 2e-6 for word in range(3)])
    assert weights == pytest.approx(slopes / abs(slopes).max(), abs=1e-4)


def test_tokens_belong_to_the_word_they_are_spelled_from(model):
    words = ["a", "photo,", "of", "reddish", "dog"]
    ends = word_ends(model, words)
    ids = model.tokenizer([" ".join(words)])[0]
    spelled = [model.tokenizer.decode(ids[first:end]) for first, end in pairwise(ends)]
    assert [text.replace(" ", "") for text in spelled][:3] == ["a", "photo,", "of"]


def test_a_word_beyond_the_context_has_no_weight(model):
    explanation = explain_image(model, Image.new("RGB", (20, 20)), "dog dog dog dog dog dog dog zebra")
    assert explanation.words[-1].weight == 0.0
    assert explanation.words[-1].score_without == pytest.approx(explanation.score, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_inside_inference_mode_and_close_in_bfloat16(with_tower, kind):
    model = with_tower(kind)
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    plain = explain_image(model, photo, "a red dog")
    with torch.inference_mode():
        again = explain_image(model, photo, "a red dog")
    np.testing.assert_array_equal(plain.heat_HW, again.heat_HW)
    rounded = explain_image(model.with_precision("bfloat16"), photo, "a red dog")
    assert rounded.score == pytest.approx(plain.score, abs=0.02)
    assert all(parameter.grad is None for parameter in model.clip.parameters())


def test_words_of_a_transformer_are_explained_too(model):
    explanation = explain_image(with_transformer(model), Image.new("RGB", (20, 20), (9, 99, 200)), "a blue dog")
    assert max(abs(word.weight) for word in explanation.words) == 1.0
    value = explanation.to_json()
    assert [word["word"] for word in value["words"]] == ["a", "blue", "dog"] and value["removal"] is None
    assert "score" in repr(explanation)


def test_towers_that_run_again_for_their_gradients_are_explained_alike(with_tower):
    """As those of a model that was trained with activation checkpointing, and they go on doing so."""
    model = with_transformer(with_tower("vit"))
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    plain = explain_image(model, photo, "a red dog")
    for tower in (model.clip.image_tower, model.clip.text_tower):
        tower.blocks.recompute = True
    again = explain_image(model, photo, "a red dog")
    np.testing.assert_allclose(again.heat_HW, plain.heat_HW, atol=1e-6)
    assert [word.weight for word in again.words] == pytest.approx([word.weight for word in plain.words])
    assert model.clip.image_tower.blocks.recompute and model.clip.text_tower.blocks.recompute


def test_an_empty_text_and_a_model_of_captions_are_refused(model, predictor):
    photo = Image.new("RGB", (20, 20))
    with pytest.raises(UsageError, match="text is empty"):
        model.explain(photo, " ")
    with pytest.raises(UsageError, match="contrast is empty"):
        model.explain(photo, "a dog", contrast="")
    with pytest.raises(UsageError, match="predicts captions"):
        predictor("caption").explain(photo, "a dog")


def test_a_leaf_is_where_gradients_begin(model):
    tokens = model.tokenizer.tokens(["a dog"])
    with recorded_leaf(model.clip.text_tower.token_embedding) as outputs:
        model.clip.embed_texts(tokens).sum().backward()
    assert outputs[0].is_leaf and outputs[0].grad is not None
    assert model.clip.text_tower.token_embedding.weight.grad is None
