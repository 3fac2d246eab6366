"""Models whose weights are half as large or less: mapped from their file where it has the dtype, else rounded."""

from typing import TYPE_CHECKING

from seesay.base.errors import UsageError, as_hint, nearest
from seesay.nets.compact import WEIGHTS_DTYPES, Compact

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# What others call dtypes.
SHORT_NAMES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}


def check_weights_dtype(name: str) -> str:
    """The name as it is; `UsageError` for one that is none of `WEIGHTS_DTYPES`."""
    if name not in WEIGHTS_DTYPES:
        word = str(name).removeprefix("torch.")
        known = SHORT_NAMES.get(word, word)
        hint = as_hint([known]) if known in WEIGHTS_DTYPES else nearest(word, WEIGHTS_DTYPES)
        raise UsageError(f"weights_dtype {name!r} is not known.{hint} Known: {', '.join(WEIGHTS_DTYPES)}.")
    return name


def refuse_beside(weights_dtype: str, *, engine: str | None, precision: str | None) -> None:
    """`UsageError` for what computes with weights of another kind, before anything is loaded."""
    if engine not in (None, "torch"):
        raise UsageError(f"--engine {engine} makes weights of its own; leave --weights-dtype {weights_dtype} out.")
    if precision not in (None, "float32"):
        raise UsageError(
            f"--precision {precision} rounds the weights itself; leave --weights-dtype {weights_dtype} out."
        )


def refuse_compact(model: "Model") -> None:
    """`UsageError` for a model that was loaded with a `weights_dtype`."""
    if model.weights_dtype is not None:
        raise UsageError(
            f"{model.name} keeps its weights in {model.weights_dtype}, and is only to encode with; load it without "
            "weights_dtype."
        )


def describe_weights(model: "Model") -> str:
    """How large the weights that are kept are, and whether other processes share them."""
    layers = [layer for layer in model.clip.modules() if isinstance(layer, Compact)]
    sizes = dict.fromkeys((True, False), 0)
    for layer in layers:
        sizes[layer.is_mapped] += sum(part.nbytes for part in layer.parts())
    kind, (mapped, own) = model.weights_dtype, (f"{sizes[each] / 1e6:,.0f} MB" for each in (True, False))
    if not sizes[False]:
        return f"weights: {mapped} of {kind}, mapped from the file and shared by all processes that use it"
    words = f"weights: {own} made {kind} while loading, which this process does not share"
    if sizes[True]:
        return f"{words}; {mapped} are mapped from the file"
    hint = "" if kind == "int8" else f"; seesay convert --dtype {kind} writes a file that processes share"
    return words + hint
