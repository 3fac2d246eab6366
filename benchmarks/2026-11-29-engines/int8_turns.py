"""CPU time of torch-int8 beside that of OpenVINO's int8 file of open_clip's model, in turn, one thread.

    python int8_turns.py INT8.xml MODEL

INT8.xml is what `exported` of int8_peers.py saves; MODEL is a folder of ViT-B/32, whose weights may be any.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

import seesay
from seesay.model.engines import open_openvino


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    session, own = open_openvino(sys.argv[1]), seesay.load(sys.argv[2])
    ways = {name: own.with_engine(name) for name in ("torch-int8", "torch-bf16", "torch")}
    for number, rounds in ((1, 30), (8, 9), (32, 5)):
        pixels_N3SS = torch.randint(0, 256, (number, 3, own.preprocess.size, own.preprocess.size), dtype=torch.uint8)
        normalised = own.preprocess.normalise(pixels_N3SS).numpy()
        work = {"openvino int8": lambda: session(normalised)}  # noqa: B023
        work |= {name: lambda model=model: model.encode_pixels(pixels_N3SS) for name, model in ways.items()}  # noqa: B023
        for one in work.values():
            one()
        turns = [{name: seconds(one) / number * 1000 for name, one in work.items()} for _ in range(rounds)]
        for name in work:
            times = [turn[name] for turn in turns]
            ratios = [turn["openvino int8"] / turn[name] for turn in turns]
            print(
                f"{number} images, {name}: {statistics.median(times):.1f} ms an image (least {min(times):.1f}),"
                f" {statistics.median(ratios):.2f} times OpenVINO's int8, {min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
