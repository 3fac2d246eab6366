"""What a training set is searched for: words, pairs of words, titles and WordNet; the public `seesay.queries`.

The order and the thresholds are MetaCLIP's account of CLIP's list: WordNet's lemmas, words that occur often enough,
bigrams by pointwise mutual information, PMI(x, y) = log2(p(x, y) / (p(x) p(y))), and titles of articles.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seesay.base.errors import RefusedInput, UsageError
from seesay.base.journal import ProgressLine
from seesay.base.names import no_empty_names
from seesay.base.publish import publish_chunks, refuse_unwritable_file
from seesay.base.streams import say
from seesay.base.values import table
from seesay.curation.corpus import Corpus, find_wordnet, wordnet_lemmas
from seesay.curation.spacing import WRAPPED, can_match

HEAD = ("query", "kind", "count")
WORDNET, WORD, BIGRAM, TITLE = "wordnet", "word", "bigram", "title"
# Section 2.2 of the paper, and the count of words that MetaCLIP's account of it has.
COUNT, LEAST = 500_000, 100
# A bigram occurs this many times as often as its words would by chance, as a power of two. A guess: MetaCLIP's 30
# cannot be reached by words that occur 100 times in less than 10^11 words.
LEAST_PMI = 8.0
# Different bigrams or links in memory at once; those that are rarest then go, and are counted. A guess: 4 GB.
MOST_COUNTED = 20_000_000
# Letters of the longest query; a guess.
LONGEST = 100
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class Query:
    """What captions are searched for, the list it comes from, and how often that has it."""

    text: str
    kind: str
    count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """A list of queries, by kind in the order they were taken; `notes` say what was left out.

    Example: print(seesay.queries(["enwiki.xml.bz2"], out="queries.tsv"))
    """

    rows: tuple[Query, ...]
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        kinds = Counter(row.kind for row in self.rows)
        return table(("kind", "queries"), [*((kind, f"{n:,}") for kind, n in kinds.items()), ("all", f"{len(self):,}")])


@no_empty_names
def queries(
    corpora: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    count: int = COUNT,
    least: int = LEAST,
    pmi: float = LEAST_PMI,
    wordnet: str | Path | None = None,
) -> Queries:
    """Make a list of up to `count` queries from text, and write it to `out` as TSV: query, kind, count.

    `corpora` are files of text, Parquet, or Wikipedia's XML dump, also packed (.gz, .bz2), and read twice. Words and
    bigrams occur `least` times, bigrams have a `pmi`. Titles come last, those with most links to them first. `wordnet`
    is the folder of WordNet's files; without it they are used where Debian puts them. Raises `UsageError` for a file
    that is not there or no text, `RefusedInput` for a damaged one or one without a query.

    Example: `seesay.queries("captions.txt", out="queries.tsv", least=10)`
    """
    files = [corpora] if isinstance(corpora, str | Path) else list(corpora)
    if not files:
        raise UsageError("no corpus is given; name files of text, XML or Parquet.")
    if count < 1 or least < 1:
        raise UsageError(f"count is {count} and least is {least}; both should be 1 or more.")
    refuse_unwritable_file(out, "--out", ending=".tsv")
    corpus = [Corpus(Path(file)) for file in files]
    folder = Path(wordnet) if wordnet is not None else find_wordnet()
    chosen = _Chosen(count)
    notes = []
    lemmas = wordnet_lemmas(folder) if folder is not None else []
    if folder is None:
        notes.append(
            "WordNet's files are not on this machine, so none of its lemmas is in the list (--wordnet FOLDER)."
        )
    words, links, rare = count_words(corpus)
    chosen.take(WORDNET, ((lemma, words[lemma]) for lemma in lemmas))
    frequent = {word: number for word, number in words.items() if number >= least}
    chosen.take(WORD, _by_count(frequent))
    pairs, rare_pairs = count_bigrams(corpus, frequent)
    chosen.take(BIGRAM, bigrams_by_pmi(pairs, words, least=least, pmi=pmi))
    chosen.take(TITLE, _by_count(links))
    if rare + rare_pairs:
        notes.append(f"{rare + rare_pairs:,} of the rarest links and bigrams were not counted to the end (memory).")
    notes += chosen.notes()
    if not chosen.rows:
        raise RefusedInput(f"no word occurs {least} times in {', '.join(map(str, files))}; give a lower --least.")
    if notes:
        say(*notes)
    result = Queries(rows=tuple(chosen.rows), path=Path(out), notes=tuple(notes))
    write_queries(Path(out), result.rows)
    return result


def write_queries(path: Path, rows: Iterable[Query]) -> None:
    """The TSV of `read_queries`, durably and whole."""
    lines = ("\t".join((row.text, row.kind, str(row.count))) + "\n" for row in rows)
    publish_chunks(path, (line.encode() for line in _blocks(["\t".join(HEAD) + "\n"], lines)))


def read_queries(path: str | Path) -> list[Query]:
    """The queries of a TSV, each once, in their order: columns query, kind, count, of which the first is enough.

    `UsageError` for a file that is not there, `RefusedInput` for one that has no query.
    """
    path = Path(path)
    found: dict[str, Query] = {}
    try:
        with open(path, encoding="utf-8-sig", errors="strict") as file:
            for number, line in enumerate(file):
                text, _, rest = line.rstrip("\r\n").partition("\t")
                kind, _, count = rest.partition("\t")
                if (number == 0 and text == HEAD[0]) or not text.strip():
                    continue
                found.setdefault(
                    text, Query(text=text, kind=kind or WORD, count=int(count) if count.isdecimal() else 0)
                )
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); make it with `seesay queries`.") from error
    except UnicodeDecodeError as error:
        raise RefusedInput(f"{path} is no UTF-8 text ({error}); make it with `seesay queries`.") from error
    if not found:
        raise RefusedInput(f"{path} has no query; make it with `seesay queries`.")
    return list(found.values())


def count_words(corpora: Sequence[Corpus]) -> tuple[Counter[str], Counter[str], int]:
    """How often each word occurs, how many links lead to each title, and how many rare titles were let go."""
    words: Counter[str] = Counter()
    links: Counter[str] = Counter()
    rare = 0
    with reading(corpora, "words") as documents:
        for document in documents:
            words.update(_WORD.findall(document.text))
            links.update(document.links)
            if document.title:
                links[document.title] += 0
            rare += _forget_rarest(links)
    return words, links, rare


def count_bigrams(corpora: Sequence[Corpus], frequent: dict[str, int]) -> tuple[Counter[tuple[str, str]], int]:
    """How often two frequent words follow one another with a space between, and how many rare ones were let go."""
    pairs: Counter[tuple[str, str]] = Counter()
    rare = 0
    with reading(corpora, "bigrams") as documents:
        for document in documents:
            before, end = "", -1
            for match in _WORD.finditer(document.text):
                word = match.group()
                word = word if word in frequent else ""
                if word and before and match.start() == end + 1 and document.text[end] == " ":
                    pairs[before, word] += 1
                before, end = word, match.end()
            rare += _forget_rarest(pairs)
    return pairs, rare


def bigrams_by_pmi(
    pairs: Counter[tuple[str, str]], words: Counter[str], *, least: int, pmi: float
) -> Iterator[tuple[str, int]]:
    """Bigrams that occur `least` times and have that much pointwise mutual information, the most of it first.

    As nltk's `BigramAssocMeasures.pmi`: log2(n(x, y) N / (n(x) n(y))) with N the number of words.
    """
    total = words.total()
    scored = []
    for (first, second), number in pairs.items():
        if number >= least:
            score = math.log2(number * total / (words[first] * words[second]))
            if score >= pmi:
                scored.append((-score, f"{first} {second}", number))
    return ((text, number) for _, text, number in sorted(scored))


@contextmanager
def reading(corpora: Sequence[Corpus], label: str) -> Iterator[Iterator]:
    """The documents of all files, with a line of progress by bytes."""
    line = ProgressLine(label)
    total = max(1, sum(corpus.size for corpus in corpora))

    def documents() -> Iterator:
        for corpus in corpora:
            for number, document in enumerate(corpus.documents()):
                yield document
                # Often enough to see, and rarely enough to cost nothing.
                if number % 1000 == 0:
                    line.show(min(1.0, sum(each.read for each in corpora) / total), corpus.path.name)

    try:
        yield documents()
    finally:
        line.close()


class _Chosen:
    """Queries up to a number, each once; what no caption can match is left out and counted."""

    def __init__(self, count: int):
        self.rows: list[Query] = []
        self._count = count
        self._texts: set[str] = set()
        self._without_match: Counter[str] = Counter()

    def take(self, kind: str, found: Iterable[tuple[str, int]]) -> None:
        for text, number in found:
            if len(self.rows) == self._count:
                return
            if text in self._texts or not text or len(text) > LONGEST:
                continue
            if not can_match(text):
                self._without_match[kind] += 1
                continue
            self._texts.add(text)
            self.rows.append(Query(text=text, kind=kind, count=number))

    def notes(self) -> list[str]:
        marks = " ".join(WRAPPED)
        return [
            f"left out {number:,} of the kind {kind}: one of {marks} stands in a word, where no caption has it."
            for kind, number in self._without_match.items()
        ]


def _by_count(numbers: dict[str, int] | Counter[str]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))


def _forget_rarest(counter: Counter) -> int:
    """Let half of a counter that is too large go, and return how many."""
    if len(counter) <= MOST_COUNTED:
        return 0
    before = len(counter)
    limit = 1
    while len(counter) > MOST_COUNTED // 2:
        for key in [key for key, number in counter.items() if number <= limit]:
            del counter[key]
        limit *= 2
    return before - len(counter)


def _blocks(*lines: Iterable[str]) -> Iterator[str]:
    """Lines joined into writes of some size."""
    block: list[str] = []
    for line in (line for group in lines for line in group):
        block.append(line)
        if len(block) == 4096:
            yield "".join(block)
            block = []
    yield "".join(block)
