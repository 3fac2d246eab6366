"""Short names of published models: where each lies, and the licence it was seen under; the model's own page decides.

Only folders that hold safetensors and a vocabulary are named. OpenAI's weights come from their copies in open_clip's
layout, since that is the one place where all nine lie as safetensors. SigLIP 2 is named where its resolution is fixed.
"""

from dataclasses import dataclass
from pathlib import Path

from seesay.base.errors import UsageError
from seesay.base.hub import HUB, MAIN
from seesay.base.names import same_name
from seesay.model.open_clip_names import OPEN_CLIP

# The folder of every model that comes with the package.
PACKAGED = {"box": Path(__file__).parent / "box"}


@dataclass(frozen=True)
class KnownModel:
    """A repository `owner/name` of the Hugging Face hub, and the licence on its card."""

    repository: str
    licence: str


KNOWN: dict[str, KnownModel] = {
    "openai/RN50": KnownModel("timm/resnet50_clip.openai", "Apache-2.0"),
    "openai/RN101": KnownModel("timm/resnet101_clip.openai", "Apache-2.0"),
    "openai/RN50x4": KnownModel("timm/resnet50x4_clip.openai", "Apache-2.0"),
    "openai/RN50x16": KnownModel("timm/resnet50x16_clip.openai", "Apache-2.0"),
    "openai/RN50x64": KnownModel("timm/resnet50x64_clip.openai", "Apache-2.0"),
    "openai/ViT-B-32": KnownModel("timm/vit_base_patch32_clip_224.openai", "Apache-2.0"),
    "openai/ViT-B-16": KnownModel("timm/vit_base_patch16_clip_224.openai", "Apache-2.0"),
    "openai/ViT-L-14": KnownModel("timm/vit_large_patch14_clip_224.openai", "Apache-2.0"),
    "openai/ViT-L-14-336": KnownModel("timm/vit_large_patch14_clip_336.openai", "Apache-2.0"),
    "laion/ViT-B-32": KnownModel("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "MIT"),
    "laion/ViT-B-16": KnownModel("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "MIT"),
    "laion/ViT-L-14": KnownModel("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "MIT"),
    "laion/ViT-H-14": KnownModel("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "MIT"),
    "datacomp/ViT-B-32": KnownModel("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "MIT"),
    "datacomp/ViT-B-16": KnownModel("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "MIT"),
    "datacomp/ViT-L-14": KnownModel("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", "MIT"),
    "siglip/ViT-B-16-224": KnownModel("google/siglip-base-patch16-224", "Apache-2.0"),
    "siglip/ViT-B-16-256": KnownModel("google/siglip-base-patch16-256", "Apache-2.0"),
    "siglip/ViT-B-16-384": KnownModel("google/siglip-base-patch16-384", "Apache-2.0"),
    "siglip/ViT-B-16-512": KnownModel("google/siglip-base-patch16-512", "Apache-2.0"),
    "siglip/ViT-L-16-256": KnownModel("google/siglip-large-patch16-256", "Apache-2.0"),
    "siglip/ViT-L-16-384": KnownModel("google/siglip-large-patch16-384", "Apache-2.0"),
    "siglip/SO400M-14-224": KnownModel("google/siglip-so400m-patch14-224", "Apache-2.0"),
    "siglip/SO400M-14-384": KnownModel("google/siglip-so400m-patch14-384", "Apache-2.0"),
    "siglip2/ViT-B-32-256": KnownModel("google/siglip2-base-patch32-256", "Apache-2.0"),
    "siglip2/ViT-B-16-224": KnownModel("google/siglip2-base-patch16-224", "Apache-2.0"),
    "siglip2/ViT-B-16-256": KnownModel("google/siglip2-base-patch16-256", "Apache-2.0"),
    "siglip2/ViT-B-16-384": KnownModel("google/siglip2-base-patch16-384", "Apache-2.0"),
    "siglip2/ViT-B-16-512": KnownModel("google/siglip2-base-patch16-512", "Apache-2.0"),
    "siglip2/ViT-L-16-256": KnownModel("google/siglip2-large-patch16-256", "Apache-2.0"),
    "siglip2/ViT-L-16-384": KnownModel("google/siglip2-large-patch16-384", "Apache-2.0"),
    "siglip2/ViT-L-16-512": KnownModel("google/siglip2-large-patch16-512", "Apache-2.0"),
    "siglip2/SO400M-14-224": KnownModel("google/siglip2-so400m-patch14-224", "Apache-2.0"),
    "siglip2/SO400M-14-384": KnownModel("google/siglip2-so400m-patch14-384", "Apache-2.0"),
    "siglip2/SO400M-16-256": KnownModel("google/siglip2-so400m-patch16-256", "Apache-2.0"),
    "siglip2/SO400M-16-384": KnownModel("google/siglip2-so400m-patch16-384", "Apache-2.0"),
    "siglip2/SO400M-16-512": KnownModel("google/siglip2-so400m-patch16-512", "Apache-2.0"),
    "siglip2/gopt-16-256": KnownModel("google/siglip2-giant-opt-patch16-256", "Apache-2.0"),
    "siglip2/gopt-16-384": KnownModel("google/siglip2-giant-opt-patch16-384", "Apache-2.0"),
}

# OpenAI's own repositories: the same weights as the copies above, seen on their cards.
PAPER_REPOSITORIES = {
    "openai/clip-vit-base-patch32": "openai/ViT-B-32",
    "openai/clip-vit-base-patch16": "openai/ViT-B-16",
    "openai/clip-vit-large-patch14": "openai/ViT-L-14",
    "openai/clip-vit-large-patch14-336": "openai/ViT-L-14-336",
}


# How the hub is named in front of owner/name, here and by open_clip.
HUB_PREFIXES = (HUB, "hf-hub:")


def hub_name(name: str) -> tuple[str, str] | None:
    """owner/name and the revision of what is written hf:owner/name, perhaps with @revision; None for any other name."""
    prefix = next((prefix for prefix in HUB_PREFIXES if name.startswith(prefix)), None)
    if prefix is None:
        return None
    repository, at, revision = name.removeprefix(prefix).partition("@")
    if at and not revision:
        raise UsageError(f"{name!r} names no revision behind its @; give a branch, a tag or a commit, or leave it out.")
    return repository, revision or MAIN


def known_source(name: str) -> Path | str | None:
    """Where the model of a short name is, in any spelling: a folder of the package, or a repository `owner/name`.

    A short name is one of this list, or of open_clip's as in ViT-B-32:laion2b_s34b_b79k. A repository of the list
    stands for itself. None for any other name.
    """
    if (packaged := same_name(name, PACKAGED)) is not None:
        return PACKAGED[packaged]
    if (known := same_name(name, KNOWN)) is not None:
        return KNOWN[known].repository
    if (known := same_name(name, OPEN_CLIP)) is not None:
        return OPEN_CLIP[known]
    return name if name in {model.repository for model in KNOWN.values()} else None
