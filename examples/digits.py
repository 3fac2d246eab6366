"""From nothing to a model that reads handwritten digits, in words: this is what `make demo` runs.

1. Write real handwriting (it comes with scikit-learn) as a folder of images, each with captions beside it.
2. Train two small networks on these pairs, from random weights.
3. Classify images the model never saw with a sentence it never read.
4. Let `box`, the small model that comes with the package, name what is in a few photographs.
5. Show everything on one page.

    python examples/digits.py --out demo
"""

import argparse
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from photos import FOLDER, PHOTOS
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import seesay
from seesay.data.images import open_image
from seesay.data.prompts import TEMPLATES, fill
from seesay.evaluation import html
from seesay.training.run_folder import open_run
from seesay.training.run_log import curves

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = (
    "{}",
    "this says {}",
    "it reads {}",
    "a handwritten {}",
    "drawn with a pen: {}",
    "the digit {} written by hand",
    "someone wrote the number {}",
    "somebody's {} on white paper",
    "the figure {} in black ink",
    "the numeral {}, a little blurred",
    "ink strokes that mean {}",
    "{} as people write it",
)
PROMPT = TEMPLATES["mnist"][0]  # the paper's for digits; nothing like it is among the captions
EPOCHS = 30

# The last four names are only there to be wrong.
NAMES = (*PHOTOS.values(), "dog", "car", "house", "fish")

STORY = (
    "Images of handwriting lay beside sentences about them: “someone wrote the number seven”, “ink strokes that mean "
    "7”. Two small networks, one for images and one for sentences, began with random numbers and learned one thing: "
    "an image and its own sentence shall point the same way, any others shall not.",
    f"To read a new image, ten sentences like “{PROMPT.format('seven')}” are made, and the one that points most "
    "nearly the way of the image wins. No caption it learned from holds that sentence, and the images it is tested "
    "on were never shown to it. They come from the same hands, though: other people’s digits would be harder.",
)
LEARNING = (
    "Left, the loss: how surprised the model is by which sentence belongs to which image. It cannot reach zero, as "
    "of two sevens in a batch each fits the sentence of the other. Right, held-out images classified on the way, "
    "with plainer sentences such as “an image of a seven.”",
)
SIMILARITY = ("Bright means alike. Where the model is right, the brightest cell of a row is on the diagonal.",)
EXAMPLES = ("At most six mistakes, then six right answers, each with the three likeliest digits.",)
PHOTOGRAPHS = (
    f"Another model, box, comes with the package. For each photograph it was to choose one of {len(NAMES)} names: "
    f"{', '.join(NAMES)}. It is weak, trained for two hours and a half on a processor: take its answers as "
    "guesses, and train a model of your own for anything that counts."
)


