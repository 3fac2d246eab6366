"""Whether curation pays: a model trained on the curated set beside one on as many random pairs of the same pool.

    python benchmarks/2026-11-29-curate/pays.py ../shared/data FOLDER --out pays.json

The pool has so many pairs of the training mix (one caption each, seed 0) and as many of noise: of 40 % of those an
image that is nowhere else with the caption of another one, of 30 % such an image with what is no caption (file names,
buttons, other languages), of 30 % a copy of a good image, saved again at another quality with a caption of its image.
Queries are made from the captions of the pool itself. `--only` names one filter or several, each done alone: match
(with balance), rules, score, dedup, or all of them together. The score is that of a model trained by the same recipe
(pays.toml) on 20,000 other pairs of the mix: it has seen no image of the pool. The random pairs are drawn anew for each
seed, the curated ones are the same; both models of a seed have the same steps, batches and first weights.

Differences are curated minus random. The interval of each seed is over the images of the set, the one over the seeds is
Student's t for their mean, with as many seeds as there are less one degrees of freedom. The same command goes on where
it was stopped: sets, runs and results that are there stay.
"""

import argparse
import io
import json
import random
import resource
import statistics
import tarfile
from collections import Counter
from pathlib import Path

from PIL import Image
from pyarrow import parquet
from scipy.stats import t as student

import seesay
from seesay.data.pairs import open_pairs

HERE = Path(__file__).parent
SOURCES = ("tinyimagenet", "tinyimagenet2", "miniimagenet", "miniimagenet2", "flickr8k", "places", "everyday", "sports")
JUNK = ("IMG_{n:04}.JPG", "DSC{n:05}", "Click to enlarge", "image {n}", "© {n} Alle Rechte vorbehalten",
        "Télécharger le fichier numéro {n}", "Buy now! Item {n}, free shipping", "thumbnail")  # fmt: skip
SHUFFLED, NO_CAPTION = 0.4, 0.3
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
        for number, (data, caption, _) in enumerate(samples):
            suffix = "jpg" if data[:2] == b"\xff\xd8" else "webp" if data[:4] == b"RIFF" else "png"
            for ending, content in ((suffix, data), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:06}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def make_pool(data, folder, count, others):
    """The pool as a tar, and so many other pairs as another one; returns the samples of the pool."""
    chosen = random.Random(0)
    sources = [open_pairs(str(data / f"train-{name}" / "*.tar")) for name in SOURCES]
    places = [(source, n) for source in sources for n in range(len(source))]
    kinds = [chosen.random() for _ in range(count)]
    new = sum(kind < SHUFFLED + NO_CAPTION for kind in kinds)
    pairs = [source[n] for source, n in chosen.sample(places, count + new + others)]
    good = [(pair.image, chosen.choice(pair.captions), chosen.choice(pair.captions)) for pair in pairs[:count]]
    images = iter(pairs[count : count + new])
    noise = []
    for number, kind in enumerate(kinds):
        if kind < SHUFFLED:
            noise.append((next(images).image, chosen.choice(good)[1], "another caption"))
        elif kind < SHUFFLED + NO_CAPTION:
            noise.append((next(images).image, chosen.choice(JUNK).format(n=number), "no caption"))
        else:
            noise.append((saved_again(good[number][0], chosen.randrange(40, 90)), good[number][2], "copy"))
    samples = [(image, caption, "good") for image, caption, _ in good] + noise
    chosen.shuffle(samples)
    write_tar(folder / "pool.tar", samples)
    write_tar(folder / "others.tar", [(pair.image, chosen.choice(pair.captions), "") for pair in pairs[count + new :]])
    (folder / "captions.txt").write_text("\n".join(caption for _, caption, _ in samples), encoding="utf-8")
    return samples


def trained(pairs, run, steps, seed):
    """The folder of a run that is finished, now or before."""
    if not (run / "model").is_dir():
        seesay.train(pairs, out=run, steps=steps, seed=seed, recipe=HERE / "pays.toml")
    return run


