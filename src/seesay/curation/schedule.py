"""Which URL is next: hosts take turns, and one that fails or asks for time is asked later."""

import heapq
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from seesay.curation.addresses import FetchError, host_of
from seesay.curation.download import LATER, NO_CONNECTION, UNREACHABLE, Progress
from seesay.curation.settings import FetchSettings

# Seconds before the first other try; each further one waits twice as long. A guess.
FIRST_WAIT = 1.0
# Seconds without an answer after which a URL gives its place to another one, how many times the workers may wait for
# a connection or an answer, and seconds after which that is looked at: guesses. Most servers answer in less.
ANSWER_SECONDS, WAITING, LOOK_SECONDS = 1.0, 4, 0.25
# Tries in a row without a connection after which a host is put aside, and after which the other URLs of one that never
# answered are not asked for; and tries in a row that came to nothing in any way. Guesses.
ASIDE, GIVE_UP_UNREACHED, GIVE_UP = 2, 3, 10
# Of the files a process may have open, the share that connections may take: each has one more for a large body.
OPEN_SHARE = 4
GIVEN_UP = "host given up"
# What is the host's fault and not that of one URL.
BUSY = frozenset(f"HTTP {status}" for status in LATER)
STRIKES = UNREACHABLE | BUSY | {"too slow", "TLS failed", "bad certificate"}


@dataclass(kw_only=True, eq=False)
class Task:
    """One URL to get, and how far its last try has come."""

    row: int
    url: str
    host: str
    attempts: int = 0
    progress: Progress = field(default_factory=Progress)


@dataclass
class _Host:
    """`level` is 0 for a host that answered last, 1 for one that was not asked yet, 2 for one whose last try failed, 3
    for one that is put aside.
    """

    waiting: deque[Task] = field(default_factory=deque)
    active: int = 0
    level: int = 1
    strikes: int = 0
    unreached: int = 0
    until: float = 0.0
    is_listed: bool = False
    has_answered: bool = False

    @property
    def is_given_up(self) -> bool:
        return self.strikes >= GIVE_UP or (self.unreached >= GIVE_UP_UNREACHED and not self.has_answered)


class Schedule:
    """Which URL is next: hosts take turns, none has more than `per_host` at once, and a busy one is left alone a while.

    Hosts that answer come before those not known yet, these before those that failed, and last those to which `ASIDE`
    tries in a row made no connection, one try at a time. After `GIVE_UP` failures in a row, or `GIVE_UP_UNREACHED`
    without a connection to a host that never answered, its other URLs are given up.

    Hosts that are dead or say nothing take no place of others: beside the URLs that have no connection yet, and those
    without an answer for longer than `ANSWER_SECONDS`, there are as many others as the settings have workers.
    """

    def __init__(self, wanted: Sequence[tuple[int, str]], settings: FetchSettings):
        self._settings = settings
        connections = most_connections()
        self._usual = min(settings.workers, connections)
        self._most_waiting = min(WAITING * self._usual, connections - self._usual)
        self._workers, self._most_workers = 0, self._usual
        self._active: set[Task] = set()
        self._hosts: dict[str, _Host] = {}
        self._ready: tuple[deque[_Host], ...] = (deque(), deque(), deque(), deque())
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
        return self._hosts[task.host].is_given_up

    def missing_workers(self) -> int:
        """How many threads that take tasks are to be begun now."""
        with self._changed:
            late = time.monotonic() - ANSWER_SECONDS
            waiting = sum(_waits(task.progress, late) for task in self._active)
            self._most_workers = self._usual + min(waiting, self._most_waiting)
            missing = max(0, min(self._most_workers - self._workers, self._left - len(self._active)))
            self._workers += missing
            return missing

    def take(self) -> Task | None:
        """The next task, when there is one; None when all are done, or when the thread that asks is one too many."""
        with self._changed:
            if self._workers > self._most_workers:
                self._workers -= 1
                return None
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
                    task.progress = Progress(since=now)
                    self._active.add(task)
                    self._list(host)
                    return task
                self._changed.wait(max(0.0, self._later[0][0] - now) if self._later else None)
            return None

    def done(self, task: Task, reason: str | None = None) -> None:
        """A task is done, with a reason where it came to nothing."""
        with self._changed:
            self._left -= 1
            if reason != GIVEN_UP:
                self._judge(task, reason)
            self._free(task)

    def again(self, task: Task, error: FetchError) -> None:
        """A task is to be tried again; a host that is busy is left alone until then."""
        with self._changed:
            host = self._hosts[task.host]
            self._judge(task, error.reason)
            wait = FIRST_WAIT * 2 ** (task.attempts - 1) if error.wait is None else error.wait
            if error.reason in BUSY and not host.is_given_up:
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

    def _judge(self, task: Task, reason: str | None) -> None:
        """Count how often a host failed in a row, and put it among its like."""
        host = self._hosts[task.host]
        host.strikes = host.strikes + 1 if reason in STRIKES else 0
        # Where it redirects to a dead one, it was there itself.
        host.unreached = host.unreached + 1 if reason in NO_CONNECTION and not task.progress.is_reached else 0
        host.has_answered |= not host.strikes
        level = 3 if host.unreached >= ASIDE else 2 if host.strikes else 0
        if host.is_given_up:
            host.until = 0.0
        if level != host.level and host.is_listed:
            self._ready[host.level].remove(host)
            host.is_listed = False
        host.level = level

    def _free(self, task: Task) -> None:
        host = self._hosts[task.host]
        host.active -= 1
        self._active.discard(task)
        self._list(host)
        self._changed.notify_all()

    def _list(self, host: _Host) -> None:
        most = 1 if host.level == 3 and not host.is_given_up else self._settings.per_host
        if host.waiting and host.active < most and not host.is_listed:
            host.is_listed = True
            self._ready[host.level].append(host)


def _waits(progress: Progress, late: float) -> bool:
    """Whether a try waits for a server, and not for what that sends: without an answer if it began before `late`."""
    return not progress.is_answered and (not progress.is_connected or progress.since < late)


def most_connections() -> int:
    """How many connections the limit on open files leaves room for."""
    try:
        import resource
    except ImportError:
        return 64
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // OPEN_SHARE)
