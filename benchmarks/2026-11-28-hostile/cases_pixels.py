"""Images that take far more memory or time to decode than they have bytes, and large ones that must be read."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measure import measured_python

TESTS = Path(__file__).resolve().parents[2] / "tests"

# Makes the file argv[2] by the function of `tests/hostile_images.py` in argv[1].
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from hostile_images import *
Path(sys.argv[1]).write_bytes({code})
"""
# Reads the files as `classify` does, in two threads; the last line says what became of them.
READ = """
import collections, os, sys
os.cpu_count = lambda: 2
from seesay.base.errors import BrokenSample
from seesay.data.images import Preprocess
from seesay.model.encode import prefetch_blocks
def read(path):
    try:
        return str(tuple(Preprocess(size=224).read(path).shape))
    except BrokenSample as error:
        return str(error)
results = [found for block in prefetch_blocks(read, sys.argv[1:], size=64) for found in block]
print(dict(collections.Counter(results)), file=sys.stderr)
"""


def case(folder: Path, code: str, *, count: int = 1) -> dict[str, Any]:
    """One file, made in a process whose memory does not count, read `count` times."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "image"
    subprocess.run([sys.executable, "-c", MAKE.format(tests=str(TESTS), code=code), str(path)], check=True)
    return measured_python(READ, *[path] * count)


SINGLE = {
    "one small JPEG, to compare with": "jpeg(300)",
    "GIF of 35 bytes, canvas 14,142 x 14,142": "gif(14142)",
    "GIF, canvas 9,459 x 9,459": "gif(9459)",
    "PNG 14,140 x 14,140, 1 bit": "png(14140, bits=1, colour=0)",
    "PNG 14,140 x 14,140, 16 bit grey": "png(14140, bits=16, colour=0)",
    "PNG 14,140 x 14,140, palette with alpha": "png(14140, colour=3, extra=chunk(b'tRNS', bytes(256)))",
    "PNG 14,140 x 14,140, RGBA": "png(14140, colour=6)",
    "PNG 10,880 x 10,880, 16 bit RGBA": "png(10880, bits=16, colour=6)",
    "PNG 8,190 x 8,190, RGB": "png(8190)",
    "PNG of a million chunks": "png(1, extra=chunk(b'tEXt', b'a\\0b') * 1_000_000)",
    "PNG of 2,000 full colour profiles": (
        "png(1, extra=chunk(b'iCCP', b'p\\0\\0' + zlib.compress(bytes(1 << 20))) * 2000)"
    ),
    "JPEG 8,000 x 8,000 of 1,000 scans": "with_scans(jpeg(8000, progressive=True), 1000)",
    "JPEG 8,000 x 8,000 of 45 scans": "with_scans(jpeg(8000, progressive=True), 35)",
    "JPEG of a million segments": "(lambda d: d[:2] + b'\\xff\\xfe\\0\\2' * 1_000_000 + d[2:])(jpeg(16))",
    "JPEG of 1,500 EXIF blocks": (
        "(lambda d: d[:2] + (b'\\xff\\xe1\\xff\\xffExif\\0\\0' + bytes(65527)) * 1500 + d[2:])(jpeg(16))"
    ),
    "JPEG of 108 megapixels": "jpeg(10392)",
    "JPEG of 108 megapixels, progressive": "jpeg(10392, progressive=True)",
    "WebP 5,000 x 5,000": "webp(5000)",
    "WebP 14,000 x 14,000": "webp(14000)",
    "GIF of 100,000 frames": "gif(1, frames=100_000)",
    "WebP of 90,000 frames": "webp_frames(90_000)",
    "GIF of 20 million comments": "gif(1, before=b'!\\xfe' + b'\\1a' * 20_000_000 + b'\\0')",
}

CASES: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    *((name, partial(case, code=code)) for name, code in SINGLE.items()),
    ("eight GIFs of 35 bytes in two threads", partial(case, code="gif(14142)", count=8)),
    ("eight PNGs 8,190 x 8,190 in two threads", partial(case, code="png(8190)", count=8)),
    ("eight PNGs 14,140 x 14,140, palette, in two threads", partial(case, code="png(14140, colour=3)", count=8)),
]
