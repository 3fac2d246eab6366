"""How near the rows of a trained ViT are to float32's in OpenVINO's int8, by what nncf is told of ranges.

    PEERS/bin/python nncf_ranges.py MODEL PHOTOS ../../../shared/data

PEERS is as for int8_peers.py. 128 photos of the folder PHOTOS give the ranges; compared are the images of eval-food20
and eval-dtd10. `means` takes the mean of the smallest and the largest number of each photo, `least and most` those of
all; `evened` is SmoothQuant's exchange of scales between channels and weights, `mixed` ranges of their own on each side
of 0.
"""

import contextlib
import io
import sys
import tarfile
import tempfile
from pathlib import Path

import nncf
import openvino
import torch
from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

import seesay
from seesay.data.jpeg import decoding
from seesay.model.engines import open_openvino
from seesay.model.onnx_images import image_graph
from seesay.tasks.export_int8 import UNIT_LENGTH

MOST_PHOTOS = 128


def quantized(graph: bytes, inputs: list, *, preset: str, is_evened: bool, by_most: bool):
    told = {}
    if not is_evened:
        told["smooth_quant_alphas"] = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    if by_most:
        told["activations_range_estimator_params"] = RangeEstimatorParametersSet.MINMAX
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            openvino.Core().read_model(graph),
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=getattr(nncf.QuantizationPreset, preset.upper()),
            ignored_scope=nncf.IgnoredScope(types=[*UNIT_LENGTH], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(**told),
        )


def images_of(folder: Path):
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith((".jpg", ".png", ".webp")):
                    yield tar.extractfile(member).read()


def main() -> None:
    name, photos, data = sys.argv[1:]
    nncf.set_log_level("ERROR")
    model = seesay.load(name)

    def pixels_of(images) -> torch.Tensor:
        prepared = []
        for image in images:
            with decoding(image) as decoded:
                prepared.append(torch.as_tensor(model.preprocess.pixels(decoded)))
        return torch.stack(prepared)

    files = sorted(path for path in Path(photos).rglob("*") if path.is_file())[:MOST_PHOTOS]
    ranges = model.preprocess.normalise(pixels_of(path.read_bytes() for path in files)).numpy()
    shown = pixels_of(image for name in ("eval-food20", "eval-dtd10") for image in images_of(Path(data, name)))
    right, given = model.encode_pixels(shown), model.preprocess.normalise(shown).numpy()
    graph = image_graph(model.name, model.clip)
    for by_most in (False, True):
        for is_evened in (True, False):
            for preset in ("mixed", "performance"):
                made = quantized(
                    graph, [image[None] for image in ranges], preset=preset, is_evened=is_evened, by_most=by_most
                )
                with tempfile.TemporaryDirectory() as folder:
                    openvino.save_model(made, Path(folder, "int8.xml"), compress_to_fp16=False)
                    run = open_openvino(Path(folder, "int8.xml"))
                    rows = torch.cat(
                        [
                            torch.from_numpy(run(some)[0])
                            for some in (given[i : i + 64] for i in range(0, len(given), 64))
                        ]
                    )
                cosine = (rows * right).sum(1)
                told = ("least and most" if by_most else "means", "evened" if is_evened else "as they are", preset)
                print(
                    *told,
                    f"smallest cosine {cosine.min():.4f}, mean {cosine.mean():.5f}, {len(cosine)} images",
                    sep=", ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
