"""Classifiers made from class names, and what a model's tokenizer leaves of these.

C = classes, P = prompts of all classes, K = prompts of one, D = embedding width, X = width of an image's row,
N = images, B = images worked on at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seesay.base.errors import UsageError
from seesay.base.printable import printable
from seesay.base.records import Ranking
from seesay.data.class_names import ClassName, names_of
from seesay.data.file_tokenizer import AnyTokenizer, with_context
from seesay.formulas.similarity import class_head, log_mean_exp, match_probabilities, probabilities, widened
from seesay.model.confidence import Confidence, confidence_of
from seesay.nets.head import PreparedTexts

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# A guess: 65,536 embeddings of 512 numbers are 128 MiB.
PROMPTS_AT_ONCE = 1 << 16
# Images at once, a guess: scores of all prompts, 64 x 80,000 for ImageNet's with 80 templates, are 20 MiB.
LIKELIHOODS_AT_ONCE = 64
# Class names that a repr shows, a guess at what fits a line.
SHOWN_NAMES = 3
# Names in a message, a guess at what fits a line.
SHOWN_LABELS = 5
SHOWN_LETTERS = 60


@dataclass(frozen=True, kw_only=True, repr=False)
class Classifier(ABC):
    """What ranks classes for an image, in the order of `class_names`.

    `encode_images` is the model's, and gives the rows that all else takes; `scale` is its factor on scores, and `bias`
    what it adds to them if it scores by a sigmoid. Without a bias probabilities are a softmax over the classes: rows
    sum to 1. With one each class has a sigmoid of its own: all may be near 0, or several near 1. `confidence` makes a
    softmax flatter for names and images that the model hardly knows, where its file says how.
    """

    class_names: tuple[str, ...]
    scale: float
    encode_images: Callable[[Iterable], Tensor]
    bias: float | None = None
    confidence: Confidence | None = None

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:SHOWN_NAMES]) + (", ..." if len(self.class_names) > SHOWN_NAMES else "")
        return printable(f"<{type(self).__name__}: {len(self.class_names):,} classes ({names}), {self._made_of()}>")

    def __deepcopy__(self, memo: object) -> "Classifier":
        # It is frozen, and a copy would be one of the model's weights too: scikit-learn copies settings by the dozen.
        return self

    @abstractmethod
    def _made_of(self) -> str:
        """A few words on what the scores are made from."""

    @abstractmethod
    def scores(self, image_NX: Tensor) -> Tensor:
        """Rows of images to (N, C), larger for what suits better; probabilities have the same order, but are rounded
        to ties near 0 and 1."""

    def predict_proba(self, images: Iterable) -> Tensor:
        """Anything `Model.encode_images` takes to (N, C) probabilities."""
        return self.probabilities(self.encode_images(images))

    def probabilities(self, image_NX: Tensor) -> Tensor:
        """Rows of images to (N, C) probabilities; rows sum to 1 unless there is a `bias`."""
        return self.probabilities_of(self.scores(image_NX))

    def rank(self, image_NX: Tensor, *, top: int | None = None) -> list[Ranking]:
        """The best `top` labels (default all) for every row, best first."""
        return self.rank_scores(self.scores(image_NX), top=top)

    def rank_scores(self, score_NC: Tensor, *, top: int | None = None) -> list[Ranking]:
        """As `rank`, for scores that are there already; `UsageError` for those of a row that is NaN."""
        if score_NC.isnan().any():
            raise UsageError(
                f"{int(score_NC.isnan().any(1).sum())} of {len(score_NC)} rows are NaN, as where images were skipped; "
                "leave them out: rows[~rows.isnan().any(1)]."
            )
        count = min(top or len(self.class_names), len(self.class_names))
        best_NC = score_NC.topk(count, dim=1).indices
        values_NC = self.probabilities_of(score_NC).gather(1, best_NC)
        return [
            Ranking(labels=tuple(self.class_names[index] for index in indices), probabilities=tuple(values))
            for indices, values in zip(best_NC.tolist(), values_NC.tolist(), strict=True)
        ]

    def probabilities_of(self, score_NC: Tensor) -> Tensor:
        """As `probabilities`, (N, C), for scores that are there already."""
        if self.bias is None:
            return probabilities(score_NC, self.scales(score_NC))
        return match_probabilities(score_NC, self.scale, self.bias)

    def scales(self, score_NC: Tensor) -> Tensor | float:
        """What a softmax multiplies these scores by: one factor for all, or one for each image, (N, 1)."""
        return self.scale if self.confidence is None else self.scale / self.confidence.temperatures(score_NC)


@dataclass(frozen=True, kw_only=True, repr=False)
class ZeroShotClassifier(Classifier):
    """Class embeddings `weights` (C, D) of unit length; a score is a cosine.

    `is_exact`: of each image by itself, so that its scores are the same bits whatever other images there are.
    """

    weights: Tensor
    is_exact: bool = False

    def _made_of(self) -> str:
        return f"weights {tuple(self.weights.shape)}"

    def scores(self, image_NX: Tensor) -> Tensor:
        """Unit rows of images (N, D) to cosines (N, C); `UsageError` for rows of another width than the classes'."""
        if image_NX.shape[-1] != self.weights.shape[1]:
            raise UsageError(
                f"rows of images have {image_NX.shape[-1]} numbers and those of the classes {self.weights.shape[1]}; "
                "make both with one model, and one width of it."
            )
        classes_DC = widened(self.weights).T
        if self.is_exact and len(image_NX):
            return torch.cat([widened(row_1X.clone()) @ classes_DC for row_1X in image_NX.split(1)])
        return widened(image_NX) @ classes_DC


