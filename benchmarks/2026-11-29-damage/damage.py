"""Files of an index damaged at random: is every answer right, or one line that says what to do?

Usage: OMP_NUM_THREADS=1 python damage.py FOLDER [COUNT [SEED]]. FOLDER gets some MB; the result is in damage.json.

An index of 40 drawn photos by the model in the package, with all files that a large one has. Each of COUNT times one
file of a copy is damaged: bits flipped, bytes written over, a sector of zeros, cut short, emptied, longer, gone, or as
it was before the last writing. Two processes then work with it. One opens, searches, groups, and reads thumbnails; one
has a new photo to add before that, and so reads and writes the table. What they find is compared with what an index
that was never damaged gives.
"""

import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import seesay
from seesay.base.errors import SeesayError
from seesay.index import compressed
from seesay.index.photo_index import PhotoIndex, open_index

SECONDS = 120
KINDS = {
    "index.json": "index.json",
    "acknowledged.json": "acknowledged.json",
    "lock": ".lock",
    "manifest": "photos.lance/_versions/*.manifest",
    "transaction": "photos.lance/_transactions/*.txn",
    "deletion": "photos.lance/_deletions/*",
    "data": "photos.lance/data/*.lance",
    "scan.json": "scan/scan.json",
    "rows.arrow": "scan/rows.arrow",
    "vectors.npy": "scan/vectors.npy",
    "codes.npy": "scan/codes.npy",
    "others of the scan": "scan/[!srvc]*.npy",
}
DAMAGES = ("a bit", "eight bits", "bytes", "zeros", "short", "empty", "longer", "gone", "older")


def draw(path, seed):
    random_ = np.random.default_rng(seed)
    small = random_.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(path, quality=90)


def make(folder, model):
    """The photos, an index of them, and the files of the index before its last writing."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for number in range(36):
        draw(photos / f"{number:02}.jpg", number)
    shutil.copy(photos / "01.jpg", photos / "copy of 01.jpg")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")

    def work():
        index = PhotoIndex.create(folder / "index", photos, model)
        index.refresh()
        shutil.copytree(folder / "index", folder / "older")
        (photos / "07.jpg").unlink()
        (photos / "08.jpg").rename(photos / "eight.jpg")
        draw(photos / "09.jpg", 900)
        for number in range(36, 40):
            draw(photos / f"{number}.jpg", number)
        index.refresh()

    in_a_process(work)


def answers(index):
    """What an index says, by paths; the numbers of photos may be others in one that was made again."""
    random_ = np.random.default_rng(5)
    queries = random_.standard_normal((4, index.facts.width)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    root = index.facts.photos
    found = []
    numbers = {}
    for query in queries:
        hits = index.search_vector(query, top=45)
        numbers |= {hit.id: os.path.relpath(hit.path, root) for hit in hits}
        found.append([[os.path.relpath(hit.path, root), round(hit.score, 5)] for hit in hits[:10]])
    thumbnails = index.thumbnails(sorted(numbers))
    small = sorted((numbers[number], hashlib.sha256(data).hexdigest()) for number, data in thumbnails.items())
    since = [hit.path for hit in index.search_vector(queries[0], top=45, since="2001-01-01")]
    groups = [[os.path.relpath(path, root) for path in group] for group in index.duplicates()]
    return json.loads(json.dumps([found, small, len(since), groups, len(index)]))


def read(folder, model):
    return answers(open_index(folder, model=model))


def write(folder, model):
    index = PhotoIndex.create(folder, folder.parent / "photos", model)
    index.refresh()
    # As the next command finds it, too.
    first, second = answers(index), answers(open_index(folder, model=model))
    return first if first == second else [first, second]


def in_a_process(work, *, log=None):
    """(kind, what it gives or says) of work in a fork, which is killed where it hangs."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        if log is not None:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        try:
            said = ["answered", work()]
        except SeesayError as error:
            said = ["refused", str(error), error.exit_code]
        except BaseException:  # noqa: BLE001 - whatever a user would see a trace of
            said = ["trace", traceback.format_exc()[-2000:]]
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    data = b""
    while more := os.read(reader, 1 << 20):
        data += more
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if data:
        return json.loads(data)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return [
        "hang" if ended == signal.SIGALRM else "crash",
        f"signal {ended}, exit code {os.waitstatus_to_exitcode(status)}",
    ]


