"""Photos in other formats (A4) and whole numbers without a range (B6).

What the numbers in `seesay.data` are from, measured on 2 cores with Pillow 13.0 (libtiff 4.7.2, OpenJPEG 2.5.4, libavif
1.4.2) and pillow-heif 1.8.1, each image in a process of its own, the most memory above that of a process at rest:

| image | file | memory | time | estimate |
|---|---|---|---|---|
| TIFF, 7,050 x 7,050, colour in one strip, Deflate | 0.65 MB | 345 MB | 0.8 s | 474 MB |
| TIFF, 8,000 x 8,000, JPEG | 1.8 MB | 443 MB | 1.0 s | 429 MB |
| TIFF, 14,000 x 14,000, CCITT group 4 (read at half its sides) | 60 MB | 266 MB | 3.2 s | 384 MB |
| BMP, 7,600 x 7,600 (read at half its sides) | 173 MB | 437 MB | 0.5 s | 426 MB |
| BMP, 5,500 x 5,500, run-length coded, every row ended after a pixel | 23 kB | 81 MB | 4.6 s | 201 MB |
| JPEG 2000, 4,600 x 4,600, flat | 244 B | 389 MB | 0.9 s | 456 MB |
| JPEG 2000, 1,900 x 1,900, noise | 11.8 MB | 79 MB | 2.0 s | 89 MB |
| JPEG 2000, 1,600 x 1,600, code blocks of 4 x 4 | 1.9 MB | 245 MB | 0.6 s | 446 MB |
| JPEG 2000, 2,560 x 2,560, 25,600 tiles | 0.5 MB | 250 MB | 0.4 s | 444 MB |
| AVIF, 4,400 x 4,400, 4:4:4 with alpha | 23 MB | 238 MB | 1.8 s | 468 MB |
| HEIC, 6,900 x 6,900, 4:2:0 in a grid of 512 x 512 | 4.7 MB | 356 MB | 2.3 s | 417 MB |
| HEIC, 4,500 x 4,500, 4:4:4 | 1.9 MB | 195 MB | 1.5 s | 196 MB |
| HEIC, 4,500 x 4,500, 10 bit 4:2:0 | 2.0 MB | 161 MB | 1.2 s | 235 MB |
| HEIC, 4,000 x 4,000, 10 bit 4:4:4 | 1.7 MB | 247 MB | 2.2 s | 247 MB |

Of JPEG 2000 (3,000 x 3,000): grey of 0.31 bytes a pixel 66 ns a pixel, colour of 0.51 141 ns, colour of 1.0 213 ns;
19.5 bytes a pixel of colour in code blocks of 64 x 64, 101.8 in 4 x 4. 49,272 mutants of all formats in 130 s and 1 GB:
12,342 read, the others refused with a reason.
"""

from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {"a.jpg": "JPEG", "b.tif": "TIFF", "c.bmp": "BMP", "d.png": "PNG", "e.avif": "AVIF", "f.jp2": "JPEG2000"}


def _fill(folder: Path) -> None:
    for name, kind in FORMATS.items():
        Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / name, kind)


def mixed(folder: Path) -> list[str]:
    """Six formats that are read."""
    _fill(folder)
    return ["classify", str(folder), "red", "blue"]


def not_read(folder: Path) -> list[str]:
    """Beside them two that are not."""
    _fill(folder)
    (folder / "g.psd").write_bytes(b"8BPS\0\1")
    (folder / "h.jxl").write_bytes(b"\xff\x0a\0\0")
    return ["classify", str(folder), "red", "blue"]


def heic(folder: Path) -> list[str]:
    """The first bytes of a HEIC beside a JPEG: damaged, or in need of the extra, but never passed over."""
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "a.jpg")
    (folder / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    return ["classify", str(folder), "red", "blue"]


def raw(folder: Path) -> list[str]:
    """The first bytes of a CR2 beside a JPEG."""
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "a.jpg")
    (folder / "b.CR2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0" + bytes(100))
    return ["classify", str(folder), "red", "blue"]


def wide_grey(folder: Path) -> list[str]:
    """0..255 as whole numbers of 32 bits."""
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "a.jpg")
    Image.fromarray(np.full((64, 64), 200, np.int32)).save(folder / "wide-grey.tif")
    return ["classify", str(folder), "red", "blue"]


MODE = (
    "python: import numpy as np; from PIL import Image; from seesay.data.images import open_image; "
    "open_image(Image.fromarray(np.full((8, 8), 200, np.{})))"
)
CASES = [
    ("A4", "six formats in a folder", mixed, r"(?s)a\.jpg.*b\.tif.*c\.bmp.*d\.png.*e\.avif.*f\.jp2.*exit 0"),
    ("A4", "a PSD and a JPEG XL beside them", not_read, r"(?s)skipped 2 of 8 photos: 2 x unsupported format.*exit 3"),
    (
        "A4",
        "the beginning of a HEIC",
        heic,
        r"(?s)skipped 1 of 2 photos: 1 x (unsupported format|damaged image).*exit 3",
    ),
    ("A4", "the beginning of a CR2", raw, r"(?s)skipped 1 of 2 photos: 1 x (unsupported format|damaged image).*exit 3"),
    ("B6", "a TIFF of 32 bit whole numbers", wide_grey, r"(?s)skipped 1 of 2 photos: 1 x no fixed range.*exit 3"),
    ("B6", "a Pillow image of mode I", MODE.format("int32"), r"mode I has no fixed range"),
    ("B6", "a Pillow image of mode F", MODE.format("float32"), r"mode F has no fixed range"),
]
