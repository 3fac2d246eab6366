"""Captions per second and equality of ids, ours beside open_clip's tokenizer, in one process on one thread.

    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 taskset -c 1 python compare.py DATA

DATA is a folder of WebDataset tars with captions in `.txt`. open_clip is read from where it is installed and only its
tokenizer is run, so neither torchvision nor timm is needed.

The captions are shuffled and cut into two halves without a caption in common. "cold": each side is new, and every
round is a block of the first half. "warm": both sides have read all of the first half; every round is a block of the
second, which neither has seen. Sides take turns, and who begins alternates.
"""

import gc
import importlib.metadata
import importlib.util
import platform
import random
import resource
import statistics
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from seesay.data.tokenizer import CaptionTokenizer

ROUNDS = 9
BLOCK = 4000
KINDS = {
    "spaces": lambda rng, n: " " * n,
    "words": lambda rng, n: "word " * (n // 5),
    "one word": lambda rng, n: "word" * (n // 4),
    "random letters": lambda rng, n: "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=n)),
    "digits": lambda rng, n: "".join(rng.choices("0123456789", k=n)),
    "emoji": lambda rng, n: "".join(rng.choices("🙂🚀👍🎉🐈", k=n)),
    "accents": lambda rng, n: "café naïve über " * (n // 16),
    "wrongly decoded": lambda rng, n: "schÃ¶n â€œso â€ " * (n // 16),
    "nested entities": lambda rng, n: "&" + "amp;" * (n // 4),
    "short lines": lambda rng, n: "é\n" * (n // 2),
    "control characters": lambda rng, n: "\x01\n" * (n // 2),
    "combining marks": lambda rng, n: "a" + "\u0301" * (n - 1),
}


def reference_module() -> ModuleType:
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        sys.exit("open_clip is not installed; this comparison needs it: see the requirements in card.md.")
    spec = importlib.util.spec_from_file_location("reference", Path(package.origin).with_name("tokenizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_captions(folder: Path) -> list[str]:
    captions = {}
    for place in sorted(folder.rglob("*.tar")):
        with tarfile.open(place) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    lines = tar.extractfile(member).read().decode("utf-8").splitlines()
                    captions.update(dict.fromkeys(line for line in lines if line.strip()))
    return list(captions)


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, theirs: Callable, ours: Callable, blocks: list[list[str]]) -> None:
    rates = {"open_clip": [], "ours": []}
    for index, block in enumerate(blocks):
        sides = [("open_clip", theirs), ("ours", ours)]
        for side, make in sides if index % 2 else reversed(sides):
            tokenize = make()
            rates[side].append(len(block) / seconds(lambda: tokenize(block)))
    ratios = [fast / slow for fast, slow in zip(rates["ours"], rates["open_clip"], strict=True)]
    for side, values in rates.items():
        print(f"{name:24} {side:10} {spread(values, ',.0f')} captions/s")
    print(f"{name:24} {'ratio':10} {spread(ratios, '.1f')}")


def spread(values: list[float], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"median {middle:{form}} (lowest {low:{form}}, highest {high:{form}}, n = {len(values)})"


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    reference = reference_module()
    merges = reference.default_bpe()
    captions = read_captions(Path(sys.argv[1]))
    random.Random(20261121).shuffle(captions)
    half = len(captions) // 2
    first, second = captions[:half], captions[half:]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "tokenizers", "ftfy", "regex")}
    print(f"python {platform.python_version()}, {versions}, {len(captions)} distinct captions")
    peer, own = reference.SimpleTokenizer(), CaptionTokenizer.from_file(merges)

    first_blocks, second_blocks = (
        [part[index * BLOCK : (index + 1) * BLOCK] for index in range(ROUNDS)] for part in (first, second)
    )
    compare("cold, padded tensor", reference.SimpleTokenizer, lambda: CaptionTokenizer.from_file(merges).tokens, first_blocks)
    compare("cold, lists", lambda: reference.SimpleTokenizer().__call__, lambda: CaptionTokenizer.from_file(merges), first_blocks)
    peer(first), own(first)
    compare("warm, padded tensor", lambda: peer, lambda: own.tokens, second_blocks)
    compare("warm, lists", lambda: peer, lambda: own, second_blocks)

    different = 0
    for start in range(0, len(captions), BLOCK):
        block = captions[start : start + BLOCK]
        rows = peer(block).tolist()
        different += sum(row[: len(mine)] != mine or any(row[len(mine) :]) for row, mine in zip(rows, own(block), strict=True))
    print(f"ids differ in {different} of {len(captions)} captions")

    rng = random.Random(1)
    for kind, make in KINDS.items():
        caption = make(rng, 1_000_000)
        before = resident()
        times = [1000 * seconds(lambda text=caption: own([text])) for _ in range(5)]
        print(f"1 MB of {kind:20} {spread(times, '.1f')} ms, resident memory +{resident() - before:.1f} MiB")


if __name__ == "__main__":
    main()