@dataclass(frozen=True, kw_only=True, repr=False)
class LikelihoodClassifier(Classifier):
    """For a model that predicts captions: a score is how likely the class's prompts are, in nats.

    `prompts` are those of all classes, class by class, `sizes` how many each has; the likelihood of a class with
    several is the mean of theirs, as of a caption that is drawn from them. `log_likelihoods` is the model's: rows of
    images (B, X), and P texts as `Model.prepare` gives them, to (B, P).
    """

    prompts: PreparedTexts
    sizes: tuple[int, ...]
    log_likelihoods: Callable[[Tensor, PreparedTexts], Tensor]

    def _made_of(self) -> str:
        return f"likelihoods of {sum(self.sizes):,} prompts"

    def scores(self, image_NX: Tensor) -> Tensor:
        """Rows of images (N, X) to log-likelihoods (N, C) in nats."""
        if not len(image_NX):
            return torch.empty(0, len(self.class_names))
        # A block of images at a time, and prompts to classes at once: all of a set's would be gigabytes.
        blocks = [
            self._of_classes(self.log_likelihoods(image_BX, self.prompts))
            for image_BX in image_NX.split(LIKELIHOODS_AT_ONCE)
        ]
        return torch.cat(blocks)

    def prompt_ids(self) -> tuple[list[list[int]], list[int]]:
        """The token ids of all prompts, padded to the longest, and how many of them each prompt has."""
        return self.prompts.tokens.ids_BL.tolist(), self.prompts.tokens.length_B.tolist()

    def _of_classes(self, log_p_BP: Tensor) -> Tensor:
        if len(set(self.sizes)) == 1:
            return log_mean_exp(log_p_BP.reshape(-1, self.sizes[0])).view(len(log_p_BP), -1)
        return torch.stack([log_mean_exp(class_BK) for class_BK in log_p_BP.split(self.sizes, dim=1)], dim=1)


def classifier_of(
    model: "Model",
    class_names: Sequence[ClassName],
    prompts: Sequence[Sequence[str]],
    rows: Callable[[Sequence[Sequence[str]]], Tensor] | None,
) -> Classifier:
    """As `Model.classifier`, with the prompts of every class; `rows` makes their unit rows (C, D), None as usual."""
    names = tuple(names_of(class_name)[0] for class_name in class_names)
    if not model.embeds_texts:
        return LikelihoodClassifier(
            class_names=names,
            prompts=model.prepare([prompt for own in prompts for prompt in own]),
            sizes=tuple(len(own) for own in prompts),
            log_likelihoods=model.log_likelihoods,
            scale=model.logit_scale,
            encode_images=model.encode_images,
        )
    return ZeroShotClassifier(
        class_names=names,
        weights=rows(prompts) if rows else prompt_rows(model.encode_texts, prompts),
        scale=model.logit_scale,
        bias=model.logit_bias,
        confidence=confidence_of(model, class_names) if model.logit_bias is None else None,
        encode_images=model.encode_images,
        is_exact=model.engine == "torch-exact",
    )


