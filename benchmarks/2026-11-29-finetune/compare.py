"""Fine-tuning on three targets: what is learned, and what is lost, each way beside a loop as open_clip has it.

    python benchmarks/2026-11-29-finetune/compare.py --data ../shared/data --work WORK --seeds 3 --model box

Every set of labels is split by class: one half is learned from (a fifth of it chooses the model), the other is
measured. Of Tiny ImageNet's validation images 800, or --guard-images, are the guard and the others are measured; so
are Flickr8k's dev captions, which no choice sees. With --trained-guard the guards are 10,000 images of Tiny ImageNet's
training part and the 6,000 of Flickr8k's with their captions, as of somebody who has what the model learned from, and
2,000 of all validation images are measured. Of a large guard a part is not measured but holds the model. --rate is the
learning rate of the naive loop (else 1e-4), and of our full and image. --keep are weights of `start.keep` (images and
names keep what was answered to them); without one it is the command's own. The third target are the twelve most
frequent types of train-fashion, 60 images each.
Results go to WORK/results.jsonl, one line each; what is there is not done again.
"""

import argparse
import io
import json
import random
import resource
import tarfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import seesay
from seesay.data.augment import Augment
from seesay.data.evalsets import open_evalset, open_train_part
from seesay.data.labelled import ClassPairs
from seesay.data.loader import Batches, Crops
from seesay.finetuning.measures import CaptionMeasure, ClassMeasure
from seesay.finetuning.sweep import Change, Point, between, chosen_point
from seesay.tasks.words import choose_words

TARGETS = ("eval-mnist", "eval-rsicd30", "fashion")
FASHION_TYPES, FASHION_IMAGES = 12, 60
GUARD, CAPTIONS, GUARD_IMAGES = "eval-tinyimagenet-val", "eval-flickr8k-dev", 800
TRAINED_OF_A_CLASS = 50
STEPS, BATCH, RATE = 120, 32, 1e-4
HOWS = ("full", "image", "lora", "prompt", "lock-text")
BOUNDS = (1.0,)


def fashion(data: Path, folder: Path) -> Path:
    """A labelled set of the most frequent types of train-fashion, by its .json files; its first images of each."""
    if not (folder / "classnames.txt").exists():
        samples: dict[str, list[bytes]] = {}
        for path in sorted((data / "train-fashion").glob("*.tar")):
            with tarfile.open(path) as tar:
                parts = {member.name: tar.extractfile(member).read() for member in tar}
            for name, facts in parts.items():
                if name.endswith(".json"):
                    image = parts[name.removesuffix(".json") + ".webp"]
                    samples.setdefault(json.loads(facts)["type"], []).append(image)
        names = sorted(sorted(samples, key=lambda name: (-len(samples[name]), name))[:FASHION_TYPES])
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / "0.tar", "w") as tar:
            for label, name in enumerate(names):
                for number, image in enumerate(samples[name][:FASHION_IMAGES]):
                    for ending, content in (("webp", image), ("cls", str(label).encode())):
                        header = tarfile.TarInfo(f"{label:02}-{number:03}.{ending}")
                        header.size = len(content)
                        tar.addfile(header, io.BytesIO(content))
        (folder / "classnames.txt").write_text("\n".join(names) + "\n")
    return folder


def split(source: Path, folder: Path, *, first: str, second: str, count: int | None = None) -> Path:
    """The set's images in two parts, by class and with a fixed seed: half and half, or `count` and the rest."""
    if (folder / "classnames.txt").exists():
        return folder
    samples: dict[bytes, list] = {}
    for path in sorted(source.glob("*.tar")):
        with tarfile.open(path) as tar:
            members: dict[str, dict] = {}
            for member in tar:
                key, _, ending = member.name.partition(".")
                members.setdefault(key, {})[ending] = tar.extractfile(member).read()
        for key, parts in members.items():
            samples.setdefault(parts["cls"], []).append((key, parts))
    total, generator = sum(map(len, samples.values())), random.Random(0)
    share = 0.5 if count is None else count / total
    for name in (first, second):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / first / "0.tar", "w") as one, tarfile.open(folder / second / "0.tar", "w") as other:
        for _, own in sorted(samples.items()):
            generator.shuffle(own)
            for index, (key, parts) in enumerate(own):
                for ending, data in parts.items():
                    header = tarfile.TarInfo(f"{key}.{ending}")
                    header.size = len(data)
                    (one if index < round(share * len(own)) else other).addfile(header, io.BytesIO(data))
    for name in (first, second):
        (folder / name / "classnames.txt").write_text((source / "classnames.txt").read_text())
    (folder / "classnames.txt").write_text((source / "classnames.txt").read_text())
    return folder


