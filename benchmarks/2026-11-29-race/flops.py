"""Operations of one training pair, forward and backward, as torch counts them; both sides' models.

python flops.py
"""

from contextlib import suppress

import torch
from race import CONTEXT, SIDE, SIZES
from torch.utils.flop_counter import FlopCounterMode

import seesay

with suppress(ImportError):
    import tvshim  # noqa: F401 - where torchvision is of another build than torch
import open_clip

for name, (vision, text) in SIZES.items():
    model = open_clip.model.CLIP(
        256, {**vision, "image_size": SIDE}, {**text, "context_length": CONTEXT, "vocab_size": 49408}
    )
    with FlopCounterMode(display=False) as counter:
        image, captions, _ = model(torch.zeros(4, 3, SIDE, SIDE), torch.ones(4, CONTEXT, dtype=torch.long))
        (image.sum() + captions.sum()).backward()
    print(name, round(counter.get_total_flops() / 4e6), "million")
for side in (32, 48):
    with FlopCounterMode(display=False) as counter:
        seesay.build("conv-small").clip.embed_images(torch.zeros(4, 3, side, side)).sum().backward()
    print("conv-small", side, round(counter.get_total_flops() / 4e6), "million, and a bag of words")
