"""Float32 products of a ViT-B/32 by torch's own choice (MKL) and by oneDNN, what lies beside them, and the whole.

    python linears.py

One thread, CPU milliseconds, the least of 5 in turn; weights of 12 layers one after the other, so that they come from
memory as in a model. packed: weights laid out for oneDNN beforehand, a second copy of them.
"""

import time

import torch
import torch.nn.functional as F

import seesay


def in_turn(ways: dict, layers: int, count: int = 5) -> dict[str, float]:
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(count + 1):
        for name, work in ways.items():
            start = time.process_time()
            work()
            least[name] = min(least[name], (time.process_time() - start) * 1000 / layers)
    return {name: round(value, 3) for name, value in least.items()}


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def tiles(pixels):
    return pixels.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    print(torch.__version__, torch.backends.cpu.get_cpu_capability(), "amx", torch.cpu._is_amx_tile_supported())
    product, pack = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._reorder_linear_weight
    for rows in (1, 12, 50, 400):
        for wide, out in ((768, 768), (768, 3072)):
            x, bias = torch.randn(rows, wide), torch.randn(out)
            weights = [torch.randn(out, wide) * 0.02 for _ in range(12)]
            packed = [pack(weight, rows) for weight in weights]
            ways = {
                "mkl": lambda: [F.linear(x, weight, bias) for weight in weights],  # noqa: B023
                "onednn": lambda: [product(x, weight, bias, "none", [], "") for weight in weights],  # noqa: B023
                "packed": lambda: [product(x, weight, bias, "none", [], "") for weight in packed],  # noqa: B023
            }
            right = F.linear(x, weights[0], bias)
            worst = float((product(x, weights[0], bias, "none", [], "") - right).abs().max() / right.abs().max())
            print(rows, wide, out, in_turn(ways, 12), f"difference {worst:.0e} of the largest", flush=True)
    for images in (1, 8, 32):
        pixels, kernel = torch.randn(images, 3, 224, 224), torch.randn(768, 3, 32, 32) * 0.02
        wide = torch.randn(images * 50, 3072)
        ways = {
            "patches by conv2d": lambda: F.conv2d(pixels, kernel, stride=32),  # noqa: B023
            "patches by onednn's product": lambda: product(tiles(pixels), kernel.flatten(1), None, "none", [], ""),  # noqa: B023
            "quick_gelu": lambda: quick_gelu(wide),  # noqa: B023
            "quick_gelu in place": lambda: (1.702 * wide).sigmoid_().mul_(wide),  # noqa: B023
            "gelu": lambda: F.gelu(wide),  # noqa: B023
            "gelu in place": lambda: torch.ops.aten.gelu_(wide),  # noqa: B023
        }
        print(images, "images", in_turn(ways, 1), flush=True)
    model = seesay.build("ViT-B/32", seed=0)
    for images in (1, 8, 32):
        pixels = torch.randint(0, 256, (images, 3, 224, 224), dtype=torch.uint8)
        texts = [f"a photo of a {number} times larger dog in the street" for number in range(images)]
        ways = {
            "images, mkl": lambda: model.clip.embed_images(model.preprocess.normalise(pixels)),  # noqa: B023
            "images, engine torch": lambda: model.encode_pixels(pixels),  # noqa: B023
            "texts, mkl": lambda: model.clip.embed_texts(model.tokenizer.tokens(texts)),  # noqa: B023
            "texts, engine torch": lambda: model.encode_texts(texts),  # noqa: B023
        }
        worst = [
            float((ways[f"{side}, mkl"]() - ways[f"{side}, engine torch"]()).abs().max())
            for side in ("images", "texts")
        ]
        print(images, "images or texts", in_turn(ways, 1, count=3), "largest differences", worst, flush=True)


if __name__ == "__main__":
    main()