def main(words: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(description="Train a small CLIP on handwritten digits and show what it can do.")
    options.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything, made anew (demo)")
    options.add_argument("--quick", action="store_true", help="few images, few seconds: only to see that it runs")
    given = options.parse_args(words)
    out, started = given.out, time.monotonic()
    clear(out)
    say("\n1  Writing images of handwriting, with captions")
    write_images(out, quick=given.quick)
    say("\n2  Training from random weights; on the way the held-out images are classified")
    model = train(out, epochs=2 if given.quick else EPOCHS)
    say("\n3  Classifying the held-out images with a new sentence")
    answers = classify_held_out(model, out)
    say("\n4  Letting box, a small model of everyday things, name photographs")
    named = name_photos(seesay.load("box"))
    say("\n5  Drawing the page")
    page = write_page(out, model, answers, named)
    say(f"   open {page} in a browser; all of it took {(time.monotonic() - started) / 60:.1f} minutes")


def say(text: str) -> None:
    print(text, flush=True)


def clear(out: Path) -> None:
    """Remove what an earlier run of this example made; stop before touching anything else."""
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    foreign = found - {"digits", "by-class", "held-out", "run", "digits.html"}
    if foreign:
        sys.exit(f"{out} holds {min(foreign)}, which this example did not make; choose another --out.")
    if found:
        say(f"{out} holds an earlier result, which is made anew.")
    for name in found:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()


def write_images(out: Path, *, quick: bool) -> None:
    """`digits/` with x.png and x.txt to learn from, `by-class/` with a folder of them per digit, and so `held-out/`."""
    digits = load_digits()
    everything = np.arange(len(digits.target))
    training, held_out = train_test_split(everything, test_size=360, stratify=digits.target, random_state=0)
    if quick:
        training, held_out = training[:200], held_out[:120]
    for folder in (out / "digits", *(out / labelled / word for labelled in ("by-class", "held-out") for word in WORDS)):
        folder.mkdir(parents=True)
    for index in training:
        image, word = f"{index:04}.png", WORDS[digits.target[index]]
        draw(digits.images[index]).save(out / "digits" / image)
        shutil.copy(out / "digits" / image, out / "by-class" / word / image)
        lines = captions(digits.target[index], random.Random(int(index)))
        (out / "digits" / f"{index:04}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for index in held_out:
        draw(digits.images[index]).save(out / "held-out" / WORDS[digits.target[index]] / f"{index:04}.png")
    say(f"   {len(training):,} images to learn from in {out / 'digits'}, each with four captions such as")
    say("\n".join(f"     {line}" for line in captions(7, random.Random(0))))
    say(f"   {len(held_out):,} held-out images in {out / 'held-out'}")


def draw(ink_88: np.ndarray) -> Image.Image:
    """8 x 8 amounts of ink, from 0 to 16, as dark ink on white paper with a margin, 32 x 32 pixels."""
    paper = (255 - 14 * np.pad(ink_88, 1)).astype(np.uint8)
    return Image.fromarray(paper).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")


def captions(digit: int, chance: random.Random) -> list[str]:
    """Four different sentences about a digit, as a word or as a numeral."""
    return [caption.format(chance.choice((WORDS[digit], digit))) for caption in chance.sample(CAPTIONS, 4)]


def train(out: Path, *, epochs: int) -> seesay.Model:
    return seesay.train(
        out / "digits",
        check=out / "held-out",
        out=out / "run",
        model="conv-tiny",
        epochs=epochs,
        # A digit in a mirror is no digit any more, so the crops are never flipped.
        data={"validation": 0.0, "augment": {"scale": 0.7, "stretch": 1.2, "flip": 0.0}},
    )


def classify_held_out(model: seesay.Model, out: Path) -> list[html.Card]:
    learned = "\n".join(file.read_text(encoding="utf-8") for file in (out / "digits").glob("*.txt"))
    assert not any(prompt in learned for prompt in fill([PROMPT], WORDS)), "a training caption holds the prompt"
    say(f"   no caption it learned from holds “{PROMPT.format('…')}”")
    files = [file for files in held_out_files(out) for file in files]
    truths = [file.parent.name for file in files]
    answers = html.classified(model, files, truths=truths, labels=WORDS, templates=[PROMPT])
    say(f"   {told(answers)}")
    return answers


def held_out_files(out: Path) -> list[list[Path]]:
    """The held-out images of zero, of one, ..., of nine."""
    return [sorted((out / "held-out" / word).iterdir()) for word in WORDS]


def name_photos(model: seesay.Model) -> list[html.Card]:
    files = [FOLDER / name for name in PHOTOS]
    cards = html.classified(model, files, truths=list(PHOTOS.values()), labels=NAMES)
    for file, card in zip(files, cards, strict=True):
        best, *others = card.ranking.labels
        labels = [best + "?" * card.ranking.is_in_doubt, *others[:2]]
        named = zip(card.ranking.probabilities, labels, strict=False)
        say(f"   {file.name:22}" + "".join(f"{share:5.0%} {label:19}" for share, label in named).rstrip())
    say(f"   {told(cards)}\n   {doubts(cards)}")
    return cards


def doubts(cards: list[html.Card]) -> str:
    wrong = [card for card in cards if card.ranking.is_in_doubt and not card.is_right]
    count = sum(card.ranking.is_in_doubt for card in cards)
    sure = sum(not card.is_right for card in cards) - len(wrong)
    in_doubt = f"in doubt (?), less than half for the best name: {count}, {len(wrong)} of them wrong"
    return f"{in_doubt}; wrong without doubt: {sure}"


def told(cards: list[html.Card]) -> str:
    score = html.score_of(cards)
    right = f"{round(score.value * score.n)} of {score.n} right, {score.value:.1%}"
    return f"{right} (95% interval {{:.1%}} to {{:.1%}}; guessing: {score.chance:.1%})".format(*score.interval95)


def write_page(out: Path, model: seesay.Model, answers: list[html.Card], named: list[html.Card]) -> Path:
    wrong, right = [card for card in answers if not card.is_right], [card for card in answers if card.is_right]
    examples = [*wrong[:6], *right[:: max(1, len(right) // 6)][:6]]
    words = "two curves over the pairs seen: the loss falls, the share of held-out images right rises"
    learning = html.Figure(drawing=curves(open_run(out / "run").events), words=words, width=1000)
    sections = [
        html.Section(title="What happened here", text=STORY, parts=[numbers(model, answers)]),
        html.Section(title="How it learned", text=LEARNING, parts=[learning]),
        html.Section(title="Images against sentences", text=SIMILARITY, parts=matrices(model, out)),
        html.Section(title="Right and wrong", text=EXAMPLES, parts=[html.Cards(cards=examples)]),
        html.Section(
            title="Photographs", text=[PHOTOGRAPHS, told(named), doubts(named)], parts=[html.Cards(cards=named)]
        ),
    ]
    lead = f"A small CLIP, trained here from nothing, on images it never saw: {told(answers)}."
    page = out / "digits.html"
    page.write_text(html.render_page("Reading digits, in words", sections, lead=lead), encoding="utf-8")
    return page


def numbers(model: seesay.Model, answers: list[html.Card]) -> html.Table:
    training, score = model.facts["training"], html.score_of(answers)
    weights = sum(weight.numel() for weight in model.clip.parameters())
    rows = [
        ("held-out images right", f"{score.value:.1%} of {score.n}"),
        ("95% interval", "{:.1%} to {:.1%}".format(*score.interval95)),
        ("by guessing", f"{score.chance:.0%}"),
        ("learned from", f"{training['data']['pairs']:,} images, each {training['settings']['epochs']} times"),
        ("training took", f"{training['seconds']:.0f} s on {training['machine']['threads']} thread(s)"),
        ("model", f"{weights:,} weights, {weights * 4 / 1e6:.1f} MB"),
    ]
    return html.Table(head=("measured", "here"), rows=rows)


def matrices(model: seesay.Model, out: Path) -> list[html.Figure]:
    """Ten held-out images against the ten prompts, and forty against a caption for each of them."""
    chance = random.Random(0)
    ten = [files[0] for files in held_out_files(out)]
    forty = [file for files in held_out_files(out) for file in files[:4]]
    names = [file.parent.name for file in forty]
    lines = [captions(WORDS.index(name), chance)[0] for name in names]
    prompt_1010 = model.encode_images(ten) @ model.encode_texts(fill([PROMPT], WORDS)).T
    caption_4040 = model.encode_images(forty) @ model.encode_texts(lines).T
    images = [open_image(file) for file in ten]
    return [
        html.Figure(
            drawing=html.similarity_figure(prompt_1010.numpy(), rows=WORDS, columns=WORDS, images=images),
            words="cosine similarity of ten held-out images and ten sentences, bright on the diagonal",
            note=f"A held-out image of each digit against “{PROMPT.format('…')}”",
        ),
        html.Figure(
            drawing=html.similarity_figure(caption_4040.numpy(), rows=names, columns=names),
            words="cosine similarity of forty held-out images and forty captions, in bright blocks of four",
            note="Four held-out images of each digit, each with a caption: one for a seven fits every seven.",
        ),
    ]


if __name__ == "__main__":
    main()
