"""The reference of the paper's sets: where each is had, which part is measured, and by what."""

import json

MEASURES = {
    "accuracy": "accuracy",
    "mean-per-class": "mean per class",
    "map11": "11-point mAP of all classes of an image; here each has one (`probe --metric map11`)",
    "roc-auc": "area under the ROC curve",
    "mean-top1-top5": "mean of top-1 and top-5",
    "pm0-pm10": "mean of PM-0 and PM-10; the accuracy here",
    "lexicon": "the right one of an image's 1,000 words",
    "mwap-mwsap": "mWAP and mWSAP",
    "within-km": "share within 1, 25, 200, 750, 2,500 km",
}
HUB = "https://huggingface.co/datasets/"


def sets_page(text: str) -> str:
    """The page, of the text of known_sets.json."""
    lines = [
        "# Sets of the paper",
        "",
        "A set that is called as one of these is asked about in the paper's templates and class names. One with a",
        "reader is named as shown, with the folder of its publisher",
        "([how to](../how-to/evaluate-and-compare.md#the-papers-own-sets)).",
        "CLIP_benchmark's copies are tar shards with `classnames.txt`: fetch one with",
        "`hf download --repo-type dataset NAME --local-dir FOLDER`, and name the folder.",
        "All others are read as a folder per class.",
        "",
        "| set | on the hub | part | measure | templates | reader |",
        "|---|---|---|---|---|---|",
    ]
    for entry in json.loads(text)["sets"].values():
        hub = f"[{entry['hub']}]({HUB}{entry['hub']})" if entry["hub"] else ""
        reader = f"`{entry['reader']}`" if entry["reader"] else ""
        cells = (entry["title"], hub, entry["split"], MEASURES[entry["metric"]], entry["templates"] or "", reader)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
