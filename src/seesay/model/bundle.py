"""A trained thing you can hold: weights, tokenizer, preprocessing, templates and what is known about them.

N = images or texts given, B = rows in a block, D = embedding width, S = side in pixels.
`layouts/` has the files of its folder.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from seesay.base.errors import RefusedInput, UsageError, nearest
from seesay.base.names import text_list
from seesay.base.printable import printable
from seesay.base.publish import publish_folder, storage_errors
from seesay.base.records import Ranking
from seesay.base.runtime import Runtime
from seesay.data.class_names import ClassName, Descriptions, class_prompts, names_of
from seesay.data.file_tokenizer import AnyTokenizer
from seesay.data.image_sources import Source, refuse_single_image
from seesay.data.images import MODES, Preprocess
from seesay.data.prompts import distinct_labels, load_templates
from seesay.model.compact_weights import refuse_compact
from seesay.model.encode import BATCH_SIZE, OnError, check_rows, check_width, cut, embed_rows, encode_any, rounding
from seesay.model.engines import ON_CPU, Copied, Encoder, in_precision, refuse_cut, with_engine
from seesay.model.explain import Explanation, explain_image
from seesay.model.layouts import refuse_foreign, writer
from seesay.model.layouts.parts import PLAIN_TEMPLATES, Parts
from seesay.model.weights import FLOATS
from seesay.model.zero_shot import Classifier, LabelsRead, classifier_of, labels_read
from seesay.nets.architecture import AbsentImageConfig, AbsentTextConfig, Architecture
from seesay.nets.clip import CaptionPredictor, Clip, DualEncoder
from seesay.nets.head import PreparedTexts


class Model(Copied):
    """Images and texts to unit vectors of one space."""

    # How it encodes, and nothing that is saved: `load`, `with_precision`, `with_engine`, `with_width` and so on.
    precision = "float32"
    weights_dtype: str | None = None
    engine = "torch"
    encoder: Encoder | None = None  # what computes rows in place of the towers
    width: int | None = None
    batch_size = BATCH_SIZE

    def __init__(
        self,
        clip: Clip,
        architecture: Architecture,
        tokenizer: AnyTokenizer,
        *,
        preprocess: Preprocess,
        templates: Sequence[str] = PLAIN_TEMPLATES,
        name: str = "unnamed",
        facts: dict[str, Any] | None = None,
    ):
        self.clip = clip.eval()
        self.architecture = architecture
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.templates = tuple(templates)
        self.name = name
        self.facts = dict(facts or {})

    def __repr__(self) -> str:
        architecture = self.architecture
        count = sum(parameter.numel() for parameter in self.clip.parameters())
        templates = f"{len(self.templates)} template{'s' * (len(self.templates) != 1)}"
        return (
            f"<Model {printable(self.name)}: {architecture.image.kind} + {architecture.text.kind}, "
            f"{count:,} parameters, embed_dim {architecture.embed_dim}, {self.preprocess.size} px, {templates}"
            f"{f', in {self.precision}' * (self.precision != 'float32')}"
            f"{f', weights in {self.weights_dtype}' * (self.weights_dtype is not None)}"
            f"{f', by {self.engine}' * (self.engine != 'torch')}"
            f"{f', rows cut to {self.width}' * (self.width not in (None, architecture.embed_dim))}>"
        )

    @classmethod
    def of(cls, parts: Parts) -> "Model":
        """The model that was read from a file.

        `RefusedInput` for a factor on its cosines that is not finite, or words that its head cannot have learned.
        """
        learned = parts.clip.logit_scale.detach()
        if not learned.exp().isfinite():
            raise RefusedInput(
                f"model {parts.name!r} has a logit_scale of {float(learned):g}, whose exp is not finite; "
                "its weights are damaged, fetch it again."
            )
        parts.clip.check_vocabulary()
        return cls(
            parts.clip,
            parts.architecture,
            parts.tokenizer,
            preprocess=parts.preprocess,
            templates=parts.templates,
            name=parts.name,
            facts=dict(parts.facts),
        )

    @property
    def embeds_texts(self) -> bool:
        """Whether a text has a row of its own; a model that predicts captions gives its likelihood instead."""
        return self.clip.embeds_texts

    @property
    def reads_grid(self) -> bool:
        """Whether an image's row is a grid, 100 times as long as an embedding: those of a whole set take gigabytes."""
        return self.clip.reads_grid

    @property
    def logit_scale(self) -> float:
        """The factor on cosines, exp of the learned parameter."""
        return float(self.clip.logit_scale.detach().exp())

    @property
    def logit_bias(self) -> float | None:
        """What is added to scaled cosines where pairs are scored by a sigmoid (SigLIP); else None."""
        return None if self.clip.logit_bias is None else float(self.clip.logit_bias.detach())

    @property
    def device(self) -> torch.device:
        """Where the towers are."""
        return self.clip.logit_scale.device

    def to(self, device: str | torch.device) -> "Model":
        """Move the towers; embeddings still come back on the CPU. `UsageError` for a device that is not there, and for
        a model whose engine computes on the CPU."""
        if self.engine in ON_CPU and str(device) != "cpu":
            raise UsageError(f"{self.name} is computed by {self.engine}, on the CPU; move the model it was made of.")
        self.clip.to(Runtime.find(str(device)).device)
        return self

    def with_preprocess(self, mode: str) -> "Model":
        """This model, its towers shared, that prepares images in that mode.

        "exact" is pixel for pixel what the weights were trained with; "fast" is not, and `FastPreprocess` has by how
        much.
        """
        if mode not in MODES:
            raise UsageError(f"preprocess mode {mode!r} is not known.{nearest(mode, MODES)} Known: {', '.join(MODES)}.")
        other = copy.copy(self)
        other.preprocess = MODES[mode](**self.preprocess.model_dump())
        return other

    def with_precision(self, precision: str) -> "Model":
        """This model, that multiplies matrices in "float32", "bfloat16" or "float16": faster where a processor can.

        benchmarks/2026-11-28-precision has by how much its rows differ. The model it is called on stays as it is; the
        one that is returned cannot be saved or go back to float32 (`UsageError`, as for what is none of these).
        """
        other = copy.copy(self)
        other.clip, other.precision = in_precision(self, precision), precision
        return other

    def with_engine(self, engine: str) -> "Model":
        """This model, whose rows an engine computes.

        "torch", "torch-packed", "openvino" and "onnx" give float32 rows that are equal to 1e-5, "torch-exact" the same
        bits whatever else is encoded, on as many threads; "torch-int8" and "torch-bf16" are rounded. `seesay doctor
        --model` measures all here. `explain` stays with torch. `UsageError` for an engine that is not installed or
        cannot compute this model.
        """
        return with_engine(self, engine)

    def with_width(self, width: int | None) -> "Model":
        """This model, its towers shared, whose rows are cut to `width` numbers and of unit length again (None: whole).

        A model trained with `objective.widths` still answers then. `UsageError` for more than rows have.
        """
        other = copy.copy(self)
        other.width = check_width(self, width)
        return other

    def with_batch_size(self, batch_size: int | None) -> "Model":
        """This model, its towers shared, that encodes so many images at once (None: as it does now)."""
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; encode at least 1 image at a time.")
        other = copy.copy(self)
        other.batch_size = batch_size or self.batch_size
        return other

    def encode_images(
        self,
        images: Iterable,
        *,
        batch_size: int | None = None,
        width: int | None = None,
        on_error: OnError = "raise",
    ) -> Tensor:
        """Images of any kind to (N, D) float32 unit rows on the CPU, one for each image and in their order.

        An image is a path, bytes, an open binary file, a Pillow image, a uint8 array (H, W, 3) or a uint8 tensor
        (3, H, W); `images` is a list of them, a generator, or one array or tensor of four dimensions. `width` is as in
        `with_width`. Raises `UsageError` for a path that is not there and `BrokenSample`, with its path or its index in
        the list, for what is no image.

        With `on_error="skip"` such an image's row is NaN, and one `UserWarning` at the end counts them by reason. A
        function in its place is called with each `Skipped`, whose `key` is the index, as in `on_error=skipped.append`.
        `rows[~rows.isnan().any(1)]` are the others.
        """
        refuse_single_image(images, "encode_images")
        if on_error not in ("raise", "skip") and not callable(on_error):
            raise UsageError(f'on_error is {on_error!r}; it should be "raise", "skip" or a function.')
        model = self if width is None else self.with_width(width)
        return encode_any(model.with_batch_size(batch_size), images, on_error=on_error)

    @torch.inference_mode()
    def encode_pixels(self, pixels_B3SS: Tensor) -> Tensor:
        """uint8 pixels of this model's size to (B, D) float32 unit rows on the CPU; raises as `check_unit_length` does.

        For a model that predicts captions the rows are what its head reads, of any length and width.
        """
        pixels = self.preprocess.normalise(pixels_B3SS.to(self.device))
        with rounding(self):
            return cut(self, check_rows(self.clip, (self.encoder or self.clip).embed_images(pixels).cpu()))

    def encode_texts(self, texts: Iterable[str], *, width: int | None = None) -> Tensor:
        """Strings to (N, D) float32 unit rows on the CPU; each is cut to the context and still ends in its end token.

        Equal texts and beginnings that texts have in common are worked on once. `width` is as in `with_width`.
        """
        if width is not None:
            return self.with_width(width).encode_texts(texts)
        texts = text_list(texts, "texts")
        if not texts:
            return torch.empty(0, self.width or self.architecture.embed_dim)
        if not isinstance(self.clip, DualEncoder):
            raise UsageError(f"{self.name} predicts captions, and has no embedding of a text; classify with it.")
        with rounding(self):
            embed = self.encoder.embed_texts if self.encoder else None
            return cut(self, embed_rows(self.clip, self.tokenizer(texts), context=self.tokenizer.context, embed=embed))

    def classifier(
        self,
        class_names: Sequence[ClassName],
        templates: str | Path | Sequence[str] | None = None,
        *,
        descriptions: Descriptions | None = None,
        rows: Callable[[Sequence[Sequence[str]]], Tensor] | None = None,
    ) -> Classifier:
        """A zero-shot classifier: per class the mean over its prompts' unit vectors (`data.class_names.class_prompts`).

        A class is a name or a list of names. Without `templates` the model's own are used; `descriptions` take their
        place. `rows` may make unit rows (C, D) of the prompts of C classes in another way. A model that predicts
        captions gives a `LikelihoodClassifier`, any other a `ZeroShotClassifier`. Raises `UsageError` without a class
        name.
        """
        if isinstance(class_names, str):
            raise TypeError("class names are a list of strings; wrap the single one in a list")
        if not (class_names := list(class_names)):
            raise UsageError("no class names are given; name what an image may show.")
        chosen = self.templates if templates is None else load_templates(templates)
        prompts = class_prompts(class_names, chosen, descriptions)
        return classifier_of(self, class_names, prompts, rows)

    def read_labels(
        self, class_names: Sequence[ClassName], templates: str | Path | Sequence[str] | None = None
    ) -> LabelsRead:
        """What the tokenizer leaves of class names in templates (default the model's own)."""
        chosen = self.templates if templates is None else load_templates(templates)
        names = [names_of(class_name)[0] for class_name in class_names]
        return labels_read(self.tokenizer, names, class_prompts(class_names, chosen))

    def prepare(self, texts: Sequence[str]) -> PreparedTexts:
        """P texts for `log_likelihoods`: what depends on them alone, worked out once for all images."""
        with rounding(self):
            return self._predictor().prepare(self.tokenizer.tokens(texts).to(self.device))

    @torch.inference_mode()
    def log_likelihoods(self, image_BX: Tensor, texts: PreparedTexts) -> Tensor:
        """Rows of `encode_images` and P texts of `prepare` to (B, P) float32 on the CPU.

        How likely each text is for each image, in nats, as `Head.log_likelihoods` defines it. `UsageError` for a model
        that embeds texts.
        """
        with rounding(self):
            return self._predictor().log_likelihoods(image_BX.to(self.device), texts.to(self.device)).float().cpu()

    def _predictor(self) -> CaptionPredictor:
        if not isinstance(self.clip, CaptionPredictor):
            raise UsageError(f"{self.name} embeds texts, and has no likelihood of one; compare its embeddings instead.")
        return self.clip

    def classify(
        self, images: Iterable, labels: Sequence[str], templates: str | Path | Sequence[str] | None = None
    ) -> list[Ranking]:
        """For every image all labels with probabilities, best first.

        They sum to 1, except for models with sigmoid scoring, which score every label by itself. `UsageError` for fewer
        than two labels, or two that the model cannot tell apart, except with those; a `UserWarning` for a label that
        comes twice, which counts once, and for labels that are cut.
        """
        if self.logit_bias is None:
            labels, twice = distinct_labels(labels)
            if twice:
                warnings.warn(f"labels given more than once count once: {', '.join(map(repr, twice))}.", stacklevel=2)
            read = self.read_labels(labels, templates)
            read.refuse_alike()
            for note in read.notes:
                warnings.warn(note, stacklevel=2)
        return self.classifier(labels, templates).rank(self.encode_images(images))

    def explain(self, image: Source, text: str, *, contrast: str | None = None) -> Explanation:
        """Which parts of an image and which words make their cosine, or its lead over that of `contrast`."""
        return explain_image(self, image, text, contrast=contrast)

    def save(
        self,
        folder: str | Path,
        layout: Literal["seesay", "hf", "open_clip"] = "seesay",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Write a model folder, whole or not at all; floats are rounded to `dtype` if one is given.

        "hf" is read by transformers' CLIPModel or SiglipModel, "open_clip" by open_clip; only "seesay" has room for
        templates and facts. A model that is there already is replaced; `UsageError` if they have no such towers, for a
        folder that holds anything else, a `dtype` that is none of floats, and a model whose rows are rounded or cut.
        """
        refuse_compact(self)
        refuse_cut(self, "save")
        if self.precision != "float32":
            raise UsageError(
                f"{self.name} was rounded by with_precision, and is only to encode with; save the one it was made of, "
                f"with dtype=torch.{self.precision} if a smaller file is wanted."
            )
        if dtype is not None and dtype not in FLOATS:
            known = ", ".join(str(each).removeprefix("torch.") for each in FLOATS)
            raise UsageError(f"dtype is {dtype}; a model is saved in {known}.")
        with storage_errors(Path(folder)):
            refuse_foreign(Path(folder))
        publish_folder(Path(folder), lambda path: self.write_files(path, layout, dtype=dtype))

    def write_files(self, folder: Path, layout: str, *, dtype: torch.dtype | None = None) -> None:
        """The files of `save` into a folder that is there already."""
        for config in (self.architecture.image, self.architecture.text):
            if isinstance(config, AbsentImageConfig | AbsentTextConfig):
                raise UsageError(f"{config.hint.rstrip('.')}, and save that.")
        names = ("clip", "architecture", "tokenizer", "preprocess", "templates", "name", "facts")
        parts = Parts(**{name: getattr(self, name) for name in names})
        for name, data in writer(layout).files(parts, dtype=dtype).items():
            (folder / name).write_bytes(data)
