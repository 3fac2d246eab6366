"""Images on two threads: open_clip, its exports and ours in OpenVINO and ONNX Runtime, and torch's engines, in turn.

    GOMP_SPINCOUNT=1000 PYTHONPATH=../shared/peers PEERS/bin/python two_threads.py FOLDER OUT.json ROUNDS THREADS

PEERS is as for int8_peers.py, FOLDER as int8_openvino.py's `prepare` leaves it: peer.onnx and peer_nncf.xml are of
open_clip, new.onnx and new_nncf.xml are ours. ViT-B/32; 1, 8 and 32 images. Ratios are open_clip's eager time by the
other's in the same round, by the clock and in CPU time, torch's threads waiting as `seesay` has them; the load is that
of the last minute before and after.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import peers  # beside this file; it imports open_clip
import torch

from seesay.model.engines import open_onnx, open_openvino

ENGINES = ("torch", "torch-packed", "torch-bf16", "torch-int8")
CALLS = {1: 4, 8: 1, 32: 1}


def spinning(path: Path, threads: int):
    """ONNX Runtime as it is by itself, its threads spinning while they wait."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda array: session.run(None, {session.get_inputs()[0].name: array})


@torch.inference_mode()
def main() -> None:
    folder, out, rounds, threads = Path(sys.argv[1]), *sys.argv[2:]
    torch.set_num_threads(int(threads))
    peer, own = peers.opened("ViT-B-32")
    models = peers.engines_of(own, ENGINES)
    sessions = {
        "onnx of open_clip, OpenVINO": open_openvino(folder / "peer.onnx"),
        "onnx of open_clip, ONNX Runtime": open_onnx(folder / "peer.onnx"),
        "onnx of open_clip, ONNX Runtime, spinning": spinning(folder / "peer.onnx", int(threads)),
        "onnx of ours, OpenVINO": open_openvino(folder / "new.onnx"),
        "int8 of open_clip, OpenVINO": open_openvino(folder / "peer_nncf.xml"),
        "int8 of ours, OpenVINO": open_openvino(folder / "new_nncf.xml"),
    }
    found, side = [], own.preprocess.size
    for number, calls in CALLS.items():
        drawn = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)
        normalised = own.preprocess.normalise(drawn)
        given = normalised.numpy()
        ways = {"open_clip": lambda: peer.encode_image(normalised, normalize=True)}  # noqa: B023
        ways |= {way: lambda run=run: run(given) for way, run in sessions.items()}  # noqa: B023
        ways |= {way: lambda one=one: one.encode_pixels(drawn) for way, one in models.items()}  # noqa: B023
        for work in ways.values():
            work()
        wall, cpu = ({way: [] for way in ways} for _ in range(2))
        before = os.getloadavg()[0]
        for turn in range(int(rounds)):
            for way in list(ways) if turn % 2 else list(ways)[::-1]:
                start = time.perf_counter(), time.process_time()
                for _ in range(calls):
                    ways[way]()
                wall[way].append((time.perf_counter() - start[0]) / calls)
                cpu[way].append((time.process_time() - start[1]) / calls)
        for way in ways:
            row = {"images": number, "threads": int(threads), "way": way, "load": [before, os.getloadavg()[0]]}
            for kind, times in (("wall", wall), ("cpu", cpu)):
                ratios = [one / other for one, other in zip(times["open_clip"], times[way], strict=True)]
                row |= {f"{kind}_milliseconds": round(1000 * statistics.median(times[way]), 1)}
                row |= {f"{kind}_ratio": round(statistics.median(ratios), 2)}
                row |= {f"{kind}_least_most": [round(min(ratios), 2), round(max(ratios), 2)]}
            found.append(row)
            print(row, flush=True)
        Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
