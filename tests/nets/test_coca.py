"""CoCa's towers beside plain loops, and beside open_clip where it is installed."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.records import Tokens
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.hub import load
from seesay.model.layouts.vocabulary import tokenizer_files
from seesay.nets.architecture import CocaTextConfig
from seesay.nets.coca import CocaText, QueryPool

WORDS = ["a photo of a red dog!", "a photo of a blue dog", "two red cats on a blue mat"] * 3
TOKENIZER = CaptionTokenizer.train(WORDS, vocab_size=530, context=8)
# A "!" is id 0 of CLIP's vocabulary.
TEXTS = ["a red dog", "", "blue " * 30, "dog! cats", "!!! dog", "red"]


def tokens(texts: list[str]) -> Tokens:
    return TOKENIZER.tokens(texts)


@torch.no_grad()
def test_the_row_of_a_caption_depends_on_no_other_and_on_what_may_be_seen_alone():
    torch.manual_seed(0)
    tower = CocaText(CocaTextConfig(context=8, vocab_size=530, width=16, layers=2, heads=2), 12).eval()
    whole = tower(tokens(TEXTS))
    for index, text in enumerate(TEXTS):
        torch.testing.assert_close(tower(tokens([text]))[0], whole[index], rtol=0, atol=1e-6)
    # The first padding is seen, the second is not.
    before = tower(tokens(["red"]))
    tower.positions[3] += 1
    assert not torch.allclose(tower(tokens(["red"])), before)
    before = tower(tokens(["red"]))
    tower.positions[4:-1] += 1
    torch.testing.assert_close(tower(tokens(["red"])), before, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_first_query_alone_makes_the_row():
    torch.manual_seed(0)
    pool, x_BLW = QueryPool(10, 12, queries=3, heads=2), torch.randn(2, 5, 10)
    before = pool(x_BLW)
    keys, values = (
        F.linear(pool.ln_key(x_BLW), weight, bias)
        for weight, bias in zip((pool.key_weight, pool.value_weight), pool.qkv_bias.chunk(3)[1:], strict=True)
    )
    query = F.linear(pool.ln_query(pool.queries[0]), pool.query_weight, pool.qkv_bias[:12])
    heads = [
        ((query[part] @ keys[..., part].mT) / 6**0.5).softmax(-1)[:, None] @ values[..., part]
        for part in (slice(0, 6), slice(6, 12))
    ]
    torch.testing.assert_close(pool.out(torch.cat(heads, -1)[:, 0]), before, rtol=0, atol=1e-6)
    pool.queries[1:] += 1
    assert torch.equal(pool(x_BLW), before)


class Vocabulary:
    """In the place of open_clip's tokenizer, which its writer only asks to save itself."""

    def save_pretrained(self, folder: str) -> None:
        for name, data in tokenizer_files(TOKENIZER).items():
            (Path(folder) / name).write_bytes(data)


@torch.inference_mode()
@pytest.mark.filterwarnings("ignore")
def test_we_embed_the_coca_that_open_clip_wrote_as_it_does(tmp_path: Path):
    pytest.importorskip("torchvision", reason="open_clip needs torchvision", exc_type=(ImportError, RuntimeError))
    open_clip = pytest.importorskip("open_clip")
    from open_clip.push_to_hf_hub import save_for_hf

    vision = {"image_size": 32, "layers": 2, "width": 40, "head_width": 8, "patch_size": 8, "attentional_pool": True}
    tower = {"context_length": 8, "vocab_size": TOKENIZER.vocab_size, "width": 16, "heads": 2, "layers": 2}
    config = {
        "embed_dim": 24,
        "vision_cfg": vision | {"attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": tower | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": tower | {"attn_pooler_heads": 4},
    }
    torch.manual_seed(0)
    peer = open_clip.CoCa(**config).eval()
    for tensor in peer.state_dict().values():
        tensor.add_(0.05 * torch.randn(tensor.shape))
    prepared = {"size": 32, "mean": (0.5, 0.4, 0.3), "std": (0.3, 0.3, 0.3), "interpolation": "bicubic"}
    open_clip.model.set_model_preprocess_cfg(peer, prepared)
    folder = tmp_path / "model"
    save_for_hf(peer, Vocabulary(), config | {"custom_text": True}, str(folder), True)
    model = load(folder)
    assert model.facts["left out"].startswith("the decoder, ")
    pixels = torch.randn(3, 3, 32, 32)
    ids = torch.tensor([row + [0] * (8 - len(row)) for row in TOKENIZER(TEXTS)])
    torch.testing.assert_close(model.clip.embed_images(pixels), peer.encode_image(pixels), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.encode_texts(TEXTS), peer.encode_text(ids), rtol=0, atol=1e-5)
    model.save(tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert torch.equal(again.encode_texts(TEXTS), model.encode_texts(TEXTS))
    with pytest.raises(UsageError, match="open_clip has no towers of the kinds vit and coca-text"):
        model.save(tmp_path / "other", "open_clip")
    description = folder / "open_clip_config.json"
    changed = json.loads(description.read_text())
    del changed["model_cfg"]["multimodal_cfg"]
    description.write_text(json.dumps(changed))
    with pytest.raises(RefusedInput, match=r"unexpected text_decoder\."):
        load(folder)
