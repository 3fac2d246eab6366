"""What queries are made from: documents of text files, Wikipedia's XML dump and Parquet, and WordNet's own files.

A file may be packed with gzip or bzip2. Nothing is read whole: a text is a line, a page of the dump, or a row.
"""

import bz2
import gzip
import html
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from xml.etree import ElementTree

from seesay.base.errors import RefusedInput, StorageError, UsageError
from seesay.data.parquet_pages import open_parquet_file, refused
from seesay.data.sources import missing_location

# Columns of a Parquet file that hold text and titles, the first that is there.
TEXT_COLUMNS = ("text", "content", "caption", "article", "document")
TITLE_COLUMN = "title"
# Letters of a line that are read at once: a longer one is read in parts. A guess.
LINE_LETTERS = 1 << 20
# Rows of Parquet in memory at once, a guess.
ROWS = 1 << 12
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
# Where WordNet's files are: Debian's wordnet-base, and the variables of its own programs.
WORDNET_FOLDERS = ("/usr/share/wordnet",)
WORDNET_VARIABLES = ("WNSEARCHDIR", "WNHOME")
WORDNET_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
# How often an innermost template is taken out of a page: templates lie in templates. A guess.
NESTED = 6

_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}|\{\|[^{}]*\|\}")
_DROPPED = re.compile(
    r"<!--.*?-->|<ref[^>/]*/>|<ref[^>]*>.*?</ref>|<math[^>]*>.*?</math>|\[\[(?:File|Image|Category):[^\[\]]*"
    r"(?:\[\[[^\[\]]*\]\][^\[\]]*)*\]\]",
    re.DOTALL | re.IGNORECASE,
)
_LINK = re.compile(r"\[\[([^\[\]|#]*)(?:#[^\[\]|]*)?(?:\|([^\[\]]*))?\]\]")
_ADDRESS = re.compile(r"\[(?:https?:)?//\S+ ?([^\]]*)\]")
_MARKS = re.compile(r"<[^>]*>|'{2,}|^=+|=+\s*$|^[*#:;]+", re.MULTILINE)


class Document(NamedTuple):
    """A text; its title where it has one, and the titles that it links to."""

    text: str
    title: str = ""
    links: tuple[str, ...] = ()


class Corpus:
    """One file of text; `read` says how many of its bytes have been read, packed ones where it is packed."""

    def __init__(self, path: Path):
        if not path.exists():
            raise missing_location(path)
        if not path.is_file():
            raise UsageError(f"{path} is not a regular file; name files of text, XML or Parquet.")
        self.path = path
        self.size = path.stat().st_size
        self.read = 0

    def documents(self) -> Iterator[Document]:
        """Every document; `RefusedInput` for a file that is damaged, `StorageError` for one that cannot be read."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes[-1:] == [".parquet"]:
            yield from self._rows()
            return
        try:
            with open(self.path, "rb") as file:
                packed = PACKED.get(suffixes[-1]) if suffixes else None
                stream = packed(file) if packed else file
                is_xml = ".xml" in suffixes[-2:]
                for document in pages(stream, self.path) if is_xml else lines(stream, self.path):
                    self.read = file.tell()
                    yield document
        except zlib.error as error:
            raise RefusedInput(f"{self.path} is damaged ({error}); fetch it again.") from error
        except EOFError as error:
            raise RefusedInput(f"{self.path} ends in the middle of its data; fetch it again.") from error
        except OSError as error:
            if error.errno is None:  # of the library that unpacks
                raise RefusedInput(f"{self.path} is damaged ({error}); fetch it again.") from error
            raise StorageError(f"Cannot read {str(self.path)!r}: {error.strerror}.") from error

    def _rows(self) -> Iterator[Document]:
        with open_parquet_file(self.path) as file, refused(self.path):
            names = file.schema_arrow.names
            text = next((name for name in TEXT_COLUMNS if name in names), None)
            if text is None:
                raise UsageError(f"{self.path} has no column of text ({', '.join(TEXT_COLUMNS)}): {', '.join(names)}.")
            columns = [text, TITLE_COLUMN] if TITLE_COLUMN in names else [text]
            done, total = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield Document(str(row[text] or ""), str(row.get(TITLE_COLUMN) or ""))
                done += len(batch)
                self.read = self.size * done // total


def lines(stream: IO[bytes], path: Path) -> Iterator[Document]:
    """A document for each line of UTF-8 text; what is no UTF-8 is replaced. `RefusedInput` for what is no text at all.

    A zero byte is in every file of another kind, and in text of UTF-16.
    """
    while line := stream.readline(LINE_LETTERS):
        if b"\0" in line:
            raise RefusedInput(f"{path} is no text in UTF-8: it has zero bytes; name text, or save it as UTF-8.")
        yield Document(line.decode("utf-8", "replace"))


def pages(stream: IO[bytes], path: Path) -> Iterator[Document]:
    """The articles of a MediaWiki dump, without redirects and other pages; `RefusedInput` where it is no XML."""
    try:
        # Python's expat refuses entities that grow without end (2.4.0 and later).
        events = ElementTree.iterparse(stream, events=("start", "end"))  # noqa: S314
        _, root = next(events)
        for event, element in events:
            if event == "end" and _tag(element) == "page":
                if (document := _article(element)) is not None:
                    yield document
                root.clear()
    except ElementTree.ParseError as error:
        raise RefusedInput(f"{path} is no whole XML ({error}); fetch it again.") from error


def _article(page: ElementTree.Element) -> Document | None:
    found = {_tag(part): part for part in page.iter()}
    namespace = found.get("ns")
    if "redirect" in found or (namespace is not None and namespace.text != "0"):
        return None
    texts = {name: found[name].text or "" if name in found else "" for name in ("title", "text")}
    links = tuple(match[1].strip() for match in _LINK.finditer(texts["text"]) if ":" not in match[1])
    return Document(plain(texts["text"]), texts["title"].strip(), links)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def plain(markup: str) -> str:
    """The words of a page of MediaWiki: without templates, tables, references, addresses and marks."""
    text = _DROPPED.sub(" ", markup)
    for _ in range(NESTED):
        text, count = _TEMPLATE.subn(" ", text)
        if not count:
            break
    text = _LINK.sub(lambda match: match[2] or match[1], text)
    return html.unescape(_MARKS.sub(" ", _ADDRESS.sub(r"\1", text)))


def find_wordnet() -> Path | None:
    """The folder of WordNet's files on this machine, if it is there."""
    named = [os.environ[name] for name in WORDNET_VARIABLES if os.environ.get(name)]
    folders = [Path(folder) for root in (*named, *WORDNET_FOLDERS) for folder in (root, f"{root}/dict")]
    return next((folder for folder in folders if (folder / WORDNET_FILES[0]).is_file()), None)


def wordnet_lemmas(folder: Path) -> list[str]:
    """Every lemma of WordNet as it is written, in the order of the files; `UsageError` where they are not there.

    The format is that of wndb(5WN): after a synset's offset, file and kind a number in hexadecimal says how many words
    follow, each with a number behind it; "_" stands for a space, and "(a)" behind an adjective says where it stands.
    """
    lemmas: dict[str, None] = {}
    for name in WORDNET_FILES:
        try:
            text = (folder / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{folder} has no {name} of WordNet that can be read ({error}).") from error
        for line in text.splitlines():
            fields = line.split(" ")
            if line.startswith(" ") or len(fields) < 6:
                continue
            for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]:
                lemmas[re.sub(r"\((?:a|p|ip)\)$", "", word).replace("_", " ")] = None
    return list(lemmas)
