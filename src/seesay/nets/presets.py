"""Sizes by name, one plain dict.

The first nine are the paper's (tables 19 and 20), the rest are for small data and machines. `vocab_size` and
`context` of the small ones are starting points: a run fits them to the captions at hand. Beside these "timm:NAME" is
timm's tower of that name with a small text tower.
"""

from seesay.base.errors import UsageError, nearest
from seesay.base.extras import needing
from seesay.base.names import same_name
from seesay.nets.architecture import (
    Architecture,
    BagOfWordsConfig,
    ConvNetConfig,
    ResNetConfig,
    TextTransformerConfig,
    TimmImageConfig,
    VisionTransformerConfig,
)

# Radford et al. 2021, section 2.4 has 49,152 byte pairs and a context of 76; these are the released models' own.
PAPER_VOCABULARY = 49_408
PAPER_CONTEXT = 77
# In front of a name of timm's.
TIMM = "timm:"
PAPER_SIZES = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336")


def _vit(patch: int, *, width: int, layers: int, embed_dim: int, image_size: int = 224) -> Architecture:
    image = VisionTransformerConfig(image_size=image_size, patch=patch, width=width, layers=layers, heads=width // 64)
    return _paper(image, embed_dim=embed_dim, text_width=embed_dim)


def _resnet(
    layers: tuple[int, int, int, int], *, width: int, embed_dim: int, text_width: int, image_size: int
) -> Architecture:
    image = ResNetConfig(image_size=image_size, width=width, layers=layers, heads=width // 2)
    return _paper(image, embed_dim=embed_dim, text_width=text_width)


def _paper(image: VisionTransformerConfig | ResNetConfig, *, embed_dim: int, text_width: int) -> Architecture:
    return Architecture(
        embed_dim=embed_dim,
        image=image,
        text=TextTransformerConfig(
            context=PAPER_CONTEXT, vocab_size=PAPER_VOCABULARY, width=text_width, layers=12, heads=text_width // 64
        ),
    )


def _small(image: VisionTransformerConfig | ConvNetConfig | TimmImageConfig, text: str, width: int) -> Architecture:
    if text == "bag-of-words":
        tower = BagOfWordsConfig(context=48, vocab_size=6144, width=width)
    else:
        tower = TextTransformerConfig(context=48, vocab_size=6144, width=width, layers=4, heads=width // 64)
    return Architecture(embed_dim=width, image=image, text=tower)


PRESETS: dict[str, Architecture] = {
    "RN50": _resnet((3, 4, 6, 3), width=64, embed_dim=1024, text_width=512, image_size=224),
    "RN101": _resnet((3, 4, 23, 3), width=64, embed_dim=512, text_width=512, image_size=224),
    "RN50x4": _resnet((4, 6, 10, 6), width=80, embed_dim=640, text_width=640, image_size=288),
    "RN50x16": _resnet((6, 8, 18, 8), width=96, embed_dim=768, text_width=768, image_size=384),
    "RN50x64": _resnet((3, 15, 36, 10), width=128, embed_dim=1024, text_width=1024, image_size=448),
    "ViT-B/32": _vit(32, width=768, layers=12, embed_dim=512),
    "ViT-B/16": _vit(16, width=768, layers=12, embed_dim=512),
    "ViT-L/14": _vit(14, width=1024, layers=24, embed_dim=768),
    "ViT-L/14@336": _vit(14, width=1024, layers=24, embed_dim=768, image_size=336),
    "vit-small": _small(
        VisionTransformerConfig(image_size=64, patch=8, width=256, layers=6, heads=4), "transformer", 256
    ),
    "conv-tiny": _small(ConvNetConfig(image_size=32, width=32, depths=(1, 1, 1)), "bag-of-words", 128),
    "conv-small": _small(ConvNetConfig(image_size=48, width=64, depths=(2, 2, 2)), "bag-of-words", 256),
    "conv-small@64": _small(ConvNetConfig(image_size=64, width=64, depths=(2, 2, 2)), "bag-of-words", 256),
    "conv-small-transformer": _small(ConvNetConfig(image_size=48, width=64, depths=(2, 2, 2)), "transformer", 256),
    "conv-medium": _small(ConvNetConfig(image_size=64, width=96, depths=(2, 2, 2)), "bag-of-words", 384),
}


def preset_name(name: str) -> str:
    """The name of a size in the spelling used here; `UsageError` with the nearest names if there is none."""
    if name.startswith(TIMM):
        return name
    found = same_name(name, PRESETS)
    if found is None:
        raise UsageError(f"model {name!r} is no known size.{nearest(name, PRESETS)} Known: {', '.join(PRESETS)}.")
    return found


def preset(name: str) -> Architecture:
    """The architecture of that name; raises as `preset_name`, and `UsageError` where timm is needed and not there."""
    if name.startswith(TIMM):
        return _of_timm(name.removeprefix(TIMM))
    return PRESETS[preset_name(name)]


def _of_timm(name: str) -> Architecture:
    """timm's tower at the size that it was made for, with the transformer of the small sizes."""
    with needing("timm"):
        from seesay.nets.timm_tower import image_size_of
    image = TimmImageConfig(image_size=image_size_of(name), name=name, pool="")
    return _small(image, "transformer", 256)