def curated_set(folder, only, pairs, scorer):
    """The set that one way of filtering leaves of the pool."""
    stages, sets = FILTERS[only]
    named = {"per_query": max(50, pairs // 50), "queries": folder / "queries.tsv"} if "match" in stages else {}
    if only in ("all", "score"):
        named["clip_score"] = str(scorer)
    if "filter" in stages:
        sets = ["filter.least_side=32", *sets]
    return seesay.curate(folder / "pool.tar", out=folder / only, stages=[*stages, "shards"], overrides=sets, **named)


def kinds_in(folder, only, samples):
    """What of the pool is in the set of a filter, by kind."""
    paths = parquet.read_table(folder / only / "pairs.parquet", columns=["path"])["path"].to_pylist()
    return dict(Counter(samples[int(Path(path).name)][2] for path in paths))


def compared(folder, only, curated, samples, seed, given):
    """What a model of the curated set scores beside one of a random set of the same size."""
    drawn = folder / f"random-{only}-{seed}.tar"
    write_tar(drawn, random.Random(f"{only} {seed}").sample(samples, len(curated)))
    sets = {"curated": str(folder / only / "shards" / "*.tar"), "random": drawn}
    models = [trained(pairs, folder / f"run-{only}-{name}-{seed}", given.steps, seed) for name, pairs in sets.items()]
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
        groups.setdefault((each["filter"], each["set"], each["score"]), []).append(each)
    lines = []
    for (only, name, score), rows in groups.items():
        differences, count = [each["difference"] for each in rows], len(rows)
        mean = statistics.mean(differences)
        half = student.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5 if count > 1 else None
        lines.append(
            {
                "filter": only,
                "set": name,
                "score": score,
                "seeds": count,
                "curated": round(statistics.mean(each["curated"] for each in rows), 4),
                "random": round(statistics.mean(each["random"] for each in rows), 4),
                "difference": round(mean, 4),
                "interval95": None if half is None else [round(mean - half, 4), round(mean + half, 4)],
            }
        )
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=12_000)
    parser.add_argument("--others", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--scorer-steps", type=int, default=1_500)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default="all,score,match,rules,dedup")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main():
    given = arguments()
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    facts = {name: getattr(given, name) for name in ("pairs", "others", "steps", "scorer_steps")}
    before = json.loads(given.out.read_text()) if given.out.exists() else {**facts, "found": []}
    if {name: before[name] for name in facts} != facts:
        raise SystemExit(f"{given.out} is of other settings; name another --out.")
    found, sizes = before["found"], {}
    samples = make_pool(given.data, folder, given.pairs, given.others)
    if not (folder / "queries.tsv").exists():
        seesay.queries(folder / "captions.txt", out=folder / "queries.tsv", least=20, pmi=4.0)
    scorer = trained(folder / "others.tar", folder / "run-scorer", given.scorer_steps, 0) / "model"
    (first, *rest), seeds = given.only.split(","), list(map(int, given.seeds.split(",")))
    # A run that is stopped has something of each filter.
    for only, seed in [(first, seed) for seed in seeds] + [(only, seed) for seed in seeds for only in rest]:
        curated = curated_set(folder, only, given.pairs, scorer)
        sizes[only] = kinds_in(folder, only, samples)
        if any((each["filter"], each["seed"]) == (only, seed) for each in found):
            continue
        print(only, curated, sep="\n", flush=True)
        for each in compared(folder, only, curated, samples, seed, given):
            found.append(each)
            print(json.dumps(each), flush=True)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{used.ru_utime + used.ru_stime:.0f} CPU seconds", flush=True)
        result = {**facts, "pool": len(samples), "curated": sizes, "over_seeds": over_seeds(found), "found": found}
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(over_seeds(found), indent=1))


if __name__ == "__main__":
    main()
