"""What is taken off all cosines of a set's images, on average, by how many training images there are.

python benchmarks/2026-11-29-overlap/offsets.py few/few-400-0.tar few/few-400-1.tar ../shared/data/train-places
"""

import sys
from pathlib import Path

import torch

from seesay.data.evalsets import open_evalset
from seesay.data.pairs import open_pairs
from seesay.evaluation.overlap_search import EvalSet, describe_set, search_all
from seesay.model.cache import EmbeddingCache
from seesay.model.detector import CopyDetector

DATA = Path("../shared/data")


def main() -> None:
    cache, detector = EmbeddingCache.find(), CopyDetector()
    opened = [open_evalset(DATA / name) for name in ("eval-dtd10", "eval-food20")]
    sets = [EvalSet(source=source, described=describe_set(detector, source, cache)) for source in opened]
    for path in sys.argv[1:]:
        pairs = open_pairs([path])
        _, searches = search_all(detector, pairs, sets, cache)
        for own, search in zip(sets, searches, strict=True):
            offset_N1 = search.similarity(torch.zeros(len(own.described.index), 1))
            print(f"{pairs.name} ({len(pairs)}) {own.source.name}: {offset_N1.mean():.3f}", flush=True)


if __name__ == "__main__":
    main()
