"""What is saved by growing a captioning head's trees of prompts once per classifier, and not once per 64 images."""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch

from seesay.data.images import Preprocess
from seesay.data.tokenizer import CaptionTokenizer
from seesay.model.bundle import Model
from seesay.model.zero_shot import LIKELIHOODS_AT_ONCE
from seesay.nets.architecture import Architecture, BicaptionerConfig, CaptionerConfig, ConvNetConfig
from seesay.nets.clip import build_clip
from seesay.nets.decoder import grow_all

TEMPLATE = "a photo of a {}."
SYLLABLES = ["ba", "ko", "ri", "mu", "ten", "sal", "dor", "fi", "la", "pe"]
WIDTH = 32


def class_names(count: int) -> list[str]:
    """Different made-up names of one or two words, one to three syllables each."""
    generator, names = random.Random(0), {}
    while len(names) < count:
        words = [
            "".join(generator.choices(SYLLABLES, k=generator.randint(1, 3))) for _ in range(generator.randint(1, 2))
        ]
        names[" ".join(words)] = None
    return list(names)


def model_with(kind: str, tokenizer: CaptionTokenizer) -> Model:
    """An untrained model with one layer of that head."""
    size = {"context": tokenizer.context, "vocab_size": tokenizer.vocab_size, "width": WIDTH, "layers": 1, "heads": 2}
    text = CaptionerConfig(**size) if kind == "captioner" else BicaptionerConfig(**size)
    image = ConvNetConfig(image_size=32, width=8, depths=(1, 1))
    embed_dim = WIDTH * text.prefix if isinstance(text, CaptionerConfig) else WIDTH
    architecture = Architecture(embed_dim=embed_dim, image=image, text=text)
    return Model(build_clip(architecture, seed=0), architecture, tokenizer, preprocess=Preprocess(size=32))


def measure(
    kind: str, tokenizer: CaptionTokenizer, *, names: list[str], images: int, rounds: int, after_first: bool
) -> dict:
    model = model_with(kind, tokenizer)
    classifier = model.classifier(names, [TEMPLATE])
    pixels = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    row_NX = torch.cat([model.encode_pixels(block) for block in pixels.split(LIKELIHOODS_AT_ONCE)])

    def before(rows) -> torch.Tensor:
        # As it was: every block of images begins with the token ids.
        fresh = [model.log_likelihoods(block, model.clip.prepare(classifier.prompts.tokens)) for block in rows]
        return torch.cat(fresh)

    def after(rows) -> torch.Tensor:
        prompts = model.clip.prepare(classifier.prompts.tokens)
        return torch.cat([model.log_likelihoods(block, prompts) for block in rows])

    blocks, seconds, found = row_NX.split(LIKELIHOODS_AT_ONCE), {"before": [], "after": []}, {}
    for _ in range(rounds):
        ways = [("before", before), ("after", after)]
        for name, score in reversed(ways) if after_first else ways:
            began = time.process_time()
            found[name] = score(blocks)
            seconds[name].append(time.process_time() - began)
    began = time.process_time()
    grow_all(classifier.prompts.tokens)
    grown = time.process_time() - began
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "head": kind,
        "prompts": len(names),
        "images": images,
        "blocks": len(blocks),
        "seconds_before": medians["before"],
        "seconds_after": medians["after"],
        "ratio": medians["before"] / medians["after"],
        "seconds_to_grow_one_tree": grown,
        "is_equal_to_the_last_bit": torch.equal(found["before"], found["after"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--after-first", action="store_true", help="Let the new way go first in every round.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    arguments = parser.parse_args()
    names = class_names(arguments.names)
    tokenizer = CaptionTokenizer.train([TEMPLATE.format(name) for name in names], vocab_size=1024, context=24)
    results = [
        measure(
            kind,
            tokenizer,
            names=names,
            images=arguments.images,
            rounds=arguments.rounds,
            after_first=arguments.after_first,
        )
        for kind in ("captioner", "bicaptioner")
    ]
    text = json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "results": results}, indent=2)
    arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
