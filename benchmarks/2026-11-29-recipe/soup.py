"""The weights between two runs, the second of which went on from the first, judged by images that were held out.

    OMP_NUM_THREADS=1 python soup.py FIRST SECOND HELD

FIRST and SECOND are model folders, HELD is what `hold_out.py` wrote. Prints the share of SECOND, top-1 of the three
labelled sets and their mean, and text-to-image R@10 of held-flickr8k, in percent. Nothing of an eval-* set is read.
"""

import sys
from pathlib import Path

import numpy as np
import torch

import seesay
from seesay.evaluation.evaluate import evaluate

LABELLED = ("held-tinyimagenet", "held-miniimagenet", "held-places")


def main(first: str, second: str, held: Path) -> None:
    torch.set_num_threads(1)
    model = seesay.load(first)
    old = {name: value.clone() for name, value in model.clip.state_dict().items()}
    new = seesay.load(second).clip.state_dict()
    for share in (0, 0.3, 0.5, 0.7, 1):
        model.clip.load_state_dict(
            {
                name: (1 - share) * value + share * new[name] if value.is_floating_point() else value
                for name, value in old.items()
            }
        )
        entries = evaluate(model, [held / name for name in (*LABELLED, "held-flickr8k")], cache=False).entries
        *labelled, retrieval = (entry.result.to_json() for entry in entries)
        top1 = [100 * each["top1"] for each in labelled]
        print(
            f"{share:.1f} | {' '.join(f'{each:.1f}' for each in top1)} | {np.mean(top1):.1f} | "
            f"{100 * retrieval['text_to_image']['r10']:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
