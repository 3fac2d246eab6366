"""Some images of a source as they lie on disk: how often they repeat, and whether they are still the same.

A tar has no checksums of what is in it, and reading every image before each run would take as long as an epoch.
So a bounded number is read: what is exchanged as a whole is seen, one image changed among many mostly is not.
"""

from dataclasses import dataclass

import numpy as np

from seesay.base.errors import BrokenSample
from seesay.base.records import PairSource
from seesay.data.loader import image_id
from seesay.data.sources import fingerprint

# Images read before each run, and shards of which one image is read (guesses).
SAMPLE = 512
MOST_SHARDS = 4096


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """`image_id_M`: of images drawn at random, those that can be read; all of them where they are 512 or fewer.

    `digest` is a SHA-256 over the bytes of these and of one image of every shard (of 4,096 of them, where there are
    more).
    """

    image_id_M: np.ndarray
    digest: str


def sample_images(pairs: PairSource) -> Sampled:
    """Read some images, always the same ones of the same pairs, without decoding them."""
    drawn = np.random.default_rng(0).choice(len(pairs), min(SAMPLE, len(pairs)), replace=False)
    id_of = {int(index): _id(pairs, int(index)) for index in sorted({*drawn.tolist(), *_one_of_each_shard(pairs)})}
    image_ids = [id_of[index] for index in drawn.tolist() if id_of[index]]
    return Sampled(image_id_M=np.array(image_ids, dtype=np.int64), digest=fingerprint(id_of.items()))


def _id(pairs: PairSource, index: int) -> int:
    """The number of the image's bytes; 0 where it cannot be read."""
    try:
        return image_id(pairs[index].image)
    except BrokenSample:
        return 0


def _one_of_each_shard(pairs: PairSource) -> list[int]:
    """The first pair that lies in each tar."""
    first: dict[str, int] = {}
    for index in range(len(pairs)):
        shard, in_a_shard, _ = pairs.location(index).rpartition(", byte ")
        if in_a_shard:
            first.setdefault(shard, index)
    # Of more than can be read, every n-th.
    return list(first.values())[:: -(-len(first) // MOST_SHARDS) or 1]
