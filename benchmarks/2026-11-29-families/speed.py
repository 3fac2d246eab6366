"""Images and captions a second of towers that came with timm and transformers, ours beside open_clip's, in eager mode.

In an environment with open_clip, timm, transformers and seesay:

    cd benchmarks/2026-11-29-families; python speed.py TEMPORARY [MODEL ...] > speed.md

One thread, the same folder, the same input, whole towers, random weights. Both sides in turn, five times, after one;
the ratio is the median over rounds of CPU seconds, which other work on the machine touches less than the clock does.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import peers
import torch
from peers import before

import seesay

ROUNDS = 5
IMAGES = 2
CAPTIONS = [
    f"a photo of {count} {colour} {animal}s"
    for count in range(4)
    for colour in ("red", "blue")
    for animal in ("dog", "cat")
]
KINDS = {"convnext_base": "laion400m_s13b_b51k", "MobileCLIP-S1": "datacompdr", "EVA02-B-16": "merged2b_s8b_b131k"}
KINDS |= {"ViTamin-S": "datacomp1b", "PE-Core-S-16-384": "meta", "xlm-roberta-base-ViT-B-32": "laion5b_s13b_b90k"}
KINDS |= {"ViT-B-16-SigLIP": "webli", "ViT-B-32-SigLIP2-256": "webli"}
KINDS |= {"coca_ViT-B-32": "laion2b_s13b_b90k", "ViT-L-14-CLIPA": "datacomp1b", "RN50": "yfcc15m"}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float]:
    """Theirs over ours: median, least and largest of the rounds."""
    ours(), theirs()
    rounds = [seconds(theirs) / seconds(ours) for _ in range(ROUNDS)]
    return statistics.median(rounds), min(rounds), max(rounds)


@torch.inference_mode()
def row(name: str, tag: str, temporary: Path) -> str:
    """The line of one kind."""
    shutil.rmtree(temporary, ignore_errors=True)
    # Whole towers; transformers' too, with few ids.
    with patch.object(before, "shallow", lambda config: config), patch.object(peers, "LAYERS", 12):
        peer, tokenizer = peers.write(name, tag, temporary / "model")
        model = (peers.loaded if "xlm" in name else seesay.load)(temporary / "model")
    pixels = torch.randn(IMAGES, 3, model.preprocess.size, model.preprocess.size)
    of_images = ratio(lambda: model.clip.embed_images(pixels), lambda: peer.encode_image(pixels, normalize=True))
    of_texts = ratio(
        lambda: model.encode_texts(CAPTIONS), lambda: peer.encode_text(tokenizer(CAPTIONS), normalize=True)
    )
    cells = (f"{median:.2f} ({least:.2f}-{most:.2f})" for median, least, most in (of_images, of_texts))
    return f"| {name} | {' | '.join(cells)} |"


def main(temporary: Path) -> None:
    """A row for each kind."""
    torch.set_num_threads(1)
    print("| model | images | captions |\n|---|---|---|")
    for name in sys.argv[2:] or KINDS:
        print(row(name, KINDS[name], temporary), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
