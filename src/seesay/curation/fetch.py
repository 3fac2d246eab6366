"""URLs to images: many at once, few at each host, every failure counted by its reason.

The images of a part lie one after another in a file beside its table (00000.images), shrunk and coded again once if a
size is set. Rows whose image lies here already pass through.
"""

import heapq
import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pyarrow as pa

from seesay.base.errors import BrokenSample, SeesayError, StorageError
from seesay.base.publish import publish_chunks
from seesay.curation.addresses import FetchError, host_of
from seesay.curation.download import LATER, UNREACHABLE, Body, Downloader
from seesay.curation.images import rewritten, sides_of
from seesay.curation.settings import CurateSettings, FetchSettings
from seesay.curation.stages import Stage
from seesay.curation.tables import SIDES, with_reasons

# Seconds before the first other try; each further one waits twice as long. A guess.
FIRST_WAIT = 1.0
# So many URLs of so many hosts that cannot be reached, and none that can, are a network that is gone; so are as many in
# a row at hosts that answered before. Guesses.
LOST_URLS, LOST_HOSTS = 50, 10
# Tries in a row at a host that came to nothing, after which its other URLs are not asked for: a guess.
GIVE_UP = 10
GIVEN_UP = "host given up"
# What is the host's fault and not that of one URL.
BUSY = frozenset(f"HTTP {status}" for status in LATER)
STRIKES = UNREACHABLE | BUSY | {"too slow", "TLS failed", "bad certificate"}
# Of the files a process may have open, the share that connections may take: each has one more for a large body.
OPEN_SHARE = 4
Make = Callable[[Body], tuple[bytes, tuple[int, int]]]


@dataclass(kw_only=True)
class Fetched:
    """What became of the URL of a row: an image and its sides before it was shrunk, or a reason; and the tries."""

    row: int
    url: str
    attempts: int
    image: bytes | None = None
    sides: tuple[int, int] = (0, 0)
    reason: str | None = None
    error: SeesayError | None = None


def fetch_stage(settings: CurateSettings, downloader: Downloader | None = None) -> Stage:
    """Gives rows images, `attempts`, `width` and `height` of what was sent; rows whose URL gives none go no further.

    Raises `SeesayError` where the network is gone: the part is not written, and the same command goes on.
    """
    source = downloader or Downloader(settings=settings.fetch)

    def make(body: Body) -> tuple[bytes, tuple[int, int]]:
        data = body.read()
        return rewritten(data, settings.image)[0], sides_of(data)

    def measure(table: pa.Table, path: Path) -> pa.Table:
        rows = table.select(["url", "image_file"]).to_pylist()
        first_of: dict[str, int] = {}
        same_as = {n: first_of.setdefault(row["url"], n) for n, row in enumerate(rows) if row["image_file"] is None}
        wanted = [(n, url) for url, n in first_of.items()]
        images = _Images(path.with_suffix(".images"), len(rows))
        if wanted:
            publish_chunks(images.path, images.chunks(watched(fetch_all(wanted, settings.fetch, source.ask, make))))
        images.share(same_as)
        return images.added_to(table)

    facts = settings.image.model_dump_json()
    return Stage(name="fetch", settings=settings.fetch, measure=measure, facts=facts)


class _Images:
    """The file of a part's images while it is written."""

    def __init__(self, path: Path, count: int):
        self.path = path
        self.results: list[Fetched | None] = [None] * count
        self.places: list[tuple[int, int] | None] = [None] * count

    def chunks(self, results: Iterator[Fetched]) -> Iterator[bytes]:
        """The bytes of the file, in the order in which images come."""
        position = 0
        for result in results:
            self.results[result.row] = result
            if result.image is not None:
                self.places[result.row] = (position, len(result.image))
                position += len(result.image)
                yield result.image
                result.image = None

    def share(self, same_as: Mapping[int, int]) -> None:
        """Rows with the URL of an earlier one have what came of that: it was asked once."""
        for row, first in same_as.items():
            self.results[row], self.places[row] = self.results[first], self.places[first]

    def added_to(self, table: pa.Table) -> pa.Table:
        """The table with where the images lie, the tries, and reasons."""
        columns = {name: table[name].to_pylist() for name in ("image_file", "image_offset", "image_size")}
        for row, place in enumerate(self.places):
            if place is not None:
                columns["image_file"][row] = str(self.path.absolute())
                columns["image_offset"][row], columns["image_size"][row] = place
        for name, values in columns.items():
            index = table.schema.get_field_index(name)
            table = table.set_column(index, name, pa.array(values, table.schema.field(index).type))
        attempts = [0 if each is None else each.attempts for each in self.results]
        table = table.append_column("attempts", pa.array(attempts, pa.int32()))
        for axis, name in enumerate(SIDES):
            sides = [None if each is None or each.reason is not None else each.sides[axis] for each in self.results]
            table = table.append_column(name, pa.array(sides, pa.int32()))
        return with_reasons(table, (None if each is None else each.reason for each in self.results))


