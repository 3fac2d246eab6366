"""Of batches of 1 to 33, how many differ in a bit from each row alone; by torch and by torch-exact, one thread and two.

Run from the root of the repository: PYTHONPATH=tests python benchmarks/2026-11-29-exact/bits.py
"""

import numpy as np
import torch
from small_towers import TOWERS, model_of

from seesay.model.encode import embeddings_of, features_of

generator = np.random.default_rng(0)
words = ("cat", "dog", "hen", "car", "sea", "sky", "red", "blue", "one", "two")
texts = [f"a {words[i % 10]} photo of {i} things {words[i % 10] * (i % 5)}" for i in range(33)]
for family in TOWERS:
    model = model_of(family)
    side = model.preprocess.size
    pixels = torch.from_numpy(generator.integers(0, 256, (33, 3, side, side), dtype=np.uint8))
    for engine in ("torch", "torch-exact"):
        own, by_threads = model.with_engine(engine), []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            image_ND = torch.cat([own.encode_pixels(one[None]) for one in pixels])
            feature_NW = torch.cat([features_of(own, one[None]) for one in pixels])
            text_ND = torch.cat([own.encode_texts([text]) for text in texts])
            sizes = range(1, 34)
            counts = (
                sum(not torch.equal(own.encode_pixels(pixels[:n]), image_ND[:n]) for n in sizes),
                sum(not torch.equal(own.encode_texts(texts[:n]), text_ND[:n]) for n in sizes),
                sum(not torch.equal(features_of(own, pixels[:n]), feature_NW[:n]) for n in sizes),
                sum(not torch.equal(embeddings_of(own, feature_NW[:n]), image_ND[:n]) for n in sizes),
            )
            named = zip(("images", "texts", "features", "from features"), counts, strict=True)
            print(family, engine, "threads", threads, *(word for pair in named for word in pair), flush=True)
            by_threads.append(image_ND)
        print("   threads alike", torch.equal(*by_threads))
