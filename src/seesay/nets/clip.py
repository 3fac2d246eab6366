"""Two towers and a temperature. B = pairs, D = embedding width, S = side in pixels."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seesay.base.extras import needing
from seesay.base.records import Embedded, Outputs, Predicted, Tokens
from seesay.nets.absent import Absent
from seesay.nets.architecture import Architecture, Scoring
from seesay.nets.bicaptioner import Bicaptioner
from seesay.nets.captioner import Captioner
from seesay.nets.coca import CocaText
from seesay.nets.compact import compact_dtype, compact_weights
from seesay.nets.convolutional import ConvNet, ResNet
from seesay.nets.head import Head, PreparedTexts
from seesay.nets.masked_captioner import MaskedCaptioner
from seesay.nets.naflex import NaflexImage
from seesay.nets.siglip import SiglipImage, SiglipText
from seesay.nets.text import BagOfWords, TextTransformer
from seesay.nets.tower import ComputesBuffers, ImageTower
from seesay.nets.vit import VisionTransformer
from seesay.nets.word_heads import BagOfWordsHead, NGrams

_DRAWN_IN_PLACE = (Tensor.normal_, Tensor.uniform_)
_SCALES = (Tensor.mul, Tensor.__mul__)


class NoInit(TorchFunctionMode):
    """Inside, random starting values are left out: tensors hold what memory held.

    On the meta device they would cost more than all the rest: torch works out the shape of a random draw in Python, and
    loads its compiler for that, which takes longer than reading the weights.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        named = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **named)
        if func in _DRAWN_IN_PLACE or (func in _SCALES and isinstance(args[1], float)):
            return args[0]
        if getattr(func, "__module__", "") == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)


IMAGE_TOWERS: dict[str, Callable[[Any, int], ImageTower]] = {
    "vit": VisionTransformer,
    "resnet": ResNet,
    "conv": ConvNet,
    "siglip-image": SiglipImage,
    "naflex-image": NaflexImage,
    "absent": Absent,
}
TEXT_SIDES: dict[str, Callable[[Any, int], nn.Module]] = {
    "transformer": TextTransformer,
    "bag-of-words": BagOfWords,
    "siglip-text": SiglipText,
    "coca-text": CocaText,
    "captioner": Captioner,
    "bicaptioner": Bicaptioner,
    "words": BagOfWordsHead,
    "n-grams": NGrams,
    "masked-captioner": MaskedCaptioner,
    "absent": Absent,
}
# Radford et al. 2021, section 2.5: the start, and the bound that training may not pass.
LOGIT_SCALE_START = math.log(1 / 0.07)
LOGIT_SCALE_MAX = math.log(100)
# Zhai et al. 2023, section 3.2: most pairs are no match, and the first step should not have to learn that.
SIGMOID_SCALE_START = math.log(10)
SIGMOID_BIAS_START = -10.0


