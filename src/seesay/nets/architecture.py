"""What a model is made of, as checked values: the part of a model file that is read before anything is allocated.

Bounds are generous for real models and refuse files that lie about their size.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from seesay.base.settings import Settings
from seesay.formulas.patches import LEAST_PATCH, square_side
from seesay.nets.borrowed import AbsentImageConfig, AbsentTextConfig, TimmImageConfig, TransformersTextConfig
from seesay.nets.bounds import Context, Count, PrefixWidth, Side, Vocabulary, Width

Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
Scoring = Literal["softmax", "sigmoid"]
Projection = Literal["linear", "mlp"]
Tower = Literal["image", "text"]
TOWERS: tuple[Tower, ...] = get_args(Tower)
# What a matrix does in its tower. A vision transformer's first layer, which reads pixels, is none of them.
MatrixKind = Literal["query", "key", "value", "out", "mlp", "conv", "projection"]
MATRIX_KINDS: tuple[MatrixKind, ...] = get_args(MatrixKind)


class Growing(Settings):
    """Written without those of its values in `added` that are usual: files of before have no place for them."""

    added: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = write(self)
        for name in self.added:
            if values[name] == type(self).model_fields[name].default:
                del values[name]
        return values


class BlocksConfig(Growing):
    """A stack of transformer blocks; the MLP inside is four times as wide as the stack unless `mlp_width` is set."""

    width: Width
    layers: Count
    heads: Count
    activation: Activation = "quick_gelu"
    mlp_width: Annotated[int, Field(ge=8, le=65_536)] | None = None

    @property
    def hidden(self) -> int:
        """The width inside the MLP."""
        return self.mlp_width or 4 * self.width

    @model_validator(mode="after")
    def _splits_into_heads(self):
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class VisionTransformerConfig(BlocksConfig):
    """A ViT with class token; `image_size` fixes its position table.

    What is pooled is the class token, the mean of the patches, or what `queries` learned ones with `query_heads` see of
    all of them (CoCa); before the blocks is one LayerNorm or none (CLIPA).
    """

    added: ClassVar[tuple[str, ...]] = ("pool", "pre_norm", "queries", "query_heads")

    kind: Literal["vit"] = "vit"
    image_size: Side
    patch: Annotated[int, Field(ge=1, le=64)]
    pool: Literal["token", "patches", "queries"] = "token"
    pre_norm: bool = True
    queries: Annotated[int, Field(ge=1, le=4096)] = 256
    query_heads: Count = 8

    @model_validator(mode="after")
    def _splits_into_patches(self):
        if self.image_size % self.patch:
            raise ValueError(f"patch {self.patch} does not divide image_size {self.image_size}")
        return self


class SiglipImageConfig(BlocksConfig):
    """SigLIP's ViT: no class token, attention pooling; what is left over at the image's edges is not seen."""

    kind: Literal["siglip-image"] = "siglip-image"
    activation: Activation = "gelu_tanh"
    image_size: Side
    patch: Annotated[int, Field(ge=1, le=64)]

    @property
    def positions(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch) ** 2

    @model_validator(mode="after")
    def _has_a_patch(self):
        if self.patch > self.image_size:
            raise ValueError(f"patch {self.patch} is larger than image_size {self.image_size}")
        return self


class NaflexImageConfig(BlocksConfig):
    """SigLIP 2's ViT for images of any shape: at most `patches` of each, and a table of `grid` x `grid` positions."""

    kind: Literal["naflex-image"] = "naflex-image"
    activation: Activation = "gelu_tanh"
    patch: Annotated[int, Field(ge=LEAST_PATCH, le=64)]
    patches: Annotated[int, Field(ge=1, le=16_384)]
    grid: Annotated[int, Field(ge=1, le=256)]

    @property
    def image_size(self) -> int:
        """The side of the square that holds an image's patches (`formulas/patches.py`)."""
        return square_side(self.patch, self.patches)


