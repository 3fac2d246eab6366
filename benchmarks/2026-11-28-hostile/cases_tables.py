"""Tables, tars and descriptions of models that take far more memory or time than they have bytes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import measured_python

# Opens the pairs or the labelled set in argv[1]; an error of the product is its last line and its exit code.
OPEN = """
import sys
from seesay.base.errors import SeesayError
from seesay.data.evalsets import open_evalset
try:
    found = open_evalset(sys.argv[1])
    print(len(found), len(found.problems), file=sys.stderr)
except SeesayError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
HEAD = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
folder = Path(sys.argv[1]); folder.mkdir(parents=True, exist_ok=True)
"""


def made(folder: Path, code: str) -> Path:
    """The folder, filled by lines of Python in a process of their own, whose memory does not count."""
    subprocess.run([sys.executable, "-c", HEAD + code, str(folder)], check=True)
    return folder


def opened(code: str, name: str) -> Callable[[Path], dict[str, Any]]:
    """A case: the lines make the file `name`, which is opened."""
    return lambda folder: measured_python(OPEN, made(folder, code) / name)


REPEATED = """
pq.write_table(pa.table({"image": ["x.jpg"] * 60_000, "caption": ["a " * 30_000] * 60_000}), folder / "t.parquet",
               compression="zstd")
"""
DISTINCT = """
captions = [f"{'a ' * 30_000}{n}" for n in range(20_000)]
pq.write_table(pa.table({"image": ["x.jpg"] * 20_000, "caption": captions}), folder / "t.parquet", compression="zstd",
               use_dictionary=["image"])
"""
ONE_PAGE = """
captions = [f"{'a ' * 450_000}{n}" for n in range(1_000)]
pq.write_table(pa.table({"image": ["x.jpg"] * 1_000, "caption": captions}), folder / "t.parquet", compression="zstd",
               use_dictionary=["image"], data_page_size=1 << 30)
"""
ROWS = """
indices = pa.array(np.zeros(50_000_000, np.int32))
column = pa.DictionaryArray.from_arrays(indices, pa.array(["x"]))
schema = pa.schema({"image": pa.string(), "caption": pa.string()})
with pq.ParquetWriter(folder / "t.parquet", pa.schema({"image": column.type, "caption": column.type}),
                      store_schema=False) as writer:
    writer.write_table(pa.table({"image": column, "caption": column}), row_group_size=50_000_000)
"""


def _hub(columns: str, name: str = "test.parquet") -> Callable[[Path], dict[str, Any]]:
    code = f"""
folder = folder / "datasets--a--b"
(folder / "refs").mkdir(parents=True); (folder / "refs" / "main").write_text("0" * 40)
folder = folder / "snapshots" / ("0" * 40); folder.mkdir(parents=True)
{columns}
"""

    def case(folder: Path) -> dict[str, Any]:
        env = {"HF_HUB_CACHE": str(made(folder, code)), "HF_HUB_OFFLINE": "1"}
        return measured_python(OPEN, "hf:a/b:test", env=env)

    return case


HUB_IMAGES = _hub(
    """
images = pa.array([bytes(5_000_000)] * 400, pa.binary())
pq.write_table(pa.table({"image": images, "caption": ["a"] * 400}), folder / "test.parquet", compression="zstd")
"""
)
HUB_CAPTIONS = _hub(
    """
images = pa.array([b"x"] * 60_000, pa.binary())
pq.write_table(pa.table({"image": images, "caption": [["a " * 30_000]] * 60_000}), folder / "test.parquet",
               compression="zstd")
"""
)
HUB_FEATURES = _hub(
    """
