"""How many captions a second are matched, and that the matches are those of brute force.

    python benchmarks/2026-11-29-curate/match.py queries.tsv captions.txt

`captions.txt` has a caption a line. Beside ours is pyahocorasick (`pip install pyahocorasick`), which finds the same in
the same spaced text; both in turn, three rounds, CPU seconds of this process on one thread. The check compares 10,000
captions with `query in text` for every query that is in a random tenth of the list, and 200 with the whole list.
"""

import json
import random
import statistics
import sys
import time

from seesay.curation.match import matcher
from seesay.curation.queries import read_queries
from seesay.curation.spacing import spaced

CAPTIONS, CHECKED, CHECKED_WHOLE, ROUNDS = 20_000, 10_000, 200, 3


def seconds(work, captions):
    started = time.process_time()
    for caption in captions:
        work(caption)
    return time.process_time() - started


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
        works["pyahocorasick"] = lambda text: sorted({number for _, number in automaton.iter(spaced(text))})
    rates = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            rates[name].append(CAPTIONS / seconds(work, captions))
    found = [ours(caption) for caption in captions[:CHECKED]]
    part = sorted(random.Random(1).sample(range(len(queries)), len(queries) // 10))
    chosen, wrong = set(part), 0
    for at, caption in enumerate(captions[:CHECKED]):
        text = spaced(caption)
        numbers = range(len(queries)) if at < CHECKED_WHOLE else part if at % 10 == 0 else ()
        expected = [number for number in numbers if padded[number] in text]
        own = found[at] if at < CHECKED_WHOLE else [number for number in found[at] if number in chosen]
        wrong += bool(numbers) and own != expected
        if any(other(caption) != found[at] for name, other in works.items() if name != "seesay"):
            wrong += 1
    brute = captions[:20]
    started = time.process_time()
    for caption in brute:
        text = spaced(caption)
        [number for number, query in enumerate(padded) if query in text]
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
            "whole list": CHECKED_WHOLE,
            "a tenth of it": (CHECKED - CHECKED_WHOLE) // 10,
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
