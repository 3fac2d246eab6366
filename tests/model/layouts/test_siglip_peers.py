"""transformers' SiglipModel, where it is installed, loads what we write and writes what we load."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seesay.model.bundle import Model
from seesay.model.hub import load

# Their own warnings are not ours to mend.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("operators")]
TEXTS = ["a red dog", "", "blue " * 30, "A photo of: two Red cats!", "two  22 cats", "K\u00e4se \u732b", "a </s> dog"]
LIMIT = 1e-5


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers")


def filled(model: Model) -> torch.Tensor:
    """Ids with the pad token up to the context."""
    rows, context, pad = model.tokenizer(TEXTS), model.architecture.text.context, model.architecture.text.pad
    return torch.tensor([row + [pad] * (context - len(row)) for row in rows])


@torch.inference_mode()
def compare(model: Model, peer) -> None:
    """Unit rows of images and texts, and the logits of all pairs."""
    side = model.architecture.image.image_size
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    said = peer.eval()(input_ids=filled(model), pixel_values=pixels)
    image_BD, text_BD = model.clip.embed_images(pixels), model.encode_texts(TEXTS)
    torch.testing.assert_close(F.normalize(said.image_embeds, dim=-1), image_BD, rtol=0, atol=LIMIT)
    torch.testing.assert_close(F.normalize(said.text_embeds, dim=-1), text_BD, rtol=0, atol=LIMIT)
    logits = model.logit_scale * image_BD @ text_BD.T + model.logit_bias
    torch.testing.assert_close(said.logits_per_image, logits, rtol=0, atol=model.logit_scale * LIMIT)


@pytest.mark.parametrize("change", [{}, {"activation": "gelu"}, {"mlp_width": 69, "text_mlp_width": 50}], ids=str)
def test_transformers_embeds_and_scores_what_we_wrote_as_we_do(change, make_siglip, transformers, tmp_path: Path):
    model = make_siglip(**change)
    model.save(tmp_path / "model", "hf")
    peer, told = transformers.SiglipModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    compare(model, peer)


def test_we_embed_and_score_what_transformers_wrote_as_it_does(siglip: Model, transformers, tmp_path: Path):
    torch.manual_seed(0)
    tower = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 70}
    config = transformers.SiglipConfig(
        text_config=tower | {"hidden_size": 24, "projection_size": 32, "vocab_size": 99, "max_position_embeddings": 8},
        vision_config=tower | {"hidden_size": 32, "image_size": 20, "patch_size": 6},
    )
    peer = transformers.SiglipModel(config)
    for tensor in peer.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.randn(tensor.shape)
    peer.save_pretrained(tmp_path)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=siglip.tokenizer._tokenizer, pad_token="</s>", model_max_length=8
    ).save_pretrained(tmp_path)
    processor = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil
    processor(size={"height": 20, "width": 20}).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.preprocess.resize == "squash" and model.preprocess.mean == (0.5, 0.5, 0.5)
    compare(model, peer)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["base", "so400m"])
def test_published_shapes_agree(shape, make_siglip: Callable[..., Model], transformers, tmp_path: Path):
    """B/16 whole; So400m with its heads of 72 and MLP of 4304, fewer layers."""
    sizes = {
        "base": {"width": 768, "layers": 12, "heads": 12, "mlp_width": None},
        "so400m": {"width": 1152, "layers": 2, "heads": 16, "mlp_width": 4304},
    }[shape]
    side, patch = {"base": (224, 16), "so400m": (224, 14)}[shape]
    text = {f"text_{name}": value for name, value in sizes.items()}
    model = make_siglip(image_size=side, patch=patch, **sizes, **text)
    model.save(tmp_path / "model", "hf")
    compare(model, transformers.SiglipModel.from_pretrained(tmp_path / "model"))


@pytest.mark.parametrize("kind", ["unigram", "gemma"])
def test_ids_are_those_of_transformers_tokenizer_of_the_same_file(
    kind, make_siglip, vocabularies, transformers, tmp_path: Path
):
    model = make_siglip(tokenizer=(vocabularies[kind], {"unigram": 1, "gemma": 0}[kind]))
    vocabularies[kind].save(str(tmp_path / "alone.json"))
    pad = model.tokenizer.token_of(model.architecture.text.pad)
    whole = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "alone.json"), pad_token=pad)
    model.save(tmp_path / "model", "hf")
    for peer in (whole, transformers.AutoTokenizer.from_pretrained(tmp_path / "model")):
        found = peer(TEXTS, padding="max_length", max_length=8, truncation=True)["input_ids"]
        assert found == filled(model).tolist()


def test_siglip_2s_class_reads_the_same_file_as_the_same_ids(make_siglip, vocabularies, transformers, tmp_path: Path):
    make_siglip(tokenizer=(vocabularies["gemma"], 0)).save(tmp_path, "hf")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace("PreTrainedTokenizerFast", "Siglip2Tokenizer"))
    peer = transformers.models.siglip2.Siglip2Tokenizer.from_pretrained(tmp_path)
    model = load(tmp_path)
    found = peer(TEXTS, padding="max_length", max_length=8, truncation=True)["input_ids"]
    assert found == filled(model).tolist()
