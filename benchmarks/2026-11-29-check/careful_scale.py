"""`careful_scale` beside the one before it, which measured all 129 scales: seconds of a core, and the scale found.

python benchmarks/2026-11-29-check/careful_scale.py
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from seesay.tasks.from_words import QUANTILE, SCALES, careful_scale


def of_all_scales(logits_NK: Tensor, label_N: Tensor) -> float:
    entropy_NS = torch.stack([F.cross_entropy(s * logits_NK, label_N, reduction="none") for s in SCALES.tolist()], 1)
    density_S = (-entropy_NS.sum(0)).softmax(0)
    return float(SCALES[int((density_S.cumsum(0) < QUANTILE).sum())])


generator = torch.Generator().manual_seed(0)
for rows, classes in ((100, 10), (1000, 1000), (4000, 1000)):
    logits_NK = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    label_N = (0.6 * logits_NK).softmax(1).multinomial(1, generator=generator)[:, 0]
    for _ in range(3):
        found = []
        for function in (of_all_scales, careful_scale):
            begin = time.process_time()
            scale = function(logits_NK, label_N)
            found.append(f"{function.__name__} {time.process_time() - begin:.3f} s, {scale:.6f}")
        print(f"{rows} x {classes}: {'; '.join(found)}")
