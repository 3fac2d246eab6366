"""Images of strangers, decoded in processes of their own: a decoder that dies or hangs costs its own image alone.

The processes are no forks of the service, which would hold its callers' connections open, but of one that was started
clean. S = side that the model takes.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.printable import printable
from seesay.base.streams import say
from seesay.data.shared_memory import import_for_clean_starts
from seesay.data.workers import Arrays, WorkerFailure, WorkerPool, WorkerTimeout
from seesay.index.reading import DIED, HANGS
from seesay.service.refusals import Refusal

# How long one image may take, several times what `data.decoding_limits` lets through; processes at most, each of which
# may take what that allows for an image; and the memory through which images go, in as many parts as needed. Guesses.
SECONDS, PROCESSES, SLOT_BYTES = 20.0, 8, 1 << 20
# What is imported once for all of them.
PRELOADED = "seesay.data.images"


class ImageReaders:
    """`count` processes that call `read` with the bytes of images; each is started when it is needed, or has died.

    `read` is pickled; it gives (3, S, S) or raises `BrokenSample`.
    """

    def __init__(self, read: Callable[[bytes], Tensor], *, count: int):
        self._make = partial(_read, read)
        # Each is used by one thread at a time; the last one that was used is taken first.
        self._idle: list[WorkerPool] = []
        self._all: list[WorkerPool] = []
        self._changing, self._is_closed = Lock(), False
        self._threads = ThreadPoolExecutor(max_workers=min(count, PROCESSES), thread_name_prefix="image")
        import_for_clean_starts([PRELOADED])
        # That takes seconds, which the first caller need not wait for.
        self._threads.submit(self._warm)

    def read(self, data: bytes) -> "Future[Tensor]":
        """(3, S, S). `BrokenSample` for what cannot be decoded, or kills its decoder, or takes it too long."""
        return self._threads.submit(self._ask, data)

    def close(self) -> None:
        """End the processes; what is being read fails."""
        with self._changing:
            self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pool in list(self._all):
            pool.close()

    def _ask(self, data: bytes) -> Tensor:
        pool = self._taken()
        try:
            (square_3SS,) = pool.ask([np.frombuffer(data, np.uint8)])
        except WorkerFailure as failure:
            self._drop(pool)
            reason, how = DIED, printable(str(failure))
            if isinstance(failure, WorkerTimeout):
                reason, how = HANGS, f"it took more than {SECONDS:.0f} s"
            if not self._is_closed:
                say(f"warning: {reason} on an image that was sent ({how}); it is started again.")
            raise BrokenSample(reason) from failure
        except Exception:
            # It is `read` that raised it, in its process, which goes on.
            self._idle.append(pool)
            raise
        self._idle.append(pool)
        return torch.from_numpy(square_3SS)

    def _taken(self) -> WorkerPool:
        """One that nobody else uses now."""
        with suppress(IndexError):
            return self._idle.pop()
        with self._changing:
            if self._is_closed:
                raise Refusal.busy("the service is ending.")
            try:
                # A request that hangs is told in one line; the stacks of its decoder are no news to who serves.
                pool = WorkerPool(
                    self._make,
                    workers=1,
                    slot_bytes=SLOT_BYTES,
                    timeout_seconds=SECONDS,
                    shows_stacks=False,
                    is_clean=True,
                )
            except SeesayError as error:
                say(f"warning: no process can be started to decode images: {printable(str(error))}")
                raise Refusal.busy("images cannot be read now; try again.") from error
            self._all.append(pool)
        return pool

    def _drop(self, pool: WorkerPool) -> None:
        pool.close()
        with self._changing:
            self._all.remove(pool)

    def _warm(self) -> None:
        with suppress(Refusal):
            self._idle.append(self._taken())


def _read(read: Callable[[bytes], Tensor], task: Arrays) -> Arrays:
    return [read(task[0].tobytes()).numpy()]
