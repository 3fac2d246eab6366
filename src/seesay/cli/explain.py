"""`seesay explain`: which parts of a photo and which words make their similarity, checked by taking them away."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seesay.base.errors import UsageError
from seesay.base.names import PACKAGED_MODEL
from seesay.base.printable import printable
from seesay.base.publish import publish_file, refuse_unwritable_file
from seesay.cli.run_options import Device
from seesay.cli.tables import refuse_unwritable_json, refuse_words_first, say, show, table, write_json

if TYPE_CHECKING:
    from seesay.model.explain import Explanation


def command(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help='What it may show, such as "a photo of a cat".')],
    *,
    contrast: Annotated[str | None, typer.Option(metavar="TEXT", help="Why TEXT, and not this one.")] = None,
    concepts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names, one per line; the photo as a sum of a few of them.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="M", help="Folder or name; default: box, the small one.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw photo, heat and words there.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE|-", help="Write heat, words and scores there.")
    ] = None,
    device: Device = None,
) -> None:
    """Explain the similarity of a photo and a text: which parts and which words make it.

    Heat is by gradient (attention of all layers in a vision transformer, LayerCAM in a ResNet or another convolutional
    tower). It is checked by removal: the score with parts blanked, and with words left out. Heat says what this model
    used, not what is there.

    Example: seesay explain cat.jpg "a photo of a cat" --contrast "a photo of a dog" --out why.png
    """
    refuse_words_first("explain", photo, text)
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out} is written as .png; let its name end in .png.")
    refuse_unwritable_file(out, "--out")
    refuse_unwritable_json(json_file)
    from seesay.tasks.explain import explain
    from seesay.tasks.explain_image import explanation_png

    explanation = explain(
        photo, text, contrast=contrast, concepts=concepts or (), model=model or PACKAGED_MODEL, device=device
    )
    if model is None:
        say("model: box, the small one of the package; name a larger one with --model.")
    show(as_text(explanation, str(photo)), json_file)
    if json_file is not None:
        write_json(json_file, {"photo": str(photo), **explanation.to_json()})
    if out is not None:
        publish_file(out, explanation_png(explanation, photo))
        show(printable(f"photo, heat and words -> {out}") + "\n", json_file)


def as_text(explanation: "Explanation", photo: str) -> str:
    """The score, a row for each word, what removal came to, and the concepts."""
    score, removal = explanation.score, explanation.removal
    lines = [printable(f"{photo} and {explanation.text!r}: cosine {score + (explanation.contrast_score or 0.0):.4f}")]
    if explanation.contrast is not None:
        lines.append(printable(f"{explanation.contrast!r}: {explanation.contrast_score:.4f}, a lead of {score:+.4f}"))
    rows = [
        [word.text, f"{word.weight:+.2f}", f"{word.score_without:.4f}", f"{word.score_without - score:+.4f}"]
        for word in explanation.words
    ]
    lines.append(table(["word", "weight", "score without it", "change"], rows).rstrip("\n"))
    if removal is not None:
        is_number = math.isfinite(removal.agreement)
        agreement = f"{removal.agreement:.2f}" if is_number else "none (no cell changes the score)"
        lines += [
            f"hottest quarter blanked: {removal.without_hottest:.4f} ({removal.without_hottest - score:+.4f})",
            f"coldest quarter blanked: {removal.without_coldest:.4f} ({removal.without_coldest - score:+.4f})",
            f"rank correlation of heat and removal: {agreement} over {removal.fall_GG.size} cells",
        ]
        if removal.agreement < 0 or removal.without_hottest > removal.without_coldest:
            lines.append("heat and removal disagree on this photo: trust removal")
    if explanation.concepts:
        named = ", ".join(f"{name} {weight:.2f}" for name, weight in explanation.concepts)
        lines.append(printable(f"concepts: {named}"))
    return "\n".join(lines) + "\n"