def damage(path, how, choose, older):
    """False where that cannot be done to this file."""
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return True
    if how == "older":
        if not older.exists() or older.read_bytes() == data:
            return False
        data = older.read_bytes()
    elif how == "longer":
        data += choose.randbytes(choose.randrange(1, 600))
    elif not data:
        return False
    elif how == "empty":
        data = b""
    elif how == "short":
        data = data[: choose.randrange(len(data))]
    elif how == "zeros":
        first = choose.randrange(len(data)) // 512 * 512
        if not any(data[first : first + 512]):
            return False
        data[first : first + 512] = bytes(len(data[first : first + 512]))
    else:
        for _ in range({"a bit": 1, "eight bits": 8, "bytes": 0}[how]):
            data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        if how == "bytes":
            first = choose.randrange(len(data))
            some = data[first : first + choose.randrange(1, 256)]
            data[first : first + len(some)] = choose.randbytes(len(some))
    path.write_bytes(data)
    return True


def judged(found, expected, copy):
    """The kind of an outcome, and what is to be shown of it."""
    kind = found[0]
    if kind == "answered":
        return ("right", "") if found[1] == expected else ("WRONG", str(found[1])[:300])
    if kind == "refused":
        # LanceDB's own paths begin without a slash.
        message = found[1].replace(str(copy), "INDEX").replace(str(copy).lstrip("/"), "INDEX")
        is_enough = "\n" not in message and "INDEX" in message and "remove" in message and found[2] in (4, 5)
        return ("refused", message) if is_enough else ("REFUSED WITHOUT A WAY OUT", message)
    return kind.upper(), found[1]


def once(number, seed, folder, work, expected):
    """What comes of one damage: (kind of file, damage, outcome, message)."""
    choose = random.Random(f"{seed} {number}")
    copy = folder / "copy"
    while True:
        kind, how = choose.choice(sorted(KINDS)), choose.choice(DAMAGES)
        files = sorted((folder / "index").glob(KINDS[kind]))
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "index", copy)
        name = choose.choice(files).relative_to(folder / "index")
        if damage(copy / name, how, choose, folder / "older" / name):
            break
    outcome, message = judged(in_a_process(lambda: work(copy), log=folder / "log"), expected, copy)
    is_panic = "panicked" in (folder / "log").read_text(errors="replace")
    return kind, how, outcome, message + " [a panic was printed]" * is_panic


def originals(folder):
    files = sorted(folder.rglob("*"))
    return [(str(path), path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in files]


def shard(folder, name, numbers, seed, model):
    """Rows of (number, kind of file, damage, work, outcome, message), and whether the photos are as they were."""
    make(folder, model)
    if name == "read":
        work = lambda copy: read(copy, model)  # noqa: E731
        expected = in_a_process(lambda: read(folder / "index", model))[1]
    else:
        work = lambda copy: write(copy, model)  # noqa: E731
        draw(folder / "photos" / "new.jpg", 1000)
        shutil.copytree(folder / "index", folder / "copy")
        expected = in_a_process(lambda: write(folder / "copy", model))[1]
    before = originals(folder / "photos")
    rows = []
    for number in numbers:
        kind, how, outcome, message = once(number, seed, folder, work, expected)
        rows.append((number, kind, how, name, outcome, message))
        if outcome not in ("right", "refused"):
            print(number, kind, how, name, outcome, message.strip().split("\n")[-1][:160], flush=True)
        elif number % 50 == 0:
            print(name, number, flush=True)
    return rows, before == originals(folder / "photos")


def main(folder, count, seed):
    compressed.LEAST_BYTES = 1
    # It has threads only where it was used, which is in the forks.
    warnings.filterwarnings("ignore", message="lancedb fork support")
    shutil.rmtree(folder, ignore_errors=True)
    model = seesay.load("box")
    importlib.import_module("lancedb")
    shards = [(name, first) for name in ("read", "write") for first in range(2)]
    children = []
    for name, first in shards:
        child = os.fork()
        if child == 0:
            done = shard(folder / f"{name}-{first}", name, range(first, count, 2), seed, model)
            (folder / f"{name}-{first}.json").write_text(json.dumps(done))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    parts = [json.loads((folder / f"{name}-{first}.json").read_text()) for name, first in shards]
    rows = sorted(row for part in parts for row in part[0])
    table = {}
    for _, kind, _, name, outcome, _ in rows:
        table.setdefault(f"{name}: {kind}", Counter())[outcome] += 1
    refused = {row[5] for row in rows if row[4] == "refused"}
    result = {
        "damages": count,
        "seed": seed,
        "outcomes": dict(sorted(Counter(f"{row[3]}: {row[4]}" for row in rows).items())),
        "originals untouched": all(part[1] for part in parts),
        "by file": {name: dict(counts) for name, counts in sorted(table.items())},
        # One of each, with N for any number.
        "messages": sorted({re.sub(r"0x\w+|[\da-f]{20,}|\d+", "N", message)[:200] for message in refused}),
        "bad": [row for row in rows if row[4] not in ("right", "refused") or "panic" in row[5]][:60],
    }
    print(json.dumps({name: result[name] for name in list(result)[:4]}))
    (Path(__file__).parent / "damage.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000, int(sys.argv[3]) if len(sys.argv) > 3 else 1
    )
