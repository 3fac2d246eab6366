"""`seesay models`: the short names, where they come from, and under which licence."""

import sys

from seesay.cli.tables import say, table


def command() -> None:
    """List the models that have a short name.

    Any other of huggingface.co is hf:owner/name, and any folder on disk is its path.

    Example: seesay classify "pics/*.jpg" cat dog --model openai/ViT-B-32
    """
    from seesay.model.known_models import KNOWN, PACKAGED

    rows = [[name, "comes with seesay", "research use only, as its data"] for name in PACKAGED]
    rows += [[name, f"hf:{model.repository}", model.licence] for name, model in KNOWN.items()]
    sys.stdout.write(table(["name", "source", "licence"], rows, left=3))
    say("use a name as in: seesay classify photos/ cat dog --model openai/ViT-B-32 (fetched once; case does not count)")
    say("any other model: --model hf:OWNER/NAME, a model folder, or a run such as runs/photos")
