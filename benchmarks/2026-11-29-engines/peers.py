"""Images per second of a model in open_clip's float32, eager and compiled, and in this package's engines, in turn.

    PYTHONPATH=../shared/peers PEERS/bin/python benchmarks/2026-11-29-engines/peers.py OUT.json ROUNDS MODEL THREADS...

PEERS has open_clip and torch (../shared/peers/README.md) and this package. MODEL is open_clip's name, such as ViT-B-32,
ViT-L-14 or RN50, or ViT-B-16-SigLIP, whose weights are not shared. All have open_clip's random weights: ours
are loaded from the folder that open_clip's own writer makes. Wall and CPU time; a ratio is open_clip's eager time by
the other's in the same round.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import tvshim  # noqa: F401 - before open_clip

import open_clip  # isort: skip
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file

import seesay
from seesay.data.images import Preprocess
from seesay.nets.architecture import SiglipImageConfig
from seesay.nets.clip import build_clip

ENGINES = ("torch", "torch-packed", "torch-exact", "torch-bf16", "torch-int8", "onnx")


def opened(name: str = "ViT-B-32") -> tuple[torch.nn.Module, seesay.Model]:
    torch.manual_seed(0)
    peer = open_clip.create_model(name).eval()
    if "SigLIP" in name:
        return peer, siglip()
    with tempfile.TemporaryDirectory() as folder:
        config = open_clip.get_model_config(name)
        save_config_for_hf(peer, Path(folder, "open_clip_config.json"), model_config=config)
        save_file(peer.state_dict(), Path(folder, "open_clip_model.safetensors"))
        vocabulary = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
        return peer, seesay.load(folder, tokenizer=vocabulary)


def siglip() -> seesay.Model:
    """SigLIP's B/16 at 224 px with weights of its own and a small text tower, which are as fast as any."""
    small = seesay.build("conv-tiny")
    image = SiglipImageConfig(image_size=224, patch=16, width=768, layers=12, heads=12)
    architecture = small.architecture.model_copy(update={"image": image, "embed_dim": 768})
    clip = build_clip(architecture, seed=0)
    return seesay.Model(clip, architecture, small.tokenizer, preprocess=Preprocess(size=224))


def engines_of(own: seesay.Model, names: tuple[str, ...]) -> dict[str, seesay.Model]:
    """By name, without those that cannot compute it."""
    found = {}
    for name in names:
        try:
            found[name] = own.with_engine(name)
        except seesay.UsageError as error:
            print(error, flush=True)
    return found


def main() -> None:
    out, rounds, name, *threads = sys.argv[1:]
    peer, own = opened(name)
    found = []
    for count in map(int, threads):
        torch.set_num_threads(count)
        models = engines_of(own, ENGINES)
        compiled = torch.compile(peer.encode_image)
        for number in (1, 8, 32):
            pixels_N3SS = torch.randint(
                0, 256, (number, 3, own.preprocess.size, own.preprocess.size), dtype=torch.uint8
            )
            normalised_N3SS = own.preprocess.normalise(pixels_N3SS)
            work = {
                "open_clip": lambda pixels=normalised_N3SS: peer.encode_image(pixels, normalize=True),
                "open_clip compiled": lambda pixels=normalised_N3SS, compiled=compiled: compiled(
                    pixels, normalize=True
                ),
                **{name: lambda one=one, pixels=pixels_N3SS: one.encode_pixels(pixels) for name, one in models.items()},
            }
            found += measured(work, int(rounds), count, number)
            Path(out).write_text(json.dumps(found, indent=1) + "\n")


@torch.inference_mode()
def measured(work: dict, rounds: int, threads: int, number: int) -> list[dict]:
    rows = {name: one() for name, one in work.items()}
    wall, cpu = ({name: [] for name in work} for _ in range(2))
    for turn in range(rounds):
        for name in list(work) if turn % 2 else list(work)[::-1]:
            start, used = time.perf_counter(), time.process_time()
            work[name]()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    found = []
    for name in work:
        ratios = [one / other for one, other in zip(wall["open_clip"], wall[name], strict=True)]
        row = {
            "threads": threads, "images": number, "way": name,
            "images_per_second": round(number / statistics.median(wall[name]), 1),
            "ratio": round(statistics.median(ratios), 2), "least_most": [round(min(ratios), 2), round(max(ratios), 2)],
            "cpu_ratio": round(statistics.median(cpu["open_clip"]) / statistics.median(cpu[name]), 2),
            "smallest_cosine": float((rows[name].float() * rows["open_clip"]).sum(1).min()),
        }  # fmt: skip
        found.append(row)
        print(row, flush=True)
    return found


if __name__ == "__main__":
    main()
