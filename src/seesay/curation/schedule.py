"""Which URL is next: hosts take turns, and one that fails or asks for time is asked later."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from seesay.curation.addresses import FetchError, host_of
from seesay.curation.download import LATER, UNREACHABLE
from seesay.curation.settings import FetchSettings

# Seconds before the first other try; each further one waits twice as long. A guess.
FIRST_WAIT = 1.0
# Tries in a row at a host that came to nothing, after which its other URLs are not asked for: a guess.
GIVE_UP = 10
GIVEN_UP = "host given up"
# What is the host's fault and not that of one URL.
BUSY = frozenset(f"HTTP {status}" for status in LATER)
STRIKES = UNREACHABLE | BUSY | {"too slow", "TLS failed", "bad certificate"}


@dataclass(kw_only=True)
class Task:
    """One URL to get."""

    row: int
    url: str
    host: str
    attempts: int = 0


@dataclass
class _Host:
    """`level` is 0 for a host that answered last, 1 for one that was not asked yet, 2 for one whose last try failed."""

    waiting: deque[Task] = field(default_factory=deque)
    active: int = 0
    level: int = 1
    strikes: int = 0
    until: float = 0.0
    is_listed: bool = False


class Schedule:
    """Which URL is next: hosts take turns, none has more than `per_host` at once, and a busy one is left alone a while.

    Hosts that answer come before those not known yet, and these before those that failed, which hold up others by their
    deadlines. After `GIVE_UP` failures in a row the other URLs of a host are given up.
    """

    def __init__(self, wanted: Sequence[tuple[int, str]], settings: FetchSettings):
        self._settings = settings
        self._hosts: dict[str, _Host] = {}
        self._ready: tuple[deque[_Host], ...] = (deque(), deque(), deque())
        # (moment, number, host that may go on, task that may be tried again): numbers are in the order of the entries.
        self._later: list[tuple[float, int, _Host, Task | None]] = []
        self._numbers = count()
        self._left = len(wanted)
        self._changed = threading.Condition()
        for row, url in wanted:
            task = Task(row=row, url=url, host=host_of(url))
            self._hosts.setdefault(task.host, _Host()).waiting.append(task)
        for host in self._hosts.values():
            self._list(host)

    @property
    def is_stopped(self) -> bool:
        """Whether no more tasks are given, before all are done."""
        return self._left < 0

    def is_given_up(self, task: Task) -> bool:
        """Whether the host of a task failed too often in a row."""
        return self._hosts[task.host].strikes >= GIVE_UP

    def take(self) -> Task | None:
        """The next task, when there is one; None when all are done."""
        with self._changed:
            while self._left > 0:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    _, _, host, task = heapq.heappop(self._later)
                    if task is not None:
                        host.waiting.append(task)
                    self._list(host)
                host = next((ready.popleft() for ready in self._ready if ready), None)
                if host is not None:
                    host.is_listed = False
                    if host.until > now:
                        continue
                    host.active += 1
                    task = host.waiting.popleft()
                    self._list(host)
                    return task
                self._changed.wait(max(0.0, self._later[0][0] - now) if self._later else None)
            return None

    def done(self, task: Task, reason: str | None = None) -> None:
        """A task is done, with a reason where it came to nothing."""
        with self._changed:
            self._left -= 1
            if reason != GIVEN_UP:
                self._judge(self._hosts[task.host], reason)
            self._free(task)

    def again(self, task: Task, error: FetchError) -> None:
        """A task is to be tried again; a host that is busy is left alone until then."""
        with self._changed:
            host = self._hosts[task.host]
            self._judge(host, error.reason)
            wait = FIRST_WAIT * 2 ** (task.attempts - 1) if error.wait is None else error.wait
            if error.reason in BUSY and host.strikes < GIVE_UP:
                if error.wait is None:
                    wait = min(FIRST_WAIT * 2 ** (host.strikes - 1), self._settings.most_wait)
                host.until = max(host.until, time.monotonic() + wait)
                heapq.heappush(self._later, (host.until, next(self._numbers), host, None))
            heapq.heappush(self._later, (time.monotonic() + wait, next(self._numbers), host, task))
            self._free(task)

    def stop(self) -> None:
        """No more tasks are given."""
        with self._changed:
            self._left = -1
            self._changed.notify_all()

    def _judge(self, host: _Host, reason: str | None) -> None:
        """Count how often a host failed in a row, and put it among its like."""
        host.strikes = host.strikes + 1 if reason in STRIKES else 0
        level = 2 if host.strikes else 0
        if host.strikes >= GIVE_UP:
            host.until = 0.0
        if level != host.level and host.is_listed:
            self._ready[host.level].remove(host)
            host.is_listed = False
        host.level = level

    def _free(self, task: Task) -> None:
        host = self._hosts[task.host]
        host.active -= 1
        self._list(host)
        self._changed.notify_all()

    def _list(self, host: _Host) -> None:
        if host.waiting and host.active < self._settings.per_host and not host.is_listed:
            host.is_listed = True
            self._ready[host.level].append(host)
