"""Does a broader word in the prompt help where a model never read the name? "a photo of an okapi, a kind of mammal."

    python broader_prompts.py WORDNET DATA MODEL.npz=MODEL:SET ... [--eval eval-caltech101]

Each MODEL.npz of `../2026-11-29-calibration/encode.py` has images of SET, kinds of ImageNet that the model never saw.
Names of which a word stands in fewer than 10 of its pairs' captions get the nearest broader word that WordNet 3.0 has
for them and that stands in 10 or more. `--eval` asks the box about one set in the same way.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.formulas.statistics import proportion_interval, sign_test

sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-recipe"))
sys.path.insert(0, str(Path(__file__).parents[1] / "2026-11-29-calibration"))
from broader_words import WordNet
from fit import Encoded
from hold_out import names_of

ENOUGH = 10


class Broader:
    def __init__(self, folder: Path):
        self.wordnet = WordNet(folder)
        self.first: dict[str, int] = {}
        for (word, place), _ in sorted(self.wordnet.uses.items(), key=lambda item: -item[1]):
            self.first.setdefault(word, place)

    def place(self, name: str) -> int | None:
        """The most used meaning of a name, or of its last word."""
        words = name.lower().split()
        for tried in ("_".join(words), words[-1], words[-1].removesuffix("s")):
            if tried in self.first:
                return self.first[tried]
        return None

    def word(self, name: str, place: int | None, encoded: Encoded) -> str | None:
        """The nearest broader word that the model knows, for a name that it does not."""
        if place is None or encoded.rarest(name) >= ENOUGH:
            return None
        for words in self.wordnet.kinds(place):
            for word in words:
                if encoded.rarest(word) >= ENOUGH:
                    return word
        return None


def prompts(name: str, word: str | None, form: str) -> list[str]:
    plain = [template.replace("{}", name) for template in ("a photo of a {}.", "this is a {}.", "a {}", "{}")]
    if word is None or form == "name":
        return plain
    if form == "word instead":
        return prompts(word, None, form)
    with_word = [f"a photo of a {name}, a kind of {word}.", f"a {name}, a {word}.", f"{name}, {word}"]
    return with_word if form == "with word" else plain + with_word


def main() -> None:
    wordnet, data, rest = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    broader, number_of = Broader(wordnet), {}
    for name in ("train-tinyimagenet2", "train-miniimagenet2"):
        number_of |= {label: number for number, label in names_of(data / name / "wnid_names.tsv").items()}
    for given in rest:
        if given.startswith("--eval"):
            break
        file, _, named = given.partition("=")
        folder, _, set_name = named.rpartition(":")
        encoded, model = Encoded("side", Path(file)), seesay.load(folder)
        own = encoded.sets[set_name]
        judge(given, model, encoded, broader, own.names, own.image_ND, own.label_N, number_of)
    if "--eval" in rest:
        model, encoded = seesay.load("box"), Encoded("box", Path(rest[rest.index("--eval") + 2]))
        labelled = open_evalset(data / rest[rest.index("--eval") + 1])
        assert isinstance(labelled, LabelledSet)
        image_ND = model.encode_images([labelled.image(index) for index in range(len(labelled))]).numpy()
        label_N = np.array([labelled.label(index) for index in range(len(labelled))])
        judge(labelled.name, model, encoded, broader, list(labelled.class_names), image_ND, label_N, {})


def judge(title, model, encoded, broader, names, image_ND, label_N, number_of) -> None:
    places = [int(number_of[name][1:]) if name in number_of else broader.place(name) for name in names]
    words = [broader.word(name, place, encoded) for name, place in zip(names, places, strict=True)]
    print(f"{title.rpartition('/')[2]}: {len(label_N)} images, {len(names)} names, {sum(map(bool, words))} with a word")
    print("  " + ", ".join(f"{name}: {word}" for name, word in list(zip(names, words, strict=True))[:12] if word))
    plain_N = None
    for form in ("name", "with word", "both", "word instead"):
        rows = model.classifier(names, descriptions={n: prompts(n, w, form) for n, w in zip(names, words, strict=True)})
        hit_N = rows.scores(torch.from_numpy(image_ND)).argmax(1).numpy() == label_N
        plain_N = hit_N if plain_N is None else plain_N
        low, high = (100 * end for end in proportion_interval(int(hit_N.sum()), len(label_N)))
        got, lost = int((hit_N & ~plain_N).sum()), int((plain_N & ~hit_N).sum())
        print(
            f"  {form:14s} {100 * hit_N.mean():5.1f} % [{low:.1f}, {high:.1f}], {got} got and {lost} lost, "
            f"p {sign_test(lost, got):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
