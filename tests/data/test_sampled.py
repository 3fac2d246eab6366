"""What a bounded number of images tells of all of them."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.data import survey
from seesay.data.decode import decode
from seesay.data.loader import Subset
from seesay.data.pairs import open_pairs
from seesay.data.survey import sample_images


def members(first, *, count=5, salt=0):
    """Pairs whose images have all the same size."""
    pairs = ((f"{number:04}.jpg", f"{number:06}/{salt}".encode()) for number in range(first, first + count))
    return [member for name, data in pairs for member in ((name, data), (name.replace("jpg", "txt"), b"a cat"))]


@pytest.fixture
def shards(tmp_path, write_tar):
    """Twenty shards of five pairs each."""
    for number in range(20):
        write_tar(tmp_path / "shards" / f"{number:02}.tar", members(5 * number))
    return tmp_path / "shards"


def test_few_images_are_all_read_and_one_other_byte_is_seen(shards, write_tar):
    pairs = open_pairs([shards])
    before = sample_images(pairs)
    assert len(before.image_id_M) == len(set(before.image_id_M.tolist())) == 100
    assert sample_images(open_pairs([shards])).digest == before.digest
    changed = members(35)
    changed[4] = (changed[4][0], b"000037/1")
    write_tar(shards / "07.tar", changed)
    assert open_pairs([shards]).fingerprint == pairs.fingerprint
    assert sample_images(open_pairs([shards])).digest != before.digest


def test_a_shard_of_other_images_is_seen_where_only_some_are_read(shards, write_tar, monkeypatch):
    """C4: of each shard one is read, whatever chance takes."""
    monkeypatch.setattr(survey, "SAMPLE", 3)
    pairs = open_pairs([shards])
    before = sample_images(pairs)
    assert len(before.image_id_M) == 3
    for number in range(20):
        write_tar(shards / f"{number:02}.tar", members(5 * number, salt=1))
        assert open_pairs([shards]).fingerprint == pairs.fingerprint
        assert sample_images(open_pairs([shards])).digest != before.digest, number
        write_tar(shards / f"{number:02}.tar", members(5 * number))
    assert sample_images(open_pairs([shards])).digest == before.digest


def test_no_more_is_read_than_the_limits_allow(shards, monkeypatch):
    monkeypatch.setattr(survey, "SAMPLE", 4)
    monkeypatch.setattr(survey, "MOST_SHARDS", 7)
    pairs, read = Subset(open_pairs([shards]), range(100)), []
    monkeypatch.setattr(survey, "image_id", lambda image: read.append(image) or 1)
    sample_images(pairs)
    assert 7 <= len(read) <= 11


def test_equal_images_have_equal_numbers_and_what_cannot_be_read_has_none(tmp_path):
    for name, data in (("a", b"one"), ("b", b"one"), ("c", b"two"), ("d", b"gone")):
        (tmp_path / f"{name}.jpg").write_bytes(data)
        (tmp_path / f"{name}.txt").write_text("a cat")
    pairs = open_pairs([tmp_path])
    (tmp_path / "d.jpg").unlink()
    assert sorted(np.unique(sample_images(pairs).image_id_M, return_counts=True)[1].tolist()) == [1, 2]


def idat(data: bytes) -> tuple[int, int]:
    """Where the pixels of a PNG begin, and how many bytes they are."""
    at = data.index(b"IDAT")
    return at + 4, struct.unpack(">I", data[at - 4 : at])[0]


def test_a_flipped_bit_among_the_pixels_of_a_png_is_found():
    """C2: zlib's Adler-32 is the one checksum that comes with an image; a JPEG or a tar has none.

    What is decoded to more bytes than the image has never gets to it: about one in two hundred.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data, generator = buffer.getvalue(), random.Random(0)
    first, count = idat(data)
    assert zlib.decompress(data[first : first + count])
    assert (decode(data) == pixels).all()
    unseen = 0
    for _ in range(200):
        flipped = bytearray(data)
        flipped[first + generator.randrange(count)] ^= 1 << generator.randrange(8)
        try:
            unseen += bool((decode(bytes(flipped)) != pixels).any())
        except BrokenSample:
            continue
    assert unseen <= 3
