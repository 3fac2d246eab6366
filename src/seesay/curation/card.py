"""The data card of a set: what it was made of and how, as Markdown and as one page that needs no network."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from seesay.base.drawing import canvas, look_of, plain_figure
from seesay.base.errors import BrokenSample
from seesay.base.frame import page_template
from seesay.base.printable import printable
from seesay.base.publish import publish_file
from seesay.base.values import reasons_in_words
from seesay.curation.outcome import INDEX_FILE, QUERIES_FILE, SHARDS_FOLDER, shard_tables
from seesay.curation.stages import read_json
from seesay.data.sources import TarSlice
from seesay.data.thumbnails import data_uri, thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Rows of a table, and images on the sheet: guesses at what is looked at.
SHOWN_ROWS, SHOWN_IMAGES = 20, 24
# Pixels of the longer side of an image on the sheet, and letters of its caption; guesses.
SIDE, LETTERS = 160, 140
# What counts.json has of them, and the head of the table.
COUNTED = {"hosts": "Hosts", "languages": "Languages", "licences": "Licences", "shorter_side": "Shorter sides, pixels"}
CAVEATS = (
    "Captions and images are other people's; the set holds what the table of its pool held, and no more rights to it.",
    "A rule that is listed here removes what it sees. What a language, a hash or a model does not see is still there.",
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the card: paragraphs, then a table if it has a head."""

    title: str
    text: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image of the sheet, as an address, with its caption."""

    image: str
    caption: str


def write_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write card.md and card.html from what counts.json says and what lies beside it."""
    queries = read_query_counts(folder / QUERIES_FILE) if "queries" in facts else []
    sections = sections_of(folder, facts, queries)
    lead = lead_of(facts)
    sheet = samples(folder) if has_shards(facts) else []
    publish_file(folder / "card.md", as_markdown(lead, sections).encode())
    publish_file(folder / "card.html", as_page(lead, sections, queries, sheet).encode())


def has_shards(facts: Mapping[str, Any]) -> bool:
    """Whether the run wrote shards; an earlier one may have left some."""
    return facts["stages"][-1]["stage"] == "shards"


def lead_of(facts: Mapping[str, Any]) -> str:
    """The set in one sentence."""
    return f"{facts['pairs']:,} pairs of image and caption, of {facts['stages'][0]['in']:,} rows."


def sections_of(folder: Path, facts: Mapping[str, Any], queries: Sequence[tuple]) -> list[Section]:
    """The parts of the card in their order; what the set does not have is no part."""
    stages = [
        (each["stage"], f"{each['in']:,}", f"{each['out']:,}", reasons_in_words(each["left_out"]))
        for each in facts["stages"]
    ]
    sections = [
        Section(
            title="Counted at every step", text=_unseen(facts), head=("stage", "in", "out", "left out"), rows=stages
        ),
        _tests_section(facts),
        *_query_sections(facts, queries),
    ]
    for key, title in COUNTED.items():
        if key in facts:
            rows = [(printable(name), f"{count:,}") for name, count in facts[key].items()]
            more = facts["more"].get(key, {"names": 0, "pairs": 0})
            names = len(rows) + more["names"] - SHOWN_ROWS
            pairs = sum(list(facts[key].values())[SHOWN_ROWS:]) + more["pairs"]
            text = [f"{names:,} more have {pairs:,} pairs."] if names > 0 else []
            head = (title.split(",")[0].lower(), "pairs")
            sections.append(Section(title=title, text=text, head=head, rows=rows[:SHOWN_ROWS]))
    read = [
        (kind, printable(each["name"]), f"{each['bytes']:,}", each.get("sha256", "not taken: large"))
        for kind, files in facts["inputs"].items()
        for each in files
    ]
    text = [f"{len(read) - SHOWN_ROWS:,} more are in counts.json."] if len(read) > SHOWN_ROWS else []
    head = ("what", "file", "bytes", "SHA-256")
    sections.append(Section(title="Made from", text=text, head=head, rows=read[:SHOWN_ROWS]))
    settings = [(name, json.dumps(value)) for name, value in _leaves(facts["settings"])]
    sections.append(Section(title="Settings", head=("setting", "value"), rows=settings))
    files = [("pairs.parquet", facts["pairs_sha256"])]
    index = read_json(folder / SHARDS_FOLDER / INDEX_FILE) if has_shards(facts) else {}
    files += [(each["shard"], each["sha256"]) for each in index.get("shards", [])]
    more = f"{len(files) - SHOWN_ROWS:,} more are in {SHARDS_FOLDER}/{INDEX_FILE}."
    programs = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    text = [f"Made by seesay {facts['seesay']}; {programs}.", *([more] if len(files) > SHOWN_ROWS else []), *CAVEATS]
    sections.append(Section(title="Files", text=text, head=("file", "SHA-256"), rows=files[:SHOWN_ROWS]))
    return sections


def _unseen(facts: Mapping[str, Any]) -> list[str]:
    """What the filter could not look at."""
    numbers = (each.get("without_image", 0) for each in facts["stages"])
    return [f"{n:,} pairs passed the filter before their image was there: no rule on images was held to them."
            for n in numbers if n]  # fmt: skip


