"""One product of a ViT-B/32 block at batch 1, 8 and 32 in float32, bfloat16 and int8, CPU milliseconds, one thread.

int_mm: torch._int_mm of ready integers, weights transposed or not; dyn: with a scale for each row, in plain torch;
onednn: the product behind torch's compiler of int8.
"""

import time

import torch

torch.set_num_threads(1)


def milliseconds(work, count=15):
    for _ in range(3):
        work()
    times = []
    for _ in range(count):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * sorted(times)[count // 2]


def by_row(x, whole, scale_w, bias):
    scale = x.abs().amax(1, keepdim=True) / 127
    return torch._int_mm((x / scale).round_().to(torch.int8), whole).float().mul_(scale).mul_(scale_w).add_(bias)


print(torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported())
for rows in (50, 400, 1600):
    for wide, out in ((768, 3072), (3072, 768)):
        x, weight, bias = torch.randn(rows, wide), torch.randn(out, wide) * 0.02, torch.randn(out)
        half = [each.bfloat16() for each in (x, weight, bias)]
        scale = weight.abs().amax(1) / 127
        whole = (weight / scale[:, None]).round().to(torch.int8)
        turned = whole.t().contiguous()
        given = (x * 30).clamp(-128, 127).round().to(torch.int8)
        packed, zeros = torch.ops.onednn.qlinear_prepack(whole, None), torch.zeros(out, dtype=torch.int32)
        unsigned = torch.randint(0, 255, (rows, wide), dtype=torch.uint8)
        more = (scale, zeros, bias, 1.0, 0, torch.float32, "none", [], "")
        with torch.inference_mode():
            found = {
                "f32": milliseconds(lambda: torch.nn.functional.linear(x, weight, bias)),  # noqa: B023
                "bf16": milliseconds(lambda: torch.nn.functional.linear(*half)),  # noqa: B023
                "int_mm": milliseconds(lambda: torch._int_mm(given, turned)),  # noqa: B023
                "int_mm(t)": milliseconds(lambda: torch._int_mm(given, whole.t())),  # noqa: B023
                "dyn": milliseconds(lambda: by_row(x, turned, scale, bias)),  # noqa: B023
                "onednn": milliseconds(lambda: torch.ops.onednn.qlinear_pointwise(unsigned, 0.03, 128, packed, *more)),  # noqa: B023
            }
        print(rows, wide, out, "ms", {name: round(value, 2) for name, value in found.items()}, flush=True)
