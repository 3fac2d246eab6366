"""The weights between two runs, the second of which went on from the first, judged by images that were held out.

    OMP_NUM_THREADS=1 python soup.py FIRST SECOND HELD [--write OUT]

FIRST and SECOND are run folders, HELD is what `hold_out.py` wrote. Prints the share of SECOND, top-1 of the three
labelled sets and their mean, the same of these images in grey, and text-to-image R@10 of held-flickr8k, in percent.
`--write` makes a folder of the mean of both for `pack_box.py`, with the files of the first run. Nothing of an eval-*
set is read.
"""

import argparse
import io
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import seesay
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.evaluation.evaluate import evaluate
from seesay.model.encode import encode_image_set

LABELLED = ("held-tinyimagenet", "held-miniimagenet", "held-places")
FILES = ("settings.toml", "facts.json", "events.jsonl", "curves.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "second", "held"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = seesay.load(given.first / "model")
    old = {name: value.clone() for name, value in model.clip.state_dict().items()}
    new = seesay.load(given.second / "model").clip.state_dict()

    def mix(share: float) -> None:
        model.clip.load_state_dict(
            {
                name: (1 - share) * value + share * new[name] if value.is_floating_point() else value
                for name, value in old.items()
            }
        )

    for share in (0, 0.3, 0.5, 0.7, 1):
        mix(share)
        top1 = [right(model, given.held / name, is_grey=False) for name in LABELLED]
        grey = [right(model, given.held / name, is_grey=True) for name in LABELLED]
        retrieval = evaluate(model, [given.held / "held-flickr8k"], cache=False).entries[0].result.to_json()
        print(
            f"{share:.1f} | {' '.join(f'{each:.1f}' for each in top1)} | {np.mean(top1):.1f} | grey "
            f"{np.mean(grey):.1f} | {100 * retrieval['text_to_image']['r10']:.1f}",
            flush=True,
        )
    if given.write:
        mix(0.5)
        given.write.mkdir(parents=True)
        model.save(given.write / "model")
        for name in FILES:
            shutil.copy(given.first / name, given.write / name)


def right(model: seesay.Model, location: Path, *, is_grey: bool) -> float:
    """Top-1 in percent."""
    labelled = open_evalset(location)
    assert isinstance(labelled, LabelledSet)
    row_CD = model.classifier(labelled.class_names).weights
    image_ND, read, _ = encode_image_set(
        model, (lambda index: grey(labelled.image(index))) if is_grey else labelled.image, len(labelled)
    )
    label_N = torch.tensor([labelled.label(index) for index in read])
    return 100 * float(((image_ND @ row_CD.T).argmax(1) == label_N).double().mean())


def grey(data: bytes) -> bytes:
    """The image without its colours, as a PNG."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("L").save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