class ResNetConfig(Settings):
    """The paper's modified ResNet: blocks per stage, the stem's width, heads of the attention pool."""

    kind: Literal["resnet"] = "resnet"
    image_size: Side
    width: Annotated[int, Field(ge=8, le=512)]
    layers: tuple[Count, Count, Count, Count]
    heads: Count

    @property
    def channels(self) -> int:
        """Channels of the last map, and the width of the attention pool."""
        return 32 * self.width

    @property
    def positions(self) -> int:
        """Positions of the last map, and one for their mean."""
        return (self.image_size // 32) ** 2 + 1

    @model_validator(mode="after")
    def _fits(self):
        if self.image_size % 32:
            raise ValueError(f"image_size {self.image_size} is no multiple of 32, by which the tower shrinks it")
        if self.width % 2:
            raise ValueError(f"width {self.width} is odd, and the stem begins with half of it")
        if self.channels % self.heads:
            raise ValueError(f"heads {self.heads} does not divide the {self.channels} channels of the last map")
        return self


class ConvNetConfig(Settings):
    """A small residual convolutional tower for 32-64 px; works at any size, and is evaluated at `image_size`."""

    kind: Literal["conv"] = "conv"
    image_size: Side
    width: Width
    depths: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]


class TextTransformerConfig(BlocksConfig):
    """A causal transformer, pooled at the end-of-text token."""

    kind: Literal["transformer"] = "transformer"
    context: Context
    vocab_size: Vocabulary


class CocaTextConfig(BlocksConfig):
    """CoCa's causal transformer, pooled at a class token that stands behind the context."""

    kind: Literal["coca-text"] = "coca-text"
    activation: Activation = "gelu"
    context: Context
    vocab_size: Vocabulary


class SiglipTextConfig(BlocksConfig):
    """SigLIP's text tower: every position sees all, and captions are filled up to the context with the id `pad`.

    What is pooled is the context's last position, or the caption's last token (MobileCLIP). `eps` is that of its
    LayerNorms.
    """

    added: ClassVar[tuple[str, ...]] = ("eps", "pool")

    kind: Literal["siglip-text"] = "siglip-text"
    activation: Activation = "gelu_tanh"
    context: Context
    vocab_size: Vocabulary
    pad: Annotated[int, Field(ge=0)]
    eps: Annotated[float, Field(ge=1e-7, le=1e-4)] = 1e-6
    pool: Literal["last", "end"] = "last"

    @model_validator(mode="after")
    def _knows_its_pad(self):
        if self.pad >= self.vocab_size:
            raise ValueError(f"pad {self.pad} is none of the {self.vocab_size} ids")
        return self


class BagOfWordsConfig(Settings):
    """The paper's CBOW text tower: the mean of the token vectors, blind to their order."""

    kind: Literal["bag-of-words"] = "bag-of-words"
    context: Context
    vocab_size: Vocabulary
    width: Width


class BagOfWordsHeadConfig(Settings):
    """A head that predicts which words the caption has, in no order."""

    kind: Literal["words"] = "words"
    context: Context
    vocab_size: Vocabulary


class NGramsConfig(Settings):
    """A head that predicts runs of up to `longest` words; it knows `per_word` longer ones for each single word."""

    kind: Literal["n-grams"] = "n-grams"
    context: Context
    vocab_size: Vocabulary
    per_word: Annotated[int, Field(ge=1, le=64)] = 4
    longest: Annotated[int, Field(ge=1, le=8)] = 5


class CaptionerConfig(BlocksConfig):
    """A causal language model behind `prefix` tokens that the image tower gives."""

    kind: Literal["captioner"] = "captioner"
    context: Context
    vocab_size: Vocabulary
    prefix: Annotated[int, Field(ge=1, le=64)] = 4


class BicaptionerConfig(BlocksConfig):
    """VirTex's head: one decoder reads the caption forward, one backward, and both look at a grid of the image."""

    kind: Literal["bicaptioner"] = "bicaptioner"
    activation: Activation = "gelu"
    context: Context
    vocab_size: Vocabulary


