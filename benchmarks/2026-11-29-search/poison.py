"""10,000 files of photos, 100 of them poison, in one `seesay search` without a network: who is indexed, what is listed.

    OMP_NUM_THREADS=1 python poison.py ../../../shared/data > poison.json 2> poison.log

9,900 are photos of Tiny ImageNet and Flickr8k, a tenth of them saved as JPEG and a tenth as PNG. The command runs in a
network namespace in which nothing is up. Decoders that die or hang are stood in for: on files with a mark at their end
`decoding` gets a segmentation fault, or goes round for ever. Hashes, times and modes of all files are compared.
"""

import hashlib
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

from PIL import Image

PHOTOS = 9_900
DIES, HANGS = b"its decoder dies", b"its decoder hangs"
COUNTS = {
    "truncated": 24,
    "damaged": 10,
    "bomb": 16,
    "wrong ending": 14,
    "empty": 6,
    "not read": 6,
    "pipe": 10,
    "link": 6,
    "dies": 6,
    "hangs": 2,
}


def real_photos(data: Path):
    for path in sorted([*data.glob("train-flickr8k/*.tar"), *data.glob("train-tinyimagenet/*.tar")]):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".webp"):
                    yield member.name.removesuffix(".webp"), tar.extractfile(member).read()


def saved_as(data: bytes, kind: str) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(file, kind)
    return file.getvalue()


def write_photos(root: Path, data: Path) -> list[bytes]:
    """The photos in folders of 300; the bytes of some of each kind, to be spoilt."""
    samples = []
    for number, (name, webp) in zip(range(PHOTOS), real_photos(data), strict=False):
        kind = {0: "jpeg", 1: "png"}.get(number % 10, "webp")
        content = webp if kind == "webp" else saved_as(webp, kind)
        folder = root / f"{number // 300:02}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.{kind}").write_bytes(content)
        samples += [content] if number < 300 else []
    return samples


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(number: int) -> tuple[str, bytes]:
    side = 30_000 + 1000 * number
    packed = zlib.compress(bytes(1 << 20))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    gif = (
        b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, side, side, 0)
    )
    jpeg = (
        b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", side, side) + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    )
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return [
        ("png", png + chunk(b"IDAT", packed) + chunk(b"IEND", b"")),
        ("gif", gif + b"\x02\x02\x4c\x01\x00;"),
        ("jpg", jpeg + b"\xff\xd9"),
        ("bmp", bmp + bytes(64)),
    ][number % 4]


def write_poison(root: Path, samples: list[bytes]) -> dict[str, str]:
    """The poison files among the photos; what is wrong with each by its path from `root`."""
    randomness, written = random.Random(0), {}
    endings = {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp"}
    foreign = [
        b"%PDF-1.7 no image",
        b"<html>not found</html>",
        b"PK\x03\x04" + bytes(60),
        b"\x7fELF" + bytes(60),
        b"words\n",
    ]
    for kind, count in COUNTS.items():
        for number in range(count):
            data = samples[number]
            ending = endings[data[:2]]
            if kind == "truncated":
                data = data[: len(data) * (1 + number % 3) // 4]
            elif kind == "damaged":
                data = data[:16] + randomness.randbytes(len(data) - 16)
            elif kind == "bomb":
                ending, data = bomb(number)
            elif kind == "wrong ending":
                ending, data = ("jpg", "png", "webp", "heic")[number % 4], foreign[number % len(foreign)]
            elif kind == "empty":
                data = b""
            elif kind == "not read":
                ending, data = (("svg", b"<svg></svg>"), ("psd", b"8BPS" + bytes(99)), ("ico", bytes(99)))[number % 3]
            elif kind in ("dies", "hangs"):
                data += DIES if kind == "dies" else HANGS
            path = (
                root
                / f"{randomness.randrange(PHOTOS // 300):02}"
                / f"poison-{kind.replace(' ', '-')}-{number}.{ending}"
            )
            if kind == "pipe":
                os.mkfifo(path)
            elif kind == "link":
                path.symlink_to(("/dev/zero", "/etc/passwd", path.name, root)[number % 4])
            else:
                path.write_bytes(data)
            written[path.relative_to(root).as_posix()] = kind
    return written


def state(root: Path) -> dict[str, tuple]:
    """Mode, owner, size, times but that of reading, and SHA-256 of everything below a folder."""
    rows = {}
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            facts = path.lstat()
            is_file = path.is_file() and not path.is_symlink()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
            rows[str(path)] = (
                facts.st_mode,
                facts.st_uid,
                facts.st_size,
                facts.st_mtime_ns,
                facts.st_ctime_ns,
                content,
            )
    return rows


def search() -> int:
    """`seesay` with the arguments of this process, and decoders that die and hang."""
    from seesay.__main__ import main
    from seesay.index import reading

    real = reading.decoding

    def decoding(source):
        if source.endswith(DIES):
            os.kill(os.getpid(), signal.SIGSEGV)
        while source.endswith(HANGS):
            pass
        return real(source)

    reading.decoding = decoding
    return main()


def run(root: Path, place: Path) -> dict:
    bad, index = place / "bad.json", place / "index"
    words = ["search", str(root), "a dog on a beach", "--index", str(index), "--bad", str(bad), "--format", "json"]
    alone = ["unshare", "--map-root-user", "--net"]
    begun = time.perf_counter()
    done = subprocess.run([*alone, sys.executable, __file__, "--as-seesay", *words], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stderr, file=sys.stderr)
    return {
        "exit code": done.returncode,
        "seconds by the clock": round(time.perf_counter() - begun, 1),
        "CPU seconds": round(after.ru_utime + after.ru_stime, 1),
        "MB of the largest process": after.ru_maxrss >> 10,
        "answers": len(json.loads(done.stdout)) if done.returncode == 0 else done.stdout[-500:],
        "listed": json.loads(bad.read_text()) if bad.exists() else [],
        "said": [line for line in done.stderr.splitlines() if "photos," in line][-1:],
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        root = place / "photos"
        root.mkdir()
        samples = write_photos(root, Path(sys.argv[1]))
        poison = write_poison(root, samples)
        before = state(root)
        good = {path for path in before if Path(path).is_file()} - {str(root / path) for path in poison}
        result = run(root, place)
        same = state(root) == before
        listed = {row.get("photo") or row.get("path"): row["reason"] for row in result.pop("listed")}
        import seesay

        index = seesay.open_index(place / "index")
        rows = index._scan.rows.slice(0, len(index))["path"].to_pylist()
        indexed = {str(root / os.fsdecode(path)) for path in rows}
        reasons: dict[str, Counter] = {kind: Counter() for kind in COUNTS}
        for path, kind in poison.items():
            reasons[kind][listed.get(path, "NOT LISTED")] += 1
    result |= {
        "photos": len(good),
        "indexed": len(rows),
        "photos not indexed": sorted(good - indexed),
        "indexed and no photo": sorted(indexed - good),
        "poison": len(poison),
        "listed": len(listed),
        "listed and no poison": sorted(set(listed) - set(poison)),
        "reasons": {kind: dict(counts) for kind, counts in reasons.items()},
        "hashes, times and modes unchanged": same,
        "load average": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=1))
    is_right = same and indexed == good and set(listed) == set(poison) and result["exit code"] == 0
    return 0 if is_right else 1


if __name__ == "__main__":
    if sys.argv[1] == "--as-seesay":
        del sys.argv[1]
        sys.exit(search())
    sys.exit(main())
