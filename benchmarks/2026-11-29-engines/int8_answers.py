"""Answers of a trained ViT by torch's other engines beside float32: top-1, and what is lost and gained.

    OMP_NUM_THREADS=1 python int8_answers.py MODEL ../../../shared/data > int8_answers.log

Of a set with more than 2,000 images so many are asked, as `seesay finetune` asks them.
"""

import sys
from pathlib import Path

import seesay
from seesay.data.evalsets import open_evalset
from seesay.finetuning.measures import ClassMeasure
from seesay.tasks.words import choose_words


def main() -> None:
    name, data = sys.argv[1:]
    model = seesay.load(name)
    for chosen in ("eval-tinyimagenet-val", "eval-food20", "eval-dtd10"):
        opened = open_evalset(Path(data, chosen))
        words = choose_words(model, (opened,), opened.class_names)
        measure = ClassMeasure(model, opened, words.names, words.templates)
        before = measure.answers(model).value_M
        for engine in ("torch-int8", "torch-bf16", "torch-packed"):
            change = measure.answers(model.with_engine(engine)).value_M - before
            lost, gained = int((change < 0).sum()), int((change > 0).sum())
            print(
                f"{chosen} ({len(before)}): {100 * before.mean():.2f} %, {engine} {100 * change.mean():+.2f}, "
                f"lost {lost}, gained {gained}",
                flush=True,
            )


if __name__ == "__main__":
    main()
