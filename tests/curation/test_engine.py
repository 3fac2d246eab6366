"""The same set on a Ray cluster of two machines as in one process; skipped where Daft and Ray are not installed."""

import importlib.util
import os
import pickle
import subprocess
import sys

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import seesay
from seesay.curation.curate import make_stage
from seesay.curation.engine import Work, _Parts
from seesay.curation.settings import CurateSettings

HAS_RAY = all(importlib.util.find_spec(name) for name in ("daft", "ray"))
# Two machines of one CPU each, as far as Ray can tell, each with a process of its own; the command is given to this.
CLUSTER = """
import os, subprocess, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
try:
    code = subprocess.run(sys.argv[1:], env={**os.environ, "RAY_ADDRESS": cluster.address}).returncode
finally:
    cluster.shutdown()
sys.exit(code)
"""
STAGES = "match,balance,filter,dedup,shards"
SETS = ["filter.language=", "filter.least_side=1", "filter.least_words=1", "filter.least_characters=1", "rows=7"]


@pytest.fixture
def pool(tmp_path):
    """Forty pairs of twenty images that look unlike one another."""
    rows = []
    for number in range(20):
        image = Image.effect_noise((8, 8), 120).resize((48, 48)).convert("RGB")
        image.save(tmp_path / f"{number}.png")
        rows += [(f"{number}.png", f"a dog {number}"), (f"{number}.png", f"a cat {number}")]
    columns = {"path": [path for path, _ in rows], "caption": [caption for _, caption in rows]}
    parquet.write_table(pa.table(columns), tmp_path / "pool.parquet")
    return tmp_path / "pool.parquet"


def files_of(folder):
    """The set with its card and counts."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "stages" not in path.parts]
    wanted = [path for path in paths if path.name not in ("events.jsonl", ".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in wanted}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not HAS_RAY, reason="not measured: daft or ray is not installed (seesay[ray])")
def test_two_machines_of_a_cluster_make_the_files_of_one_process(tmp_path, pool, query_file):
    queries = query_file("dog", "cat", "1", "unicorn")
    words = [str(pool), "--queries", str(queries), "--stages", STAGES, "--per-query", "15", "--clip-score", "box"]
    words += [word for each in [*SETS, "filter.share=0.6", "shards.pairs=5"] for word in ("--set", each)]
    command = [sys.executable, "-m", "seesay", "curate", *words, "--out"]
    done = subprocess.run([*command, str(tmp_path / "one")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cluster = [sys.executable, "-c", CLUSTER, *command, str(tmp_path / "two"), "--engine", "ray"]
    done = subprocess.run(cluster, capture_output=True, text=True, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})
    assert done.returncode == 0, done.stderr
    assert "engine ray: 2 CPUs on 2 machines" in done.stderr
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")
    assert len(list((tmp_path / "one" / "shards").glob("*.tar"))) > 1


@pytest.mark.journey
@pytest.mark.parametrize("parts", [1, 2, 8])
def test_a_stage_made_of_plain_values_makes_the_parts_that_the_run_makes(tmp_path, pool, query_file, parts):
    """What a process of the cluster does, without a cluster; and of any number of parts the set is the same."""
    rows = -(-40 // parts)
    queries = query_file("dog", "cat")
    named = {"queries": queries, "stages": ["match", "balance", "shards"], "per_query": 15}
    seesay.curate(pool, out=tmp_path / "one", **named)
    seesay.curate(pool, out=tmp_path / "set", overrides=[f"rows={rows}"], **named)
    stages = tmp_path / "set" / "stages"
    sources = sorted((stages / "0-read").glob("*.parquet"))
    assert len(sources) == parts
    settings = CurateSettings(stages=("match",)).model_dump_json(exclude_unset=True)
    work = pickle.loads(pickle.dumps(Work(stage="match", make=make_stage, settings=settings, queries=str(queries))))
    folder = tmp_path / "elsewhere" / "stages" / "1-match"
    worker = _Parts(work, [str(path) for path in sources], str(folder))
    for number, source in enumerate(sources):
        assert worker.make(number) == ""
        assert (folder / source.name).read_bytes() == (stages / "1-match" / source.name).read_bytes()
    same = [files_of(tmp_path / name)["pairs.parquet"] for name in ("one", "set")]
    tars = [(tmp_path / name / "shards" / "00000.tar").read_bytes() for name in ("one", "set")]
    assert same[0] == same[1] and tars[0] == tars[1]


def test_an_error_of_a_part_on_a_cluster_is_the_error_of_the_command(tmp_path, pool):
    settings = CurateSettings(stages=("dedup",)).model_dump_json(exclude_unset=True)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    worker = _Parts(
        Work(stage="dedup", make=make_stage, settings=settings, queries=None), [str(tmp_path / "broken.parquet")], ""
    )
    name, _, message = worker.make(0).partition("\n")
    assert name == "RefusedInput" and "broken.parquet" in message


@pytest.mark.skipif(HAS_RAY, reason="daft and ray are installed")
def test_without_ray_the_engine_says_what_to_install(tmp_path, pool):
    with pytest.raises(seesay.UsageError, match=r"pip install 'seesay\[ray\]'"):
        seesay.curate(pool, out=tmp_path / "set", stages=["dedup"], engine="ray")


def test_an_engine_that_is_none_is_refused(tmp_path, pool):
    with pytest.raises(seesay.UsageError, match="local or ray"):
        seesay.curate(pool, out=tmp_path / "set", stages=["dedup"], engine="spark")
