"""Products with weights of 4 bits beside those of 8 bits and float32, at the rows of one image and of one text.

    OMP_NUM_THREADS=1 python benchmarks/2026-11-29-engines/int4.py

CPU milliseconds of one of 12 layers, the least of 9 rounds in turn; each layer has weights of its own, so that they
come from memory as in a model. int4: torch's product of bfloat16 rows by weights of 4 bits in groups of 128; int8:
oneDNN's of rows that are whole numbers already; float32: oneDNN's.
"""

import time

import torch

LAYERS, ROUNDS, GROUP = 12, 9, 128


def least(ways: dict, rounds: int = ROUNDS) -> dict[str, float]:
    found = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, work in ways.items():
            start = time.process_time()
            work()
            found[name] = min(found[name], (time.process_time() - start) * 1000 / LAYERS)
    return {name: round(value, 3) for name, value in found.items()}


def four_bits(weight_OI: torch.Tensor):
    """Packed weights, and scales and zeros by group: (I / GROUP, O, 2)."""
    grouped = weight_OI.unflatten(1, (-1, GROUP))
    scale = (grouped.abs().amax(2) / 7).clamp(min=1e-12)
    whole = ((grouped / scale[..., None]).round() + 8).clamp(0, 15).flatten(1).to(torch.int32)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
    scales = torch.stack([scale, torch.zeros_like(scale)], -1).transpose(0, 1).contiguous().bfloat16()
    return packed, scales


def ways_of(rows: int, wide: int, out: int) -> dict:
    """By name what computes the products of all layers."""
    x, bias = torch.randn(rows, wide), torch.randn(out)
    weights = [torch.randn(out, wide) * 0.02 for _ in range(LAYERS)]
    halves, half_x = [weight.bfloat16() for weight in weights], x.bfloat16()
    fours, in_fours = [four_bits(weight) for weight in weights], torch.ops.aten._weight_int4pack_mm_for_cpu
    pack, in_eights = torch.ops.onednn.qlinear_prepack, torch.ops.onednn.qlinear_pointwise
    eights = [pack((weight * 1000).clamp(-127, 127).to(torch.int8), None) for weight in weights]
    whole_x = (x * 30 + 128).clamp(0, 255).to(torch.uint8)
    scale, zero = torch.full((out,), 1e-3), torch.zeros(out, dtype=torch.int32)
    more = (scale, zero, bias, 1.0, 0, torch.float32, "none", [], "")
    product = torch.ops.mkldnn._linear_pointwise.default
    return {
        "float32": lambda: [product(x, weight, bias, "none", [], "") for weight in weights],
        "bfloat16": lambda: [torch.nn.functional.linear(half_x, weight) for weight in halves],
        "int8": lambda: [in_eights(whole_x, 0.03, 128, packed, *more) for packed in eights],
        "int4": lambda: [in_fours(half_x, packed, GROUP, scales) for packed, scales in fours],
    }


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    for rows in (1, 12, 50, 400):
        for wide, out in ((768, 768), (768, 3072), (3072, 768)):
            ways = ways_of(rows, wide, out)
            right = ways["bfloat16"]()[0]
            off = float((ways["int4"]()[0] - right).abs().mean() / right.abs().mean())
            print(rows, "rows,", wide, "by", out, least(ways), f"int4 differs by {off:.2f} of the mean", flush=True)


if __name__ == "__main__":
    main()
