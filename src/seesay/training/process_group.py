"""Several processes, one run: the only file that names a process group.

`torchrun` (or whatever sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT) starts the processes. Tensors travel in
collectives; objects, and everything that may take its time, through the store, where each process also leaves a
heartbeat. B = rows held here, N = rows of all processes, D = width of a row.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from seesay.base.errors import RefusedInput, SeesayError
from seesay.base.runtime import Runtime

# Guesses, in seconds: how often a process leaves a heartbeat, after which silence it counts as gone (in a collective:
# after its timeout), and how long the last of a run waits for the others and for the store.
LIFE_SECONDS = 5.0
GONE_SECONDS = 45.0
LAST_WORDS_SECONDS = 8.0
STORE_SECONDS = 60.0
# How long a process looks for the main one; a wrong address is not worth more.
CONNECT_SECONDS = 30.0

NOBODY = "nobody answered"

T = TypeVar("T")


class ProcessLost(SeesayError):
    """Another process of the run is gone, or does not answer."""


class ProcessGroup:
    """The processes of a run as seen from one of them; a run of one process has rank 0 of 1 and no group."""

    def __init__(self, runtime: Runtime, store: Store | None = None):
        self.rank, self.world_size = runtime.rank, runtime.world_size
        self._store = store
        self._messages = 0
        self._names: list[str] = []

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's folder and speaks to people."""
        return self.rank == 0

    def all_gather_object(self, value: Any) -> list[Any]:
        """The value of every process, in rank order; JSON values. Each process must call it, and may take its time."""
        if self._store is None:
            return [value]
        self._messages += 1
        number = self._messages
        self._store.set(f"object/{number}/{self.rank}", json.dumps(value))
        keys = [f"object/{number}/{rank}" for rank in range(self.world_size)]
        self._wait_for(keys)
        # All have written `number`, so all have read what came before it.
        self._store.delete_key(f"object/{number - 1}/{self.rank}")
        return [json.loads(self._store.get(key)) for key in keys]

    def broadcast_from_main(self, make: Callable[[], T]) -> T:
        """What `make` gives on the main process, on all; JSON values. The others wait for it."""
        return self.all_gather_object(make() if self.is_main else None)[0]

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.all_gather_object(None)

    def all_gather_floats(self, local: Sequence[float]) -> list[list[float]]:
        """The numbers of every process, in rank order: a collective on the CPU."""
        if self.world_size == 1:
            return [list(local)]
        mine = torch.tensor(local, dtype=torch.float64)
        gathered = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(gathered, mine)
        return [numbers.tolist() for numbers in gathered]

    def all_gather(self, own_BD: Tensor, rows: Sequence[int]) -> Tensor:
        """The rows of all processes in rank order, (N, D) or (N,), with gradients; `rows` is how many each has."""
        return own_BD if self.world_size == 1 else _Gather.apply(own_BD, self.rank, tuple(rows))

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over all processes."""
        if self.world_size > 1:
            value = value.clone()
            self.all_reduce_mean([value])
        return float(value)

    @torch.no_grad()
    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Make each float tensor, of any shape, its mean over processes, in place in one collective; integers stay."""
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.world_size == 1 or not floats:
            return
        flat = torch.cat([tensor.flatten() for tensor in floats])
        dist.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(floats, flat.split([tensor.numel() for tensor in floats]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor, of any shape, what it is on the main process, in place."""
        if self.world_size > 1:
            for tensor in tensors:
                dense = tensor.contiguous()
                dist.broadcast(dense, src=0)
                tensor.copy_(dense)

    def check_equal(self, facts: dict[str, str]) -> None:
        """Raises `RefusedInput` that names the first process and the key whose value is not the main process's."""
        by_rank = self.all_gather_object(facts)
        for rank, other in enumerate(by_rank):
            for key in sorted({*by_rank[0], *other}):
                if by_rank[0].get(key) != other.get(key):
                    raise RefusedInput(
                        f"process {rank} ({self._names[rank]}) has {key} = {other.get(key, '(none)')}, process 0 has "
                        f"{by_rank[0].get(key, '(none)')}; start all with the same words and the same data."
                    )

    def exchange_names(self) -> None:
        """Learn who the others are."""
        self._names = self.all_gather_object(f"pid {os.getpid()} on {socket.gethostname()}")

    def _wait_for(self, keys: Sequence[str]) -> None:
        signs: dict[int, tuple[bytes, float]] = {}
        pause = 0.001
        while not within(GONE_SECONDS, lambda: self._are_there(keys, signs)):
            time.sleep(pause)
            pause = min(0.25, 2 * pause)

    def _are_there(self, keys: Sequence[str], signs: dict[int, tuple[bytes, float]]) -> bool:
        assert self._store is not None
        if self._store.check(list(keys)):
            return True
        self._refuse_the_lost(keys, signs)
        return False

    def _refuse_the_lost(self, keys: Sequence[str], signs: dict[int, tuple[bytes, float]]) -> None:
        """Raise `ProcessLost` where a process that is waited for has ended, or gives no sign of life."""
        assert self._store is not None
        for rank in (rank for rank, key in enumerate(keys) if not self._store.check([key])):
            ended = self._store.check([f"end/{rank}"])
            sign = self._store.get(f"life/{rank}") if self._store.check([f"life/{rank}"]) else b""
            before, since = signs.setdefault(rank, (sign, time.monotonic()))
            if sign != before:
                signs[rank] = sign, time.monotonic()
            elif ended or time.monotonic() - since > GONE_SECONDS:
                raise ProcessLost(f"process {rank} does not answer")

    def leave(self) -> None:
        """Go when all are done: the main process, which may hold the store, after the others."""
        self.barrier()
        if self._store is None:
            return
        self._store.set(f"left/{self.rank}", "")
        if self.is_main:
            _wait_for_others(
                self._store, [f"left/{rank}" for rank in range(self.world_size)], seconds=LAST_WORDS_SECONDS
            )

    def final_error(self, error: BaseException) -> BaseException:
        """What this process should end with, when it ends by `error`: one process speaks for all.

        The one whose own error it was speaks; those that only lost it are silent, and where a process was killed the
        lowest that is left names it. The silent end with `SystemExit` and the same code.
        """
        if self._store is None:
            return error
        is_lost = is_collective_failure(error)
        code = error.exit_code if isinstance(error, SeesayError) else 1
        end = {"lost": is_lost, "code": code, "words": str(error)}
        try:
            ends = within(2 * LAST_WORDS_SECONDS, lambda: self._ends(end, everyone=is_lost or not self.is_main))
        except (RuntimeError, OSError):
            # The store went with the process that held it, or was stopped with it: that was the main one.
            if not is_lost:
                return error
            return self._lost([0], error) if self.rank == 1 else SystemExit(code)
        own_errors = [rank for rank, other in ends.items() if not other["lost"]]
        if own_errors:
            return error if self.rank == own_errors[0] else SystemExit(ends[own_errors[0]]["code"])
        if self.rank != min(ends):
            return SystemExit(1)
        return self._lost([rank for rank in range(self.world_size) if rank not in ends], error)

    def _ends(self, own: dict[str, Any], *, everyone: bool) -> dict[int, dict[str, Any]]:
        """How each process has ended, those that say so within some seconds; the first own error is enough."""
        assert self._store is not None
        self._store.set(f"end/{self.rank}", json.dumps(own))
        until = time.monotonic() + LAST_WORDS_SECONDS
        while True:
            there = [rank for rank in range(self.world_size) if self._store.check([f"end/{rank}"])]
            ends = {rank: json.loads(self._store.get(f"end/{rank}")) for rank in there}
            own_errors = [rank for rank, end in ends.items() if not end["lost"]]
            is_settled = 0 in own_errors or len(ends) == self.world_size or not everyone
            if is_settled or time.monotonic() > until:
                return ends
            time.sleep(0.05)

    def _lost(self, world_size: Sequence[int], error: BaseException) -> BaseException:
        if not world_size:
            return SeesayError(f"the processes lost one another ({' '.join(str(error).split())[:200]}); start again.")
        named = ", ".join(f"process {rank} ({self._names[rank]})" for rank in world_size)
        return ProcessLost(
            f"{named} died or does not answer; the last checkpoint is whole, and the same command goes on from it."
        )


class _Gather(torch.autograd.Function):
    """Rows of all processes; backward, each process gets the sum over all of the gradients of its own rows."""

    @staticmethod
    def forward(ctx: Any, own_BD: Tensor, rank: int, rows: tuple[int, ...]) -> Tensor:
        ctx.first, ctx.count = sum(rows[:rank]), rows[rank]
        padded = own_BD.new_zeros(max(rows), *own_BD.shape[1:])
        padded[: len(own_BD)] = own_BD
        gathered = [torch.empty_like(padded) for _ in rows]
        dist.all_gather(gathered, padded)
        return torch.cat([part[:count] for part, count in zip(gathered, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        summed_ND = grad_ND.contiguous().clone()
        dist.all_reduce(summed_ND)
        return summed_ND[ctx.first : ctx.first + ctx.count], None, None


@contextmanager
def open_process_group(runtime: Runtime, *, timeout_seconds: float) -> Iterator[ProcessGroup]:
    """The processes of this run, connected. However the block ends, the others learn of it, and one reports for all."""
    if runtime.world_size == 1:
        yield ProcessGroup(runtime)
        return
    store = _open_group(runtime, timeout_seconds)
    processes = ProcessGroup(runtime, store)
    over = threading.Event()
    threading.Thread(target=_heartbeat, args=(store, runtime.rank, over), daemon=True).start()
    try:
        processes.exchange_names()
        yield processes
        processes.leave()
    except BaseException as error:  # noqa: BLE001  # whatever it is goes on, or another process says it
        ended = processes.final_error(error)
        # Closed, so that those who wait for us in a collective hear of it now.
        _close_group()
        if runtime.rank == 0:
            seconds = 0.5 if is_collective_failure(error) else LAST_WORDS_SECONDS
            _wait_for_others(store, [f"end/{rank}" for rank in range(runtime.world_size)], seconds=seconds)
            # Those who read last need the store a moment longer.
            time.sleep(0.2)
        raise ended from (error if ended is not error else None)
    finally:
        over.set()
        _close_group()


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work()` returns or raises, or RuntimeError after `seconds`: torch asks a store that is silent for ever.

    Asked in a thread of its own, which is left behind where nobody answers.
    """
    found: list[T] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001  # raised by who waits
            errors.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not found:
        raise errors[0] if errors else RuntimeError(f"{NOBODY} in {seconds:g} seconds")
    return found[0]


def is_collective_failure(error: BaseException) -> bool:
    """Whether `error` is how this process noticed that another one ended."""
    words = ("gloo", "closed by peer", "reset by peer", "pair closure", "nccl", "timed out waiting", NOBODY)
    if isinstance(error, ProcessLost | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def _open_group(runtime: Runtime, timeout_seconds: float) -> Store:
    address, port = os.environ.get("MASTER_ADDR", "localhost"), os.environ.get("MASTER_PORT", "29500")
    timeout = timedelta(seconds=timeout_seconds)
    is_cuda = runtime.device.startswith("cuda")
    try:
        socket.getaddrinfo(address, int(port))
        if is_cuda:
            torch.cuda.set_device(runtime.local_rank)
        wait = timeout if runtime.rank == 0 else min(timeout, timedelta(seconds=CONNECT_SECONDS))
        store, rank, world_size = _store_of_all(runtime, wait)
        store.set_timeout(timeout)
        backend = "cpu:gloo,cuda:nccl" if is_cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SeesayError(
            f"process {runtime.rank} cannot connect to the others at MASTER_ADDR {address}, MASTER_PORT {port} "
            f"({reason}); check both, or let torchrun set them."
        ) from error
    store = dist.distributed_c10d._get_default_store()
    store.set_timeout(timedelta(seconds=STORE_SECONDS))
    return store


def _store_of_all(runtime: Runtime, wait: timedelta) -> tuple[Store, int, int]:
    """The store of all processes. A program that listens there and never answers would keep torch waiting for ever."""
    from torch.distributed.rendezvous import rendezvous

    stores = rendezvous("env://", runtime.rank, runtime.world_size, timeout=wait)
    return within(wait.total_seconds(), lambda: next(stores))


def _close_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _wait_for_others(store: Store, keys: list[str], *, seconds: float) -> None:
    """The main process may hold the store: it stays until the others have set these keys, or for `seconds`."""
    until = time.monotonic() + seconds
    with suppress(RuntimeError, OSError):
        while time.monotonic() < until and not store.check(keys):
            time.sleep(0.05)


def _heartbeat(store: Store, rank: int, over: threading.Event) -> None:
    for number in range(2**62):
        try:
            store.set(f"life/{rank}", str(number))
        except (RuntimeError, OSError):
            return
        if over.wait(LIFE_SECONDS):
            return
