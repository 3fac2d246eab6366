"""What pairs are like before anything is learned from them: every image decoded, every caption read.

And some images of a source as they lie on disk: how often they repeat, and whether they are still the same. A tar has
no checksums of what is in it, and reading every image before each run would take as long as an epoch. So a bounded
number is read: what is exchanged as a whole is seen, one image changed among many mostly is not.

N = images that could be decoded.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.journal import ProgressLine
from seesay.base.records import PairSource, Skipped
from seesay.data.duplicates import GRID, looks
from seesay.data.jpeg import decoding
from seesay.data.loader import image_id, pack_skipped, unpack_skipped
from seesay.data.sources import fingerprint
from seesay.data.tokenizer import CaptionTokenizer, clean
from seesay.data.workers import Arrays, WorkerFailure, WorkerPool

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


# Guesses: images that a process looks at before it reports, and room for the report on a broken one; the number up to
# which this process looks at them itself; captions tokenised at once; and the context in which no caption is cut.
CHUNK = 64
BYTES_PER_FAULT = 1024
ALONE = 512
BLOCK = 4096
LONGEST = 1024
IMAGE_RECORD = np.dtype(
    [
        ("pair", "i8"),
        ("height", "i4"),
        ("width", "i4"),
        ("bytes", "S16"),
        ("hash", "u8"),
        ("grid", "u1", (GRID, GRID, 3)),
    ]
)

_FILE_NAME = re.compile(
    r"(?:\S+\.(?:jpe?g|png|webp|gif|avif|heic|tiff?|bmp)"
    r"|(?:img|dsc[nf]?|pxl|mvimg|image|photo|picture|pict|scan|screenshot|untitled|wp|p)[ _-]?\d[\d _-]*"
    r"|[\da-f]{12,}|\d[\d_-]{4,})",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class ImageSurvey:
    """What was seen of `of` images: `found_N` (records of `IMAGE_RECORD`), and the broken ones with their reasons.

    Not all were looked at where a sample was requested or time was up. `seconds` is how long one takes to read.
    """

    of: int
    found_N: np.ndarray
    broken: Sequence[Skipped]
    seconds: float

    @property
    def looked_at(self) -> int:
        """How many images were read, broken ones included."""
        return len(self.found_N) + len(self.broken)


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What was seen of the captions; `length_N` is in tokens, start and end included, before any are cut.

    `same` counts the captions of which an earlier one has the same words, `wordless` those without any.
    """

    length_N: np.ndarray
    per_pair_N: np.ndarray
    same: int
    wordless: int
    file_names: Sequence[str]


def survey_images(
    pairs: PairSource, *, sample: int | None = None, seconds: float = 600.0, cores: int = 1
) -> ImageSurvey:
    """Read and decode the images, in random order, on all `cores`: all of them, a `sample`, or what time allows."""
    order = np.random.default_rng(0).permutation(len(pairs))[:sample]
    chunks = [order[first : first + CHUNK] for first in range(0, len(order), CHUNK)]
    line, started = ProgressLine("images"), time.monotonic()
    rows, broken, spent, done = [], [], 0.0, 0
    for found, faults, used in _look_at_all(pairs, chunks, cores=cores if len(order) > ALONE else 1):
        rows.append(found)
        broken += faults
        spent += used
        done += len(found) + len(faults)
        elapsed = time.monotonic() - started
        line.show(max(done / len(order), min(1.0, elapsed / seconds)), f"{done:,}/{len(order):,}")
        if elapsed > seconds:
            break
    line.close()
    found_N = np.concatenate(rows) if rows else np.empty(0, IMAGE_RECORD)
    found_N = found_N[np.argsort(found_N["pair"])]
    return ImageSurvey(of=len(pairs), found_N=found_N, broken=broken, seconds=spent / max(1, done))


_Looked = tuple[np.ndarray, list[Skipped], float]


def _look_at_all(pairs: PairSource, chunks: Sequence[np.ndarray], *, cores: int) -> Iterator[_Looked]:
    if cores < 2:
        yield from (_look_at(pairs, chunk) for chunk in chunks)
        return
    slot_bytes = CHUNK * (IMAGE_RECORD.itemsize + BYTES_PER_FAULT)
    with closing(WorkerPool(partial(_packed, pairs), workers=cores, slot_bytes=slot_bytes)) as pool:
        try:
            for found, broken, seconds in pool.results([chunk] for chunk in chunks):
                yield found.view(IMAGE_RECORD), unpack_skipped(broken), float(seconds)
        except WorkerFailure as failure:
            raise SeesayError(f"{failure} while images were read; look at the memory that is left.") from failure


def _packed(pairs: PairSource, task: Arrays) -> Arrays:
    found, broken, seconds = _look_at(pairs, task[0])
    return found, pack_skipped(broken), np.array(seconds)


def _look_at(pairs: PairSource, chunk: np.ndarray) -> _Looked:
    """Records of the images that can be decoded, the others with their reasons, and the seconds it took."""
    started = time.process_time()
    rows, broken = [], []
    for pair in chunk.tolist():
        try:
            data = pairs[pair].image
            with decoding(data) as image:
                row = (pair, image.height, image.width, hashlib.blake2b(data, digest_size=16).digest())
                rows.append((*row, *looks(image.pixels_HW3)))
        except BrokenSample as error:
            broken.append(Skipped(key=pairs.key(pair), reason=error.reason, detail=error.detail))
    return np.array(rows, IMAGE_RECORD), broken, time.process_time() - started


def survey_captions(pairs: PairSource, tokenizer: CaptionTokenizer) -> Captions:
    """Read every caption of every pair."""
    whole = CaptionTokenizer(tokenizer.merges, context=LONGEST)
    per_pair_N = np.array([len(pairs.captions(index)) for index in range(len(pairs))])
    lengths, seen, wordless, file_names, count = [], set(), 0, [], 0
    line = ProgressLine("captions")
    for block in _blocks(pairs):
        lengths.append(whole.tokens(block).length_B.numpy())
        cleaned = [clean(caption) for caption in block]
        seen.update(cleaned)
        wordless += sum(not any(map(str.isalnum, caption)) for caption in cleaned)
        file_names += [caption for caption in block if _FILE_NAME.fullmatch(caption.strip())]
        count += len(block)
        line.show(count / int(per_pair_N.sum()), f"{count:,}")
    line.close()
    return Captions(
        length_N=np.concatenate(lengths),
        per_pair_N=per_pair_N,
        same=count - len(seen),
        wordless=wordless,
        file_names=file_names,
    )


def _blocks(pairs: PairSource) -> Iterator[list[str]]:
    block: list[str] = []
    for index in range(len(pairs)):
        block += pairs.captions(index)
        if len(block) >= BLOCK:
            yield block
            block = []
    if block:
        yield block
