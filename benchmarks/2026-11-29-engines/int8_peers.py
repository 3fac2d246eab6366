"""Images per second of open_clip's model exported to ONNX Runtime and OpenVINO in float32 and int8, beside torch-int8.

    PYTHONPATH=../shared/peers PEERS/bin/python int8_peers.py OUT.json ROUNDS MODEL THREADS...

PEERS is as for peers.py, with onnx, onnxruntime, openvino and nncf. open_clip's image tower is written by torch's
exporter with any number of images; ONNX Runtime's int8 is its static calibration (QDQ, a scale for each output) and its
dynamic one, OpenVINO's is nncf's with model_type transformer (none for RN50), all with their calibration on 32 images.
"""

import json
import sys
import tempfile
from pathlib import Path

import nncf
import numpy as np
import onnxruntime
import openvino
import peers  # beside this file; it imports open_clip
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quant_pre_process, quantize_dynamic
from onnxruntime.quantization import quantize_static as quantize

from seesay.model.engines import open_onnx, open_openvino

CALIBRATED = 32


class Images(torch.nn.Module):
    def __init__(self, peer: torch.nn.Module):
        super().__init__()
        self.peer = peer

    def forward(self, pixels):
        return self.peer.encode_image(pixels, normalize=True)


class Inputs(CalibrationDataReader):
    def __init__(self, images: np.ndarray):
        self.waiting = iter([{"pixels": image[None]} for image in images])

    def get_next(self):
        return next(self.waiting, None)


def exported(peer: torch.nn.Module, name: str, images: np.ndarray, folder: Path) -> dict:
    """By name what computes rows of pixels."""
    # The fused product of torch's attention has no node of ONNX.
    torch.backends.mha.set_fastpath_enabled(False)
    plain, ready, static, dynamic = (folder / f"{kind}.onnx" for kind in ("plain", "ready", "static", "dynamic"))
    axes = {"pixels": {0: "n"}, "rows": {0: "n"}}
    named = {"input_names": ["pixels"], "output_names": ["rows"], "dynamic_axes": axes, "opset_version": 17}
    torch.onnx.export(Images(peer), (torch.from_numpy(images[:2]),), plain, dynamo=False, **named)
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    quantize(
        ready, static, Inputs(images), per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    )
    quantize_dynamic(ready, dynamic, per_channel=True, weight_type=QuantType.QInt8)
    read = openvino.Core().read_model(plain)
    kind = None if name.startswith("RN") else nncf.ModelType.TRANSFORMER
    whole = nncf.quantize(
        read, nncf.Dataset([image[None] for image in images]), model_type=kind, subset_size=len(images)
    )
    openvino.save_model(whole, folder / "int8.xml", compress_to_fp16=False)
    sessions = {
        "onnx of open_clip": open_onnx(plain),
        "onnx of open_clip, int8 static": open_onnx(static),
        "onnx of open_clip, int8 dynamic": open_onnx(dynamic),
        "openvino of open_clip": open_openvino(plain),
        "openvino of open_clip, int8": open_openvino(folder / "int8.xml"),
    }
    return {way: lambda pixels, run=run: torch.from_numpy(run(pixels.numpy())[0]) for way, run in sessions.items()}


def main() -> None:
    out, rounds, name, *threads = sys.argv[1:]
    peer, own = peers.opened(name)
    side, found = own.preprocess.size, []
    drawn = torch.randint(0, 256, (CALIBRATED, 3, side, side), dtype=torch.uint8)
    for count in map(int, threads):
        torch.set_num_threads(count)
        print(onnxruntime.__version__, openvino.__version__, nncf.__version__, flush=True)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False), torch.no_grad():
            others = exported(peer, name, own.preprocess.normalise(drawn).numpy(), Path(folder))
            models = peers.engines_of(own, ("torch", "torch-packed", "torch-bf16", "torch-int8"))
            for number in (1, 8, 32):
                pixels_N3SS = drawn[:number]
                normalised_N3SS = own.preprocess.normalise(pixels_N3SS)
                work = {"open_clip": lambda: peer.encode_image(normalised_N3SS, normalize=True)}  # noqa: B023
                work |= {way: lambda one=one: one(normalised_N3SS) for way, one in others.items()}  # noqa: B023
                work |= {way: lambda one=one: one.encode_pixels(pixels_N3SS) for way, one in models.items()}  # noqa: B023
                found += peers.measured(work, int(rounds), count, number)
                Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