class Clip(nn.Module):
    """What both kinds of models have: an image tower, a text side, and the logarithm of the factor on scores.

    `embeds_texts`: a text has a row of its own, and is compared with images by cosines (`DualEncoder`); else the model
    gives the likelihood of a text for an image (`CaptionPredictor`). `reads_grid`: an image's row is a whole grid.
    """

    embeds_texts: ClassVar[bool]
    reads_grid = False
    image_tower: ImageTower
    logit_scale: Tensor
    logit_bias: nn.Parameter | None

    def __init__(self, image_tower: ImageTower, text_side: nn.Module):
        super().__init__()
        self.image_tower = image_tower
        # In model files both kinds have the text side under this name.
        self.text_tower = text_side
        self.logit_bias = None

    def image_parts(self) -> tuple[nn.Module, ...]:
        """All modules that an image's row depends on."""
        return (self.image_tower,)

    def text_parts(self) -> tuple[nn.Module, ...]:
        """All modules that a text's row, or its likelihood, depends on beside the image."""
        return (self.text_tower,)

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W): what a linear probe reads."""
        return self.image_tower.features(pixels_B3SS)

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """Features to the rows that `embed_images` gives, (B, D); not where the model `reads_grid`."""
        raise NotImplementedError

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to rows, (B, D) or, where the model `reads_grid`, (B, G * D)."""
        raise NotImplementedError

    def forward(self, pixels_B3SS: Tensor, tokens: Tokens) -> Outputs:
        """Images and their captions to what the objective of training reads."""
        raise NotImplementedError

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Give a model of `empty_clip` the tensors of a file, whose memory it then uses, and compute what is in none.

        Inside `compacting` as `compact_weights`. Raises as that and as a tower's `compute_buffers`.
        """
        if (dtype := compact_dtype()) is not None:
            tensors = compact_weights(self, tensors, dtype)
        self.load_state_dict(tensors, assign=True)
        for tower in (self.image_tower, self.text_tower):
            if isinstance(tower, ComputesBuffers):
                tower.compute_buffers()
        # Those are computed on the CPU, and the tensors may be anywhere else.
        self.to(self.logit_scale.device)

    def check_vocabulary(self) -> None:
        """`RefusedInput` for words that cannot have been learned, as a damaged file may hold."""

    def hold_logit_scale(self) -> bool:
        """Bring the logit scale back to where it may be after a step; True if it had left it."""
        return False


class DualEncoder(Clip):
    """CLIP: two towers whose rows of unit length are compared by cosines.

    With sigmoid scoring there is a bias on the scaled cosines as well; else `logit_bias` is None. The projections are
    what may stand behind the towers' own.
    """

    embeds_texts = True

    def __init__(
        self,
        image_tower: ImageTower,
        text_tower: nn.Module,
        *,
        scoring: Scoring = "softmax",
        projections: tuple[nn.Module, nn.Module] | None = None,
    ):
        super().__init__(image_tower, text_tower)
        self.image_projection, self.text_projection = projections or (nn.Identity(), nn.Identity())
        is_sigmoid = scoring == "sigmoid"
        self.logit_scale = nn.Parameter(torch.tensor(SIGMOID_SCALE_START if is_sigmoid else LOGIT_SCALE_START))
        self.logit_bias = nn.Parameter(torch.tensor(SIGMOID_BIAS_START)) if is_sigmoid else None

    def image_parts(self) -> tuple[nn.Module, ...]:
        """The tower and its projection."""
        return (self.image_tower, self.image_projection)

    def text_parts(self) -> tuple[nn.Module, ...]:
        """The tower and its projection."""
        return (self.text_tower, self.text_projection)

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """Features to unit rows (B, D)."""
        return F.normalize(self.image_projection(self.image_tower.project(features_BW)), dim=-1)

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to unit rows (B, D)."""
        return F.normalize(self.image_projection(self.image_tower(pixels_B3SS)), dim=-1)

    def embed_texts(self, tokens: Tokens) -> Tensor:
        """Token ids to unit rows (B, D)."""
        return F.normalize(self.text_projection(self.text_tower(tokens)), dim=-1)

    def forward(self, pixels_B3SS: Tensor, tokens: Tokens) -> Embedded:
        """Both sides of B pairs as unit rows, with the factor and the bias on their cosines."""
        return Embedded(
            image_BD=self.embed_images(pixels_B3SS),
            text_BD=self.embed_texts(tokens),
            scale=self.logit_scale.exp(),
            bias=self.logit_bias,
        )

    @torch.no_grad()
    def hold_logit_scale(self) -> bool:
        """Bring the logit scale back into [0, ln 100] after a step; True if it had left it (paper, section 2.5).

        With sigmoid scoring it is free, and SigLIP's own are above 100. One that is not learned stays as it is.
        """
        if self.logit_bias is not None or not self.logit_scale.requires_grad:
            return False
        held = self.logit_scale.clamp(0, LOGIT_SCALE_MAX)
        left = bool(held != self.logit_scale)
        self.logit_scale.copy_(held)
        return left


