"""What a model is made of, as checked values: the part of a model file that is read before anything is allocated.

Bounds are generous for real models and refuse files that lie about their size.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seesay.base.settings import Settings

Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
Width = Annotated[int, Field(ge=8, le=8192)]
Count = Annotated[int, Field(ge=1, le=128)]
Side = Annotated[int, Field(ge=8, le=2048)]


class VisionTransformerConfig(Settings):
    """A ViT with class token; `image_size` fixes its position table."""

    kind: Literal["vit"] = "vit"
    image_size: Side
    patch: Annotated[int, Field(ge=1, le=64)]
    width: Width
    layers: Count
    heads: Count
    activation: Activation = "quick_gelu"

    @model_validator(mode="after")
    def _fits(self):
        if self.image_size % self.patch:
            raise ValueError(f"patch {self.patch} does not divide image_size {self.image_size}")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class ConvNetConfig(Settings):
    """A small residual convolutional tower for 32-64 px; works at any size, `image_size` is the one it is judged at."""

    kind: Literal["conv"] = "conv"
    image_size: Side
    width: Width
    depths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]


class TextTransformerConfig(Settings):
    """A causal transformer, pooled at the end-of-text token."""

    kind: Literal["transformer"] = "transformer"
    context: Annotated[int, Field(ge=3, le=4096)]
    vocab_size: Annotated[int, Field(ge=3, le=1_000_000)]
    width: Width
    layers: Count
    heads: Count
    activation: Activation = "quick_gelu"

    @model_validator(mode="after")
    def _fits(self):
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class BagOfWordsConfig(Settings):
    """The paper's CBOW text tower: the mean of the token vectors, blind to their order."""

    kind: Literal["bag-of-words"] = "bag-of-words"
    context: Annotated[int, Field(ge=3, le=4096)]
    vocab_size: Annotated[int, Field(ge=3, le=1_000_000)]
    width: Width


class Architecture(Settings):
    """Two towers and the width `embed_dim` of the space they share."""

    embed_dim: Width
    image: Annotated[VisionTransformerConfig | ConvNetConfig, Field(discriminator="kind")]
    text: Annotated[TextTransformerConfig | BagOfWordsConfig, Field(discriminator="kind")]
