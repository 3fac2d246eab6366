"""What people type from memory, and their mistakes (D): what is tried, the command, and what it must print."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# Before a snippet: four images as arrays, one of them also as a tensor and as bytes, and the packaged model.
PRELUDE = (
    "import io, warnings; import numpy as np, torch, seesay; from PIL import Image; "
    "images = [np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8) for seed in range(4)]; "
    "tensor = torch.from_numpy(images[0]).permute(2, 0, 1); data = io.BytesIO(); "
    "Image.fromarray(images[0]).save(data, 'PNG'); model = seesay.load('box'); "
)


def python(code: str, *, prelude: str = PRELUDE) -> str:
    """A snippet of Python."""
    return f"python: {prelude}{code}"


def noise(path: Path, seed: int) -> None:
    """A small image of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def pairs(folder: Path) -> Path:
    """Twelve images with captions."""
    for number in range(12):
        noise(folder / "pairs" / f"{number}.png", number)
        (folder / "pairs" / f"{number}.txt").write_text(f"picture number {number}")
    return folder / "pairs"


def labelled(folder: Path) -> Path:
    """Two classes of three images, without captions."""
    for name in ("cat", "dog"):
        for number in range(3):
            noise(folder / "labelled" / name / f"{number}.png", number)
    return folder / "labelled"


def words(*given: str) -> Callable[[Path], list[str]]:
    """The same words in every folder."""
    return lambda folder: list(given)


def train(*more: str) -> Callable[[Path], list[str]]:
    """A short `seesay train` of the pairs."""
    return lambda folder: [
        *("train", str(pairs(folder)), "--out", str(folder / "run"), "--steps", "1", "--batch-size", "4"),
        *("--workers", "0", *more),
    ]


def lost_image(folder: Path) -> list[str]:
    """`seesay classify` of a file that is not there, beside one that is nothing like it."""
    (folder / "apt.log").touch()
    return ["classify", str(folder / "nope.png"), "cat", "dog"]


def run_as_model(folder: Path) -> list[str]:
    """`seesay classify` with a run in place of its model."""
    import seesay

    seesay.load("box").save(folder / "run" / "model")
    (folder / "run" / "settings.toml").touch()
    return ["classify", str(pairs(folder)), "cat", "dog", "--model", str(folder / "run")]


def unfinished_run(folder: Path) -> list[str]:
    """`seesay classify` with a run that has no model yet."""
    (folder / "run").mkdir()
    (folder / "run" / "settings.toml").touch()
    return ["classify", str(pairs(folder)), "cat", "dog", "--model", str(folder / "run")]


ROWS = r"torch\.Size\(\[{}, 256\]\)[\s\S]*exit 0"
CASES = [
    ("D", "a tensor (C, H, W)", python("print(model.encode_images([tensor]).shape)"), ROWS.format(1)),
    ("D", "a batch (N, C, H, W)", python("print(model.encode_images(tensor.expand(3, 3, 40, 50)).shape)"),
     ROWS.format(3)),
    ("D", "BytesIO at its end", python("print(model.encode_images([data]).shape)"), ROWS.format(1)),
    ("D", "a generator", python("print(model.encode_images(image for image in images).shape)"), ROWS.format(4)),
    ("D", "one Pillow image", python("model.encode_images(Image.open(data))"), "wrap the single one in a list"),
    ("D", "one open file", python("model.encode_images(data)"), "wrap the single one in a list"),
    ("D", "a float tensor", python("model.encode_images([tensor / 255])"), "UsageError: an image as a tensor is uint8"),
    ("D", "labels that are numbers", python("model.classify(images, [0, 1])"), r"number 1 of 2 is 0 \(int\)"),
    ("D", "one broken image of three, skipped",
     python("print(model.encode_images([images[0], b'x', images[1]], on_error='skip').isnan().any(1).tolist())"),
     r"skipped 1 of 3 images, whose rows are NaN: 1 x not an image[\s\S]*\[False, True, False\][\s\S]*exit 0"),
    ("D", "a setting without its section", train("--set", "learning_rate=1e-3"),
     r"Nearest: optimizer\.learning_rate\.\s+exit 2"),
    ("D", "a wrong value", train("--set", "steps=x"), r"it should be a whole number\.\s+exit 2"),
    ("D", "nothing near", lost_image, r"has no 'nope\.png'\.\s+exit 2"),
    ("D", "-h", words("-h"), r"Usage: seesay[\s\S]*exit 0"),
    ("D", "help", words("help"), r"Usage: seesay[\s\S]*exit 0"),
    ("D", "help train", words("help", "train"), r"Usage: seesay train[\s\S]*exit 0"),
    ("D", "train -h", words("train", "-h"), r"Usage: seesay train[\s\S]*exit 0"),
    ("D", "a run as a model", run_as_model, r"photo +1[\s\S]*exit 0"),
    ("D", "a run that is not finished", unfinished_run, r"a run that is not finished[\s\S]*exit 2"),
    ("D", "a repository without hf:", words("convert", "openai/clip-vit-base-patch32", "new", "--to", "seesay"),
     r"Here it is openai/ViT-B-32[\s\S]*hf:openai/clip-vit-base-patch32[\s\S]*exit 2"),
    ("D", "a size in place of a model", words("convert", "ViT-B/32", "new", "--to", "seesay"),
     r"Models of that size are openai/ViT-B-32, laion/ViT-B-32[\s\S]*exit 2"),
    ("D", "a size in another spelling", train("--model", "Conv_Tiny"), r"model +conv-tiny[\s\S]*exit 0"),
    ("D", "ViT-B-32 as a size", python("print(seesay.build('ViT-B-32').name)", prelude="import seesay; "), r"ViT-B/32"),
    ("D", "Tab in bash", words("completion", "bash"), r"complete -o default[\s\S]*exit 0"),
    ("D", "Tab in zsh", words("completion", "zsh"), r"#compdef seesay[\s\S]*exit 0"),
    ("D", "Tab in fish", words("completion", "fish"), r"complete --command seesay[\s\S]*exit 0"),
    ("D", "an argument that is a setting", python("seesay.train('x', learning_rate=1)", prelude="import seesay; "),
     r"That is optimizer=\{'learning_rate': \.\.\.\}"),
    ("D", "options in a Python error",
     python("seesay.train('x', overrides=['steps'])", prelude="import seesay; "), "Error: overrides 'steps' is not"),
    ("D", "a device that is none", python("model.to('gpu')"), "UsageError: device 'gpu' is not known"),
    ("D", "settings in Python", python("seesay.TrainSettings(lr=1)", prelude="import seesay; "),
     r"UsageError: lr is not a setting\. Nearest: optimizer\.learning_rate"),
    ("D", "a folder of classes to train on", lambda folder: ["train", str(labelled(folder))],
     r"2 folders \(cat, dog\), which look like classes[\s\S]*exit 2"),
    ("D", "how a model's name is used", words("models"), r"use a name as in: seesay classify[\s\S]*exit 0"),
    ("D", "doctor's lines on captions and one batch",
     lambda folder: ["doctor", str(pairs(folder)), "--model", "conv-tiny", "--batch-size", "4", "--seconds", "5"],
     r"half have \d+ tokens or fewer[\s\S]*overfit"),
]  # fmt: skip