def prompt_rows(encode_texts: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]]) -> Tensor:
    """(P, D) unit rows: for each list of prompts the mean direction of their embeddings.

    Embeds some 65,000 prompts at a time, so that lists of any length fit.
    """
    rows, waiting, count = [], [], 0
    for own in prompts:
        waiting.append(own)
        count += len(own)
        if count >= PROMPTS_AT_ONCE:
            rows.append(_rows_at_once(encode_texts, waiting))
            waiting, count = [], 0
    if waiting:
        rows.append(_rows_at_once(encode_texts, waiting))
    return torch.cat(rows)


def _rows_at_once(encode_texts: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]]) -> Tensor:
    prompt_ND = encode_texts([prompt for own in prompts for prompt in own])
    sizes = [len(own) for own in prompts]
    if len(set(sizes)) == 1:
        return class_head(prompt_ND.view(len(prompts), sizes[0], -1))
    return torch.cat([class_head(own_KD[None]) for own_KD in prompt_ND.split(sizes)])


@dataclass(frozen=True, kw_only=True)
class LabelsRead:
    """`cut` are the classes with a prompt that loses its end, `alike` pairs of classes of which all prompts are equal.

    `context` is how many tokens the model reads, start and end included.
    """

    context: int
    cut: tuple[str, ...]
    alike: tuple[tuple[str, str], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for a person."""
        return _cut_in_words("label", self.cut, self.context)

    def refuse_alike(self) -> None:
        """`UsageError` where two classes are one to the model: each would get half of what is theirs."""
        if not self.alike:
            return
        first, second = self.alike[0]
        more = f" ({len(self.alike)} such pairs)" if len(self.alike) > 1 else ""
        raise UsageError(
            f"labels {first!r} and {second!r} are the same to the model{more}: it reads {self.context} tokens, in "
            "small letters; leave one of them out, or begin them with what tells them apart."
        )


def labels_read(tokenizer: AnyTokenizer, class_names: Sequence[str], prompts: Sequence[Sequence[str]]) -> LabelsRead:
    """How the tokenizer reads the prompts of every class."""
    first_of: dict[tuple[int, ...], int] = {}
    rows = tokenizer([own[0] for own in prompts])
    alike = []
    for index, row in enumerate(rows):
        other = first_of.setdefault(tuple(row), index)
        # Rarely: sentences that begin alike may differ in another template.
        if other != index and tokenizer(prompts[index]) == tokenizer(prompts[other]):
            alike.append((class_names[other], class_names[index]))
    cut = _cut(tokenizer, [own[0] for own in prompts], rows)
    return LabelsRead(context=tokenizer.context, cut=tuple(class_names[index] for index in cut), alike=tuple(alike))


def cut_notes(tokenizer: AnyTokenizer, texts: Sequence[str], kind: str = "text") -> tuple[str, ...]:
    """A line for a person where texts lose their end; `kind` says what they are."""
    cut: list[str] = []
    # Their ids are looked at once: those of millions of texts would be gigabytes.
    for first in range(0, len(texts), PROMPTS_AT_ONCE):
        some = texts[first : first + PROMPTS_AT_ONCE]
        cut += [some[index] for index in _cut(tokenizer, some, tokenizer(some))]
    return _cut_in_words(kind, cut, tokenizer.context)


def _cut(tokenizer: AnyTokenizer, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> list[int]:
    """Which of the texts fill the context and would be longer in a longer one; `rows` are their ids."""
    full = [index for index, row in enumerate(rows) if len(row) >= tokenizer.context]
    longer = with_context(tokenizer, tokenizer.context + 1)([texts[index] for index in full]) if full else []
    return [index for index, row in zip(full, longer, strict=True) if len(row) > tokenizer.context]


def _cut_in_words(kind: str, cut: Sequence[str], context: int) -> tuple[str, ...]:
    if not cut:
        return ()
    more = f" and {len(cut) - SHOWN_LABELS:,} more" if len(cut) > SHOWN_LABELS else ""
    shown = ", ".join(
        repr(text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}...") for text in cut[:SHOWN_LABELS]
    )
    count = f"{len(cut):,} {kind}{'s are' if len(cut) > 1 else ' is'} cut"
    return (printable(f"{count} at the {context} tokens the model reads: {shown}{more}."),)
