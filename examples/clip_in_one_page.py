"""CLIP on one page: figure 3 of "Learning Transferable Visual Models From Natural Language Supervision", made to run.

Two networks learn from pairs of an image and a sentence. Both make a row of numbers of unit length, and the rows of a
pair shall be alike. Then a new image is read by asking which of ten sentences its row is most like: zero-shot, since
no network was ever told which classes there are.

    python examples/clip_in_one_page.py

Pairs are handwritten digits (they come with scikit-learn) and sentences about them. About a minute on one CPU core.
Letters behind a name are its shape: B = pairs in a batch, S = side in pixels, L = tokens of the longest caption,
D = width of the rows that are compared, C = classes.
"""

import argparse
import math
import random
import time

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from seesay.base.records import Tokens
from seesay.formulas.contrastive import softmax_loss
from seesay.formulas.similarity import probabilities, unit
from seesay.nets.architecture import TextTransformerConfig, VisionTransformerConfig
from seesay.nets.text import TextTransformer
from seesay.nets.vit import VisionTransformer

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = ("{}", "this says {}", "a handwritten {}", "the number {}", "{} in black ink", "a photo of {} on paper")
PROMPT = "a photo of the number {}"  # for zero-shot; no caption is this sentence
SIDE, PATCH, WIDTH, CONTEXT = 16, 4, 64, 12
HELD_OUT = 360  # of 1,797 images


def read_pairs() -> tuple[Tensor, Tensor]:
    """All images, (1797, 3, S, S) from -1 to 1, and which digit each one shows, (1797,)."""
    digits = load_digits()
    ink = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    pixels = F.interpolate(ink, size=SIDE, mode="bilinear", align_corners=False)
    return pixels.expand(-1, 3, -1, -1), torch.tensor(digits.target)


class WordTokenizer:
    """One id per word; 0 fills up, 1 is any unknown word, and every caption stands between a start and an end token.

    CLIP cuts words into pieces that it learned from text, which leaves none unknown: `seesay.data.tokenizer`.
    """

    def __init__(self, captions: list[str]):
        words = sorted({word for caption in captions for word in caption.split()})
        self.id_of = {word: number for number, word in enumerate(words, start=2)}
        self.start, self.end = len(words) + 2, len(words) + 3

    def __call__(self, captions: list[str]) -> Tokens:
        ids = [[self.start, *(self.id_of.get(word, 1) for word in line.split()), self.end] for line in captions]
        length_B = torch.tensor([len(line) for line in ids])
        ids_BL = nn.utils.rnn.pad_sequence([torch.tensor(line) for line in ids], batch_first=True)
        return Tokens(ids_BL=ids_BL, length_B=length_B)


class Clip(nn.Module):
    """Two towers and a temperature: all that CLIP is."""

    def __init__(self, vocab_size: int):
        super().__init__()
        image = VisionTransformerConfig(image_size=SIDE, patch=PATCH, width=WIDTH, layers=3, heads=2)
        text = TextTransformerConfig(context=CONTEXT, vocab_size=vocab_size, width=WIDTH, layers=2, heads=2)
        self.image_tower = VisionTransformer(image, WIDTH)
        self.text_tower = TextTransformer(text, WIDTH)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # section 2.5: its logarithm is learned

    def loss(self, pixels_B3SS: Tensor, tokens: Tokens) -> Tensor:
        """Figure 3, line by line: embed, compare all with all, and let each find its own. A scalar."""
        image_BD = unit(self.image_tower(pixels_B3SS))
        text_BD = unit(self.text_tower(tokens))
        scale = self.logit_scale.exp().clamp(max=100)
        image_loss = softmax_loss(image_BD, text_BD, scale)  # which caption belongs to this image?
        text_loss = softmax_loss(text_BD, image_BD, scale)  # which image belongs to this caption?
        return (image_loss + text_loss) / 2


@torch.no_grad()
def zero_shot(model: Clip, tokenizer: WordTokenizer, pixels_B3SS: Tensor) -> Tensor:
    """The probability of each digit for each image, (B, C): one sentence per class is all the classifier there is."""
    class_CD = unit(model.text_tower(tokenizer([PROMPT.format(name) for name in NAMES])))
    cosine_BC = unit(model.image_tower(pixels_B3SS)) @ class_CD.T
    return probabilities(cosine_BC, model.logit_scale.exp())


def main(epochs: int = 40, batch_size: int = 128, seed: int = 0) -> float:
    """Train, and give the share of held-out images that are read right."""
    torch.manual_seed(seed)
    chance, started = random.Random(seed), time.monotonic()
    pixels, digit = read_pairs()
    held_out, training = torch.randperm(len(digit)).split([HELD_OUT, len(digit) - HELD_OUT])
    tokenizer = WordTokenizer([caption.format(name) for caption in CAPTIONS for name in NAMES])
    model = Clip(tokenizer.end + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * (len(training) // batch_size))
    for epoch in range(1, epochs + 1):
        for batch in training[torch.randperm(len(training))].split(batch_size)[: len(training) // batch_size]:
            captions = [chance.choice(CAPTIONS).format(NAMES[number]) for number in digit[batch].tolist()]
            loss = model.loss(pixels[batch], tokenizer(captions))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        right = (zero_shot(model, tokenizer, pixels[held_out]).argmax(1) == digit[held_out]).float().mean().item()
        print(f"epoch {epoch:3}  loss {loss.item():.3f}  zero-shot {right:6.1%}  {time.monotonic() - started:3.0f} s")
    print(f"{right:.1%} of {HELD_OUT} held-out images are read right with “{PROMPT}” (guessing: 10 %)")
    return right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train CLIP on handwritten digits, on one page.")
    parser.add_argument("--epochs", type=int, default=40, help="how often every image is seen (40)")
    main(parser.parse_args().epochs)