def trained_guard(data: Path, folder: Path) -> Path:
    """Tiny ImageNet's training images with labels: the name among the set's that their class has most in captions."""
    if (folder / "classnames.txt").exists():
        return folder
    names = (data / GUARD / "classnames.txt").read_text().splitlines()
    images: dict[str, list[tuple[str, bytes]]] = {}
    letters: dict[str, list[int]] = {}
    for path in sorted((data / "train-tinyimagenet").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                kind, content = member.name.partition("_")[0], tar.extractfile(member).read()
                if member.name.endswith(".webp"):
                    images.setdefault(kind, []).append((member.name.removesuffix(".webp"), content))
                elif member.name.endswith(".txt"):
                    said = content.decode().lower()
                    found = letters.setdefault(kind, [0] * len(names))
                    letters[kind] = [
                        n + len(name) * (name.lower() in said) for n, name in zip(found, names, strict=True)
                    ]
    labels = {kind: max(range(len(names)), key=found.__getitem__) for kind, found in letters.items()}
    assert len(set(labels.values())) == len(names)
    generator = random.Random(0)
    chosen = [(kind, *image) for kind in sorted(images) for image in generator.sample(images[kind], TRAINED_OF_A_CLASS)]
    generator.shuffle(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "0.tar", "w") as tar:
        for kind, key, content in chosen:
            for ending, part in (("webp", content), ("cls", str(labels[kind]).encode())):
                header = tarfile.TarInfo(f"{key}.{ending}")
                header.size = len(part)
                tar.addfile(header, io.BytesIO(part))
    (folder / "classnames.txt").write_text("\n".join(names) + "\n")
    return folder


def measures(old, target: Path, guard: Path, captions: Path, *, has_own_words: bool):
    """What every model is measured by at the end, on images that no choice has seen; a learned prompt by itself."""
    found = {}
    for name, source in (("target", target), ("tinyimagenet", guard)):
        # Of a folder with parts this is test/, under the name that says which words the paper has for it.
        opened = open_evalset(source)
        words = choose_words(old, (opened,), opened.class_names)
        found[name] = ClassMeasure(old, opened, words.names, None if has_own_words else words.templates)
    found["flickr8k r10"] = CaptionMeasure(old, open_evalset(captions))
    return found


def naive(old, target: Path, *, model: str, seed: int, rate: float, keeps_statistics: bool = False):
    """A loop as open_clip has it: one caption each, other images all mismatches, everything trained, the end taken.

    AdamW (0.9, 0.98), epsilon 1e-6, decay 0.2 but for gains and biases, warm-up and a cosine, statistics of the batch,
    or with `keeps_statistics` those of the old model.
    """
    learner = seesay.load(model)
    clip = learner.clip.train()
    for layer in clip.modules():
        if keeps_statistics and isinstance(layer, torch.nn.BatchNorm2d):
            layer.eval()
    labelled = open_train_part(target)
    words = choose_words(old, (labelled,), labelled.class_names)
    prompts = [tuple(template.replace("{}", str(name)) for template in words.templates) for name in words.names]
    pairs = ClassPairs(labelled, prompts, chosen=range(len(labelled)))
    crops = Crops(pairs, learner.tokenizer, augment=Augment(scale=0.9), seed=seed, cache=None)
    side = learner.preprocess.size
    stream = Batches(crops, batch_size=BATCH).starting_at(0, size_at=lambda step: side, workers=0)
    decayed = [p for p in clip.parameters() if p.ndim > 1]
    others = [p for p in clip.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)
    warmup = STEPS // 20
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS - warmup),
        ],
        [warmup],
    )
    for _ in range(STEPS):
        batch = next(stream)
        out = clip(learner.preprocess.normalise(batch.pixels_B3SS), batch.tokens)
        logits = out.scale * out.image_BD @ out.text_BD.T
        labels = torch.arange(len(logits))
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, 4.6052)
    clip.eval()
    trained = sum(p.numel() for p in clip.parameters())
    return learner, {"trained": trained}


def points_of(values) -> list[Point]:
    """The points of a finetune.json."""

    def change(entry):
        return Change(**{**entry, "interval95": tuple(entry["interval95"])})

    return [
        Point(a=each["a"], target=change(each["target"]), guards=tuple(map(change, each["guards"])))
        for each in values["points"]
    ]