def watched(results: Iterator[Fetched]) -> Iterator[Fetched]:
    """The results as they are; `SeesayError` where the network is gone: where not one of many hosts can be reached, or
    nothing comes any more from hosts that answered before.
    """
    answered: set[str] = set()
    reasons: Counter[str] = Counter()
    hosts: set[str] = set()
    lost = 0
    for result in results:
        host = host_of(result.url)
        hosts.add(host)
        if result.reason is None or result.reason not in {*UNREACHABLE, GIVEN_UP}:
            answered.add(host)
            lost = 0
        else:
            reasons[result.reason] += 1
            lost += host in answered
        if lost >= LOST_URLS:
            raise _lost(f"the last {lost:,} URLs of hosts that answered before cannot be reached", reasons)
        yield result
    if not answered and reasons.total() >= LOST_URLS and len(hosts) >= LOST_HOSTS:
        raise _lost(f"not one of {reasons.total():,} URLs at {len(hosts):,} hosts can be reached", reasons)


def _lost(what: str, reasons: Counter[str]) -> SeesayError:
    listed = ", ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
    return SeesayError(f"{what} ({listed}); check the network: the same command goes on here.")


def fetch_all(
    wanted: Sequence[tuple[int, str]], settings: FetchSettings, get: Callable[[str], Body], make: Make
) -> Iterator[Fetched]:
    """What `make` gives of `get(url)` for every (row, URL), as they are done; tried as often as the settings say.

    No more bodies are made to images at once than there are cores. Raises `StorageError` for a full disk.
    """
    schedule = Schedule(wanted, settings)
    results: queue.Queue[Fetched] = queue.Queue(maxsize=1)
    cores = threading.BoundedSemaphore(os.cpu_count() or 1)

    def work() -> None:
        while (task := schedule.take()) is not None:
            outcome = Fetched(row=task.row, url=task.url, attempts=task.attempts, reason=GIVEN_UP)
            if not schedule.is_given_up(task):
                task.attempts += 1
                outcome = _try(task, get, make, cores)
            if isinstance(outcome, FetchError):
                if outcome.may_retry and task.attempts <= settings.retries:
                    schedule.again(task, outcome)
                    continue
                outcome = Fetched(row=task.row, url=task.url, attempts=task.attempts, reason=outcome.reason)
            while not schedule.is_stopped:
                with suppress(queue.Full):
                    results.put(outcome, timeout=1.0)
                    break
            schedule.done(task, outcome.reason)

    for number in range(min(settings.workers, len(wanted), most_connections())):
        threading.Thread(target=work, daemon=True, name=f"fetch {number}").start()
    try:
        for _ in range(len(wanted)):
            result = results.get()
            if result.error is not None:
                raise result.error
            yield result
    finally:
        schedule.stop()


def _try(
    task: "Task", get: Callable[[str], Body], make: Make, cores: threading.BoundedSemaphore
) -> Fetched | FetchError:
    """One try."""
    result = Fetched(row=task.row, url=task.url, attempts=task.attempts)
    try:
        with get(task.url) as body, cores:
            result.image, result.sides = make(body)
    except FetchError as error:
        return error
    except BrokenSample as error:
        result.reason = error.reason
    except StorageError as error:
        result.error = error
    except Exception as error:  # noqa: BLE001 - a thread that ends without a result would hang all others
        result.reason = f"our own error: {type(error).__name__}"
    return result


def most_connections() -> int:
    """How many connections the limit on open files leaves room for."""
    try:
        import resource
    except ImportError:
        return 64
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // OPEN_SHARE)


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
