"""Images on two threads in OpenVINO's int8: the batch in one, or half of it in each of two streams; nothing is copied.

    PEERS/bin/python streams.py FOLDER ROUNDS

FOLDER and PEERS are those of two_threads.py. Prints medians, the ratios to open_clip's export of
the same round, and what each kind of operation of ours takes.
"""

import collections
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import openvino

THREADS = 2
GRAPHS = {"open_clip": "peer_nncf.xml", "ours": "new_nncf.xml"}
BASE = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32"}


def in_one(core: openvino.Core, path: Path):
    """As the engine does it, but for a copy of the pixels."""
    compiled = core.compile_model(core.read_model(path), "CPU", {**BASE, "PERFORMANCE_HINT": "LATENCY"})
    return lambda pixels: np.array(compiled(pixels, share_inputs=True).to_tuple()[0])


def in_streams(core: openvino.Core, path: Path):
    """A part of the batch for each thread, which computes by itself."""
    compiled = core.compile_model(core.read_model(path), "CPU", {**BASE, "NUM_STREAMS": THREADS})
    requests = [compiled.create_infer_request() for _ in range(THREADS)]

    def run(pixels):
        for request, part in zip(requests, np.array_split(pixels, THREADS), strict=True):
            request.start_async([part], share_inputs=True)
        for request in requests:
            request.wait()
        return np.concatenate([np.array(request.get_output_tensor(0).data) for request in requests])

    return run


def operations(core: openvino.Core, path: Path, pixels, rounds: int) -> None:
    """Milliseconds of a batch by kind of operation."""
    compiled = core.compile_model(
        core.read_model(path), "CPU", {**BASE, "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    )
    request, spent = compiled.create_infer_request(), collections.Counter()
    request.infer([pixels])
    for _ in range(rounds):
        request.infer([pixels])
        for each in request.profiling_info:
            spent[each.node_type, each.exec_type] += 1000 * each.real_time.total_seconds() / rounds
    for kind, milliseconds in spent.most_common(8):
        print(f"   {milliseconds:.2f} ms {' '.join(kind)}")
    print(f"   {sum(spent.values()):.2f} ms in all")


def main() -> None:
    folder, rounds, core = Path(sys.argv[1]), int(sys.argv[2]), openvino.Core()
    every = {
        (name, way.__name__): way(core, folder / graph)
        for name, graph in GRAPHS.items()
        for way in (in_one, in_streams)
    }
    for number in (1, 8, 32):
        pixels = np.random.default_rng(0).normal(size=(number, 3, 224, 224)).astype(np.float32)
        # One image cannot be cut.
        ways = {way: run for way, run in every.items() if number > 1 or way[1] == "in_one"}
        rows = {way: [run(pixels) for _ in range(2)][1] for way, run in ways.items()}
        assert number == 1 or np.array_equal(rows["ours", "in_one"], rows["ours", "in_streams"])
        times: dict = {way: [] for way in ways}
        for turn in range(rounds):
            for way in list(ways)[:: 1 if turn % 2 else -1]:
                start = time.perf_counter()
                ways[way](pixels)
                times[way].append(time.perf_counter() - start)
        for way, own in times.items():
            ratios = [
                f"{statistics.median(a / b for a, b in zip(peer, own, strict=True)):.3f} ({kind[1]})"
                for kind, peer in times.items()
                if kind[0] == "open_clip"
            ]
            print(number, *way, f"{1000 * statistics.median(own):.1f} ms, open_clip's by it:", *ratios, flush=True)
    pixels = np.random.default_rng(0).normal(size=(8, 3, 224, 224)).astype(np.float32)
    operations(core, folder / GRAPHS["ours"], pixels, rounds)


if __name__ == "__main__":
    main()
