"""URLs to images: many at once, few at each host, every failure counted by its reason.

The images of a part lie one after another in a file beside its table (00000.images; those of another try in
00000.1.images), shrunk and coded again once if a size is set. Rows whose image lies here already pass through.

N = rows of a part.
"""

import hashlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from seesay.base.errors import BrokenSample, SeesayError, StorageError
from seesay.base.publish import publish_chunks
from seesay.base.values import reasons_in_words
from seesay.curation.addresses import FetchError, host_of
from seesay.curation.download import UNREACHABLE, Body, Downloader, Progress
from seesay.curation.images import FILTER, rewritten, sides_of
from seesay.curation.schedule import GIVEN_UP, LOOK_SECONDS, STRIKES, Schedule, Task
from seesay.curation.settings import CurateSettings, FetchSettings
from seesay.curation.stages import Stage
from seesay.curation.tables import SIDES, with_reasons

# So many URLs of so many hosts that cannot be reached, and none that can, are a network that is gone; so are as many in
# a row at hosts that answered before. Guesses.
LOST_URLS, LOST_HOSTS = 50, 10
# Reasons that say something of the network or of the server at that time, and nothing of the URL or of its image.
PASSING = STRIKES | {"not proper HTTP", GIVEN_UP}
# Of the columns below; parts of another one are begun anew.
FORMAT = 2
OWN_ERROR = "our own error: "
# How long and how often is waited and asked, which another run may change: an image that comes is the same.
PACE = frozenset({"workers", "per_host", "retries", "deadline", "resolve_deadline", "least_rate", "most_wait"})
ADDED = {
    "attempts": pa.int32(),
    **dict.fromkeys(SIDES, pa.int32()),
    "sent_sha256": pa.string(),
    "written_sha256": pa.binary(32),
}
Get = Callable[[str, Progress], Body]
Make = Callable[[Body], tuple[bytes, tuple[int, int], str]]


@dataclass(kw_only=True)
class Fetched:
    """What became of the URL of a row: a reason, or an image, with sides and SHA-256 of what was sent, and the SHA-256
    of what is written; the tries.
    """

    row: int
    url: str
    attempts: int
    image: bytes | None = None
    sides: tuple[int, int] = (0, 0)
    sent_sha256: str | None = None
    written_sha256: bytes | None = None
    reason: str | None = None
    error: SeesayError | None = None

    def value(self, name: str) -> int | str | bytes | None:
        """What the column of that name has."""
        if name in SIDES:
            return None if self.reason is not None else self.sides[SIDES.index(name)]
        return getattr(self, name)


def fetch_stage(settings: CurateSettings, downloader: Downloader | None = None) -> Stage:
    """Gives rows images, `attempts`, and `width`, `height` and `sent_sha256` of what was sent; others go no further.

    Raises `SeesayError` where the network is gone: the part is not written, and the same command goes on.
    """
    source = downloader or Downloader(settings=settings.fetch)

    def make(body: Body) -> tuple[bytes, tuple[int, int], str]:
        data = body.read()
        return rewritten(data, settings.image)[0], sides_of(data), hashlib.sha256(data).hexdigest()

    def measure(table: pa.Table, path: Path) -> pa.Table:
        return fetched(table, path.with_suffix(".images"), watched)

    def fetched(
        table: pa.Table, images_file: Path, watch: Callable[[Iterator[Fetched]], Iterator[Fetched]]
    ) -> pa.Table:
        rows = table.select(["url", "image_file"]).to_pylist()
        first_of: dict[str, int] = {}
        same_as = {n: first_of.setdefault(row["url"], n) for n, row in enumerate(rows) if row["image_file"] is None}
        wanted = [(n, url) for url, n in first_of.items()]
        images = _Images(images_file, len(rows))
        if wanted:
            publish_chunks(images.path, images.chunks(watch(fetch_all(wanted, settings.fetch, source.ask, make))))
        images.share(same_as)
        return images.added_to(table)

    def again(table: pa.Table, path: Path) -> tuple[pa.Table, int] | None:
        """The part after those of its URLs were tried again whose reason may have passed, and how many images came."""
        is_tried_N = np.array([may_pass(reason) for reason in table["left_out"].to_pylist()], bool)
        chosen = table.filter(pa.array(is_tried_N))
        if not len(chosen):
            return None
        taken = set(table["image_file"].to_pylist())
        names = (path.with_suffix(f".{number}.images") for number in count(1))
        images_file = next(name for name in names if str(name.absolute()) not in taken)
        index = chosen.schema.get_field_index("left_out")
        chosen = chosen.set_column(index, "left_out", pa.nulls(len(chosen), pa.string())).drop_columns(list(ADDED))
        # Not watched: hosts that failed before may all fail again, with the network as it should be.
        tried = fetched(chosen, images_file, lambda results: results).select(table.column_names)
        images = tried["left_out"].null_count
        if not images:
            images_file.unlink()
        whole = pa.concat_tables([table.filter(pa.array(~is_tried_N)), tried])
        place_N = np.concatenate([np.flatnonzero(~is_tried_N), np.flatnonzero(is_tried_N)])
        return whole.take(pa.array(np.argsort(place_N))).combine_chunks(), images

    return Stage(
        name="fetch",
        settings=settings.fetch,
        measure=measure,
        facts=f"{FORMAT} {FILTER.name} {settings.image.model_dump_json()}",
        neutral=PACE,
        again=again,
    )


def may_pass(reason: str | None) -> bool:
    """Whether what went wrong lay with the network or the server of that time, not with the URL or its image."""
    return reason is not None and (reason in PASSING or reason.startswith(("HTTP 5", OWN_ERROR)))


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
        for name, kind in ADDED.items():
            # A filter before may have looked at images that lie here: of those rows nothing came.
            nothing = 0 if name == "attempts" else None
            before = table[name].to_pylist() if name in table.column_names else [nothing] * len(table)
            values = [old if each is None else each.value(name) for each, old in zip(self.results, before, strict=True)]
            table = table.drop_columns([name] if name in table.column_names else [])
            table = table.append_column(name, pa.array(values, kind))
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
    return SeesayError(f"{what} ({reasons_in_words(reasons)}); check the network: the same command goes on here.")


def fetch_all(wanted: Sequence[tuple[int, str]], settings: FetchSettings, get: Get, make: Make) -> Iterator[Fetched]:
    """What `make` gives of `get(url, progress)` for every (row, URL), as they are done; tried as often as the settings
    say. No more bodies are made to images at once than there are cores. Raises `StorageError` for a full disk.
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
                task.progress.is_answered = True
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

    received = 0
    try:
        while received < len(wanted):
            for _ in range(schedule.missing_workers()):
                threading.Thread(target=work, daemon=True, name="fetch").start()
            try:
                result = results.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            received += 1
            if result.error is not None:
                raise result.error
            yield result
    finally:
        schedule.stop()


def _try(task: Task, get: Get, make: Make, cores: threading.BoundedSemaphore) -> Fetched | FetchError:
    """One try."""
    result = Fetched(row=task.row, url=task.url, attempts=task.attempts)
    try:
        with get(task.url, task.progress) as body, cores:
            result.image, result.sides, result.sent_sha256 = make(body)
            result.written_sha256 = hashlib.sha256(result.image).digest()
    except FetchError as error:
        return error
    except BrokenSample as error:
        result.reason = error.reason
    except StorageError as error:
        result.error = error
    except Exception as error:  # noqa: BLE001 - a thread that ends without a result would hang all others
        result.reason = f"{OWN_ERROR}{type(error).__name__}"
    return result
