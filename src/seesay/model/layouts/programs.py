"""Which models other programs read: their towers decide, and a size can be chosen for it before it is trained."""

from seesay.nets.architecture import Architecture
from seesay.nets.presets import PAPER_SIZES, PRESETS

# Image towers that each has beside CLIP's text transformer, as the layouts `hf` and `open_clip` write them.
IMAGE_TOWERS = {"transformers": ("vit",), "open_clip": ("vit", "resnet", "timm")}
# How pairs may be scored there: only open_clip has a place for a bias.
SCORINGS = {"transformers": ("softmax",), "open_clip": ("softmax", "sigmoid")}


def reads(program: str, architecture: Architecture) -> bool:
    """Whether a program of `IMAGE_TOWERS` has a place for everything in a CLIP of this architecture."""
    return (
        architecture.image.kind in IMAGE_TOWERS[program]
        and architecture.text.kind == "transformer"
        and architecture.scoring in SCORINGS[program]
        and architecture.projection == "linear"
    )


def sizes_hint(program: str) -> str:
    """Which sizes the program reads, as the end of a sentence."""
    sizes = [name for name, architecture in PRESETS.items() if reads(program, architecture)]
    small = [name for name in sizes if name not in PAPER_SIZES]
    large = [name for name in sizes if name in PAPER_SIZES]
    return f"{', '.join(small)}, {', '.join(large)} can go there, trained with --objective contrastive"


def export_line(architecture: Architecture) -> str:
    """Where a model can go once it is trained, for people."""
    readers = [program for program in IMAGE_TOWERS if reads(program, architecture)]
    if len(readers) == len(IMAGE_TOWERS):
        return f"{' and '.join(readers)} read it after `seesay convert`"
    here = f"{' and '.join(readers)} reads it after `seesay convert`" if readers else "seesay alone reads this model"
    other = next(program for program in IMAGE_TOWERS if program not in readers)
    return f"{here}; for {other}, {sizes_hint(other)}"
