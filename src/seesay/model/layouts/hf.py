"""What Hugging Face transformers reads: its CLIPModel, or its SiglipModel for SigLIP's towers."""

import torch

from seesay.model.layouts import hf_clip, hf_siglip
from seesay.model.layouts.parts import Parts
from seesay.nets.architecture import SiglipImageConfig, SiglipTextConfig


def files(parts: Parts, *, dtype: torch.dtype | None = None) -> dict[str, bytes]:
    """As the layout of the class these towers belong to."""
    image, text = parts.architecture.image, parts.architecture.text
    is_siglip = isinstance(image, SiglipImageConfig) or isinstance(text, SiglipTextConfig)
    return (hf_siglip if is_siglip else hf_clip).files(parts, dtype=dtype)
