"""The door of `seesay curate`: tables of captions and links to a training set."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from seesay.cli.run_options import Set

Tables = Annotated[
    list[Path],
    typer.Argument(metavar="TABLE...", help="Parquet, CSV, TSV, JSON lines (url or path, caption), or tar shards."),
]
Queries = Annotated[Path | None, typer.Option(metavar="FILE.tsv", help="The list that `seesay queries` made.")]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the set goes; the same command goes on there.")]
PerQuery = Annotated[int | None, typer.Option(min=1, metavar="N", help="Pairs per query at most [default: 20000].")]
Balance = Annotated[
    Literal["cut", "draw"] | None,
    typer.Option(help="cut: never more than --per-query; draw: each query by itself, as MetaCLIP [default: cut]."),
]
Stages = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="What is done, with commas [default: match,balance,fetch,filter,dedup,shards]."),
]
ClipScore = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Score pairs by a model; filter keeps the best 30 %.")
]
Against = Annotated[
    list[str] | None, typer.Option(metavar="SET", help="Evaluation set whose images must not be in the result.")
]
ImageSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Shrink images to N pixels on their shorter side.")
]
AllowPrivate = Annotated[
    list[str] | None, typer.Option(metavar="NET", help="Addresses to fetch from although private: 10.1.0.0/16.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try URLs again that an earlier run could not reach.")
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(help="ray: what looks at a part of the rows alone is done on a Ray cluster (RAY_ADDRESS)."),
]


def command(
    tables: Tables,
    out: Out,
    queries: Queries = None,
    per_query: PerQuery = None,
    balance: Balance = None,
    stages: Stages = None,
    clip_score: ClipScore = None,
    against: Against = None,
    image_size: ImageSize = None,
    allow_private: AllowPrivate = None,
    retry_failed: RetryFailed = False,
    engine: Engine = "local",
    set_: Set = None,
) -> None:
    """Make a training set from tables of captions and links, counted at every step.

    Captions are matched with queries, balanced over them, images fetched, filtered, and freed of duplicates; the result
    are tar shards with a card. Every stage leaves its table in FOLDER/stages. Ctrl-C or a kill loses at most one part;
    the same command goes on.

    Example: seesay curate pool.parquet --queries queries.tsv --out set --per-query 1000
    """
    from seesay.curation.curate import curate
    from seesay.data.decoding_limits import share_freed_memory

    share_freed_memory()
    result = curate(
        tables,
        queries=queries,
        out=out,
        per_query=per_query,
        balance=balance,
        stages=None if stages is None else [name.strip() for name in stages.split(",")],
        clip_score=clip_score,
        against=against or (),
        image_size=image_size,
        allow_private=allow_private or (),
        retry_failed=retry_failed,
        engine=engine,
        overrides=set_ or (),
    )
    sys.stdout.write(str(result))
