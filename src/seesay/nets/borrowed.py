"""Towers that are not written here, as checked values: those of other libraries, and one that a file came without."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from seesay.base.settings import Settings
from seesay.nets.bounds import Context, Count, Side, Vocabulary, Width


class TimmImageConfig(Settings):
    """An image tower of the library timm, by its name there, built as open_clip builds it (`nets/timm_tower.py`).

    `head` is what stands behind it: timm's own classifier, a linear layer (with a bias or without), two of them, or
    nothing. `pool` is timm's `global_pool`; "" leaves it what it is, except with timm's own classifier or nothing.
    """

    kind: Literal["timm"] = "timm"
    image_size: Side
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
    pool: Annotated[str, Field(pattern=r"^[a-z]*$", max_length=20)] = "avg"
    head: Literal["linear", "mlp", "classifier", "none"] = "linear"
    head_bias: bool = False


class TransformersTextConfig(Settings):
    """A text encoder of the library transformers, built as open_clip builds it (`nets/transformers_text.py`).

    `family` is transformers' model_type, `positions` the rows of its table of positions (mt5 has none). `pool` is the
    mean, the first token, or transformers' own layer on that; `head` is what stands behind it.
    """

    kind: Literal["transformers"] = "transformers"
    family: Literal["roberta", "xlm-roberta", "mt5", "m2m_100"]
    context: Context
    vocab_size: Vocabulary
    pad: Annotated[int, Field(ge=0, le=100)]
    width: Width
    layers: Count
    heads: Count
    mlp_width: Annotated[int, Field(ge=8, le=65_536)]
    positions: Annotated[int, Field(ge=0, le=8192)] = 0
    pool: Literal["mean", "first", "dense"] = "mean"
    head: Literal["linear", "mlp", "none"] = "mlp"

    @model_validator(mode="after")
    def _fits(self):
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        # RoBERTa and M2M100 count positions from behind the padding's id.
        if self.family != "mt5" and self.positions < self.context + self.pad + 1:
            raise ValueError(f"positions {self.positions} are too few for a context of {self.context}")
        if self.pool == "dense" and self.family not in ("roberta", "xlm-roberta"):
            raise ValueError(f"pool is dense, and {self.family} has no such layer")
        return self


class AbsentImageConfig(Settings):
    """No image tower: the model was saved without, as `hint` says."""

    SIZE: ClassVar[int] = 224

    kind: Literal["absent"] = "absent"
    image_size: Side = SIZE
    hint: str


class AbsentTextConfig(Settings):
    """No text tower: the model was saved without, as `hint` says."""

    kind: Literal["absent"] = "absent"
    context: Context = 3
    vocab_size: Vocabulary = 514
    hint: str
