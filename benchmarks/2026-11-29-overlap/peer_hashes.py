"""imagededup's 64-bit hashes of the images of `eval-*`, of `train-*`, and of the hidden copies, to one .npz.

    python benchmarks/2026-11-29-overlap/peer_hashes.py --data ../shared/data --hidden hidden --out hashes.npz

It needs imagededup (0.3.3) and what it imports. Its CNN takes weights from the network and is not in this.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from imagededup.methods import AHash, DHash, PHash

from seesay.data.decode import decode
from seesay.data.duplicates import looks
from seesay.data.evalsets import open_evalset
from seesay.data.labelled import LabelledSet
from seesay.data.pairs import open_pairs

METHODS = {"PHash": PHash, "DHash": DHash, "AHash": AHash}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--hidden", type=Path, default=Path("hidden"))
    parser.add_argument("--out", type=Path, default=Path("hashes.npz"))
    parser.add_argument("--every", type=int, default=1, help="of the training images only each so-many-th")
    arguments = parser.parse_args()
    evals = [folder for folder in sorted(arguments.data.glob("eval-*")) if folder.name != "eval-shift-photo32"]
    trains = [*sorted(arguments.data.glob("train-*")), arguments.hidden / "copies.tar"]
    methods = {name: kind(verbose=False) for name, kind in METHODS.items()}
    columns: dict[str, list] = {name: [] for name in ("side", "key", "looks", *METHODS)}
    for side, sources in (("eval", map(open_evalset, evals)), ("train", (open_pairs([path]) for path in trains))):
        for source in sources:
            is_thinned = side == "train" and source.name != "copies.tar"
            for index in range(0, len(source), arguments.every if is_thinned else 1):
                data = source.image(index) if isinstance(source, LabelledSet) else source[index].image
                image = decode(data)
                columns["side"].append(side)
                columns["key"].append(f"{source.name}/{source.key(index)}")
                columns["looks"].append(looks(image)[0])
                for name, method in methods.items():
                    columns[name].append(int(method.encode_image(image_array=image), 16))
            print(side, source.name, len(source), file=sys.stderr, flush=True)
    numbers = {name: np.array(columns[name], np.uint64) for name in (*METHODS, "looks")}
    np.savez(arguments.out, side=np.array(columns["side"]), key=np.array(columns["key"]), **numbers)


if __name__ == "__main__":
    main()
