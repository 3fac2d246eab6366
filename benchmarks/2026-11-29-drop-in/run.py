"""CLIP_benchmark's own command and sentence-transformers' own search over a model of seesay. See README.md.

python run.py DATA OUT          DATA holds eval-cifar10, eval-caltech101 and eval-flickr8k-dev
"""

import json
import shutil
import sys
from pathlib import Path

import tvshim  # noqa: F401  (the two operators that torchvision's wheel lacks beside a CPU torch)
from clip_benchmark import cli, models
from clip_benchmark.metrics import zeroshot_classification
from PIL import Image
from sentence_transformers import util

import seesay

TEMPLATES = ["a photo of a {}.", "a blurry photo of a {}.", "a close-up photo of the {}."]
LABELLED, CAPTIONED = ("eval-cifar10", "eval-caltech101"), "eval-flickr8k-dev"


def load_seesay(model_name: str, device: str = "cpu", **_: object) -> tuple:
    """What CLIP_benchmark wants of a loader."""
    return seesay.open_clip_like(model_name, device)


def accuracy(output, target, topk=(1,)) -> list[float]:
    """As CLIP_benchmark 1.6.2 has it, but for what NumPy of today refuses: an array of one number as a float."""
    correct = output.topk(max(topk), 1, True, True)[1].t().eq(target.view(1, -1))
    return [correct[:k].float().sum().item() / len(target) for k in topk]


def as_webdataset(source: Path, folder: Path) -> None:
    """The set as CLIP_benchmark reads one from a disk."""
    (folder / "test").mkdir(parents=True)
    shutil.copy(next(source.glob("*.tar")), folder / "test" / "0.tar")
    (folder / "test" / "nshards.txt").write_text("1")
    if (source / "classnames.txt").exists():
        shutil.copy(source / "classnames.txt", folder / "classnames.txt")
        (folder / "zeroshot_classification_templates.txt").write_text(
            "\n".join(t.replace("{}", "{c}") for t in TEMPLATES)
        )
    else:
        (folder / "dataset_type.txt").write_text("retrieval")


def by_clip_benchmark(folder: Path, task: str, out: Path) -> dict[str, float]:
    """Its command, with the words a user would type."""
    words = ["eval", "--model_type", "seesay", "--model", "box", "--pretrained", "box",
             "--dataset", f"wds/{folder.name}", "--dataset_root", str(folder), "--task", task,
             "--output", str(out), "--no_amp", "--num_workers", "0", "--recall_k", "1", "5", "10"]  # fmt: skip
    sys.argv = ["clip_benchmark", *words]
    cli.main()
    return json.loads(out.read_text())["metrics"]


def main() -> None:
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    zeroshot_classification.accuracy = accuracy
    models.TYPE2FUNC["seesay"] = load_seesay
    models.MODEL_TYPES.append("seesay")
    rows = {}
    for name in LABELLED:
        as_webdataset(data / name, out / name)
        theirs = by_clip_benchmark(out / name, "zeroshot_classification", out / f"{name}.json")
        ours = seesay.evaluate("box", data / name, templates=TEMPLATES).entries[0].result
        rows[name] = {
            "clip_benchmark": {
                "top-1": theirs["acc1"],
                "top-5": theirs["acc5"],
                "mean per class": theirs["mean_per_class_recall"],
            },
            "seesay.evaluate": {
                "top-1": ours.top1.value,
                "top-5": ours.top5.value,
                "mean per class": ours.mean_per_class.value,
            },
        }
    as_webdataset(data / CAPTIONED, out / CAPTIONED)
    theirs = by_clip_benchmark(out / CAPTIONED, "zeroshot_retrieval", out / f"{CAPTIONED}.json")
    result = seesay.evaluate("box", data / CAPTIONED).entries[0].result
    recalls = {
        f"{theirs_name}_retrieval_recall@{k[1:]}": score.value
        for theirs_name, direction in (("image", "text_to_image"), ("text", "image_to_text"))
        for k, score in result.recalls(direction).items()
    }
    rows[CAPTIONED] = {"clip_benchmark": theirs, "seesay.evaluate": recalls}
    rows["sentence-transformers"] = search(data / "eval-caltech101", out)
    (out / "result.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


def search(source: Path, out: Path) -> dict[str, float]:
    """`util.semantic_search` of sentence-transformers over images, beside cosines of `Model.encode_*`."""
    import io
    import tarfile

    with tarfile.open(next(source.glob("*.tar"))) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".webp")][:300]
        images = [Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB") for member in members]
    queries = [f"a photo of a {line}." for line in (source / "classnames.txt").read_text().split("\n")[:20]]
    model = seesay.load("box")
    alike, _, _ = seesay.open_clip_like(model)
    found = util.semantic_search(
        alike.encode(queries, convert_to_tensor=True), alike.encode(images, convert_to_tensor=True), top_k=5
    )
    cosine_QN = model.encode_texts(queries) @ model.encode_images(images).T
    best = cosine_QN.topk(5, dim=1)
    same = sum(
        [hit["corpus_id"] for hit in hits] == row for hits, row in zip(found, best.indices.tolist(), strict=True)
    )
    largest = max(
        abs(hit["score"] - score) for hits, row in zip(found, best.values.tolist(), strict=True)
        for hit, score in zip(hits, row, strict=True)
    )  # fmt: skip
    return {
        "queries": len(queries),
        "images": len(images),
        "equal rankings of five": same,
        "largest difference": largest,
    }


if __name__ == "__main__":
    main()
