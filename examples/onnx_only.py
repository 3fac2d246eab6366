"""Classify photos with an exported model and without torch: onnxruntime, tokenizers, numpy and Pillow are enough.

    seesay export box box-onnx
    python examples/onnx_only.py box-onnx photos/ cat dog "a sunset"

It answers as `seesay classify` does, but for captions that export.json names under text, not_cleaned.
Rows are unit vectors (N, D); N = photos or prompts, C = labels, S = side in pixels.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image, ImageOps
from tokenizers import Tokenizer

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


class Exported:
    def __init__(self, folder):
        self.facts = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        self.images = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.facts["text"]["context"])
        self.tokenizer.enable_padding(pad_id=self.facts["text"]["pad"])
        self.sessions = {side: InferenceSession(folder / self.facts[side]["file"]) for side in ("image", "text")}

    def encode_texts(self, texts):
        return self._rows("text", np.array([row.ids for row in self.tokenizer.encode_batch(texts)], dtype=np.int64))

    def encode_images(self, paths):
        return np.concatenate([self._rows("image", self._pixels(path)[None]) for path in paths])

    def classify(self, paths, labels):
        """Probabilities (N, C), in the order of the labels."""
        templates = self.facts["templates"]
        row_CTD = [self.encode_texts([each.replace("{}", label) for each in templates]) for label in labels]
        class_CD = np.stack([rows.mean(0) for rows in row_CTD])
        class_CD /= np.linalg.norm(class_CD, axis=1, keepdims=True)
        cosine_NC = self.encode_images(paths) @ class_CD.T
        logit_NC = self.facts["logit_scale"] * cosine_NC
        if self.facts["scoring"] == "sigmoid":
            return 1 / (1 + np.exp(-(logit_NC + self.facts["logit_bias"])))
        logit_NC = logit_NC / self._temperatures(cosine_NC, labels)
        share_NC = np.exp(logit_NC - logit_NC.max(1, keepdims=True))
        return share_NC / share_NC.sum(1, keepdims=True)

    def _temperatures(self, cosine_NC, labels):
        """(N, 1), higher for labels of rare words and for low cosines; 1 where the model says nothing of its words."""
        if not (known := self.facts["facts"].get("confidence")):
            return 1.0
        count_of = {word: 2**power for power, words in enumerate(known["words"]) for word in words.split()}
        words_C = [re.findall("[a-z0-9]+", label.lower()) for label in labels]
        rarest_C = np.array([min((count_of.get(word, 0) for word in words), default=0) for words in words_C])
        familiarity = np.minimum(1, np.log10(1 + 1e5 * rarest_C / known["pairs"]) / 2).mean()
        line = known["line"]
        log_N1 = line["start"] + line["names"] * familiarity + line["cosine"] * cosine_NC.max(1, keepdims=True)
        return np.exp(log_N1.clip(line["least"], line["most"]))

    def _rows(self, side, array):
        return self.sessions[side].run([self.facts[side]["output"]], {self.facts[side]["input"]: array})[0]

    def _pixels(self, path):
        """(3, S, S) float32, on white: the shorter side to S and the centre, or all of it as a square; normalised."""
        side, resample = self.images["crop_size"]["height"], self.images["resample"]
        image = ImageOps.exif_transpose(Image.open(path))
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
        if not self.images["do_center_crop"]:
            image = image.resize((side, side), resample)
        else:
            width, height = image.size
            long = int(side * max(width, height) / min(width, height))
            image = image.resize((long, side) if width > height else (side, long), resample)
            # Of an odd number of pixels that are too many, the two programs cut different halves off.
            floors = self.facts["image"]["crop"] == "transformers"
            left, top = ((each - side) // 2 if floors else round((each - side) / 2) for each in image.size)
            image = image.crop((left, top, left + side, top + side))
        mean, std = (np.array(self.images[name], dtype=np.float32) for name in ("image_mean", "image_std"))
        pixels_SS3 = (np.asarray(image, dtype=np.float32) / 255 - mean) / std
        return np.ascontiguousarray(pixels_SS3.transpose(2, 0, 1))


def main(folder, photos, *labels):
    paths = sorted(path for path in Path(photos).rglob("*") if path.suffix.lower() in SUFFIXES) or [photos]
    for path, share_C in zip(paths, Exported(Path(folder)).classify(paths, labels), strict=True):
        best_first = np.argsort(-share_C, kind="stable")
        print(f"{path}  " + "  ".join(f"{labels[at]} {100 * share_C[at]:.1f} %" for at in best_first))


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit("usage: python onnx_only.py FOLDER PHOTOS LABEL LABEL ...")
    main(*sys.argv[1:])