class CaptionPredictor(Clip):
    """An image tower, and a head that gives the likelihood of a caption for an image.

    Its scores are log-likelihoods already, so the scale is 1 and not learned.
    """

    embeds_texts = False

    def __init__(self, image_tower: ImageTower, head: Head, embed_dim: int):
        super().__init__(image_tower, head)
        self.register_buffer("logit_scale", torch.tensor(0.0))
        self.embed_dim = embed_dim
        self.reads_grid = head.reads_grid
        if head.reads_grid:
            image_tower.give_up_pooling()

    @property
    def head(self) -> Head:
        """The text side, as what it is."""
        return self.text_tower  # type: ignore[return-value]

    def check_vocabulary(self) -> None:
        """As `Head.check_vocabulary`."""
        self.head.check_vocabulary()

    def features(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to (B, W); the mean over the grid, where that is what the head reads."""
        if self.reads_grid:
            return self.image_tower.grid(pixels_B3SS).mean(1)
        return super().features(pixels_B3SS)

    def embed_features(self, features_BW: Tensor) -> Tensor:
        """Features to rows of what the head reads, (B, D); not of a grid, which its mean does not give back."""
        assert not self.reads_grid
        return self.image_tower.project(features_BW)

    def embed_images(self, pixels_B3SS: Tensor) -> Tensor:
        """Normalised pixels to rows of what the head reads, (B, D) or (B, G * D), not of unit length."""
        return self._read(pixels_B3SS).flatten(1)

    def prepare(self, texts: Tokens) -> PreparedTexts:
        """P texts for `log_likelihoods`, once for all images."""
        return self.head.prepare(texts)

    def log_likelihoods(self, image_BX: Tensor, texts: PreparedTexts) -> Tensor:
        """Rows of `embed_images` and P texts of `prepare` to (B, P), as `Head.log_likelihoods` defines it."""
        if self.reads_grid:
            image_BX = image_BX.unflatten(1, (-1, self.embed_dim))
        return self.head.log_likelihoods(image_BX, texts)

    def forward(self, pixels_B3SS: Tensor, tokens: Tokens) -> Predicted:
        """The loss of each of B captions for its image, in nats."""
        return Predicted(loss_B=self.head.losses(self._read(pixels_B3SS), tokens))

    def _read(self, pixels_B3SS: Tensor) -> Tensor:
        tower = self.image_tower
        return tower.projected_grid(pixels_B3SS) if self.reads_grid else tower(pixels_B3SS)


def build_clip(architecture: Architecture, *, seed: int) -> Clip:
    """A model with random weights that depend on `architecture` and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _clip(architecture)


def empty_clip(architecture: Architecture) -> Clip:
    """A model on the meta device: names and shapes without memory, to be filled from a file."""
    # Imported before: what another library makes while it is imported is no part of the model.
    _image_tower_class(architecture.image.kind)
    _text_side_class(architecture.text.kind)
    with torch.device("meta"), NoInit():
        return _clip(architecture)


def _image_tower_class(kind: str) -> Callable[[Any, int], ImageTower]:
    """`UsageError` says what to install for a tower of another library."""
    if kind == "timm":
        with needing("timm"):
            from seesay.nets.timm_tower import TimmTower
        return TimmTower
    return IMAGE_TOWERS[kind]


def _text_side_class(kind: str) -> Callable[[Any, int], nn.Module]:
    """As `_image_tower_class`."""
    if kind == "transformers":
        with needing("transformers"):
            from seesay.nets.transformers_text import TransformersText
        return TransformersText
    return TEXT_SIDES[kind]


def _clip(architecture: Architecture) -> Clip:
    image_tower = _image_tower_class(architecture.image.kind)(architecture.image, architecture.embed_dim)
    text_side = _text_side_class(architecture.text.kind)(architecture.text, architecture.embed_dim)
    if isinstance(text_side, Head):
        return CaptionPredictor(image_tower, text_side, architecture.embed_dim)
    is_mlp = architecture.projection == "mlp"
    projections = (_mlp(architecture.embed_dim), _mlp(architecture.embed_dim)) if is_mlp else None
    return DualEncoder(image_tower, text_side, scoring=architecture.scoring, projections=projections)


def _mlp(width: int) -> nn.Module:
    """A ReLU and a second linear map, to stand behind a tower's own linear projection."""
    return nn.Sequential(nn.ReLU(), nn.Linear(width, width))
