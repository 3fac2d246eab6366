"""Tables of pairs for curation: small, and as other programs write them."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from seesay.curation.queries import Query, write_queries


@pytest.fixture
def query_file(tmp_path):
    """A function that writes queries and gives the path."""

    def write(*texts, name="queries.tsv"):
        write_queries(tmp_path / name, [Query(text=text, kind="word", count=0) for text in texts])
        return tmp_path / name

    return write


@pytest.fixture
def url_table(tmp_path):
    """A function that writes captions with made-up URLs as a Parquet table, and gives its path."""

    def write(captions, name="pool.parquet", *, start=0):
        urls = [f"http://example.org/{start + number}.jpg" for number in range(len(captions))]
        parquet.write_table(pa.table({"url": urls, "caption": list(captions)}), tmp_path / name)
        return tmp_path / name

    return write
