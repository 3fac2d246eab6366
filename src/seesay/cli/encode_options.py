"""The options that the verbs which encode images share."""

from typing import Annotated, Literal

import typer

Precision = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(metavar="KIND", help="bfloat16 or float16 [default: float32]."),
]
Engine = Annotated[
    Literal["torch", "torch-exact", "torch-packed", "torch-int8", "torch-bf16", "openvino", "onnx"] | None,
    typer.Option(metavar="NAME", help="torch(-exact|-packed|-int8|-bf16), onnx, openvino"),
]
WeightsDtype = Annotated[
    Literal["float32", "float16", "bfloat16", "int8"] | None,
    typer.Option(metavar="KIND", help="Less memory: float16, bfloat16, int8 or float32."),
]
Width = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Rows cut to N numbers, for a model with objective.widths [default: whole]."),
]
EncodedAtOnce = Annotated[
    int | None, typer.Option("--batch-size", min=1, metavar="N", help="Images at once [default: 64].")
]