class MaskedCaptionerConfig(BlocksConfig):
    """ICMLM's head: a masked word, predicted from a grid of the image and the rest of the caption.

    "tfm" lets positions of both look at one another; "att-fc" looks at the grid with one query, made of the words.
    """

    kind: Literal["masked-captioner"] = "masked-captioner"
    activation: Activation = "gelu"
    context: Context
    vocab_size: Vocabulary
    fusion: Literal["tfm", "att-fc"] = "tfm"


PREDICTING = BagOfWordsHeadConfig | NGramsConfig | CaptionerConfig | BicaptionerConfig | MaskedCaptionerConfig


class Architecture(Growing):
    """Two towers, the width `embed_dim` of the space they share, and how a pair is scored.

    "softmax" weighs captions against one another (CLIP). "sigmoid" scores each pair alone, with a learned bias
    (SigLIP, Zhai et al. 2023). `projection` "mlp" has a ReLU and a second linear map behind each tower (ConVIRT).
    The text side may be a head that predicts captions; `embed_dim` is then what it is given of the image: in all,
    or for each position of the grid. `widths` are those that rows may be cut to, if they were trained for it.
    """

    added: ClassVar[tuple[str, ...]] = ("scoring", "projection", "widths")

    embed_dim: Width
    image: Annotated[
        VisionTransformerConfig
        | ResNetConfig
        | ConvNetConfig
        | SiglipImageConfig
        | NaflexImageConfig
        | TimmImageConfig
        | AbsentImageConfig,
        Field(discriminator="kind"),
    ]
    text: Annotated[
        TextTransformerConfig
        | BagOfWordsConfig
        | SiglipTextConfig
        | CocaTextConfig
        | TransformersTextConfig
        | BagOfWordsHeadConfig
        | NGramsConfig
        | CaptionerConfig
        | BicaptionerConfig
        | MaskedCaptionerConfig
        | AbsentTextConfig,
        Field(discriminator="kind"),
    ]
    scoring: Scoring = "softmax"
    projection: Projection = "linear"
    widths: tuple[PrefixWidth, ...] | None = None

    @model_validator(mode="after")
    def _has_such_widths(self):
        if self.widths and max(self.widths) > self.embed_dim:
            raise ValueError(f"widths has {max(self.widths)}, but embed_dim is {self.embed_dim}; rows have no more")
        return self

    @model_validator(mode="after")
    def _meets_in_one_space(self):
        if isinstance(self.image, SiglipImageConfig | NaflexImageConfig) and self.image.width != self.embed_dim:
            raise ValueError(
                f"embed_dim is {self.embed_dim}, and a {self.image.kind} tower gives its own width, {self.image.width}"
            )
        image, text = self.image, self.text
        if (
            isinstance(image, VisionTransformerConfig)
            and image.pool == "queries"
            and self.embed_dim % image.query_heads
        ):
            raise ValueError(f"query_heads {image.query_heads} does not divide embed_dim {self.embed_dim}")
        if isinstance(text, TransformersTextConfig) and text.head == "none" and text.width != self.embed_dim:
            raise ValueError(f"embed_dim is {self.embed_dim}, and the text tower gives its own width, {text.width}")
        return self

    @model_validator(mode="after")
    def _gives_what_the_head_reads(self):
        text = self.text
        image = self.image
        if isinstance(text, PREDICTING) and isinstance(image, VisionTransformerConfig) and image.pool == "queries":
            raise ValueError("an image tower that pools by queries is CoCa's, whose decoder is not here; take another")
        if isinstance(text, PREDICTING) and isinstance(self.image, SiglipImageConfig | NaflexImageConfig):
            raise ValueError(f"a {self.image.kind} tower is trained with its own text tower; take another image tower")
        if isinstance(text, CaptionerConfig):
            what, wanted = "prefix * width", text.prefix * text.width
        elif isinstance(text, BicaptionerConfig | MaskedCaptionerConfig):
            if isinstance(self.image, TimmImageConfig):
                raise ValueError(
                    f"a {text.kind} reads a grid of the image, which a tower of timm is not asked for here"
                )
            what, wanted = "width", text.width
        else:
            return self
        if self.embed_dim != wanted:
            raise ValueError(f"embed_dim is {self.embed_dim}, and a {text.kind} reads its {what}, {wanted}")
        return self