def _tests_section(facts: Mapping[str, Any]) -> Section:
    """Which evaluation sets the images were compared with, and what was found."""
    title = "Test images"
    dedup = next((each for each in facts["stages"] if each["stage"] == "dedup"), {})
    if not dedup.get("against"):
        text = "No evaluation set was compared with: images that a model is tested on may be in this set."
        return Section(title=title, text=[text])
    removed = Counter()
    for reason, pairs in dedup["left_out"].items():
        for each in dedup["against"]:
            removed[each["set"]] += pairs if reason.endswith(f" in {each['set']}") else 0
    settings = facts["settings"]["dedup"]
    ways = ["bytes", "pixels", *(["look"] if settings["is_near"] else [])]
    ways += [f"the embeddings of {printable(settings['model'])}"] if settings["model"] else []
    text = (
        f"Compared by {', '.join(ways)}. What was found is not in this set; a crop or a mirrored copy of a test image "
        "is not found so, and may be."
    )
    rows = [
        (printable(each["set"]), *(f"{each[name]:,}" for name in ("images", "unreadable", "found")),
         f"{removed[each['set']]:,}")
        for each in dedup["against"]
    ]  # fmt: skip
    head = ("evaluation set", "images compared", "not readable", "found in the pool", "pairs left out for them")
    return Section(title=title, text=[text], head=head, rows=rows)


def read_query_counts(path: Path) -> list[tuple[str, str, int, int, int]]:
    """Query, kind, captions it was found in, pairs of the set that have it, and pairs kept for it."""
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")[1:-1]
    return [(text, kind, int(a), int(b), int(c)) for text, kind, a, b, c in (line.split("\t") for line in lines)]


def _query_sections(facts: Mapping[str, Any], queries: Sequence[tuple]) -> list[Section]:
    if not queries:
        return []
    matched = [each for each in queries if each[2]]
    limit = facts["settings"]["balance"]["per_query"]
    head = [each for each in matched if each[2] > limit]
    total = sum(each[2] for each in matched)
    share = 100 * sum(each[2] for each in head) / max(1, total)
    text = [
        f"{len(matched):,} of {len(queries):,} queries were found in captions, {total:,} times in all. "
        f"{len(head):,} were found in more than {limit:,} captions; theirs are {share:.1f} % of all matches."
    ]
    if len(matched) > 2 * SHOWN_ROWS:
        text.append(f"The first and last {SHOWN_ROWS} by captions are here; {QUERIES_FILE} has all.")
    ordered = sorted(matched, key=lambda each: (-each[2], each[0]))
    columns = ("query", "kind", "captions", "pairs", "kept for it")
    rows = [(printable(each[0]), each[1], *(f"{count:,}" for count in each[2:])) for each in ordered]
    return [
        Section(title="Queries of the head", text=text, head=columns, rows=rows[:SHOWN_ROWS]),
        Section(title="Queries of the tail", head=columns, rows=rows[-SHOWN_ROWS:]),
    ]


def samples(folder: Path) -> list[Sample]:
    """The first images of the set in the order of keys, which are a hash: no choice of anybody's."""
    found = []
    for row in islice(_rows(folder), SHOWN_IMAGES):
        place = TarSlice(str(folder / SHARDS_FOLDER / row["shard"]), row["image_offset"], row["image_size"])
        try:
            image = data_uri(thumbnail(place.read(), side=SIDE))
        except BrokenSample:
            continue
        found.append(Sample(image=image, caption=printable(row["caption"])[:LETTERS]))
    return found


def _rows(folder: Path) -> Iterable[Mapping[str, Any]]:
    for table in shard_tables(folder / SHARDS_FOLDER):
        yield from pa.Table.to_pylist(table.select(["caption", "shard", "image_offset", "image_size"]))


@plain_figure
def queries_figure(queries: Sequence[tuple]) -> "Figure":
    """Captions with each query before, and pairs after, from the most frequent query to the rarest."""
    figure, (axes,) = canvas(6.4, 3.6)
    for number, (column, label) in enumerate(((2, "captions in the pool"), (3, "pairs in the set"))):
        counts = sorted((each[column] for each in queries if each[column]), reverse=True)
        look = {**look_of(number), "marker": None}
        axes.plot(range(1, len(counts) + 1), counts, label=label, **look)
    axes.set(xscale="log", yscale="log", xlabel="rank of the query", ylabel="number")
    for axis in (axes.xaxis, axes.yaxis):
        # Its own labels of powers are formulas, and text in a figure is plain.
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_minor_formatter(lambda *_: "")
    axes.legend()
    axes.grid()
    return figure


def as_page(lead: str, sections: Sequence[Section], queries: Sequence[tuple], sheet: Sequence[Sample]) -> str:
    """The card as one HTML page without script; all text is escaped."""
    from markupsafe import Markup

    # Our own drawing, in which names are text of an SVG.
    figure = Markup(queries_figure(queries).inline()) if queries else None  # noqa: S704
    template = page_template(Path(__file__).with_name("card.html"))
    return template.render(title="Data card", lead=lead, sections=sections, figure=figure, sheet=sheet)


def as_markdown(lead: str, sections: Sequence[Section]) -> str:
    """The card as Markdown; text of strangers is escaped."""
    lines = ["# Data card", "", lead, ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.text:
            lines += [paragraph, ""]
        if section.head:
            lines += [_row(section.head), _row(["---"] * len(section.head))]
            lines += [_row(row) for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return re.sub(r"([\\|`*_\[\]])", r"\\\1", escape(text, quote=False))


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        elif value is not None:
            yield f"{above}{name}", value
