"""What holds a model while it is fine-tuned: one training by a form of the loss, and what it came to.

    git worktree add ../old f6b8c9a && git -C ../old apply $PWD/benchmarks/2026-11-29-finetune/forms.patch
    KL=3 ROWDRIFT=0.1 ROWS=4 PYTHONPATH=../old/src python benchmarks/2026-11-29-finetune/forms.py \\
        DATA WORK box eval-mnist 3e-3 GUARD ...

KL weighs the divergence of answers, ROWDRIFT x `start.keep` (0.3 times the square of the logit scale) the turn of rows,
ROWS are held for each pair, FRESH (JSON of `Augment`) cuts those images anew each time, RTEXT adds so many texts of
words in any order, HO is the share of the target held out. What came later is commit 81a6154 with rows.patch, SEED and
for instance SET="start.keep=1 start.keep_rows=4 optimizer.kind=muon". Prints the trained model's scores, and of each
guard what was gained and what may have been lost.
"""

import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from compare import BATCH, CAPTIONS, GUARD, STEPS, fashion, measures, split

import seesay
from seesay.finetuning import sweep


def main() -> None:
    data, work = Path(sys.argv[1]), Path(sys.argv[2])
    model, name, rate, *guards = sys.argv[3:]
    torch.set_num_threads(1)
    sweep.GRID, sweep.HALVINGS = (0.0, 1.0), 0
    source = fashion(data, work / "fashion-types") if name == "fashion" else data / name
    target = split(source, work / name, first="train", second="test")
    scores = measures(seesay.load(model), target, data / GUARD, data / CAPTIONS, has_own_words=False)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        words = ["towers.precision=float32", "check.every=1.0", f"optimizer.learning_rate={rate}"]
        words += os.environ.get("SET", "").split()
        settings = {"steps": STEPS, "batch_size": BATCH, "device": "cpu", "workers": 0, "overrides": words}
        settings["seed"] = int(os.environ.get("SEED", "0"))
        with suppress(seesay.SeesayError):  # nothing may be allowed
            seesay.finetune(model, target, out=folder, guard=guards, **settings)
        end = json.loads((Path(folder) / "finetune.json").read_text())["points"][-1]
        new = seesay.load(Path(folder) / "train" / "model")
        found = {key: round(100 * each.answers(new).mean, 1) for key, each in scores.items()}
    print(json.dumps({"trained": found, "guards": [[each["gain"], each["interval95"]] for each in end["guards"]]}))


if __name__ == "__main__":
    main()
