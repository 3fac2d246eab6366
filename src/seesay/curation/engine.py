"""Parts of a stage made on a Ray cluster, by Daft.

What looks at one part alone (match, fetch, filter and the measuring half of dedup) is a function of a part's number,
which Daft maps over the cluster; the function is the one that makes a part here, so that a part has the same rows
wherever it is made. What looks at all parts stays with the program that asks. Every machine reads and writes the folder
of the run, the tables and what the settings name under the same paths, as on a file system that all of them share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesay.base import errors
from seesay.base.cluster import daft_on_ray
from seesay.base.errors import SeesayError
from seesay.base.streams import say
from seesay.curation.queries import Query, read_queries
from seesay.curation.settings import CurateSettings
from seesay.curation.stages import Stage, make_part


@dataclass(frozen=True, kw_only=True)
class Work:
    """A stage as plain values and the function that makes it of them, in each process of a cluster."""

    stage: str
    make: Callable[[str, Sequence[Query], CurateSettings], Stage]
    settings: str
    queries: str | None


class _Parts:
    """What a process of the cluster holds: the stage, made once."""

    def __init__(self, work: Work, sources: Sequence[str], folder: str):
        settings = CurateSettings.model_validate_json(work.settings)
        queries = [] if work.queries is None else read_queries(work.queries)
        self._stage = work.make(work.stage, queries, settings)
        self._sources, self._folder = sources, folder

    def make(self, number: int) -> str:
        """Make a part; returns nothing, or the class and the message of an error for people."""
        try:
            make_part(self._stage, Path(self._sources[number]), Path(self._folder), number)
        except SeesayError as error:
            return f"{type(error).__name__}\n{error}"
        return ""


class RayEngine:
    """Makes parts on the cluster of RAY_ADDRESS, or on one that Ray starts on this machine."""

    def __init__(self) -> None:
        self._daft, cluster = daft_on_ray()
        self.workers = cluster.cores
        say(f"engine ray: {cluster.cores:,} CPUs on {cluster.machines:,} machines.")

    def make(self, work: Work, sources: Sequence[Path], folder: Path, numbers: Sequence[int]) -> None:
        """Make the parts of these numbers in `folder`, each from its source; raises the first error of a part."""
        daft = self._daft
        paths, target = [str(path.absolute()) for path in sources], str(folder.absolute())
        made: Any = daft.cls(_Parts, max_concurrency=min(len(numbers), self.workers))(work, paths, target)
        frame = daft.from_pydict({"part": list(numbers)}).into_partitions(len(numbers))
        for answer in frame.select(made.make(daft.col("part")).alias("error")).to_pydict()["error"]:
            if answer:
                name, _, message = answer.partition("\n")
                raise getattr(errors, name, SeesayError)(message)
