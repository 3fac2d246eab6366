"""Scores of images, and of clips, which are those of their frames averaged.

N = images or clips read, F = frames read, C = classes, D = embedding width.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seesay.base.records import Skipped
from seesay.data.clips import frames_of
from seesay.data.sources import StoredImage
from seesay.model.bundle import Model
from seesay.model.cache import EmbeddingCache, cached_encode_images, cached_score_images
from seesay.model.zero_shot import Classifier, ZeroShotClassifier


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Scores (N, C), and rows (N, D) where there are some; which images were read, which not, and notes."""

    score_NC: Tensor
    image_ND: Tensor | None
    read: list[int]
    skipped: list[Skipped]
    notes: tuple[str, ...] = ()


def count_frames(images: Sequence[StoredImage]) -> int:
    """All frames of clips, and other images."""
    return sum(len(frames_of(image)) for image in images)


def score_images(
    model: Model,
    classifier: Classifier,
    images: Sequence[StoredImage],
    *,
    cache: EmbeddingCache,
    progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """All images against all classes; `progress` is called with the number of frames just encoded.

    A clip has the mean of its frames' cosines, or likelihoods. Frames that cannot be read are left out of it and
    counted; where none can be, the clip is skipped. `Skipped.key` is the position of the image.
    """
    frames = [frame for image in images for frame in frames_of(image)]
    count, options = len(frames), {"cache": cache, "progress": progress}

    def read_frame(at: int) -> bytes:
        return frames[at].read()

    if count == len(images):
        score_NC, image_ND, read, skipped = cached_score_images(model, classifier, read_frame, count, **options)
        return Scored(score_NC=score_NC, image_ND=image_ND, read=read, skipped=skipped)
    clip_of = [number for number, image in enumerate(images) for _ in frames_of(image)]
    if not isinstance(classifier, ZeroShotClassifier):
        score_FC, _, read, skipped = cached_score_images(model, classifier, read_frame, count, **options)
        return averaged(score_FC, None, [clip_of[at] for at in read], lost_clips(skipped, clip_of))
    # The mean of cosines is the cosine with the mean, which takes less memory than the scores of all frames.
    frame_FD, read, skipped = cached_encode_images(model, read_frame, count, **options)
    return averaged(frame_FD, classifier, [clip_of[at] for at in read], lost_clips(skipped, clip_of))


def lost_clips(skipped: Sequence[Skipped], clip_of: Sequence[int]) -> list[Skipped]:
    """The frames that could not be read, under the clip of each."""
    return [replace(item, key=str(clip_of[int(item.key)])) for item in skipped]


def averaged(
    row_FX: Tensor, classifier: Classifier | None, clip_F: Sequence[int], skipped: Sequence[Skipped]
) -> Scored:
    """The rows of frames (F, X), which are scores unless there is a classifier for them, as those of clips."""
    read, position_F = torch.unique(torch.tensor(clip_F, dtype=torch.int64), return_inverse=True)
    sum_NX = torch.zeros(len(read), row_FX.shape[1]).index_add_(0, position_F, row_FX.float())
    mean_NX = sum_NX / torch.bincount(position_F, minlength=len(read))[:, None]
    clips = set(read.tolist())
    part = [item for item in skipped if int(item.key) in clips]
    note = f"{len(part)} frames of {len(Counter(item.key for item in part))} clips could not be read: the others count."
    whole = {item.key: item for item in skipped if int(item.key) not in clips}
    return Scored(
        score_NC=mean_NX if classifier is None else classifier.scores(mean_NX),
        image_ND=None if classifier is None else mean_NX,
        read=read.tolist(),
        skipped=list(whole.values()),
        notes=(note,) if part else (),
    )
