"""A model's text encoder as an ONNX graph: ids (N, L) to unit rows (N, D), for any L up to the context.

N = texts, L = longest of them in ids, W = width, D = embedding width.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from seesay.base.errors import UsageError
from seesay.data.file_tokenizer import PROBES, AnyTokenizer, FileTokenizer
from seesay.model.onnx_graphs import (
    OUTPUT,
    TEXT_INPUT,
    Graph,
    Pooled,
    all_blocks,
    dual_encoder,
    file_of,
    refuse_tower,
    unit_rows,
    whole,
)
from seesay.nets.clip import Clip
from seesay.nets.siglip import SiglipText
from seesay.nets.text import BagOfWords, TextTransformer

# What stands for minus infinity in a mask: its exp is 0 in float32.
HIDDEN = -1e9


def text_graph(model_name: str, clip: Clip, tokenizer: AnyTokenizer, *, width: int | None = None) -> bytes:
    """The ONNX file of texts, ids (N, L) to unit rows (N, D), for any L up to the context.

    A text ends at the first end token; what stands behind it does not count, but for SigLIP's towers, whose texts are
    filled up with the id `pad`. Where there is no end token, the last id is taken for one: transformers.js cuts it off
    with whatever is too long.
    """
    clip = dual_encoder(model_name, clip)
    graph, tower = Graph(), clip.text_tower
    refuse_tower(model_name, "text", tower, TEXT_TOWERS)
    end = end_of(tokenizer)
    if end is None and _needs_end(tower):
        raise UsageError(
            f"the tokenizer of {model_name} ends texts with no token of its own, and its text tower reads their end."
        )
    ids = TEXT_INPUT if end is None else _ended(graph, TEXT_INPUT, end)
    x = TEXT_TOWERS[type(tower)](graph, tower, ids, end)
    return file_of(graph, {OUTPUT: unit_rows(graph, x, clip.text_projection, width)}, TEXT_INPUT, ("N", "L"))


def end_of(tokenizer: AnyTokenizer) -> int | None:
    """The id that ends every text, if there is one."""
    if not isinstance(tokenizer, FileTokenizer):
        return tokenizer.end
    last = {row[-1] if row else None for row in tokenizer(PROBES)}
    return last.pop() if len(last) == 1 else None


def _needs_end(tower: nn.Module) -> bool:
    return not isinstance(tower, SiglipText) or tower.pools_end


def _text_transformer(graph: Graph, tower: TextTransformer, ids: str, end: int) -> str:
    length = graph.add("Gather", graph.add("Shape", ids), whole(1))
    positions = graph.add("Slice", graph.tensor(tower.positions), whole(0), length, whole(0))
    x = graph.add("Add", graph.add("Gather", graph.tensor(tower.token_embedding.weight), ids), positions)
    last = _last(graph, ids, end)
    hidden_LL = torch.full((tower.context, tower.context), HIDDEN).triu(1)
    table = graph.tensor(hidden_LL)
    both = graph.add("Concat", length, length, axis=0)
    mask = graph.add("Slice", table, whole(0, 0), both, whole(0, 1))
    of_last = graph.add("Slice", graph.add("GatherND", table, last), whole(0), length, whole(1))
    masks = (mask, graph.reshape(of_last, 0, 1, -1))
    x = all_blocks(graph, tower.blocks, x, Pooled(of_text=last), masks)
    return graph.add("MatMul", graph.norm(x, tower.ln_final), tower.projection)


def _bag_of_words(graph: Graph, tower: BagOfWords, ids: str, end: int) -> str:
    length = graph.add("Gather", graph.add("Shape", ids), whole(1))
    place = graph.add("Slice", graph.tensor(np.arange(tower.context)), whole(0), length, whole(0))
    last = _last(graph, ids, end)
    is_word = graph.add("Cast", graph.add("LessOrEqual", place, last), to=1)
    rows = graph.add("Gather", graph.tensor(tower.token_embedding.weight), ids)
    total = graph.add("ReduceSum", graph.add("Mul", rows, graph.reshape(is_word, 0, -1, 1)), whole(1), keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", is_word, whole(1), keepdims=1))
    return graph.add("MatMul", graph.norm(mean, tower.ln_final), tower.projection)


def _siglip_text(graph: Graph, tower: SiglipText, ids: str, end: int) -> str:
    length = graph.add("Gather", graph.add("Shape", ids), whole(1))
    missing = graph.add("Sub", whole(tower.context), length)
    pads = graph.add("Concat", whole(0, 0, 0), missing, axis=0)
    filled = graph.add("Pad", ids, pads, np.array(tower.pad))
    x = graph.add("Gather", graph.tensor(tower.token_embedding.weight), filled)
    x = graph.add("Add", x, tower.positions[None])
    at_end = Pooled(of_text=_last(graph, ids, end)) if tower.pools_end else Pooled(index=tower.context - 1)
    x = all_blocks(graph, tower.blocks, x, at_end)
    return graph.linear(graph.norm(x, tower.ln_final), tower.head.weight, tower.head.bias)


def _ended(graph: Graph, ids: str, end: int) -> str:
    """The ids with the end token in place of the last where a text has none, (N, L)."""
    is_end = graph.add("Cast", graph.add("Equal", ids, np.array(end)), to=7)
    has_end = graph.add("Cast", graph.add("ReduceMax", is_end, axes=[1], keepdims=1), to=9)
    most = np.iinfo(np.int64).max
    before = graph.add("Slice", ids, whole(0), whole(-1), whole(1))
    last = graph.add("Slice", ids, whole(-1), whole(most), whole(1))
    return graph.add("Concat", before, graph.add("Where", has_end, last, np.array(end)), axis=1)


def _last(graph: Graph, ids: str, end: int) -> str:
    """Where each text's end token is, (N, 1)."""
    is_end = graph.add("Cast", graph.add("Equal", ids, np.array(end)), to=6)
    return graph.add("ArgMax", is_end, axis=1, keepdims=1)


TEXT_TOWERS: dict[type, Callable[..., str]] = {
    TextTransformer: _text_transformer,
    BagOfWords: _bag_of_words,
    SiglipText: _siglip_text,
}
