"""A model as code written for open_clip or sentence-transformers calls one.

B = images or texts, L = context, D = embedding width, S = side in pixels.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesay.base.errors import UsageError
from seesay.base.journal import progress
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
        self,
        sentences: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        **arguments: Any,
    ) -> np.ndarray | Tensor | list[Tensor]:
        """Texts and images in one list to (N, D), or one alone to (D,).

        `arguments` are those of `EncodeArguments`; `prompt` stands in front of every text. `UsageError` for what is not
        done here, `TypeError` for an argument that sentence-transformers does not have.
        """
        options = EncodeArguments(**arguments)
        options.refuse_undone(prompt_name, width=self.embed_dim)
        if options.device is not None:
            self.to(options.device)
        is_one = _is_one(sentences)
        items = [sentences] if is_one else list(sentences)
        items = [(prompt or "") + item if isinstance(item, str) else item for item in items]
        line = progress(len(items), "encode") if options.show_progress_bar else nullcontext(lambda count: None)
        with line as advance:
            rows_ND = self._rows(items, batch_size, advance)[:, : options.truncate_dim]
        rows_ND = F.normalize(rows_ND, dim=-1) if options.normalize_embeddings else rows_ND
        rows = rows_ND[0] if is_one else rows_ND
        if options.convert_to_tensor:
            return rows
        return rows.float().cpu().numpy() if options.convert_to_numpy else rows if is_one else list(rows)

    def _rows(self, items: list[Any], batch_size: int, advance: Callable[[int], None]) -> Tensor:
        """(N, D) of texts and images, each in batches of its own."""
        blocks, device = [torch.empty(0, self.embed_dim)], self.logit_scale.device
        for is_text, run in groupby(items, key=lambda item: isinstance(item, str)):
            same = list(run)
            for block in (same[first : first + batch_size] for first in range(0, len(same), batch_size)):
                inputs = self.tokenize(block) if is_text else torch.stack([self.transform(image) for image in block])
                blocks.append((self.encode_text if is_text else self.encode_image)(inputs.to(device)))
                advance(len(block))
        return torch.cat([block.to(device) for block in blocks])


@dataclass(frozen=True, kw_only=True)
class EncodeArguments:
    """What `encode` of a `SentenceTransformer` 5 takes beside its first four arguments, with its defaults.

    Rows are cut to `truncate_dim` before they are normalised.
    """

    show_progress_bar: bool | None = None
    output_value: str | None = "sentence_embedding"
    precision: str = "float32"
    convert_to_numpy: bool = True
    convert_to_tensor: bool = False
    device: Any = None
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    pool: Any = None
    chunk_size: int | None = None

    def refuse_undone(self, prompt_name: str | None, *, width: int) -> None:
        """`UsageError` for what has another value than the only one that is done, and for more numbers than `width`."""
        if prompt_name is not None:
            raise UsageError(
                f"prompt_name is {prompt_name!r:.60}, and no prompts have names here; give prompt its text."
            )
        only = {"output_value": "sentence_embedding", "precision": "float32", "pool": None, "chunk_size": None}
        for name, value in only.items():
            if getattr(self, name) != value:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r:.60}, and encode does {value!r} alone; leave it out."
                )
        if self.truncate_dim is not None and not 1 <= self.truncate_dim <= width:
            raise UsageError(f"truncate_dim is {self.truncate_dim}, and a row has {width} numbers; take 1 to {width}.")


def _is_one(sentences: Any) -> bool:
    """Whether it is a single text or image, and no collection of them; an array of numbers is an image."""
    if isinstance(sentences, np.ndarray):
        return sentences.dtype.kind not in "UO"
    return isinstance(sentences, str | bytes | bytearray | memoryview | Tensor) or not hasattr(sentences, "__len__")


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
