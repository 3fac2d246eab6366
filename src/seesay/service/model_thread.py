"""The one thread that uses the model: what callers ask within a few milliseconds is encoded together.

N, K = texts and images of one job, D = embedding width, S = side that the model takes.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seesay.model.encode import row_width
from seesay.service.refusals import Refusal

if TYPE_CHECKING:
    from seesay.model.bundle import Model

# Guesses: how long a job waits for others where none is behind it, and texts and images in one batch.
WINDOW_SECONDS, ROWS_AT_ONCE = 0.003, 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """Texts and pixels (3, S, S) to encode, or else a function to call."""

    texts: Sequence[str] = ()
    pixels: Sequence[Tensor] = ()
    function: Callable[[], Any] | None = None
    future: Future[Any] = field(default_factory=Future)

    def __len__(self) -> int:
        return len(self.texts) + len(self.pixels)


class ModelThread:
    """Jobs for a model, `capacity` of them waiting at most; one whose future is cancelled is left out."""

    def __init__(self, model: "Model", *, capacity: int, on_batch: Callable[[int], None] = lambda rows: None):
        self._model = model
        self._waiting: queue.Queue[Job | None] = queue.Queue(capacity)
        self._on_batch = on_batch
        # A daemon: the end of the process does not wait for a batch that nobody is waiting for.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether jobs are still done."""
        return self._thread.is_alive()

    def encode(self, texts: Sequence[str] = (), pixels: Sequence[Tensor] = ()) -> "Future[tuple[Tensor, Tensor]]":
        """Unit rows (N, D) of texts and (K, D) of uint8 pixels (3, S, S). `Refusal` where too many jobs wait."""
        return self._put(Job(texts=texts, pixels=pixels))

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """What a function that uses the model gives. `Refusal` where too many jobs wait."""
        return self._put(Job(function=function))

    def close(self, *, seconds: float = 5.0) -> None:
        """Do what is waiting, and end."""
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _put(self, job: Job) -> Future[Any]:
        try:
            self._waiting.put_nowait(job)
        except queue.Full as error:
            raise Refusal.busy("too many requests are waiting for the model; try again.") from error
        return job.future

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._batch()
            live = [job for job in batch if job.future.set_running_or_notify_cancel()]
            for job in live:
                if (function := job.function) is not None:
                    _settle([job], lambda function=function: [function()])
            encoded = [job for job in live if job.function is None]
            if encoded:
                self._on_batch(sum(map(len, encoded)))
                _settle(encoded, lambda jobs=encoded: self._rows_of(jobs))

    def _batch(self) -> tuple[list[Job], bool]:
        """The next jobs, and whether there may be more after them."""
        job = self._waiting.get()
        if self._waiting.empty():
            # Asleep: if it waited for the next one, each would wake it, and on a busy machine stop its sender for that.
            time.sleep(WINDOW_SECONDS)
        batch: list[Job] = []
        while job is not None:
            batch.append(job)
            if sum(map(len, batch)) >= ROWS_AT_ONCE:
                return batch, True
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _rows_of(self, jobs: Sequence[Job]) -> list[tuple[Tensor, Tensor]]:
        texts = [text for job in jobs for text in job.texts]
        pixels = [square for job in jobs for square in job.pixels]
        empty = torch.empty(0, row_width(self._model))
        text_ND = self._model.encode_texts(texts) if texts else empty
        image_KD = self._model.encode_pixels(torch.stack(pixels)) if pixels else empty
        by_text = text_ND.split([len(job.texts) for job in jobs])
        by_image = image_KD.split([len(job.pixels) for job in jobs])
        return list(zip(by_text, by_image, strict=True))


def _settle(jobs: Sequence[Job], work: Callable[[], Sequence[Any]]) -> None:
    try:
        results = work()
    except Exception as error:  # noqa: BLE001 - whoever waits for the job raises it
        for job in jobs:
            job.future.set_exception(error)
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
