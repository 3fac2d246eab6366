"""C2, C4: of flipped bits in pictures, how many a decoder sees; and what it costs to look at a bounded number of files.

    python flips.py FOLDER [COUNT]

FOLDER holds pairs. One bit is flipped in COUNT (1,000) pictures of each format, behind the first 2 % of the file.
"""

import io
import json
import random
import sys
import time

import numpy as np
from PIL import Image

from seesay.base.errors import BrokenSample
from seesay.data.decode import decode
from seesay.data.pairs import open_pairs
from seesay.data.survey import sample_images


def flipped(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    changed[generator.randrange(len(data) // 50, len(data))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def outcome(data: bytes, image_HW3: np.ndarray, generator: random.Random) -> str:
    try:
        seen_HW3 = decode(flipped(data, generator))
    except BrokenSample:
        return "refused"
    return "same pixels" if np.array_equal(seen_HW3, image_HW3) else "other pixels, unseen"


def main() -> None:
    pairs, count = open_pairs([sys.argv[1]]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    generator = random.Random(0)
    told = {}
    for kind in ("JPEG", "PNG", "WEBP"):
        counts = {"refused": 0, "same pixels": 0, "other pixels, unseen": 0}
        for _ in range(count):
            image = Image.fromarray(decode(pairs[generator.randrange(len(pairs))].image))
            image.thumbnail((96, 96))
            buffer = io.BytesIO()
            image.save(buffer, kind)
            counts[outcome(buffer.getvalue(), decode(buffer.getvalue()), generator)] += 1
        told[kind] = counts
        print(kind, counts, flush=True)
    began, used = time.monotonic(), time.process_time()
    sampled = sample_images(pairs)
    cost = {"pairs": len(pairs), "read": len(sampled.image_id_M), "seconds": round(time.monotonic() - began, 3)}
    cost["cpu_seconds"] = round(time.process_time() - used, 3)
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