table = pa.table({"image": pa.array([b"x"]), "caption": ["a"]})
table = table.replace_schema_metadata({"huggingface": '{"info":' + "[" * 200_000})
pq.write_table(table, folder / "test.parquet")
"""
)

# A header of the type with a size, and after so many bytes of a hole a tar with one pair.
EXTENDED = """
import io, tarfile
def header(name, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name); info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)
pair = header("a.jpg", size=1) + b"1".ljust(512, b"\\0") + header("a.txt", size=5) + b"a cat".ljust(512, b"\\0")
"""


def _extended(kind: str) -> Callable[[Path], dict[str, Any]]:
    code = """
with open(folder / "t.tar", "wb") as file:
    file.write(header("x", KIND, 4 << 30)); file.seek((4 << 30) + 512); file.write(pair + bytes(1024))
"""
    return opened(EXTENDED + code.replace("KIND", repr(kind.encode())), "t.tar")


MANY = """
with open(folder / "t.tar", "wb") as file:
    for n in range(1_000_000): file.write(header(f"{n}.NAME"))
    file.write(pair + bytes(1024))
"""
DIGITS = """
record = b"1" * 60_000
block = header("x", b"x", len(record)) + record.ljust(-(-len(record) // 512) * 512, b"\\0")
(folder / "t.tar").write_bytes(block * 10 + pair + bytes(1024))
"""

LOAD = """
import sys
from seesay.base.errors import SeesayError
from seesay.model.hub import load
try:
    load(sys.argv[1])
except SeesayError as error:
    print(str(error)[-250:], file=sys.stderr)
    sys.exit(error.exit_code)
"""


def _described(content: str) -> Callable[[Path], dict[str, Any]]:
    code = f"""
(folder / "model.json").write_text('{{"format": 1, ' + {content} + '}}')
"""
    return lambda folder: measured_python(LOAD, made(folder, code))


TEMPLATES = """
import json
from seesay.model.hub import load
load("box").save(folder / "m")
path = folder / "m" / "model.json"
content = json.loads(path.read_text()); content["templates"] = [f"{n} {{}}" for n in range(200_000)]
path.write_text(json.dumps(content))
"""

FIELD = """
with open(folder / "t.csv", "w") as file:
    file.write('image,caption\\na.jpg,"')
    for _ in range(1000): file.write("x" * 1_000_000)
    file.write('"\\nb.jpg,a cat\\n')
"""
COMMAS = """
(folder / "t.csv").write_text("image,caption\\n" + ",\\n" * 30_000_000)
"""
GZIP = """
import gzip
with gzip.open(folder / "t.gz", "wb") as file:
    for _ in range(2000): file.write(b"a b\\n" * 250_000)
"""
SHORT = """
(folder / "t.txt").write_text("ab\\n" * 20_000_000)
"""
VOCABULARY = """
words = ",".join(f'"{n:x}":{n}' for n in range(3_900_000))
(folder / "t.json").write_text('{"model":{"type":"WordLevel","unk_token":"0","vocab":{' + words + '}}}')
"""
LISTS = """
words = '{"0":[' + "[]," * 20_000_000 + "1]}"
(folder / "t.json").write_text('{"model":{"type":"WordLevel","unk_token":"0","vocab":' + words + '}}')
"""
READ = """
import sys
from pathlib import Path
from seesay.base.errors import SeesayError
try:
    {}
except SeesayError as error:
    print(str(error)[-250:], file=sys.stderr)
    sys.exit(error.exit_code)
"""
MERGES = READ.format("from seesay.data.tokenizer import CaptionTokenizer; CaptionTokenizer.from_file(sys.argv[1])")
TOKENIZER = READ.format(
    "from seesay.data.file_tokenizer import FileTokenizer; FileTokenizer(Path(sys.argv[1]).read_text(), context=64)"
)


def _labels(count: int) -> Callable[[Path], dict[str, Any]]:
    code = "from seesay.data.prompts import distinct_labels\nimport sys\n"
    code += "distinct_labels([f'label {n}' for n in range(int(sys.argv[1]))])"
    return lambda folder: measured_python(code, str(count))


READ_LABELS = """
import sys
from seesay.base.errors import SeesayError
from seesay.data.prompts import read_labels
try:
    read_labels(sys.argv[1])
except SeesayError as error:
    print(str(error)[-250:], file=sys.stderr)
    sys.exit(error.exit_code)
"""
FILE = "(folder / {!r}).write_text({})"
SETTINGS = """
import sys
from pathlib import Path
from seesay.base.errors import SeesayError
from seesay.base.settings import read_settings
from seesay.training.settings import TrainSettings
try:
    read_settings(TrainSettings, file=Path(sys.argv[1]))
except SeesayError as error:
    print(str(error)[-250:], file=sys.stderr)
    sys.exit(error.exit_code)
"""


def _settings(content: str) -> Callable[[Path], dict[str, Any]]:
    code = FILE.format("t.toml", content)
    return lambda folder: measured_python(SETTINGS, made(folder, code) / "t.toml")


def _label_file(content: str) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: measured_python(READ_LABELS, made(folder, FILE.format("t.txt", content)) / "t.txt")


CASES: list[tuple[str, Callable[[Path], dict[str, Any]]]] = [
    ("Parquet: 60,000 rows of one caption of 60 kB", opened(REPEATED, "t.parquet")),
    ("Parquet: 20,000 different captions of 60 kB", opened(DISTINCT, "t.parquet")),
    ("Parquet: a page of 900 MB", opened(ONE_PAGE, "t.parquet")),
    ("Parquet: 50,000,000 rows of one letter", opened(ROWS, "t.parquet")),
    ("Parquet of the hub: 400 images of 5 MB zeros", HUB_IMAGES),
    ("Parquet of the hub: 60,000 lists of one caption of 60 kB", HUB_CAPTIONS),
    ("Parquet of the hub: features nested 200,000 deep", HUB_FEATURES),
    ("tar: an x header of 4 GiB", _extended("x")),
    ("tar: a g header of 4 GiB", _extended("g")),
    ("tar: an L header of 4 GiB", _extended("L")),
    ("tar: 10 x headers of 60,000 digits", opened(EXTENDED + DIGITS, "t.tar")),
    ("tar: a million empty members that are no pairs", opened(EXTENDED + MANY.replace("NAME", "bin"), "t.tar")),
    ("tar: a million empty captions without image", opened(EXTENDED + MANY.replace("NAME", "txt"), "t.tar")),
    ("model.json: 200,000 templates", lambda folder: measured_python(LOAD, made(folder, TEMPLATES) / "m")),
    ("model.json: 12,000,000 templates, 60 MB", _described("""'"templates": ["{}"' + ',"{}"' * 12_000_000 + ']'""")),
    ("model.json: 19,000,000 empty lists, 57 MB", _described("""'"facts": {"a": [' + "[]," * 19_000_000 + '1]}'""")),
    ("settings: values nested 200,000 deep", _settings("""'a = ' + '[' * 200_000""")),
    ("settings: a name of 100,000 parts", _settings("""'a.' * 100_000 + 'a = 1'""")),
    ("labels: a file of 1 GB", _label_file("'x\\n' * 500_000_000")),
    ("labels: 20,000", _labels(20_000)),
    ("labels: 40,000", _labels(40_000)),
    ("labels: 1,000,000", _labels(1_000_000)),
    ("CSV: a field of 1 GB", opened(FIELD, "t.csv")),
    ("CSV: 30,000,000 rows of one comma", opened(COMMAS, "t.csv")),
    ("merges: a gzip of 2 GB", lambda folder: measured_python(MERGES, made(folder, GZIP) / "t.gz")),
    ("merges: 20,000,000 short lines", lambda folder: measured_python(MERGES, made(folder, SHORT) / "t.txt")),
    ("tokenizer.json: 3,900,000 words", lambda folder: measured_python(TOKENIZER, made(folder, VOCABULARY) / "t.json")),
    ("tokenizer.json: 20,000,000 lists", lambda folder: measured_python(TOKENIZER, made(folder, LISTS) / "t.json")),
]
