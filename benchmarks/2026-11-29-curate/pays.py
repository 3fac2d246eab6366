"""Whether curation pays: a model trained on the curated set beside one on as many random pairs of the same pool.

    python benchmarks/2026-11-29-curate/pays.py ../shared/data FOLDER --pairs 4000 --steps 300 --out pays-seeds.json

The pool has so many pairs of the training mix (one caption each, seed 0) and as many of noise: 40 % images with the
caption of another one, 30 % with what is no caption (file names, buttons, other languages), 30 % copies, saved again at
another quality with a caption of their image. Queries are made from the captions of the pool itself. `--only` names
one filter or several, each done alone: match (with balance), rules, score, dedup, or all of them together. The score is
that of the model in the box, WHICH WAS TRAINED ON CAPTIONS OF THE SAME MIX: what it gains is an upper bound.

Differences are curated minus random. The interval of each seed is over the images of the set, the one over the seeds is
Student's t for their mean, with as many seeds as there are less one degrees of freedom.
"""

import argparse
import io
import json
import random
import statistics
import tarfile
from pathlib import Path

from PIL import Image
from scipy.stats import t as student

import seesay
from seesay.data.pairs import open_pairs

SOURCES = ("tinyimagenet", "tinyimagenet2", "miniimagenet", "miniimagenet2", "flickr8k", "places", "everyday", "sports")
JUNK = ("IMG_{n:04}.JPG", "DSC{n:05}", "Click to enlarge", "image {n}", "© {n} Alle Rechte vorbehalten",
        "Télécharger le fichier numéro {n}", "Buy now! Item {n}, free shipping", "thumbnail")  # fmt: skip
EVALUATIONS = ("eval-tinyimagenet-val", "eval-flickr8k-dev")
FILTERS = {
    "match": (["match", "balance"], []),
    "rules": (["filter"], []),
    "score": (
        ["filter"],
        ["filter.language=", "filter.least_words=1", "filter.least_characters=1", "filter.share=0.5"],
    ),
    "dedup": (["dedup"], []),
    "all": (["match", "balance", "filter", "dedup"], ["filter.share=0.5"]),
}


def saved_again(data, quality):
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(file, "jpeg", quality=quality)
    return file.getvalue()


def write_tar(path, samples):
    with tarfile.open(path, "w") as tar:
        for number, (data, caption) in enumerate(samples):
            suffix = "jpg" if data[:2] == b"\xff\xd8" else "webp" if data[:4] == b"RIFF" else "png"
            for ending, content in ((suffix, data), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def make_pool(data, folder, count):
    """The pool as a tar; returns its samples and how many of each kind there are."""
    chosen = random.Random(0)
    every = [pair for name in SOURCES for pair in [open_pairs(str(data / f"train-{name}" / "*.tar"))]]
    places = [(source, n) for source in every for n in range(len(source))]
    good = []
    for source, n in chosen.sample(places, count):
        pair = source[n]
        good.append((pair.image, chosen.choice(pair.captions), chosen.choice(pair.captions)))
    noise = []
    for number, (image, _, second) in enumerate(good):
        kind = chosen.random()
        if kind < 0.4:
            noise.append((image, chosen.choice(good)[1]))
        elif kind < 0.7:
            noise.append((image, chosen.choice(JUNK).format(n=number)))
        else:
            noise.append((saved_again(image, chosen.randrange(40, 90)), second))
    samples = [(image, caption) for image, caption, _ in good] + noise
    chosen.shuffle(samples)
    write_tar(folder / "pool.tar", samples)
    (folder / "captions.txt").write_text("\n".join(caption for _, caption in samples), encoding="utf-8")
    return samples


def curated_set(folder, only, pairs):
    """The set that one way of filtering leaves of the pool."""
    stages, sets = FILTERS[only]
    named = {"per_query": max(50, pairs // 50), "queries": folder / "queries.tsv"} if "match" in stages else {}
    if only in ("all", "score"):
        named["clip_score"] = "box"
    if "filter" in stages:
        sets = ["filter.least_side=32", *sets]
    return seesay.curate(folder / "pool.tar", out=folder / only, stages=[*stages, "shards"], overrides=sets, **named)


def compared(folder, only, curated, samples, seed, given):
    """What a model of the curated set scores beside one of a random set of the same size."""
    write_tar(folder / "random.tar", random.Random(seed).sample(samples, len(curated)))
    models = []
    for name, pairs in (("curated", str(folder / only / "shards" / "*.tar")), ("random", folder / "random.tar")):
        models.append(folder / f"run-{only}-{name}-{seed}")
        seesay.train(pairs, out=models[-1], steps=given.steps, batch_size=given.batch, seed=seed)
    measured = seesay.evaluate(models, [str(given.data / name) for name in EVALUATIONS])
    for each in measured.comparisons:
        low, high = each.interval95
        yield {
            "filter": only, "seed": seed, "set": each.set_name, "score": each.score, "curated": each.share_first,
            "random": each.share_second, "difference": -each.difference, "interval95": [-high, -low],
        }  # fmt: skip


def over_seeds(found):
    """The mean difference of each filter, set and score, with the interval of Student's t."""
    groups = {}
    for each in found:
        groups.setdefault((each["filter"], each["set"], each["score"]), []).append(each["difference"])
    lines = []
    for (only, name, score), differences in groups.items():
        count, mean = len(differences), statistics.mean(differences)
        half = student.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5 if count > 1 else float("nan")
        interval = [round(mean - half, 4), round(mean + half, 4)]
        lines.append(
            {
                "filter": only,
                "set": name,
                "score": score,
                "seeds": count,
                "mean": round(mean, 4),
                "interval95": interval,
            }
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default="all")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    samples = make_pool(given.data, folder, given.pairs)
    seesay.queries(folder / "captions.txt", out=folder / "queries.tsv", least=20, pmi=4.0)
    found, sizes = [], {}
    for only in given.only.split(","):
        curated = curated_set(folder, only, given.pairs)
        sizes[only] = len(curated)
        print(only, curated, sep="\n", flush=True)
        for seed in map(int, given.seeds.split(",")):
            for each in compared(folder, only, curated, samples, seed, given):
                found.append(each)
                print(json.dumps(each), flush=True)
            result = {"pool": len(samples), "curated": sizes, "steps": given.steps, "batch": given.batch,
                      "over_seeds": over_seeds(found), "found": found}  # fmt: skip
            if given.out is not None:
                given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["over_seeds"], indent=1))


if __name__ == "__main__":
    main()
