"""Held-out images as they are and shrunk: how many are right, and the temperature that suits them.

    python small.py MODEL HELD

Of each set every image (of more than 900, every second one) is shrunk so that its shorter side has so many pixels, and
asked among all names, and 20 times among ten names that are drawn. Prints top-1 in percent, the mean logarithm of the
fitted temperature, and the mean of the best cosines. HELD is what `hold_out.py` wrote; no eval-* set
is read.

N = images, C = names.
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.formulas.calibration import softmax_temperature
from seesay.model.encode import encode_image_set

SETS, SIDES, FEW, DRAWS = ("tinyimagenet", "miniimagenet", "places"), (0, 48, 40, 32, 24, 20), 10, 20


def shrunk(data: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if side:
        factor = side / min(image.size)
        image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def measured(scale: float, cosine_NC: np.ndarray, label_N: np.ndarray) -> tuple[float, float, float]:
    """Top-1, log temperature, mean of the best cosines."""
    right = float((cosine_NC.argmax(1) == label_N).mean())
    return right, float(np.log(softmax_temperature(scale * cosine_NC, label_N))), float(cosine_NC.max(1).mean())


def main(name: str, held: Path) -> None:
    torch.set_num_threads(1)
    model, random = seesay.load(name), np.random.default_rng(0)
    for set_name in SETS:
        labelled = open_evalset(held / f"held-{set_name}")
        assert isinstance(labelled, LabelledSet)
        chosen = range(0, len(labelled), 2 if len(labelled) > 900 else 1)
        row_CD = model.classifier(labelled.class_names).weights.numpy()
        for side in SIDES:
            image_ND, read, _ = encode_image_set(
                model, lambda k, side=side, own=labelled, at=chosen: shrunk(own.image(at[k]), side), len(chosen)
            )
            label_N = np.array([labelled.label(chosen[k]) for k in read])
            cosine_NC = image_ND.numpy() @ row_CD.T
            few = []
            for _ in range(DRAWS):
                pick = np.sort(random.choice(len(row_CD), FEW, replace=False))
                place = np.full(len(row_CD), -1)
                place[pick] = np.arange(FEW)
                kept = place[label_N] >= 0
                few.append(measured(model.logit_scale, cosine_NC[kept][:, pick], place[label_N[kept]]))
            both = (measured(model.logit_scale, cosine_NC, label_N), tuple(np.mean(few, 0)))
            words = " | ".join(f"{100 * right:.1f} % {log:+.2f} {best:.2f}" for right, log, best in both)
            print(f"{set_name}, {side or 'as it is'}: all {words}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
