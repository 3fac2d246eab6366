"""URLs to images: many at once, few at each host, every failure counted by its reason.

The images of a part lie one after another in a file beside its table (00000.images), shrunk and coded again once if a
size is set. Rows whose image lies here already pass through.
"""

import heapq
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from seesay.base.errors import BrokenSample, SeesayError
from seesay.base.publish import publish_chunks
from seesay.curation.addresses import FetchError
from seesay.curation.download import UNREACHABLE, Downloader
from seesay.curation.images import rewritten
from seesay.curation.outcome import host_of
from seesay.curation.settings import CurateSettings, FetchSettings
from seesay.curation.stages import Stage
from seesay.curation.tables import with_reasons

# Seconds before the first other try; each further one waits twice as long. A guess.
FIRST_WAIT = 1.0
# So many URLs of so many hosts that cannot be reached, and none that can, are a network that is gone: guesses.
LOST_URLS, LOST_HOSTS = 50, 10
# Of the files a process may have open, the share that connections may take.
OPEN_SHARE = 4


@dataclass(kw_only=True)
class Fetched:
    """What became of the URL of a row: an image or a reason, and how often it was tried."""

    row: int
    attempts: int
    image: bytes | None = None
    reason: str | None = None


def fetch_stage(settings: CurateSettings, downloader: Downloader | None = None) -> Stage:
    """Gives rows their images and `attempts`; a row whose URL gives none goes no further.

    Raises `SeesayError` where nothing at all can be reached: the part is not written, and the same command goes on.
    """
    source = downloader or Downloader(settings=settings.fetch)

    def get(url: str) -> bytes:
        return rewritten(source.get(url), settings.image)[0]

    def measure(table: pa.Table, path: Path) -> pa.Table:
        rows = table.select(["url", "image_file"]).to_pylist()
        first_of: dict[str, int] = {}
        same_as = {n: first_of.setdefault(row["url"], n) for n, row in enumerate(rows) if row["image_file"] is None}
        wanted = [(n, url) for url, n in first_of.items()]
        images = _Images(path.with_suffix(".images"), len(rows))
        if wanted:
            publish_chunks(images.path, images.chunks(fetch_all(wanted, settings.fetch, get)))
            refuse_lost_network(images, dict(wanted))
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
        return with_reasons(table, (None if each is None else each.reason for each in self.results))


def refuse_lost_network(images: _Images, url_of: Mapping[int, str]) -> None:
    """`SeesayError` where URLs of many hosts were tried and not one host could be reached."""
    results = [each for each in images.results if each is not None]
    hosts = {host_of(url_of[each.row]) for each in results}
    if len(results) >= LOST_URLS and len(hosts) >= LOST_HOSTS and all(each.reason in UNREACHABLE for each in results):
        reasons = ", ".join(f"{n} x {reason}" for reason, n in Counter(each.reason for each in results).most_common())
        raise SeesayError(
            f"not one of {len(results):,} URLs at {len(hosts):,} hosts can be reached ({reasons}); "
            "check the network: the same command goes on here."
        )


def fetch_all(
    wanted: Sequence[tuple[int, str]], settings: FetchSettings, get: Callable[[str], bytes]
) -> Iterator[Fetched]:
    """`get(url)` for every (row, URL), as they are done; each is tried as often as the settings say."""
    schedule = Schedule(wanted, per_host=settings.per_host)
    results: queue.Queue[Fetched] = queue.Queue(maxsize=2 * settings.workers)

    def work() -> None:
        while (task := schedule.take()) is not None:
            schedule.done(task, again=_try(task, settings, get, results))

    workers = min(settings.workers, len(wanted), most_connections())
    threads = [threading.Thread(target=work, daemon=True, name=f"fetch {n}") for n in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(len(wanted)):
            yield results.get()
    finally:
        schedule.stop()


def _try(
    task: "Task", settings: FetchSettings, get: Callable[[str], bytes], results: "queue.Queue[Fetched]"
) -> float | None:
    """One try; the seconds until the next, or None where the result is in `results`."""
    task.attempts += 1
    try:
        results.put(Fetched(row=task.row, attempts=task.attempts, image=get(task.url)))
    except FetchError as error:
        if error.may_retry and task.attempts <= settings.retries:
            return FIRST_WAIT * 2 ** (task.attempts - 1) if error.wait is None else error.wait
        results.put(Fetched(row=task.row, attempts=task.attempts, reason=error.reason))
    except BrokenSample as error:
        results.put(Fetched(row=task.row, attempts=task.attempts, reason=error.reason))
    except Exception as error:  # noqa: BLE001 - a thread that ends without a result would hang all others
        results.put(Fetched(row=task.row, attempts=task.attempts, reason=f"our own error: {type(error).__name__}"))
    return None


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
    waiting: deque[Task] = field(default_factory=deque)
    active: int = 0
    is_listed: bool = False


class Schedule:
    """Which URL is next: hosts take turns, none has more than `per_host` at once, and one that asked to wait waits."""

    def __init__(self, wanted: Sequence[tuple[int, str]], *, per_host: int):
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}
        self._ready: deque[str] = deque()
        self._later: list[tuple[float, int, Task]] = []
        self._left = len(wanted)
        self._changed = threading.Condition()
        for row, url in wanted:
            task = Task(row=row, url=url, host=host_of(url))
            self._hosts.setdefault(task.host, _Host()).waiting.append(task)
        for name in self._hosts:
            self._list(name)

    def take(self) -> Task | None:
        """The next task, when there is one; None when all are done."""
        with self._changed:
            while self._left > 0:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    task = heapq.heappop(self._later)[2]
                    self._hosts[task.host].waiting.append(task)
                    self._list(task.host)
                if self._ready:
                    name = self._ready.popleft()
                    host = self._hosts[name]
                    host.is_listed = False
                    host.active += 1
                    task = host.waiting.popleft()
                    self._list(name)
                    return task
                self._changed.wait(self._later[0][0] - now if self._later else None)
            return None

    def done(self, task: Task, *, again: float | None = None) -> None:
        """A task is done, or is to be tried again in so many seconds."""
        with self._changed:
            self._hosts[task.host].active -= 1
            if again is None:
                self._left -= 1
            else:
                heapq.heappush(self._later, (time.monotonic() + again, task.row, task))
            self._list(task.host)
            self._changed.notify_all()

    def stop(self) -> None:
        """No more tasks are given."""
        with self._changed:
            self._left = 0
            self._changed.notify_all()

    def _list(self, name: str) -> None:
        host = self._hosts[name]
        if host.waiting and host.active < self._per_host and not host.is_listed:
            host.is_listed = True
            self._ready.append(name)
