"""Memory, load time, speed and rows of models whose weights stay small, beside the ordinary load and open_clip.

python weights_dtype.py memory OUT.json FOLDER MODEL...     one process, then three at once, of each way
python weights_dtype.py speed OUT.json FOLDER ROUNDS MODEL BATCH...     CPU time by turns, one thread
python weights_dtype.py accuracy OUT.json SET,SET MODEL...     trained models' answers

A BATCH is 8, or "64 texts". MODEL is a size of `seesay.build`; its files, of random weights, are written to FOLDER
when they are not there.
"""

import json
import os
import statistics
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tvshim  # noqa: F401

# A way: the file's dtype and the argument of `load`, None without one; or open_clip's own precision.
WAYS = [
    ("float32", None),
    ("float32", "float32"),
    ("float16", None),
    ("float16", "float16"),
    ("float32", "float16"),
    ("float32", "int8"),
    ("float32", "open_clip"),
    ("float16", "open_clip fp16"),
]
LARGE_WAYS = [("float32", None), ("float16", "float16"), ("float32", "int8")]
CONTEXT = get_context("fork")
FIELDS = ("Pss", "Pss_Anon", "Pss_File", "Private_Dirty")


def files_of(folder, model, kind):
    """The folder of a model in a dtype, perhaps in open_clip's layout, as in "float16 open_clip"; made if need be."""
    import seesay
    from seesay.model.build import build

    dtype, _, layout = kind.partition(" ")
    whole, path = (Path(folder) / f"{model}-{each}".replace("/", "-").replace(" ", "-") for each in ("float32", kind))
    if not whole.exists():
        build(model).save(whole)
    if not path.exists():
        seesay.load(whole).save(path, layout or "seesay", dtype=getattr(torch, dtype))
    return path


