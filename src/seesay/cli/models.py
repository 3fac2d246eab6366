"""`seesay models`: the short names, where they come from, and under which licence."""

import sys
from typing import Annotated

import typer

from seesay.cli.tables import say, table


def command(
    *, every: Annotated[bool, typer.Option("--all", help="Also open_clip's own names, MODEL:TAG.")] = False
) -> None:
    """List the models that have a short name.

    Any other of huggingface.co is hf:owner/name, perhaps with @revision, and any folder on disk is its path. A licence
    is what was seen on the model's card, and is left out where none was; the card decides. What a model of the long
    list holds is found out when it is fetched: of towers that seesay does not have it says so before their weights are.

    Example: seesay classify "pics/*.jpg" cat dog --model openai/ViT-B-32
    """
    from seesay.model.known_models import KNOWN, PACKAGED
    from seesay.model.open_clip_names import OPEN_CLIP

    rows = [[name, "comes with seesay", "research use only, as its data"] for name in PACKAGED]
    rows += [[name, f"hf:{model.repository}", model.licence] for name, model in KNOWN.items()]
    if every:
        licences = {model.repository: model.licence for model in KNOWN.values()}
        rows += [[name, f"hf:{source}", licences.get(source, "")] for name, source in OPEN_CLIP.items()]
    sys.stdout.write(table(["name", "source", "licence"], rows, left=3))
    say("use a name as in: seesay classify photos/ cat dog --model openai/ViT-B-32 (fetched once; case does not count)")
    if not every:
        say(f"{len(OPEN_CLIP)} more go by open_clip's names, such as ViT-B-32:laion2b_s34b_b79k: seesay models --all")
    say("any other model: --model hf:OWNER/NAME[@REVISION], a model folder, or a run such as runs/photos")
