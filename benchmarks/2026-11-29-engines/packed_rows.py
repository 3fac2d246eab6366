"""Whether it matters for how many rows weights are laid out for oneDNN: float32 products of ViT-B/32, one thread.

    OMP_NUM_THREADS=1 python packed_rows.py > packed_rows.log

CPU milliseconds of one of 12 layers, the least of 7 in turn: `plain` weights as they are, the others laid out for so
many rows; `added` and `gelu` with a sum or an activation in the same product, `, gelu` with one behind it.
"""

import torch
from int4 import LAYERS, least

ROUNDS, CHOSEN = 7, (50, 400, 1600)


def ways_of(rows: int, wide: int, out: int) -> dict:
    product = torch.ops.mkldnn._linear_pointwise
    x, bias, more = torch.randn(rows, wide), torch.randn(out), torch.randn(rows, out)
    weights = [torch.randn(out, wide) * 0.02 for _ in range(LAYERS)]
    laid = {count: [torch.ops.mkldnn._reorder_linear_weight(each, count) for each in weights] for count in CHOSEN}

    def by(chosen, name="none", algorithm=""):
        return [product.default(x, each, bias, name, [], algorithm) for each in chosen]

    return {
        "plain": lambda: by(weights),
        **{f"for {count}": lambda chosen=chosen: by(chosen) for count, chosen in laid.items()},
        "added": lambda: [product.binary(x, more, each, bias, "add") for each in laid[400]],
        "gelu": lambda: by(laid[400], "gelu", "none"),
        ", gelu": lambda: [torch.ops.aten.gelu_(each) for each in by(laid[400])],
    }


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    for rows in CHOSEN:
        for wide, out in ((768, 2304), (768, 768), (768, 3072), (3072, 768)):
            print(rows, "rows,", wide, "by", out, least(ways_of(rows, wide, out), ROUNDS), flush=True)


if __name__ == "__main__":
    main()
