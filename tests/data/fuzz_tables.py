"""Mutates tables, tars, logs and descriptions and reads them: `python fuzz_tables.py FOLDER SECONDS FIRST_ROUND`."""

import faulthandler
import io
import json
import random
import resource
import signal
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from seesay.base.bounded import read_json
from seesay.base.errors import SeesayError
from seesay.base.journal import read_events
from seesay.data.class_names import read_descriptions
from seesay.data.hub_sets import read_name
from seesay.data.pairs import open_pairs
from seesay.data.parquet_sets import open_parquet
from seesay.data.prompts import read_labels

faulthandler.enable()
folder, seconds, first = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
for name in "abc":
    (folder / f"{name}.jpg").write_bytes(b"image")


def tar(form):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as file:
        for name, content in [
            ("k" * (60 if form == tarfile.USTAR_FORMAT else 120) + ".jpg", b"1" * 700),
            ("kü.txt", b"a cat"),
            ("b.jpg", b"2"),
            ("b.txt", b"x\ny"),
            ("c.jpg", b"3"),
            ("c.json", json.dumps({"caption": "a dog", "n": [1, {"a": None}]}).encode()),
        ]:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5 if form == tarfile.PAX_FORMAT else 1
            file.addfile(info, io.BytesIO(content))
    return data.getvalue().rstrip(b"\0") + bytes(1024)


def table(columns, **options):
    data = io.BytesIO()
    parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), data, **options)
    return data.getvalue()


rows = [("a.jpg", 'a "cat", wet'), ("b.jpg", "dög"), ("c.jpg", ""), ("gone.jpg", "x"), ("a.jpg", "two\nlines")]


def text(mark):
    quoted = [words.replace('"', '""') for _, words in rows]
    lines = [f'{path}{mark}"{words}"' for (path, _), words in zip(rows, quoted, strict=True)]
    return "\n".join([f"image{mark}caption", *lines]).encode()


columns = {"image": [path for path, _ in rows] * 40, "caption": [words for _, words in rows] * 40}
kinds = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
features = {"huggingface": json.dumps({"info": {"features": kinds}})}
images = pa.array([{"bytes": bytes([n]) * n, "path": "x"} for n in range(60)])
labelled = pa.table({"image": images, "label": [n % 2 for n in range(60)]}).replace_schema_metadata(features)
captioned = pa.table({"image": images, "caption": [["one", "two"][: n % 3] for n in range(60)]})


def hub(path):
    found = open_parquet([path], read_name("hf:a/b:test"))
    for index in range(0, len(found), 7):
        found.image(index) if hasattr(found, "image") else found[index]


def pairs(path):
    found = open_pairs([path])
    for index in range(0, len(found), 7):
        found[index]


SEEDS = [
    ("t.csv", text(","), pairs),
    ("t.tsv", text("\t"), pairs),
    *[
        (
            "t.parquet",
            table(
                columns, compression=codec, data_page_version=version, use_dictionary=codec != "none", row_group_size=90
            ),
            pairs,
        )
        for codec in ("none", "zstd", "snappy", "gzip")
        for version in ("1.0", "2.0")
    ],
    *[("s.parquet", table(columns, row_group_size=25), hub) for columns in (labelled, captioned)],
    *[("t.tar", tar(form), pairs) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)],
    ("events.jsonl", b"".join(b'{"step": %d, "a": [1, {}], "b": "x\\u00fc"}\n' % n for n in range(30)), read_events),
    ("d.json", json.dumps({"cat": ["a cat", "it purrs"], "dog": ["a dog"]}).encode(), read_descriptions),
    ("m.json", json.dumps({"format": 1, "templates": ["{}"], "facts": {"a": [1, [2, [3]]]}}).encode(), read_json),
    ("labels.txt", "cat\n# x\n\ndög\n".encode(), read_labels),
]
PARTS = [
    b"\xff" * 8,
    b"\0" * 8,
    b'"',
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"\r",
    b",",
    b"\t",
    b"\xc3",
    b"x" * 200_000,
    (1 << 31).to_bytes(4, "little"),
    (1 << 62).to_bytes(8, "little"),
    b"\x80\xff\xff\xff\x0f",
]


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        start = chance.randrange(len(data) + 1)
        length = min(chance.choice((1, 1, 2, 8, 100)), len(data) - start)
        kind = chance.randrange(6)
        if kind == 0:
            data[start : start + length] = chance.randbytes(length)
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start:start] = data[start : start + length] * chance.choice((1, 2, 50))
        elif kind == 3:
            part = chance.choice(PARTS)
            data[start : start + chance.choice((0, len(part)))] = part
        elif kind == 4 and start < len(data):
            data[start] ^= 1 << chance.randrange(8)
        elif kind == 5 and chance.random() < 0.2:
            del data[start:]
    return data


def with_checksums(data, chance):
    """A tar whose headers may be believed again, else nearly none of a mutated one is read."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar" and chance.random() < 0.8:
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return data


def too_slow(*_):
    raise TimeoutError("more than 10 s of processor time")


signal.signal(signal.SIGVTALRM, too_slow)
end, number = time.monotonic() + seconds, first
while time.monotonic() < end:
    chance = random.Random(number)
    name, seed, read = SEEDS[number % len(SEEDS)]
    data = mutated(seed, chance)
    path = folder / name
    path.write_bytes(with_checksums(data, chance) if name.endswith(".tar") else data)
    (folder / "round").write_text(f"{number} {name}")
    signal.setitimer(signal.ITIMER_VIRTUAL, 10)
    try:
        read(path)
    except SeesayError as error:
        assert "\n" not in str(error) or name == "t.csv", str(error)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    number += 1
print(number - first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
