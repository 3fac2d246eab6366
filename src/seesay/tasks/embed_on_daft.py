"""Very large sources encoded by Daft, in processes of this machine or on those of a Ray cluster, with the same code.

D = embedding width, B = images or texts of a block.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from seesay.base.cluster import Cluster, daft_here, daft_on_ray
from seesay.base.errors import UsageError
from seesay.base.journal import progress
from seesay.base.records import Skipped

if TYPE_CHECKING:
    from pathlib import Path

    from seesay.model.bundle import Model

# Images or texts of a block: a guess at what keeps messages rare and fits any memory.
BLOCK = 1024

# The bytes of an image by its number and its name.
Reader = Callable[[int, str], bytes]


class BlockEncoder:
    """Encodes blocks where it is sent, with a model that it loads there once."""

    def __init__(self, model: "str | Path", read: Reader | None, how: Mapping[str, Any]):
        self._name, self._read, self._how = model, read, how

    @cached_property
    def _model(self) -> "Model":
        from seesay.model.hub import on_device

        return on_device(self._name, **self._how)

    def encode(self, numbers: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """For each of these the row (D,) as bytes, or why there is none."""
        from seesay.model.encode import encode_image_set

        read = self._read
        if read is None:
            rows_BD = self._model.encode_texts(names).numpy()
            return [_found(row_D) for row_D in rows_BD]
        rows_BD, own, skipped = encode_image_set(self._model, lambda at: read(numbers[at], names[at]), len(numbers))
        found: dict[int, dict[str, Any]] = {at: _found(row_D) for at, row_D in zip(own, rows_BD.numpy(), strict=True)}
        found |= {int(item.key): {"vector": None, "reason": item.reason, "detail": item.detail} for item in skipped}
        return [found[at] for at in range(len(numbers))]


def _found(row_D: np.ndarray) -> dict[str, Any]:
    return {"vector": row_D.astype("<f4").tobytes(), "reason": "", "detail": ""}


def spread_blocks(
    model: "Model | str | Path",
    names: Sequence[str],
    read: Reader | None,
    skipped: list[Skipped],
    *,
    is_on_ray: bool,
    how: Mapping[str, Any],
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and rows (B, D) of one block after the other, in the order of the names; what cannot be read is `skipped`.

    `read` is None for texts; `how` is of `hub.on_device`. `UsageError` for a model that is no name.
    """
    if not isinstance(model, str | os.PathLike):
        raise UsageError("a model is loaded where it encodes; give its name or folder, or leave the engine out.")
    daft, cluster = daft_on_ray() if is_on_ray else (daft_here(), None)
    encoder, done = BlockEncoder(model, read, how), 0
    with progress(len(names), "texts" if read is None else "images") as advance:
        for rows in _encoded(daft, encoder, names, cluster):
            assert rows["index"].to_pylist() == list(range(done, done + len(rows))), "Daft has lost or moved rows"
            done += len(rows)
            found: list[tuple[str, bytes]] = []
            for index, got in zip(rows["index"].to_pylist(), rows["got"].to_pylist(), strict=True):
                name: str = names[int(index)]
                if got["reason"]:
                    skipped.append(Skipped(key=name, reason=got["reason"], detail=got["detail"]))
                else:
                    found.append((name, got["vector"]))
            if found:
                data = b"".join(vector for _, vector in found)
                yield [name for name, _ in found], np.frombuffer(data, "<f4").reshape(len(found), -1)
            advance(len(rows))
    assert done == len(names), "Daft has lost rows"


def _encoded(
    daft: Any, encoder: BlockEncoder, names: Sequence[str], cluster: Cluster | None
) -> Iterator[pa.RecordBatch]:
    """Columns index and got, in the order of the index."""
    # Bytes, since a name of a file may be no UTF-8.
    stored = [name.encode("utf-8", "surrogateescape") for name in names]
    frame = daft.from_arrow(pa.table({"index": pa.array(range(len(names)), pa.int64()), "name": stored}))
    result = pa.struct([("vector", pa.binary()), ("reason", pa.string()), ("detail", pa.string())])

    # A process of its own, as a model has threads.
    @daft.cls(use_process=True, **_places(cluster))
    class Encoding:
        def __init__(self, encoder: BlockEncoder):
            self.encoder = encoder

        @daft.method.batch(return_dtype=daft.DataType.from_arrow_type(result), batch_size=BLOCK)
        def encode(self, index: Any, name: Any) -> pa.Array:
            names = [each.decode("utf-8", "surrogateescape") for each in name.to_pylist()]
            return pa.array(self.encoder.encode(index.to_pylist(), names), result)

    blocks = frame.into_batches(BLOCK)
    got = Encoding(encoder).encode(blocks["index"], blocks["name"])
    encoded = blocks.select(blocks["index"], got.alias("got"))
    # Ray gives blocks as they come.
    yield from (encoded if cluster is None else encoded.sort("index")).to_arrow_iter()


def _places(cluster: Cluster | None) -> dict[str, Any]:
    """Processes that encode: here one, whose threads use all cores; on Ray one for each GPU, or else each core."""
    if cluster is None:
        return {"max_concurrency": 1}
    return {"max_concurrency": cluster.gpus, "gpus": 1} if cluster.gpus else {"max_concurrency": cluster.cores}
