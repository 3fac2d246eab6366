"""Each stage by its name, made of the queries and the settings of a run."""

from collections.abc import Callable, Sequence

from seesay.curation.balance import balance_stage
from seesay.curation.dedup import dedup_stage
from seesay.curation.fetch import fetch_stage
from seesay.curation.filter import filter_stage
from seesay.curation.match import match_stage
from seesay.curation.queries import Query
from seesay.curation.settings import CurateSettings
from seesay.curation.stages import Stage

_MAKERS: dict[str, Callable[[Sequence[Query], CurateSettings], Stage]] = {
    "match": lambda queries, settings: match_stage(queries, settings.match),
    "balance": lambda queries, settings: balance_stage(queries, settings.balance),
    "fetch": lambda queries, settings: fetch_stage(settings),
    "filter": lambda queries, settings: filter_stage(settings.filter),
    "dedup": lambda queries, settings: dedup_stage(settings.dedup),
}


def make_stage(name: str, queries: Sequence[Query], settings: CurateSettings) -> Stage:
    """The stage of that name, which may load models and read lists and sets; raises what those do."""
    return _MAKERS[name](queries, settings)
