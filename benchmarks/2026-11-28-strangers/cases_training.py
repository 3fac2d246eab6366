"""Training says what it sees (E4), and help names the trackers (E3): what is tried, and what it must print.

Runs that are there already are made by a function of the case, in the folder; each takes some seconds.
"""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
SMALL = "model='conv-tiny', batch_size=8, data={'vocab_size': 540}"


def album(folder: Path, count: int = 48) -> Path:
    """So many noisy images of one colour, with a caption each."""
    (folder / "pairs").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name = list(COLOURS)[index % len(COLOURS)]
        noise = Image.effect_noise((16, 16), 60).convert("RGB")
        Image.blend(noise, Image.new("RGB", (16, 16), COLOURS[name]), 0.7).save(folder / "pairs" / f"{index:04}.png")
        (folder / "pairs" / f"{index:04}.txt").write_text(f"a {name} square number {index}\n")
    return folder / "pairs"


def labelled(folder: Path) -> Path:
    """Two classes of three images."""
    for name in ("red", "blue"):
        (folder / "check" / name).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            Image.new("RGB", (16, 16), COLOURS[name]).save(folder / "check" / name / f"{number}.png")
    return folder / "check"


def train(*more: str, count: int = 48) -> Callable[[Path], list[str]]:
    """`seesay train` of the album."""

    def words(folder: Path) -> list[str]:
        sizes = ["--model", "conv-tiny", "--batch-size", "8", "--set", "data.vocab_size=540"]
        return ["train", str(album(folder, count)), "--out", str(folder / "run"), *sizes, *more]

    return words


def python(lines: str, *, count: int = 48) -> Callable[[Path], str]:
    """Python with `pairs`, `out` and `check`, folders, and `small`, the settings of a small run."""

    def snippet(folder: Path) -> str:
        names = f"pairs, out, check = {str(album(folder, count))!r}, {str(folder)!r}, {str(labelled(folder))!r}"
        return f"python: import seesay; from pathlib import Path; {names}; small = dict({SMALL}); {lines}"

    return snippet


# Every loss of validation is scripted: the lowest comes second.
RISING = (
    "from seesay.training.validation import Validation; losses = iter([2.0, 1.0, *[9.0] * 99]); "
    "Validation.measure = lambda self: {'loss': next(losses)}; "
)
RUN = "seesay.train(pairs, out=out + '/run', steps=4, **small); "
TWO = f"{RUN}seesay.train(pairs, out=out + '/second', steps=6, **small); "
CASES = [
    (
        "E4",
        "a validation loss that rises is said once, with the step of the best",
        python(RISING + "seesay.train(pairs, out=out + '/run', steps=40, **small)"),
        r"(?s)^(?!.*rises.*rises).*validation loss rises, from 1\.000 at step 8 to 9\.000 at step 20.*exit 0",
    ),
    (
        "E4",
        "the best model is kept and opens",
        python(
            RISING + "seesay.train(pairs, out=out + '/run', steps=40, **small); "
            "print('best of', seesay.open_run(out + '/run').load('best').facts['training']['best']['step'])"
        ),
        r"(?s)best of 8\b.*exit 0",
    ),
    (
        "E4",
        "a run ends early where that is set",
        python(RISING + "seesay.train(pairs, out=out + '/run', steps=40, overrides='check.patience=3', **small)"),
        r"(?s)done: 20 steps.*ended early, at 50% of 40 steps: 3 checks.*than step 8.*exit 0",
    ),
    ("E4", "a tenth of few pairs is held out", train("--steps", "2"), r"validation 5 pairs held out, 10\.0% of all"),
    (
        "E4",
        "of 2,000 pairs 200 are held out",
        train("--steps", "2", count=2000),
        r"(?s)pairs      1,800 from .*validation 200 pairs held out, 10\.0% of all, in batches of 8",
    ),
    (
        "E4",
        "so few pairs that none are held out: that is said",
        train("--steps", "2", count=24),
        r"validation none: .*no best model is kept; name some with --val",
    ),
    (
        "E4",
        "an early end without validation pairs is refused",
        train("--steps", "2", "--set", "check.patience=3", count=24),
        r"error: check\.patience is 3, but no pairs are validated on.*\s+exit 2",
    ),
    (
        "E4",
        "a finished run is lengthened",
        python(RUN + "seesay.train(pairs, out=out + '/run', steps=8, **small)"),
        r"(?s)changed    steps: 4 -> 8.*going on after step 4 of 8 steps, at rate 0\.000.*done: 8 steps.*exit 0",
    ),
    (
        "E4",
        "a finished run that is not lengthened is refused with the way to do it",
        python(RUN + RUN),
        r"holds a finished run of 4 steps; raise (--)?steps above 4 to go on with it",
    ),
    (
        "E4",
        "the plan says who reads the model, and which sizes others read",
        train("--steps", "2"),
        r"export     seesay alone reads this model; for transformers, vit-small, ViT-B/32",
    ),
    (
        "E4",
        "convert refuses towers that others lack, and names the sizes",
        python(RUN + "seesay.convert(out + '/run/model', out + '/hf', to='hf')"),
        r"only vit and transformer; save the model in the layout seesay \(vit-small, ViT-B/32.*can go there",
    ),
    (
        "E4",
        "the log has what guessing gives for each batch size",
        python(RUN + "print(seesay.open_run(out + '/run').events[0])"),
        r"'event': 'chance'.*'batch_sizes': \{'training': 8, 'validation': 5\}, 'losses': \{'training': 2\.079",
    ),
    (
        "E4",
        "two runs side by side, with a paired test",
        python(
            TWO + "import subprocess, sys; subprocess.run([sys.executable, '-m', 'seesay', 'compare', out + '/run', "
            "out + '/second', '--check', check, '--out', out + '/both']); print(sorted(p.name for p in "
            "Path(out, 'both').iterdir()))"
        ),
        r"(?s)steps\s+4\s+6.*top1\s+run .*second .*sign.*\['figure\.png', 'page\.html', 'result\.json'\]",
    ),
    (
        "E4",
        "two runs in Python",
        python(TWO + "print(seesay.compare_runs(out + '/run', out + '/second').settings)"),
        r"\(\('steps', '4', '6'\),\)",
    ),
    (
        "E3",
        "help names TensorBoard and Weights & Biases",
        lambda folder: ["train", "--help"],
        r"(?s)TensorBoard.*Weights &\s+Biases.*exit 0",
    ),
]
