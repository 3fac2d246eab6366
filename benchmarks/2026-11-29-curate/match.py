"""How many captions a second are matched, and that the matches are those of brute force.

    python benchmarks/2026-11-29-curate/match.py queries.tsv captions.txt

`captions.txt` has a caption a line. Beside ours is MetaCLIP's method: its spacing by a `replace` for each mark and
white space, and the automaton of pyahocorasick (`pip install pyahocorasick`) over the padded queries; in turn, three
rounds, CPU seconds of this process on one thread. The check compares 10,000 captions with all queries: what a caption
contains are those of its pieces from one space to another that are in the list. 20 captions are compared with each
query of the list by `in`.
"""

import json
import random
import statistics
import sys
import time

from seesay.curation.match import matcher
from seesay.curation.queries import read_queries
from seesay.curation.spacing import spaced

CAPTIONS, CHECKED, CHECKED_WHOLE, ROUNDS = 20_000, 10_000, 20, 3


def seconds(work, captions):
    started = time.process_time()
    for caption in captions:
        work(caption)
    return time.process_time() - started


def metaclip_spaced(text):
    """MetaCLIP's rule as it is written down, a mark at a time."""
    for white in "\t\n\r":
        text = text.replace(white, " ")
    text = f" {text} "
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    return text


def pieces_in(text, numbers):
    """Brute force: the numbers of all pieces of a spaced text between two of its spaces that are a query."""
    ends = [at for at, letter in enumerate(text) if letter == " "]
    found = set()
    for at, first in enumerate(ends):
        for last in ends[at + 1 :]:
            found.update(numbers.get(text[first + 1 : last], ()))
    return sorted(found)


def main():
    queries = [query.text for query in read_queries(sys.argv[1])]
    with open(sys.argv[2], encoding="utf-8") as file:
        every = [line.rstrip("\n") for line in file]
    captions = random.Random(0).sample(every, CAPTIONS)
    started = time.process_time()
    ours = matcher(queries)
    build = time.process_time() - started
    padded = [f" {query} " for query in queries]
    works = {"seesay": ours}
    try:
        import ahocorasick
    except ImportError:
        pass
    else:
        automaton = ahocorasick.Automaton()
        for number, query in enumerate(padded):
            automaton.add_word(query, number)
        automaton.make_automaton()
        works["MetaCLIP"] = lambda text: sorted({number for _, number in automaton.iter(metaclip_spaced(text))})
    rates = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            rates[name].append(CAPTIONS / seconds(work, captions))
    found = [ours(caption) for caption in captions[:CHECKED]]
    numbers, wrong = {}, 0
    for number, query in enumerate(queries):
        numbers.setdefault(query, []).append(number)
    for at, caption in enumerate(captions[:CHECKED]):
        wrong += pieces_in(spaced(caption), numbers) != found[at]
        wrong += any(other(caption) != found[at] for name, other in works.items() if name != "seesay")
    brute = captions[:CHECKED_WHOLE]
    started = time.process_time()
    for caption in brute:
        text = spaced(caption)
        wrong += [number for number, query in enumerate(padded) if query in text] != ours(caption)
    result = {
        "queries": len(queries),
        "build_s": round(build, 2),
        "captions_per_cpu_s": {name: [round(rate) for rate in values] for name, values in rates.items()},
        "median": {name: round(statistics.median(values)) for name, values in rates.items()},
        "one_query_at_a_time_per_cpu_s": round(len(brute) / (time.process_time() - started), 1),
        "matches_per_caption": round(statistics.mean(map(len, found)), 2),
        "wrong": wrong,
        "checked": {
            "other automaton": CHECKED,
            "pieces of captions in the whole list": CHECKED,
            "each query of the list": CHECKED_WHOLE,
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
