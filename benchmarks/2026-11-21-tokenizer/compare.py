"""Captions per second and equality of ids, ours beside open_clip's tokenizer, in one process on one thread.

    OMP_NUM_THREADS=1 RAYON_NUM_THREADS=1 taskset -c 1 python compare.py DATA

DATA is a folder of WebDataset tars with captions in `.txt`. open_clip is read from where it is installed and only its
tokenizer is run, so neither torchvision nor timm is needed.

"10,000 at once": both sides are new, and so is every block of 10,000. For the rest the captions are shuffled and
cut into two halves without a caption in common. "cold": each side is new, and every round is a block of 2,000 of the
first half. "warm": both sides have read all of the first half; every round is a block of the second, which neither has
seen, and the two warm comparisons have blocks of their own. Sides take turns, and who begins alternates. Rates are
captions per CPU second, because other work may run beside this; the ratio of wall seconds is given too.
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

ROUNDS = 8
BLOCK = 2000
TEN_THOUSAND = 10_000
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


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(CPU, wall) seconds of one call."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(name: str, theirs: Callable, ours: Callable, blocks: list[list[str]]) -> None:
    taken: dict[str, list[tuple[float, float]]] = {"open_clip": [], "ours": []}
    for index, block in enumerate(blocks):
        sides = [("open_clip", theirs), ("ours", ours)]
        for side, make in sides if index % 2 else reversed(sides):
            tokenize = make()
            taken[side].append(seconds(lambda tokenize=tokenize, block=block: tokenize(block)))
    for side, values in taken.items():
        print(
            f"{name:22} {side:12} {spread([len(blocks[0]) / cpu for cpu, _ in values], ',.0f')} captions per CPU second"
        )
    for what, index in (("CPU", 0), ("wall", 1)):
        pairs = zip(taken["open_clip"], taken["ours"], strict=True)
        print(
            f"{name:22} {what + ' ratio':12} {spread([theirs[index] / ours[index] for theirs, ours in pairs], '.1f')}"
        )


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

    def new_own() -> CaptionTokenizer:
        return CaptionTokenizer.from_file(merges)

    peer, own = reference.SimpleTokenizer(), new_own()

    def blocks(part: list[str], begin: int) -> list[list[str]]:
        return [part[index * BLOCK : (index + 1) * BLOCK] for index in range(begin, begin + ROUNDS)]

    tens = [captions[begin : begin + TEN_THOUSAND] for begin in range(0, len(captions) - TEN_THOUSAND, TEN_THOUSAND)]
    compare("10,000 at once, new", reference.SimpleTokenizer, lambda: new_own().tokens, tens)
    compare("cold, padded tensor", reference.SimpleTokenizer, lambda: new_own().tokens, blocks(first, 0))
    compare("cold, lists", reference.SimpleTokenizer, new_own, blocks(first, ROUNDS))
    peer(first), own(first)
    compare("warm, padded tensor", lambda: peer, lambda: own.tokens, blocks(second, 0))
    compare("warm, lists", lambda: peer, lambda: own, blocks(second, ROUNDS))

    different = 0
    for start in range(0, len(captions), BLOCK):
        block = captions[start : start + BLOCK]
        pairs = zip(peer(block).tolist(), own(block), strict=True)
        different += sum(theirs != mine + [0] * (len(theirs) - len(mine)) for theirs, mine in pairs)
    print(f"ids differ in {different} of {len(captions)} captions")

    rng = random.Random(1)
    for kind, make in KINDS.items():
        caption = make(rng, 1_000_000)
        before = resident()
        times = [1000 * seconds(lambda text=caption: own([text]))[1] for _ in range(5)]
        print(f"1 MB of {kind:20} {spread(times, '.1f')} ms, resident memory +{resident() - before:.1f} MiB")


if __name__ == "__main__":
    main()
