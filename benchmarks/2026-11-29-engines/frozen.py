"""Images per second of ViT-B/32 in float32: open_clip eager and compiled with its weights frozen, and ours.

    PYTHONPATH=../shared/peers PEERS/bin/python frozen.py OUT.json ROUNDS THREADS...

PEERS is as for peers.py, with OpenVINO. By the clock and in CPU time, in turn; rows are compared with open_clip's.
"""

import json
import sys
from pathlib import Path

import peers  # beside this file; it imports open_clip
import torch
from torch._inductor import config


def compiled(peer, *, frozen: bool):
    """open_clip's images by torch.compile; frozen weights are laid out for oneDNN."""
    config.freezing = frozen
    torch._dynamo.reset()
    run = torch.compile(lambda pixels: peer.encode_image(pixels, normalize=True), dynamic=False)

    def work(pixels):
        # Weights are frozen where no gradient is asked for; of inference mode inductor's documentation says nothing.
        config.freezing = frozen
        with torch.inference_mode(False), torch.no_grad():
            return run(pixels)

    return work


def main() -> None:
    out, rounds, *threads = sys.argv[1:]
    peer, own = peers.opened("ViT-B-32")
    found = []
    for count in map(int, threads):
        torch.set_num_threads(count)
        models = peers.engines_of(own, ("torch", "torch-packed", "openvino"))
        for number in (1, 8, 32):
            side = own.preprocess.size
            pixels = torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)
            given = own.preprocess.normalise(pixels)
            frozen = compiled(peer, frozen=True)
            frozen(given)
            work = {
                "open_clip": lambda given=given: peer.encode_image(given, normalize=True),
                "open_clip compiled, frozen": lambda given=given, frozen=frozen: frozen(given),
                **{name: lambda one=one, pixels=pixels: one.encode_pixels(pixels) for name, one in models.items()},
            }
            found += peers.measured(work, int(rounds), count, number)
            Path(out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
