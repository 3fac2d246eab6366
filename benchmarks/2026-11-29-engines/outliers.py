"""How near int8 rows of a transformer stay where some channels behind each LayerNorm are outliers.

    PEERS/bin/python outliers.py MODEL ../../../shared/data PHOTOS > outliers.log

PEERS is as for int8_peers.py. Six channels of every LayerNorm before a product are made so many times as large, and the
product's weights for them as many times as small: the same function in float32, shown first, with outliers in what is
rounded, as OpenAI's weights have them. Rows are those of torch-int8, of it without its rotation of channels, of
one step for all rows of a layer by the largest number seen, gains included (a calibration without handling), and
of `export --to openvino --int8` with the ranges of 128 PHOTOS, without and with its narrowing of channels. Compared
are the 400 images of eval-food20.
"""

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.model import int8
from seesay.model.encode import read_pixels
from seesay.model.engines import open_openvino
from seesay.model.onnx_images import image_graph
from seesay.nets.block import Block
from seesay.tasks.classify import find_photos
from seesay.tasks.export_files import drawn_from_folders
from seesay.tasks.export_int8 import in_int8_of_openvino, without_outliers

CHANNELS, FACTORS, TEXTS = 6, (1, 30, 100), ["a cat", "a red car", "an airport seen from above"]


@torch.no_grad()
def with_outliers(name: str, factor: float) -> seesay.Model:
    """The same function, with a few channels behind each LayerNorm that many times as large."""
    model = seesay.load(name)
    generator = torch.Generator().manual_seed(0)
    for block in model.clip.image_tower.blocks:
        assert isinstance(block, Block)
        for norm, linear in ((block.ln_1, block.attention.qkv), (block.ln_2, block.fc)):
            chosen = torch.randperm(len(norm.weight), generator=generator)[:CHANNELS]
            norm.weight[chosen] *= factor
            norm.bias[chosen] *= factor
            linear.weight[:, chosen] /= factor
    return model


class OneStep(torch.nn.Module):
    """A linear layer in int8 whose rows have one step, by the largest number seen: what outliers spoil."""

    def __init__(self, linear: torch.nn.Linear):
        super().__init__()
        scale_O = (linear.weight.abs().amax(1) / 127).clamp(min=int8.SMALLEST)[:, None]
        self.weight, self.bias = (linear.weight / scale_O).round() * scale_O, linear.bias
        self.most = torch.zeros(())
        self.is_calibrating = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.is_calibrating:
            self.most = torch.maximum(self.most, x.abs().max())
        else:
            step = self.most / 127
            x = (x / step).round().clamp(-127, 127) * step
        return torch.nn.functional.linear(x, self.weight, self.bias)


def one_step(model: seesay.Model, ranges: torch.Tensor) -> seesay.Model:
    made = []
    for block in model.clip.image_tower.blocks:
        for parent, name in ((block.attention, "qkv"), (block, "fc")):
            layer = OneStep(getattr(parent, name))
            setattr(parent, name, layer)
            made.append(layer)
    model.encode_pixels(ranges)
    for layer in made:
        layer.is_calibrating = False
    return model


def not_mixed(model: seesay.Model) -> seesay.Model:
    kept, int8.mixing = int8.mixing, lambda width: torch.eye(1)
    try:
        return model.with_engine("torch-int8")
    finally:
        int8.mixing = kept


def in_openvino(model: seesay.Model, ranges: torch.Tensor):
    import openvino

    graph, given = image_graph(model.name, model.clip), model.preprocess.normalise(ranges).numpy()
    made = in_int8_of_openvino(graph, list(given[:, None]), first=0)
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(made, Path(folder, "int8.xml"), compress_to_fp16=False)
        run = open_openvino(Path(folder, "int8.xml"))
    return lambda pixels: torch.from_numpy(run(model.preprocess.normalise(pixels).numpy())[0])


@torch.inference_mode()
def main() -> None:
    name, data, photos = sys.argv[1:]
    torch.set_num_threads(1)
    model, opened = seesay.load(name), open_evalset(Path(data, "eval-food20"))
    pixels = torch.stack(read_pixels(model, opened.image, len(opened))[0])
    ranges = torch.stack([model.preprocess.read(path) for path in drawn_from_folders(find_photos([photos]), 128)])
    right = torch.cat([model.encode_pixels(part) for part in pixels.split(64)])
    for factor in FACTORS:
        ways = {
            "float32": lambda own: own.encode_pixels,
            "torch-int8": lambda own: own.with_engine("torch-int8").encode_pixels,
            "torch-int8, channels not mixed": lambda own: not_mixed(own).encode_pixels,
            "one step for a layer, gains in rows": lambda own: one_step(own, ranges).encode_pixels,
        }
        if find_spec("nncf"):
            ways["openvino int8, not narrowed"] = lambda own: in_openvino(own, ranges)
            ways["openvino int8"] = lambda own: in_openvino(without_outliers(own, ranges, TEXTS), ranges)
        for way, made in ways.items():
            encode = made(with_outliers(name, factor))
            cosine = (torch.cat([encode(part) for part in pixels.split(64)]) * right).sum(1)
            print(f"times {factor}, {way}: smallest cosine {cosine.min():.5f}, mean {cosine.mean():.6f}", flush=True)


if __name__ == "__main__":
    main()
