"""Processes that make lists of arrays ahead of time and hand them over in shared memory, in order.

No file descriptor and no array goes through a pipe, so a process that dies in the middle of anything leaves nothing
half sent: every worker has its slots of shared memory from its start, and beside each slot is a pipe for messages of
some hundred bytes, which the system writes whole or not at all.

Where a process can be forked it is, and inherits all it needs. Elsewhere it is spawned: it imports the package again,
in seconds, and gets a pickled copy of what it needs, with the same shared memory in it. A program of many threads and
open connections, which a fork would copy, has its workers forked by a process that was spawned once ("forkserver").
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any

import numpy as np
import torch

from seesay.base.errors import SeesayError
from seesay.data.shared_memory import SharedArray, start_method

# Tasks that a worker has in hand at once, each with a slot of its own: torch's default (`prefetch_factor`).
SLOTS = 2
# How long hanging workers have to write their stacks, how long to wait for the end of one that is killed or gone, and
# how often an idle one looks whether its parent is still there (guesses).
DUMP_SECONDS = 0.5
REAP_SECONDS = 5.0
PARENT_SECONDS = 1.0

# What a process is sent to do nothing but show where it is; not on Windows.
DUMP_SIGNAL = getattr(signal, "SIGUSR1", None)

Arrays = Sequence[np.ndarray]


class WorkerFailure(SeesayError):
    """Workers died, or brought nothing in time; the message names them."""


class WorkerTimeout(WorkerFailure):
    """Workers brought nothing in time."""


class WorkerPool:
    """`workers` processes that call `make` with one list of arrays after the other.

    Where processes are spawned `make` is pickled, and what it shares with this process is in a `SharedArray`.
    `slot_bytes` is the shared memory for one task or one result: a task must fit, a larger result goes over in chunks.
    Each worker has `slots` of them, and as many tasks in hand.
    Waiting longer than `timeout_seconds` for a result (0: for ever) is a failure; `shows_stacks` says where they hang.
    `is_clean` is as in `start_method`.
    Raises `SeesayError` where the system gives no more processes, open files or memory, or `make` cannot be pickled.
    """

    def __init__(
        self,
        make: Callable[[Arrays], Arrays],
        *,
        workers: int,
        slot_bytes: int,
        slots: int = SLOTS,
        timeout_seconds: float = 0.0,
        shows_stacks: bool = True,
        is_clean: bool = False,
    ):
        self._timeout_seconds, self._shows_stacks, self._is_clean = timeout_seconds, shows_stacks, is_clean
        self._slot_bytes, self._slots = slot_bytes, slots
        self._processes: list[BaseProcess] = []
        self._ends: list[list[_End]] = []
        self._turn = 0
        # Runs before Python joins its children at the end of a program, which would wait for these for ever.
        self._kill = Finalize(self, _kill, args=(self._processes,), exitpriority=0)
        try:
            for _ in range(workers):
                self._start(make)
        except OSError as error:
            self.close()
            raise SeesayError(
                f"{workers} loader processes cannot be started ({error.strerror}); lower --workers, or raise the "
                "limit that `ulimit -a` shows: --workers 0 reads in one process."
            ) from error
        except Exception as error:  # whatever an object raises that cannot be pickled
            self.close()
            raise SeesayError(
                f"the pairs cannot be sent to loader processes, as this system needs ({error}); define their class in "
                "a module that can be imported, or read in one process: --workers 0."
            ) from error

    def results(self, tasks: Iterable[Arrays]) -> Iterator[list[np.ndarray]]:
        """`make(task)` of each task, in the order of the tasks, as arrays of any shape that belong to the caller.

        Raises `WorkerFailure`, and what `make` raised when its turn comes. Call it once.
        """
        # Task i goes to worker i % workers, and there into slot i // workers % slots.
        ends = cycle([ends[slot] for slot in range(self._slots) for ends in self._ends])
        waiting: deque[_End] = deque()
        for task in tasks:
            # Else each side could wait for the other to make room.
            assert sum(array.nbytes for array in task) <= self._slot_bytes
            result = waiting.popleft().receive() if len(waiting) == self._slots * len(self._ends) else None
            waiting.append(next(ends))
            waiting[-1].send(task)
            if result is not None:
                yield result
        while waiting:
            yield waiting.popleft().receive()

    def ask(self, task: Arrays) -> list[np.ndarray]:
        """`make(task)`, arrays of any shape, waited for; of a pool of one worker, whose `results` are not taken."""
        (ends,) = self._ends
        end, self._turn = ends[self._turn % self._slots], self._turn + 1
        end.send(task)
        return end.receive()

    def close(self) -> None:
        """End the workers at once."""
        self._kill()

    def _start(self, make: Callable[[Arrays], Arrays]) -> None:
        slots = [SharedArray((self._slot_bytes,), is_clean=self._is_clean) for _ in range(self._slots)]
        pipes = [multiprocessing.Pipe() for _ in range(self._slots)]
        theirs = [pipe for _, pipe in pipes]
        method = start_method(is_clean=self._is_clean)
        context: Any = multiprocessing.get_context(method)
        # Where this process is not the parent, nobody else holds its ends of the pipes, which close with it.
        parent = os.getpid() if method != "forkserver" else None
        process = context.Process(target=_work, args=(make, slots, theirs, parent), daemon=True)
        with _signals_blocked(), _without_main(method):
            process.start()
        self._processes.append(process)
        ours = zip(slots, pipes, strict=True)
        self._ends.append([_End(slot.array, pipe, wait=self._wait, gone=self._failure) for slot, (pipe, _) in ours])
        for pipe in theirs:
            pipe.close()

    def _wait(self, pipe: Connection) -> None:
        """Until there is something in `pipe`; raises `WorkerFailure` if a worker ends, or the time."""
        tick = min(1.0, self._timeout_seconds / 4) if self._timeout_seconds else None
        sentinels = [process.sentinel for process in self._processes]
        waited = 0.0
        while not (ready := wait([pipe, *sentinels], tick)):
            # Ticks and not a clock, which goes on while a shell holds the whole run (Ctrl-Z).
            waited += tick or 0.0
            if waited > self._timeout_seconds:
                if self._shows_stacks:
                    _dump_stacks(self._processes)
                self.close()
                raise WorkerTimeout(
                    "no batch came from the loader processes for the time that data.timeout_seconds allows"
                )
        if ready != [pipe]:
            raise self._failure()

    def _failure(self) -> WorkerFailure:
        """Which workers have ended, or are about to."""
        sentinels = [process.sentinel for process in self._processes]
        ended = wait(sentinels, REAP_SECONDS)
        names = []
        for number, process in enumerate(self._processes):
            if process.sentinel in ended:
                process.join(REAP_SECONDS)
                names.append(f"{number} (pid {process.pid}, {_end_of(process.exitcode)})")
        return WorkerFailure(f"loader process {', '.join(names) or 'unknown'} ended")


class _End:
    """One end of a slot and its pipe: sends lists of arrays to the process at the other end, and receives them.

    `wait` returns when the pipe has something to read; `gone` is the error where nobody holds its other end.
    """

    def __init__(
        self,
        slot: np.ndarray,
        pipe: Connection,
        *,
        wait: Callable[[Connection], None],
        gone: Callable[[], BaseException],
    ):
        self.pipe = pipe
        self._slot = slot
        self._wait = wait
        self._gone = gone

    def send(self, arrays: Arrays) -> None:
        """Fill the slot with `arrays`; as often as needed, each time after the other side has emptied it."""
        layout = [(array.dtype.str, array.shape) for array in arrays]
        contents = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
        for number, chunk in enumerate(self._chunks(contents)):
            if number:
                self._read()
            for content, stored in chunk:
                stored[:] = content
            self.write(None if number else layout)

    def receive(self) -> list[np.ndarray]:
        """The arrays that the other side sends, in new memory; raises the error that it sends instead."""
        layout = self._read()
        if isinstance(layout, Exception):
            raise layout
        arrays = [np.empty(shape, dtype) for dtype, shape in layout]
        contents = [array.reshape(-1).view(np.uint8) for array in arrays]
        for number, chunk in enumerate(self._chunks(contents)):
            if number:
                self.write(None)
                self._read()
            for content, stored in chunk:
                content[:] = stored
        return arrays

    def write(self, message: Any) -> None:
        """Send a small message: the layout of arrays, an error, or None for "filled" and "emptied"."""
        try:
            self.pipe.send(message)
        except ConnectionError as error:
            raise self._gone() from error

    def _read(self) -> Any:
        try:
            self._wait(self.pipe)
            return self.pipe.recv()
        except (ConnectionError, EOFError) as error:
            raise self._gone() from error

    def _chunks(self, contents: Arrays) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        """Stretches of `contents` and where in the slot they are; one list each time that the slot is full."""
        chunk, used = [], 0
        for content in contents:
            while len(content):
                if used == len(self._slot):
                    yield chunk
                    chunk, used = [], 0
                count = min(len(content), len(self._slot) - used)
                chunk.append((content[:count], self._slot[used : used + count]))
                content, used = content[count:], used + count
        yield chunk


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """A worker that starts in here has both signals blocked, so that none reaches it before it ignores them.

    Not on Windows, where Ctrl-C in those seconds ends the worker, and the run with it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _without_main(method: str) -> Iterator[None]:
    """A process spawned in here does not run the program that started this one again, which may train without asking.

    Nor can anything that this program itself defines be pickled for it.
    """
    if method == "fork":
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(
    make: Callable[[Arrays], Arrays], slots: Sequence[SharedArray], pipes: Sequence[Connection], parent: int | None
) -> None:
    """What a worker does until it is killed, or finds its parent gone.

    Ctrl-C and `kill` may reach the whole process group; a worker that obeyed would end the run before it saved.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if DUMP_SIGNAL is not None:
        with suppress(ValueError, OSError):  # standard error may be something that has no file number
            faulthandler.register(DUMP_SIGNAL, file=sys.__stderr__ or 2, all_threads=True)
    # As many workers as there are cores, and the threads of the parent are not in a fork of it.
    torch.set_num_threads(1)
    wait = partial(_wait_as_child, parent=parent)
    ends = [_End(slot.array, pipe, wait=wait, gone=SystemExit) for slot, pipe in zip(slots, pipes, strict=True)]
    for end in cycle(ends):
        task = end.receive()
        try:
            result = make(task)
        except Exception as error:  # noqa: BLE001  # it is raised again where the result is waited for
            error.add_note(f"In a loader process:\n{traceback.format_exc()}")
            end.write(error)
        else:
            end.send(result)


def _wait_as_child(pipe: Connection, parent: int | None) -> None:
    """Until there is something in `pipe`; ends this process if the one that started it is gone."""
    while not pipe.poll(PARENT_SECONDS):
        if parent is not None and os.getppid() != parent:
            raise SystemExit


def _dump_stacks(processes: Sequence[BaseProcess]) -> None:
    """Let hanging workers show on standard error where they hang; one that is stopped, or on Windows, cannot."""
    if DUMP_SIGNAL is None:
        return
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid or 0, DUMP_SIGNAL)
    time.sleep(DUMP_SECONDS)


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join(REAP_SECONDS)


def _end_of(code: int | None) -> str:
    return f"signal {-code}" if code and code < 0 else f"exit code {code}"
