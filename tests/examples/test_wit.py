"""The example of a training set: from text and a site on loopback to shards with a card."""

import importlib.util
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from seesay.data.pairs import open_pairs

pytest.importorskip("skimage", reason="the photographs of the example lie in scikit-image: pip install '.[demo]'")

pytestmark = pytest.mark.journey
SCRIPT = Path(__file__).parents[2] / "examples" / "wit.py"


def test_the_example_makes_a_set_without_copies_dead_links_and_private_addresses(tmp_path, capsys):
    specification = importlib.util.spec_from_file_location("wit", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.main(["--out", str(tmp_path / "wit")])
    folder = tmp_path / "wit" / "set"
    stages = {each["stage"]: each for each in json.loads((folder / "counts.json").read_text())["stages"]}
    assert list(stages) == ["read", "match", "balance", "fetch", "filter", "dedup", "shards"]
    assert stages["read"]["in"] == 4 * len(module.PHOTOS) + 1
    assert stages["fetch"]["left_out"]["blocked address"] == 1
    assert stages["fetch"]["left_out"]["HTTP 404"] >= 15
    assert stages["dedup"]["left_out"]["looks the same"] >= 10
    pairs = open_pairs(str(folder / "shards" / "*.tar"))
    assert not pairs.problems and len(pairs) == parquet.read_metadata(folder / "pairs.parquet").num_rows >= 15
    assert all("IMG_" not in caption for index in range(len(pairs)) for caption in pairs.captions(index))
    assert "card.html" in capsys.readouterr().out
