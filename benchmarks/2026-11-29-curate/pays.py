"""Whether curation pays: a model trained on the curated set beside one on as many random pairs of the same pool.

    python benchmarks/2026-11-29-curate/pays.py ../shared/data FOLDER --pairs 20000 --steps 600 --seeds 0,1,2

The pool has so many pairs of the training mix (one caption each, seed 0) and as many of noise: 40 % images with the
caption of another one, 30 % with what is no caption (file names, buttons, other languages), 30 % copies, saved again at
another quality with a caption of their image. Queries are made from the captions of the pool itself. `--only` leaves
one filter: match (with balance), rules, score or dedup; without it all are applied. The score is that of the model in
the box, WHICH WAS TRAINED ON CAPTIONS OF THE SAME MIX: what it gains is an upper bound.
"""

import argparse
import io
import json
import random
import tarfile
from pathlib import Path

from PIL import Image

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=FILTERS, default="all")
    given = parser.parse_args()
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    samples = make_pool(given.data, folder, given.pairs)
    seesay.queries(folder / "captions.txt", out=folder / "queries.tsv", least=20, pmi=4.0)
    stages, sets = FILTERS[given.only]
    curated = seesay.curate(
        folder / "pool.tar", queries=folder / "queries.tsv", out=folder / given.only, stages=[*stages, "shards"],
        per_query=max(50, given.pairs // 50), clip_score="box" if given.only in ("all", "score") else None,
        overrides=["filter.least_side=32", *sets],
    )  # fmt: skip
    print(curated, flush=True)
    evaluations = [str(given.data / name) for name in EVALUATIONS]
    found = []
    for seed in map(int, given.seeds.split(",")):
        subset = random.Random(seed).sample(samples, len(curated))
        write_tar(folder / "random.tar", subset)
        models = []
        for name, pairs in (
            ("curated", str(folder / given.only / "shards" / "*.tar")),
            ("random", folder / "random.tar"),
        ):
            run = folder / f"run-{given.only}-{name}-{seed}"
            seesay.train(pairs, out=run, steps=given.steps, batch_size=given.batch, seed=seed)
            models.append(run)
        measured = seesay.evaluate(models, evaluations)
        for each in measured.comparisons:
            found.append(
                {
                    "seed": seed,
                    "set": each.set_name,
                    "score": each.score,
                    "curated": each.share_first,
                    "random": each.share_second,
                    "difference": each.difference,
                    "interval95": each.interval95,
                }
            )
            print(json.dumps(found[-1]), flush=True)
    print(json.dumps({"pool": len(samples), "curated": len(curated), "steps": given.steps, "found": found}, indent=1))


if __name__ == "__main__":
    main()