def ours(
    old,
    target: Path,
    guard: Path,
    folder: Path,
    *,
    model: str,
    how: str,
    seed: int,
    keep: float | None,
    rate: float | None,
):
    """(bound or "end", a, model) of `seesay.finetune`: the recommended one at each bound, and the trained one."""
    overrides = ["towers.precision=float32", "check.every=1.0"]
    if keep is not None:
        overrides.append(f"start.keep={keep}")
    if how not in ("lora", "prompt") and rate is not None:
        overrides.append(f"optimizer.learning_rate={rate}")
    settings = {"steps": STEPS, "batch_size": BATCH, "seed": seed, "device": "cpu", "workers": 0}
    try:
        seesay.finetune(model, target, out=folder, how=how, guard=guard, overrides=overrides, **settings)
    except seesay.SeesayError as error:
        if "no model between" not in str(error):
            raise
    written = json.loads((folder / "finetune.json").read_text())
    points, new = points_of(written), seesay.load(folder / "train" / "model")
    for bound in BOUNDS:
        chosen = chosen_point(points, bound / 100)
        yield f"bound {bound:g}", 0.0 if chosen is None else chosen.a, between(old, new, chosen.a if chosen else 0)
    yield "end", 1.0, new


def trained_numbers(model: str, how: str) -> int:
    """How many numbers of the model a run trains."""
    from seesay.training.settings import StartSettings, TrainSettings
    from seesay.training.start import learner_from

    start = StartSettings(how=how, classes=("a", "b"), templates=("{}",))
    learner = learner_from(seesay.load(model), TrainSettings(start=start), name="x")
    return sum(p.numel() for p in learner.clip.parameters() if p.requires_grad)


def main() -> None:
    """Do what is not done yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="box")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--keep", type=float, nargs="*", default=[None])
    parser.add_argument("--guard-images", type=int, default=GUARD_IMAGES)
    parser.add_argument("--trained-guard", action="store_true")
    parser.add_argument("--rate", type=float, help="without it the command's own, of the naive loop 1e-4")
    parser.add_argument("--keeps-statistics", action="store_true", help="of the naive loop, those of the old model")
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--only", nargs="*", default=["zero-shot", "probe", "naive", *HOWS])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = arguments.work / "results.jsonl"
    arguments.work.mkdir(parents=True, exist_ok=True)
    done = {tuple(json.loads(line)["run"]) for line in results.read_text().splitlines()} if results.exists() else set()
    if arguments.trained_guard:
        own = trained_guard(arguments.data, arguments.work / "trained-guard")
        guard, elsewhere = [own, arguments.data / "train-flickr8k"], arguments.data / GUARD
    else:
        count = arguments.guard_images
        elsewhere = split(arguments.data / GUARD, arguments.work / "guard", first="train", second="test", count=count)
        guard = elsewhere / "train"
    old = seesay.load(arguments.model)
    for name in arguments.targets:
        source = (
            fashion(arguments.data, arguments.work / "fashion-types") if name == "fashion" else arguments.data / name
        )
        target = split(source, arguments.work / name, first="train", second="test")
        measured = {
            own: measures(old, target, elsewhere, arguments.data / CAPTIONS, has_own_words=own) for own in (False, True)
        }

        def write(run, model, *, seconds, measured=measured, **more) -> None:
            chosen = measured[run[1] == "prompt" and more["a"] > 0]
            scores = {key: each.answers(model).mean for key, each in chosen.items()}
            line = {"run": run, **scores, "seconds": round(seconds, 1), **more}
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)

        ways = [
            (how, keep)
            for how in arguments.only
            for keep in (arguments.keep if how in HOWS and how != "prompt" else [0.0])
        ]
        for how, keep in ways:
            for seed in range(1 if how in ("zero-shot", "probe") else arguments.seeds):
                run = [name, how, seed, keep]
                if tuple(run) in done:
                    continue
                began = time.process_time()
                if how == "zero-shot":
                    write(run, old, seconds=0.0, trained=0)
                elif how == "probe":
                    result = seesay.probe(target / "train", target / "test", model=arguments.model)
                    line = {"run": run, "target": result.score.value, "seconds": round(time.process_time() - began, 1)}
                    with results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                elif how == "naive":
                    given = {"model": arguments.model, "seed": seed, "rate": arguments.rate or RATE}
                    model, more = naive(old, target, **given, keeps_statistics=arguments.keeps_statistics)
                    write(run, model, seconds=time.process_time() - began, **more)
                else:
                    folder = arguments.work / f"{name}-{how}-{seed}-{'default' if keep is None else f'{keep:g}'}"
                    given = {"model": arguments.model, "how": how, "seed": seed, "keep": keep, "rate": arguments.rate}
                    variants = list(ours(old, target, guard, folder, **given))
                    seconds = time.process_time() - began
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                    for variant, a, model in variants:
                        more = {
                            "variant": variant,
                            "a": a,
                            "trained": trained_numbers(arguments.model, how),
                            "peak_mib": peak,
                        }
                        write(run, model, seconds=seconds, **more)


if __name__ == "__main__":
    main()
