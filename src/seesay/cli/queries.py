"""The door of `seesay queries`: text to a list of queries."""

import sys
from pathlib import Path
from typing import Annotated

import typer

Corpora = Annotated[
    list[Path], typer.Argument(metavar="CORPUS...", help="Text, Parquet, or Wikipedia's XML dump; also .gz and .bz2.")
]
Out = Annotated[Path, typer.Option(metavar="FILE.tsv", help="Where the list goes: query, kind, count.")]
Pmi = Annotated[float, typer.Option(metavar="BITS", help="Least pointwise mutual information of a bigram.")]
Wordnet = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="WordNet's files [default: where Debian's wordnet-base has them].")
]


def command(
    corpora: Corpora,
    out: Out,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Queries at most.")] = 500_000,
    least: Annotated[int, typer.Option(min=1, metavar="N", help="Times that a word or bigram occurs.")] = 100,
    pmi: Pmi = 8.0,
    wordnet: Wordnet = None,
) -> None:
    """Make the list of words and names that `seesay curate` looks for in captions.

    WordNet's lemmas, words that occur often enough, bigrams that occur together more often than by chance, and titles
    of articles by the number of links to them, in this order until there are --count of them.

    Example: seesay queries enwiki-latest-pages-articles.xml.bz2 --out queries.tsv
    """
    from seesay.curation.queries import queries

    sys.stdout.write(str(queries(corpora, out=out, count=count, least=least, pmi=pmi, wordnet=wordnet)))
