"""Sizes by name, one plain dict. The first four are the paper's (table 20); the rest are for small data and machines.

`vocab_size` and `context` of the small ones are starting points: a run fits them to the captions at hand.
"""

from seesay.base.errors import UsageError, nearest
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    TextTransformerConfig,
    VisionTransformerConfig,
)

PAPER_VOCABULARY = 49_408
PAPER_CONTEXT = 77


def _paper_vit(patch: int, *, width: int, layers: int, embed_dim: int, image_size: int = 224) -> Architecture:
    text_width = embed_dim
    return Architecture(
        embed_dim=embed_dim,
        image=VisionTransformerConfig(
            image_size=image_size, patch=patch, width=width, layers=layers, heads=width // 64
        ),
        text=TextTransformerConfig(
            context=PAPER_CONTEXT, vocab_size=PAPER_VOCABULARY, width=text_width, layers=12, heads=text_width // 64
        ),
    )


def _small(image: VisionTransformerConfig | ConvNetConfig, text: str, width: int) -> Architecture:
    if text == "bag-of-words":
        tower = BagOfWordsConfig(context=48, vocab_size=6144, width=width)
    else:
        tower = TextTransformerConfig(context=48, vocab_size=6144, width=width, layers=4, heads=width // 64)
    return Architecture(embed_dim=width, image=image, text=tower)


PRESETS: dict[str, Architecture] = {
    "ViT-B/32": _paper_vit(32, width=768, layers=12, embed_dim=512),
    "ViT-B/16": _paper_vit(16, width=768, layers=12, embed_dim=512),
    "ViT-L/14": _paper_vit(14, width=1024, layers=24, embed_dim=768),
    "ViT-L/14@336": _paper_vit(14, width=1024, layers=24, embed_dim=768, image_size=336),
    "vit-small": _small(
        VisionTransformerConfig(image_size=64, patch=8, width=256, layers=6, heads=4), "transformer", 256
    ),
    "conv-tiny": _small(ConvNetConfig(image_size=32, width=32, depths=(1, 1, 1)), "bag-of-words", 128),
    "conv-small": _small(ConvNetConfig(image_size=48, width=64, depths=(2, 2, 2)), "bag-of-words", 256),
    "conv-small-transformer": _small(ConvNetConfig(image_size=48, width=64, depths=(2, 2, 2)), "transformer", 256),
    "conv-medium": _small(ConvNetConfig(image_size=64, width=96, depths=(2, 2, 2)), "bag-of-words", 384),
}


def preset(name: str) -> Architecture:
    """The architecture of that name; `UsageError` with the nearest names if there is none."""
    if name not in PRESETS:
        raise UsageError(f"model {name!r} is no known size.{nearest(name, PRESETS)} Known: {', '.join(PRESETS)}.")
    return PRESETS[name]
