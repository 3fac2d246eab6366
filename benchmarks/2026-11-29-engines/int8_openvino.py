"""Our exported graph of images beside open_clip's own export, in OpenVINO and ONNX Runtime, float32 and int8, in turn.

    PYTHONPATH=../shared/peers PEERS/bin/python int8_openvino.py prepare FOLDER MODEL
    PEERS/bin/python int8_openvino.py measure FOLDER OUT.json ROUNDS FILE...

PEERS is as for int8_peers.py. FOLDER holds peer.onnx and new.onnx, open_clip's graph and ours, peer_nncf.xml by nncf
with model_type transformer, new_nncf.xml as `export --to openvino --int8` makes it, new_qdq4.onnx by ONNX Runtime's
calibrator, and x.npy, 32 images; own.onnx and its kin are those of the commit before. A FILE is read by OpenVINO, or by
ONNX Runtime where it begins with "onnx:"; with "bf16:" what stays in float32 is in bfloat16, as OpenVINO has it by
itself on this CPU. One thread, CPU time; ratios are the time of the first FILE by the other's in
the same round.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from seesay.model.engines import open_onnx, open_openvino
from seesay.model.onnx_images import image_graph
from seesay.tasks.export_int8 import in_int8, in_int8_of_openvino

CALLS = {1: 8, 8: 2, 32: 1}


def prepare(folder: Path, name: str) -> None:
    import int8_peers  # beside this file, with peers; it imports open_clip
    import nncf
    import openvino
    import peers

    peer, own = peers.opened(name)
    side = own.preprocess.size
    drawn = torch.randint(0, 256, (32, 3, side, side), dtype=torch.uint8)
    images = own.preprocess.normalise(drawn).numpy()
    np.save(folder / "x.npy", images)
    torch.backends.mha.set_fastpath_enabled(False)
    named = {"input_names": ["pixels"], "output_names": ["rows"], "opset_version": 17, "dynamo": False}
    axes, plain = {"pixels": {0: "n"}, "rows": {0: "n"}}, folder / "peer.onnx"
    with torch.no_grad():
        torch.onnx.export(int8_peers.Images(peer), (torch.from_numpy(images[:2]),), plain, dynamic_axes=axes, **named)
    graph, inputs = image_graph(own.name, own.clip), list(images[:, None])
    (folder / "new.onnx").write_bytes(graph)
    (folder / "new_qdq4.onnx").write_bytes(in_int8(graph, inputs, first=4))
    read, kind = openvino.Core().read_model(plain), nncf.ModelType.TRANSFORMER
    theirs = nncf.quantize(read, nncf.Dataset(inputs), model_type=kind, subset_size=len(inputs))
    openvino.save_model(theirs, folder / "peer_nncf.xml", compress_to_fp16=False)
    ours = in_int8_of_openvino(graph, inputs, first=0)
    openvino.save_model(ours, folder / "new_nncf.xml", compress_to_fp16=False)


def measure(folder: Path, out: str, rounds: str, *files: str) -> None:
    images, found = np.load(folder / "x.npy"), []
    openers = {"onnx": open_onnx, "bf16": open_in_bfloat16, "": open_openvino}
    ways = {}
    for file in files:
        *kind, name = file.split(":")
        ways[file] = openers["".join(kind)](folder / name)
    for number, calls in CALLS.items():
        found += measured(ways, images[:number], int(rounds), calls)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


def open_in_bfloat16(file: Path):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    return lambda array: [np.array(value) for value in compiled(array).to_tuple()]


def measured(ways: dict, images: np.ndarray, rounds: int, calls: int) -> list[dict]:
    rows = {way: run(images)[0] for way, run in ways.items()}
    first = next(iter(ways))
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in list(ways) if turn % 2 else list(ways)[::-1]:
            start = time.process_time()
            for _ in range(calls):
                ways[way](images)
            cpu[way].append((time.process_time() - start) / calls)
    found = []
    for way, times in cpu.items():
        ratios = [one / other for one, other in zip(cpu[first], times, strict=True)]
        row = {
            "images": len(images), "file": way, "cpu_milliseconds": round(1000 * statistics.median(times), 1),
            "images_per_cpu_second": round(len(images) / statistics.median(times), 1),
            "ratio": round(statistics.median(ratios), 3), "least_most": [round(min(ratios), 3), round(max(ratios), 3)],
            "cosine_to_first": round(float((rows[way] * rows[first]).sum(1).min()), 6),
        }  # fmt: skip
        found.append(row)
        print(row, flush=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    verb, place, *others = sys.argv[1:]
    {"prepare": prepare, "measure": measure}[verb](Path(place), *others)
