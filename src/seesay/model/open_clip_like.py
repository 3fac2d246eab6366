"""A model as code written for open_clip or sentence-transformers calls one.

B = images or texts, L = context, D = embedding width, S = side in pixels.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.errors import UsageError
from seesay.base.names import no_empty_names
from seesay.base.records import Tokens
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.engines import refuse_altered
from seesay.model.hub import on_device
from seesay.nets.clip import DualEncoder

# What stands behind a text's ids where its vocabulary is not CLIP's, whose own end token says where they end.
NO_TOKEN = -1


class OpenClipLike(nn.Module):
    """The methods of open_clip's `CLIP`, and `encode` of a `SentenceTransformer`, for the towers of a model.

    As there, `logit_scale` is a logarithm and `logit_bias` may be None.
    """

    def __init__(self, model: Model, clip: DualEncoder):
        super().__init__()
        self.text, self.text_projection, self.tokenizer = clip.text_tower, clip.text_projection, model.tokenizer
        self.context_length, self.is_clips = model.tokenizer.context, isinstance(model.tokenizer, CaptionTokenizer)
        self.visual = nn.Sequential(clip.image_tower, clip.image_projection)
        self.preprocess, self.embed_dim = model.preprocess, model.architecture.embed_dim
        self.logit_scale, self.logit_bias = clip.logit_scale, clip.logit_bias
        self.eval()

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """What `transform` makes of B images, (B, 3, S, S), to (B, D); of unit length where `normalize` is set."""
        rows_BD = self.visual(image)
        return F.normalize(rows_BD, dim=-1) if normalize else rows_BD

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """What `tokenize` makes of B texts, (B, L), to (B, D); of unit length where `normalize` is set."""
        # CLIP's end token is its largest id.
        length_B = text.argmax(1) + 1 if self.is_clips else (text != NO_TOKEN).sum(1)
        rows_BD = self.text_projection(self.text(Tokens(ids_BL=text.clamp(min=0), length_B=length_B)))
        return F.normalize(rows_BD, dim=-1) if normalize else rows_BD

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """Unit rows of both, (B, D), the factor on their cosines and, where there is one, the bias."""
        rows = self.encode_image(image, normalize=True), self.encode_text(text, normalize=True)
        return (*rows, self.logit_scale.exp(), *(() if self.logit_bias is None else (self.logit_bias,)))

    def tokenize(self, texts: str | Sequence[str]) -> Tensor:
        """Texts to ids of the whole context, (B, L) int64."""
        rows = self.tokenizer([texts] if isinstance(texts, str) else list(texts))
        fill = [0 if self.is_clips else NO_TOKEN] * self.context_length
        return torch.tensor([(row + fill)[: self.context_length] for row in rows]).view(-1, self.context_length)

    def transform(self, image: Any) -> Tensor:
        """An image of any kind that `Model.encode_images` takes, to normalised pixels (3, S, S)."""
        return self.preprocess.normalise(self.preprocess.read(image))

    @torch.no_grad()
    def encode(
        self, sentences: Any, batch_size: int = 32, *, normalize_embeddings=False, convert_to_tensor=False, **_: Any
    ) -> np.ndarray | Tensor:
        """Texts and images in one list to (N, D), or one alone to (D,).

        Of the other arguments of sentence-transformers, such as for its progress, nothing is read.
        """
        is_one = isinstance(sentences, str) or not isinstance(sentences, Sequence)
        blocks, device = [torch.empty(0, self.embed_dim)], self.logit_scale.device
        sentences = [sentences] if is_one else sentences
        for is_text, run in groupby(sentences, key=lambda item: isinstance(item, str)):
            items = list(run)
            for block in (items[first : first + batch_size] for first in range(0, len(items), batch_size)):
                inputs = self.tokenize(block) if is_text else torch.stack([self.transform(image) for image in block])
                blocks.append((self.encode_text if is_text else self.encode_image)(inputs.to(device)))
        rows_ND = torch.cat([block.to(device) for block in blocks])
        rows_ND = F.normalize(rows_ND, dim=-1) if normalize_embeddings else rows_ND
        rows = rows_ND[0] if is_one else rows_ND
        return rows if convert_to_tensor else rows.float().cpu().numpy()


@no_empty_names
def open_clip_like(
    model: Model | str | Path, device: str | None = None
) -> tuple[OpenClipLike, Callable[[Any], Tensor], Callable[[str | Sequence[str]], Tensor]]:
    """A model, its preprocessing and its tokenizer, to be used as those of open_clip or as a `SentenceTransformer`.

    `model` is a `Model`, or what `seesay.load` takes; raises as that. `UsageError` for a model that predicts captions.
    Pixels and ids are open_clip's, but that ids of other vocabularies than CLIP's are filled up with -1. The towers are
    the model's own: they are moved and trained with it.

        model, preprocess, tokenizer = seesay.open_clip_like("laion/ViT-B-32")
        image_BD = model.encode_image(preprocess(image)[None], normalize=True)
        text_CD = model.encode_text(tokenizer(["a cat", "a dog"]), normalize=True)
        probabilities = (model.logit_scale.exp() * image_BD @ text_CD.T).softmax(1)
        rows = model.encode(["a red dog", image], normalize_embeddings=True)
    """
    held = on_device(model, device)
    refuse_altered(held, "take")
    if not isinstance(held.clip, DualEncoder):
        raise UsageError(f"{held.name} predicts captions, and has no embedding of a text; open_clip has no such model.")
    alike = OpenClipLike(held, held.clip)
    return alike, alike.transform, alike.tokenize