def memory_of(pid):
    """Megabytes of a process, from what the kernel counts by page."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {name: found[name] for name in FIELDS}


def load(path, way, model):
    """A model ready to encode, and what encodes pixels and a text with it."""
    if not (way or "").startswith("open_clip"):
        import seesay

        loaded = seesay.load(path, weights_dtype=way)
        return lambda pixels: loaded.encode_pixels(pixels), lambda: loaded.encode_texts(["a photo of a cat"])
    import open_clip

    name = model.replace("/", "-")
    precision = "fp16" if way.endswith("fp16") else "fp32"
    own = open_clip.create_model(name, pretrained=str(path / "open_clip_model.safetensors"), precision=precision).eval()
    dtype = torch.float16 if precision == "fp16" else torch.float32
    return (
        lambda pixels: own.encode_image(pixels.to(dtype) / 255),
        lambda: own.encode_text(open_clip.tokenize(["a photo of a cat"])),
    )


def child(answers, path, way, model):
    """Load, encode an image and a text, say what it took, and wait for the end."""
    before, cpu = memory_of(os.getpid()), time.process_time()
    images, text = load(path, way, model)
    cpu = time.process_time() - cpu
    with torch.inference_mode():
        images(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
        text()
    answers.send((before, cpu))
    answers.recv()


def measure(path, way, model):
    """CPU seconds of three loads, and megabytes of the first process alone and then of three at once, beyond what each
    had before it loaded; processes are forked, so that they have the libraries in common."""
    running, loads, found = [], [], {}
    for number in (1, 2, 3):
        ours, theirs = CONTEXT.Pipe()
        running.append((CONTEXT.Process(target=child, args=(theirs, path, way, model)), ours))
        running[-1][0].start()
        before, cpu = ours.recv()
        loads.append(round(cpu, 3))
        if number in (1, 3):
            after = [memory_of(process.pid) for process, _ in running]
            found[number] = {name: statistics.mean(each[name] for each in after) - before[name] for name in FIELDS}
    for process, ours in running:
        ours.send(None)
        process.join()
    return loads, found


def memory(out, folder, *models):
    import open_clip  # noqa: F401

    import seesay

    seesay.load("box").encode_texts(["a cat"])
    torch.set_num_threads(1)
    rows = []
    for model in models:
        for kind, way in WAYS if model == "ViT-B/32" else [each for each in WAYS if each in LARGE_WAYS]:
            path = files_of(folder, model, f"{kind} open_clip" if (way or "").startswith("open_clip") else kind)
            # So that the file is in memory for the first, too.
            sum(len(chunk) for chunk in iter(partial(next(path.glob("*.safetensors")).open("rb").read, 1 << 24), b""))
            loads, found = measure(path, way, model)
            row = {"model": model, "file": kind, "way": way or "ordinary", "load_cpu": loads}
            row |= {f"of_{count}": {name: round(each[name]) for name in FIELDS} for count, each in found.items()}
            rows.append(row)
            print(json.dumps(row), flush=True)
            Path(out).write_text(json.dumps(rows, indent=1) + "\n")


def encode_texts(model, texts):
    return model.encode_texts(texts)


def encode_pixels(model, pixels):
    return model.encode_pixels(pixels)


def speed(out, folder, rounds, model, *batches):
    import seesay

    torch.set_num_threads(1)
    ways = {"ordinary": None, "float32": "float32", "float16": "float16", "bfloat16": "bfloat16", "int8": "int8"}
    if model != "ViT-B/32":
        del ways["float32"], ways["bfloat16"]
    # The rows are compared with those of float32, so that rounding shows in all but one.
    files = {"float16": "float16", "bfloat16": "bfloat16"}
    models = {
        name: seesay.load(files_of(folder, model, files.get(name, "float32")), weights_dtype=way)
        for name, way in ways.items()
    }
    texts = [f"a photo of a {word}" for word in ("cat", "dog", "red bus on a road", "sea urchin") for _ in range(16)]
    generator, rows = np.random.default_rng(0), []
    for batch in batches:
        count, is_text = int(batch.split()[0]), batch.endswith("texts")
        pixels = torch.from_numpy(generator.integers(0, 256, (count, 3, 224, 224), dtype=np.uint8))
        encode = partial(encode_texts, texts=texts) if is_text else partial(encode_pixels, pixels=pixels)
        work = {name: partial(encode, own) for name, own in models.items()}
        found = {name: one() for name, one in work.items()}
        times = {name: [] for name in models}
        for turn in range(int(rounds)):
            for name in list(models)[:: 1 if turn % 2 else -1]:
                before = time.process_time()
                work[name]()
                times[name].append(time.process_time() - before)
        for name in models:
            ratios = [one / base for one, base in zip(times[name], times["ordinary"], strict=True)]
            row = {"model": model, "batch": batch, "way": name, "seconds": round(statistics.median(times[name]), 4)}
            row |= {
                "ratio": round(statistics.median(ratios), 3),
                "least": round(min(ratios), 3),
                "most": round(max(ratios), 3),
            }
            row["cosine"] = round(float((found[name] * found["ordinary"]).sum(1).min()), 7)
            rows.append(row)
            print(json.dumps(row), flush=True)
    Path(out).write_text(json.dumps(rows, indent=1) + "\n")


def accuracy(out, sets, *models):
    """Top-1 of each way; `lost` and `gained` are right answers that float32 has or has not."""
    import seesay
    from seesay.data.evalsets import open_evalset
    from seesay.model.cache import EmbeddingCache, cached_encode_images, zero_shot_classifier

    torch.set_num_threads(1)
    rows = []
    for model in models:
        for name in sets.split(","):
            labelled, right, base = open_evalset(name), None, None
            for way in (None, "float16", "bfloat16", "int8"):
                own = seesay.load(model, weights_dtype=way)
                classifier = zero_shot_classifier(own, labelled.class_names, labelled.templates)
                read, count = labelled.image, len(labelled)
                image_ND, index, _ = cached_encode_images(own, read, count, cache=EmbeddingCache(None))
                best = classifier.scores(image_ND).argmax(1)
                hits = best == torch.tensor([labelled.label(each) for each in index])
                if right is None:
                    right, base = hits, image_ND
                row = {"model": Path(model).name, "set": Path(name).name, "way": way or "ordinary", "n": len(hits)}
                row |= {"top1": round(100 * float(hits.float().mean()), 2)}
                row |= {"lost": int((right & ~hits).sum()), "gained": int((~right & hits).sum())}
                row["cosine"] = round(float((image_ND * base).sum(1).min()), 6)
                rows.append(row)
                print(json.dumps(row), flush=True)
    Path(out).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    {"memory": memory, "speed": speed, "accuracy": accuracy}[sys.argv[1]](*sys.argv[2:])
